"""A venue that does exactly what a test scripts: REST, tokens, one websocket endpoint, on loopback.

Wire text is written here by hand, without the formatters the recorder's parsers are tested against.
"""

from __future__ import annotations

import asyncio
import json
from collections import deque
from dataclasses import dataclass, field
from typing import Any

from aiohttp import WSMsgType, web


@dataclass
class Script:
    """What the venue does wrong; everything defaults to doing it right.

    Attributes
    ----------
    rest_delay_s : float          before the answer of the venue's clock
    welcome_delay_s : float       before the welcome of each connection
    acks_withheld : int           so many subscriptions are not answered at all
    bad_symbols : set             one of them in a subscription, and it is refused
    pongs : bool                  whether pings are answered
    connects_refused : int        so many websocket handshakes end in 503
    refusal_delay_s : float       before each of those 503
    book_answers : deque          (status, body) to give before real books
    sequences : dict              symbol → sequence of its book
    """

    rest_delay_s: float = 0.0
    welcome_delay_s: float = 0.0
    acks_withheld: int = 0
    bad_symbols: set[str] = field(default_factory=set)
    pongs: bool = True
    ping_interval_ms: int = 50_000
    ping_timeout_ms: int = 10_000
    connects_refused: int = 0
    refusal_delay_s: float = 0.0
    book_answers: deque[tuple[int, bytes, dict[str, str]]] = field(default_factory=deque)
    sequences: dict[str, int] = field(default_factory=dict)


class FakeVenue:
    """Start with `async with`; then `url` is its base address.

    Attributes
    ----------
    subscriptions : list     topics asked for, in order
    books_asked : list       (path, symbol, loop time)
    tokens_used : list       one a websocket connection
    sockets : list           live websocket connections, oldest first
    """

    def __init__(self, symbols: list[str], script: Script | None = None) -> None:
        self.symbols = symbols
        self.script = script or Script()
        self.subscriptions: list[str] = []
        self.subscribed_at: list[float] = []
        self.books_asked: list[tuple[str, str, float]] = []
        self.tokens_used: list[str] = []
        self.sockets: list[web.WebSocketResponse] = []
        self.url = ""
        self._tokens = 0
        self._runner: web.AppRunner | None = None

    async def __aenter__(self) -> FakeVenue:
        app = web.Application()
        app.router.add_get("/api/v1/timestamp", self._timestamp)
        app.router.add_get("/api/v1/symbols", self._symbols)
        app.router.add_post("/api/v1/bullet-public", self._bullet)
        app.router.add_get("/api/v2/market/orderbook/level2", self._book)
        app.router.add_get("/api/v1/market/orderbook/level3", self._book)
        app.router.add_get("/endpoint", self._websocket)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        host, port = self._runner.addresses[0][:2]
        self.url = f"http://{host}:{port}"
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._runner is not None
        for socket in list(self.sockets):
            await socket.close()
        await self._runner.cleanup()

    async def push(self, text: str | bytes) -> None:
        """Send a frame to every connection: text as text, bytes as binary."""
        for socket in list(self.sockets):
            if isinstance(text, bytes):
                await socket.send_bytes(text)
            else:
                await socket.send_str(text)

    async def push_l2(self, symbol: str, sequence: int, price: str = "1", size: str = "1") -> None:
        """Send one level-2 change of one bid."""
        await self.push(
            json.dumps(
                {
                    "type": "message",
                    "topic": f"/market/level2:{symbol}",
                    "subject": "trade.l2update",
                    "data": {
                        "sequenceStart": sequence,
                        "sequenceEnd": sequence,
                        "symbol": symbol,
                        "changes": {"bids": [[price, size, str(sequence)]], "asks": []},
                    },
                }
            )
        )

    def _answer(self, data: Any) -> web.Response:
        return web.json_response({"code": "200000", "data": data})

    async def _timestamp(self, request: web.Request) -> web.Response:
        await asyncio.sleep(self.script.rest_delay_s)
        return self._answer(1_550_000_000_000)

    async def _symbols(self, request: web.Request) -> web.Response:
        listed = []
        for symbol in self.symbols:
            base, quote = symbol.split("-")
            listed.append(
                {
                    "symbol": symbol,
                    "name": symbol,
                    "baseCurrency": base,
                    "quoteCurrency": quote,
                    "baseMinSize": "0.01",
                    "quoteMinSize": "0.01",
                    "baseMaxSize": "1000",
                    "quoteMaxSize": "1000",
                    "baseIncrement": "0.0001",
                    "quoteIncrement": "0.01",
                    "priceIncrement": "0.01",
                    "enableTrading": True,
                }
            )
        return self._answer(listed)

    async def _bullet(self, request: web.Request) -> web.Response:
        self._tokens += 1
        server = {
            "pingInterval": self.script.ping_interval_ms,
            "pingTimeout": self.script.ping_timeout_ms,
            "endpoint": self.url.replace("http", "ws") + "/endpoint",
            "protocol": "websocket",
            "encrypt": False,
        }
        return self._answer({"instanceServers": [server], "token": f"secret=={self._tokens}"})

    async def _book(self, request: web.Request) -> web.Response:
        symbol = request.query["symbol"]
        now = asyncio.get_running_loop().time()
        self.books_asked.append((request.path, symbol, now))
        if self.script.book_answers:
            status, body, headers = self.script.book_answers.popleft()
            return web.Response(status=status, body=body, headers=headers)
        sequence = str(self.script.sequences.get(symbol, 100))
        rows = [["99.00", "1.5"]], [["101.00", "2.5"]]
        if request.path.endswith("level3"):
            rows = [["b1", "99.00", "1.5"]], [["a1", "101.00", "2.5"]]
        return self._answer({"sequence": sequence, "bids": rows[0], "asks": rows[1]})

    async def _websocket(self, request: web.Request) -> web.StreamResponse:
        if self.script.connects_refused:
            self.script.connects_refused -= 1
            await asyncio.sleep(self.script.refusal_delay_s)
            return web.Response(status=503)
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        self.tokens_used.append(request.query["token"])
        await asyncio.sleep(self.script.welcome_delay_s)
        identifier = request.query["connectId"]
        await socket.send_json({"id": identifier, "type": "welcome"})
        self.sockets.append(socket)
        try:
            async for message in socket:
                if message.type is WSMsgType.TEXT:
                    await self._hear(socket, identifier, message.json())
        finally:
            self.sockets.remove(socket)
        return socket

    async def _hear(
        self, socket: web.WebSocketResponse, identifier: str, message: dict[str, Any]
    ) -> None:
        if message["type"] == "ping":
            if self.script.pongs:
                await socket.send_json({"id": message["id"], "type": "pong"})
            return
        assert message["type"] == "subscribe"
        self.subscriptions.append(message["topic"])
        self.subscribed_at.append(asyncio.get_running_loop().time())
        if self.script.acks_withheld:
            self.script.acks_withheld -= 1
            return
        symbols = message["topic"].partition(":")[2].split(",")
        if self.script.bad_symbols.intersection(symbols):
            # As the document has it: the id is the connection's, and no topic is named.
            await socket.send_json(
                {"id": identifier, "type": "error", "code": 404, "data": "topic is not found"}
            )
            return
        await socket.send_json({"id": message["id"], "type": "ack"})
