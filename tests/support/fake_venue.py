"""A venue that does exactly what a test scripts: REST, tokens, one websocket endpoint, on loopback.

Wire text is written here by hand, without the formatters the recorder's parsers are tested against.
"""

from __future__ import annotations

import asyncio
import json
from collections import deque
from contextlib import suppress
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
    welcomes : Event              while it is clear, no connection is welcomed; set at first
    acks_withheld : int           so many subscriptions are not answered at all
    bad_symbols : set             one of them in a subscription, and it is refused
    pongs : bool                  whether pings are answered
    connects_refused : int        so many websocket handshakes end in 503
    refusal_delay_s : float       before each of those 503
    book_answers : deque          (status, body) to give before real books
    sequences : dict              symbol → sequence of its book
    kept_symbols : set            a subscription to one of them is not ended when asked to
    connections_max : int         websockets at once; one more is answered 503
    names : dict                  symbol → the name it is shown under, where that is another
    lags_s : deque                one a connection: everything it is sent comes so much later
    """

    rest_delay_s: float = 0.0
    welcome_delay_s: float = 0.0
    welcomes: asyncio.Event = field(default_factory=asyncio.Event)
    acks_withheld: int = 0
    bad_symbols: set[str] = field(default_factory=set)
    pongs: bool = True
    ping_interval_ms: int = 50_000
    ping_timeout_ms: int = 10_000
    connects_refused: int = 0
    refusal_delay_s: float = 0.0
    book_answers: deque[tuple[int, bytes, dict[str, str]]] = field(default_factory=deque)
    sequences: dict[str, int] = field(default_factory=dict)
    kept_symbols: set[str] = field(default_factory=set)
    connections_max: int = 1_000
    names: dict[str, str] = field(default_factory=dict)
    lags_s: deque[float] = field(default_factory=deque)

    def __post_init__(self) -> None:
        self.welcomes.set()


class FakeVenue:
    """Start with `async with`; then `url` is its base address.

    Attributes
    ----------
    subscriptions : list     topics asked for, in order
    unsubscriptions : list   topics given up, in order
    connected_at : list      loop times of all handshakes, also those refused
    carried : dict           live connection → single topics it is subscribed to
    books_asked : list       (path, symbol, loop time)
    tokens_used : list       one a websocket connection
    sockets : list           live websocket connections, oldest first
    """

    def __init__(self, symbols: list[str], script: Script | None = None) -> None:
        self.symbols = symbols
        self.script = script or Script()
        self.subscriptions: list[str] = []
        self.unsubscriptions: list[str] = []
        self.connected_at: list[float] = []
        self.carried: dict[web.WebSocketResponse, set[str]] = {}
        self.subscribed_at: list[float] = []
        self.books_asked: list[tuple[str, str, float]] = []
        self.tokens_used: list[str] = []
        self.sockets: list[web.WebSocketResponse] = []
        self.url = ""
        self._tokens = 0
        self._outboxes: dict[web.WebSocketResponse, asyncio.Queue[tuple[float, str]]] = {}
        self._runner: web.AppRunner | None = None

    async def __aenter__(self) -> FakeVenue:
        app = web.Application()
        app.router.add_get("/api/v1/timestamp", self._timestamp)
        app.router.add_get("/api/v1/symbols", self._symbols)
        app.router.add_post("/api/v1/bullet-public", self._bullet)
        app.router.add_get("/api/v2/market/orderbook/level2", self._book)
        app.router.add_get("/api/v1/market/orderbook/level3", self._book)
        app.router.add_get("/endpoint", self._websocket)
        self._runner = web.AppRunner(app, shutdown_timeout=1.0)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        host, port = self._runner.addresses[0][:2]
        self.url = f"http://{host}:{port}"
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._runner is not None
        assert self._runner.server is not None
        transports = [connection.transport for connection in self._runner.server.connections]
        for socket in list(self.sockets):
            await socket.close()
        await self._runner.cleanup()
        # One that is closed waits for what is unsent, which nobody may read any more.
        for transport in transports:
            if transport is not None:
                transport.abort()
        # What was closed just now is gone only after a turn of the loop.
        await asyncio.sleep(0.01)

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

    async def publish(self, topic: str, subject: str, data: dict[str, Any]) -> None:
        """Send a message to every connection subscribed to its topic."""
        text = json.dumps({"type": "message", "topic": topic, "subject": subject, "data": data})
        for socket, topics in list(self.carried.items()):
            if topic in topics:
                self._send(socket, text)

    async def publish_l2(self, symbol: str) -> int:
        """Change the book of a symbol by one; REST answers with it as well."""
        sequence = self.script.sequences.get(symbol, 100) + 1
        self.script.sequences[symbol] = sequence
        data = {
            "sequenceStart": sequence,
            "sequenceEnd": sequence,
            "symbol": symbol,
            "changes": {"bids": [["98.00", str(sequence), str(sequence)]], "asks": []},
        }
        await self.publish(f"/market/level2:{symbol}", "trade.l2update", data)
        return sequence

    async def publish_match(self, symbol: str, sequence: int) -> None:
        """Send one trade."""
        data = {
            "sequence": str(sequence),
            "symbol": symbol,
            "side": "buy",
            "size": "1",
            "price": "99",
            "takerOrderId": f"t{sequence}",
            "makerOrderId": f"m{sequence}",
            "tradeId": f"x{sequence}",
            "time": "1550000000000000000",
            "type": "match",
        }
        await self.publish(f"/market/match:{symbol}", "trade.l3match", data)

    async def publish_ticker(self, symbol: str, sequence: int) -> None:
        """Send one ticker."""
        data = {
            "sequence": str(sequence),
            "price": "99",
            "size": "1",
            "bestAsk": "101",
            "bestAskSize": "1",
            "bestBid": "99",
            "bestBidSize": "1",
        }
        await self.publish(f"/market/ticker:{symbol}", "trade.ticker", data)

    async def expire_tokens(self) -> None:
        """Tell every connection in band that its token has ended; do not close it."""
        for socket in list(self.sockets):
            self._send(
                socket,
                json.dumps({"id": "1", "type": "error", "code": 401, "data": "token is expired"}),
            )

    def _send(self, socket: web.WebSocketResponse, text: str) -> None:
        """Send on a connection, behind everything sent there before, after its lag."""
        if socket in self._outboxes:
            self._outboxes[socket].put_nowait((asyncio.get_running_loop().time(), text))

    async def _deliver(
        self, socket: web.WebSocketResponse, box: asyncio.Queue[tuple[float, str]], lag_s: float
    ) -> None:
        loop = asyncio.get_running_loop()
        with suppress(ConnectionResetError):
            while True:
                sent_at, text = await box.get()
                if (rest_s := sent_at + lag_s - loop.time()) > 0:
                    await asyncio.sleep(rest_s)
                await socket.send_str(text)

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
                    "name": self.script.names.get(symbol, symbol),
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
        self.connected_at.append(asyncio.get_running_loop().time())
        if len(self.sockets) >= self.script.connections_max:
            return web.Response(status=503)
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        self.tokens_used.append(request.query["token"])
        await asyncio.sleep(self.script.welcome_delay_s)
        await self.script.welcomes.wait()
        identifier = request.query["connectId"]
        box = self._outboxes[socket] = asyncio.Queue()
        lag_s = self.script.lags_s.popleft() if self.script.lags_s else 0.0
        delivering = asyncio.create_task(self._deliver(socket, box, lag_s))
        self._send(socket, json.dumps({"id": identifier, "type": "welcome"}))
        self.sockets.append(socket)
        self.carried[socket] = set()
        try:
            async for message in socket:
                if message.type is WSMsgType.TEXT:
                    self._hear(socket, identifier, message.json())
        finally:
            delivering.cancel()
            await asyncio.gather(delivering, return_exceptions=True)
            self.sockets.remove(socket)
            del self.carried[socket], self._outboxes[socket]
        return socket

    def _hear(
        self, socket: web.WebSocketResponse, identifier: str, message: dict[str, Any]
    ) -> None:
        if message["type"] == "ping":
            if self.script.pongs:
                self._send(socket, json.dumps({"id": message["id"], "type": "pong"}))
            return
        prefix, _, names = message["topic"].partition(":")
        symbols = names.split(",")
        topics = {f"{prefix}:{symbol}" for symbol in symbols}
        if message["type"] == "unsubscribe":
            self.unsubscriptions.append(message["topic"])
            if self.script.kept_symbols.intersection(symbols):
                error = {"id": identifier, "type": "error", "code": 404, "data": "not found"}
                self._send(socket, json.dumps(error))
                return
            self.carried[socket] -= topics
            self._send(socket, json.dumps({"id": message["id"], "type": "ack"}))
            return
        assert message["type"] == "subscribe"
        self.subscriptions.append(message["topic"])
        self.subscribed_at.append(asyncio.get_running_loop().time())
        if self.script.acks_withheld:
            self.script.acks_withheld -= 1
            return
        if self.script.bad_symbols.intersection(symbols):
            # As the document has it: the id is the connection's, and no topic is named.
            error = {"id": identifier, "type": "error", "code": 404, "data": "topic is not found"}
            self._send(socket, json.dumps(error))
            return
        self.carried[socket] |= topics
        self._send(socket, json.dumps({"id": message["id"], "type": "ack"}))
