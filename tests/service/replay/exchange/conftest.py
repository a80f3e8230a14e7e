"""A running exchange and a client that speaks to it as any program would."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import aiohttp
import orjson
import pytest

from replay.exchange.api_keys import ApiKeys
from replay.exchange.app import ExchangeServer, ServerLimits, listening
from replay.exchange.dialects import DIALECTS, WORDINGS
from replay.exchange.events import EventPlan
from replay.exchange.faults import FaultPlan, parse_fault
from replay.exchange.synthetic.source import SyntheticSource
from schemas.kucoin.profiles.kucoin_2019 import KUCOIN_2019
from schemas.kucoin.profiles.kucoin_classic import KUCOIN_CLASSIC

CLASSIC = KUCOIN_CLASSIC.name


class Client:
    """REST and websocket of one exchange."""

    def __init__(self, port: int, http: aiohttp.ClientSession) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self.http = http

    async def get(self, path: str, headers: dict[str, str] | None = None) -> tuple[int, Any]:
        """Return status and parsed body."""
        async with self.http.get(self.url + path, headers=headers) as answer:
            assert answer.content_type == "application/json"
            return answer.status, orjson.loads(await answer.read())

    async def data(self, path: str) -> Any:
        """Return the data of a successful answer."""
        status, body = await self.get(path)
        assert (status, body["code"]) == (200, "200000"), body
        return body["data"]

    async def connect(self, connection: str = "me") -> aiohttp.ClientWebSocketResponse:
        """Open a websocket the way the document says, up to the welcome."""
        async with self.http.post(f"{self.url}/api/v1/bullet-public") as answer:
            bullet = orjson.loads(await answer.read())["data"]
        server = bullet["instanceServers"][0]
        socket = await self.http.ws_connect(
            f"{server['endpoint']}?token={bullet['token']}&connectId={connection}",
            max_msg_size=0,
        )
        assert await hear(socket) == {"id": connection, "type": "welcome"}
        return socket


async def hear(socket: aiohttp.ClientWebSocketResponse, timeout_s: float = 5.0) -> Any:
    """Return the next message, parsed."""
    return orjson.loads(await socket.receive_str(timeout=timeout_s))


async def ask(socket: aiohttp.ClientWebSocketResponse, **request: Any) -> Any:
    """Send a message and return the next one that is no market message."""
    await socket.send_str(orjson.dumps(request).decode())
    while True:
        message = await hear(socket)
        if message["type"] != "message":
            return message


async def subscribe(socket: aiohttp.ClientWebSocketResponse, topic: str) -> None:
    """Subscribe and see it acknowledged."""
    ack = await ask(socket, id=topic, type="subscribe", topic=topic, response=True)
    assert ack == {"id": topic, "type": "ack"}


async def ended(socket: aiohttp.ClientWebSocketResponse, timeout_s: float = 5.0) -> None:
    """Read until the connection is over."""
    async with asyncio.timeout(timeout_s):
        async for _ in socket:
            pass


async def until(probe: Callable[[], Awaitable[object]], timeout_s: float = 8.0) -> None:
    """Wait until a probe gives something true."""
    async with asyncio.timeout(timeout_s):
        while not await probe():  # noqa: ASYNC110 - the exchange tells nobody
            await asyncio.sleep(0.03)


@contextlib.asynccontextmanager
async def running(
    *symbols: str,
    faults: tuple[str, ...] = (),
    events: tuple[str, ...] = (),
    limits: ServerLimits | None = None,
    dialect: str = KUCOIN_2019.name,
    keys: ApiKeys | None = None,
    token_life_ns: int | None = None,
    **options: Any,
) -> AsyncIterator[tuple[ExchangeServer, Client]]:
    """Run an exchange on a free port."""
    plan = FaultPlan([parse_fault(spec) for spec in faults])
    listed = symbols or ("BTC-USDT", "WIN-USDT")
    source = SyntheticSource(
        listed, keep_books=plan.needs_old_books, wording=WORDINGS[dialect], **options
    )
    server = ExchangeServer(
        source,
        faults=plan,
        limits=limits,
        dialect=DIALECTS[dialect],
        events=EventPlan.parse(events, listed),
        keys=keys,
        token_life_ns=token_life_ns,
    )
    async with listening(server) as port, aiohttp.ClientSession() as http:
        yield server, Client(port, http)


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    """An exchange of two symbols at 400 events a second."""
    async with running(rate=400.0) as (_, made):
        yield made
