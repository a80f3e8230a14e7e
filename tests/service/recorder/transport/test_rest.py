"""REST against a real server: what is an answer, what a failure, and when to be quiet."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import aiohttp
import pytest
from aiohttp import web

from recorder.transport import rest
from recorder.transport.rate_limit import Budget
from recorder.transport.rest import RestClient, RestFailed
from schemas.kucoin.profile import Rate

GOOD = b'{"code":"200000","data":{}}'

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Server:
    """One route that answers as told."""

    def __init__(self) -> None:
        self.status, self.body, self.headers = 200, GOOD, dict[str, str]()
        self.delay_s = 0.0
        self.methods: list[str] = []

    async def answer(self, request: web.Request) -> web.Response:
        self.methods.append(request.method)
        await asyncio.sleep(self.delay_s)
        return web.Response(status=self.status, body=self.body, headers=self.headers)


@pytest.fixture
async def server() -> AsyncIterator[tuple[Server, RestClient, Budget]]:
    told = Server()
    app = web.Application()
    app.router.add_route("*", "/x", told.answer)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    port = runner.addresses[0][1]
    budget = Budget(Rate(1000, 1.0))
    async with aiohttp.ClientSession() as session:
        yield told, RestClient(session, f"http://127.0.0.1:{port}", budget, 0.3), budget
    await runner.cleanup()


async def test_an_answer_is_handed_over_as_it_came(
    server: tuple[Server, RestClient, Budget],
) -> None:
    told, client, budget = server
    reply = await client.get("/x")
    assert (reply.url, reply.status, reply.body) == (client.url("/x"), 200, GOOD)
    told.body = b"not even JSON"
    assert (await client.post("/x")).body == b"not even JSON", "judging is not its task"
    assert told.methods == ["GET", "POST"]
    assert budget.paused_s == 0


@pytest.mark.parametrize(
    ("status", "body", "headers", "pause_s", "refused"),
    [
        (429, b"", {}, rest.REFUSED_PAUSE_S, False),
        (429, b"", {"Retry-After": "3"}, 3.0, False),
        (429, b"", {"Retry-After": "soon"}, rest.REFUSED_PAUSE_S, False),
        (429, b"", {"gw-ratelimit-reset": "2500"}, 2.5, False),
        (429, b"", {"Retry-After": "999999"}, rest.PAUSE_MAX_S, False),
        (200, b'{"code":"429000","msg":"busy"}', {}, rest.REFUSED_PAUSE_S, False),
        (200, b'{"code":"200002","msg":"busy"}', {}, rest.REFUSED_PAUSE_S, False),
        (200, b'{"code":"400100","msg":"no"}', {}, 0.0, True),
        (503, b"down", {}, rest.TROUBLE_PAUSE_S, False),
        (404, b'{"code":"404000","msg":"gone"}', {}, 0.0, True),
    ],
)
async def test_failures_say_whether_a_retry_can_help(
    server: tuple[Server, RestClient, Budget],
    status: int,
    body: bytes,
    headers: dict[str, str],
    pause_s: float,
    refused: bool,
) -> None:
    told, client, budget = server
    told.status, told.body, told.headers = status, body, headers
    with pytest.raises(RestFailed) as caught:
        await client.get("/x")
    assert caught.value.status == status
    assert caught.value.refused is refused
    assert budget.paused_s == pytest.approx(pause_s, abs=0.2)


async def test_no_answer_in_time(server: tuple[Server, RestClient, Budget]) -> None:
    told, client, budget = server
    told.delay_s = 1.0
    with pytest.raises(RestFailed) as caught:
        await client.get("/x")
    assert (caught.value.status, caught.value.problem) == (None, "no answer in time")
    assert not caught.value.refused
    assert budget.paused_s > 0
