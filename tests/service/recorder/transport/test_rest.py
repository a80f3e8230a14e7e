"""REST against a real server: what is an answer, what a failure, and who is to be quiet."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, replace

import aiohttp
import pytest
from aiohttp import web

from recorder.transport import rest_rules
from recorder.transport.rate_limit import Budget, open_budgets
from recorder.transport.rest import IN_FLIGHT_MAX, RestClient, RestFailed
from schemas.kucoin.profile import PRIVATE, PUBLIC, Rate
from schemas.kucoin.profiles.kucoin_classic import KUCOIN_CLASSIC

GOOD = b'{"code":"200000","data":{}}'
LIMITS = replace(
    KUCOIN_CLASSIC.limits,
    rest={PUBLIC: Rate(1000, 1.0), PRIVATE: Rate(1000, 1.0)},
    rest_weights={"/heavy": 600, "/bullet": 10, "/x": 2},
)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Server:
    """Routes that answer as told."""

    def __init__(self) -> None:
        self.status, self.body, self.headers = 200, GOOD, dict[str, str]()
        self.delay_s = 0.0
        self.requests: list[web.Request] = []

    async def answer(self, request: web.Request) -> web.Response:
        self.requests.append(request)
        await asyncio.sleep(self.delay_s)
        return web.Response(status=self.status, body=self.body, headers=self.headers)


@dataclass
class Scene:
    """One client of one server."""

    told: Server
    client: RestClient
    budgets: dict[str, Budget]

    async def fail(self, path: str = "/x", *, signed: bool = False) -> RestFailed:
        with pytest.raises(RestFailed) as caught:
            await self.client.get(path, signed=signed)
        return caught.value

    async def waited_s(self, path: str, *, signed: bool = False, urgent: bool = False) -> float:
        """Return how long a turn takes; one that takes longer than a second is inf."""
        began = asyncio.get_running_loop().time()
        try:
            async with asyncio.timeout(1.0):
                await self.client.wait_turn(path, signed=signed, urgent=urgent)
        except TimeoutError:
            return float("inf")
        return asyncio.get_running_loop().time() - began


@pytest.fixture
async def scene() -> AsyncIterator[Scene]:
    told = Server()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", told.answer)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    port = runner.addresses[0][1]
    budgets = open_budgets(LIMITS)
    async with aiohttp.ClientSession() as session:
        client = RestClient(
            session,
            f"http://127.0.0.1:{port}",
            budgets,
            LIMITS,
            lambda method, path: {"SIGNED": f"{method} {path}"},
            0.3,
        )
        yield Scene(told, client, budgets)
    await runner.cleanup()


async def test_an_answer_is_handed_over_as_it_came(scene: Scene) -> None:
    reply = await scene.client.get("/x")
    assert (reply.url, reply.status, reply.body) == (scene.client.url("/x"), 200, GOOD)
    scene.told.body = b"not even JSON"
    assert (await scene.client.post("/x")).body == b"not even JSON", "judging is not its task"
    assert [request.method for request in scene.told.requests] == ["GET", "POST"]
    assert scene.client.status()[PUBLIC].requests == {"ok": 2}
    assert scene.client.status()[PUBLIC].paused_s == 0


async def test_what_is_signed_is_what_is_sent(scene: Scene) -> None:
    await scene.client.get("/x?symbol=A%26B-%7EC", signed=True)
    await scene.client.get("/x?symbol=A")
    signed, plain = scene.told.requests
    assert signed.headers["SIGNED"] == f"GET {signed.raw_path}" == "GET /x?symbol=A%26B-%7EC"
    assert "SIGNED" not in plain.headers
    status = scene.client.status()
    assert (status[PRIVATE].requests, status[PUBLIC].requests) == ({"ok": 1}, {"ok": 1})


async def test_a_spent_budget_holds_its_pool_and_no_other(scene: Scene) -> None:
    scene.told.status, scene.told.headers = 429, {"gw-ratelimit-reset": "5000"}
    failure = await scene.fail(signed=True)
    assert (failure.status, failure.refused) == (429, False)
    assert "pausing 5 s" in failure.problem
    assert scene.budgets[PRIVATE].paused_s == pytest.approx(5.0, abs=0.3)
    assert await scene.waited_s("/x") < 0.3
    assert await scene.waited_s("/y", signed=True) == float("inf")
    assert scene.client.status()[PRIVATE].requests == {"limited": 1}


async def test_the_wall_holds_the_whole_address(scene: Scene) -> None:
    scene.told.status, scene.told.body = 429, b"error code: 1015"
    await scene.fail()
    for pool in (PUBLIC, PRIVATE):
        assert scene.budgets[pool].paused_s == pytest.approx(30.0, abs=0.3)


@pytest.mark.parametrize("code", ["429000", "200002"])
async def test_one_endpoint_s_trouble_is_no_other_s(scene: Scene, code: str) -> None:
    scene.told.body = b'{"code":"%s","msg":"busy"}' % code.encode()
    failure = await scene.fail("/x?symbol=A")
    assert not failure.refused
    assert await scene.waited_s("/bullet") < 0.3, "a token may be had"
    assert await scene.waited_s("/x?symbol=B") > 0.7


async def test_overload_lengthens_the_pause_until_it_works(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    rule = next(rule for rule in rest_rules.RULES if rule.name == rest_rules.OVERLOAD)
    long = replace(rule, pause_s=60.0, pause_cap_s=480.0)
    rules = tuple(long if each is rule else each for each in rest_rules.RULES)
    monkeypatch.setattr(rest_rules, "RULES", rules)

    def pause_and_end_it() -> float:
        [endpoint] = scene.client._endpoints.values()
        pause_s, endpoint._until = endpoint.paused_s, 0.0
        return pause_s

    scene.told.body = b'{"code":"429000","msg":"busy"}'
    pauses = []
    for _ in range(3):
        # Answers under way together are one event.
        await asyncio.gather(scene.fail(), scene.fail(), scene.fail())
        pauses.append(pause_and_end_it())
    assert pauses == pytest.approx([60.0, 120.0, 240.0], abs=5.0)
    scene.told.body = GOOD
    await scene.client.get("/x")
    scene.told.body = b'{"code":"429000","msg":"busy"}'
    await scene.fail()
    assert pause_and_end_it() == pytest.approx(60.0, abs=5.0)
    assert scene.client.status()[PUBLIC].requests == {"ok": 1, "overloaded": 10}


async def test_a_refusal_holds_nobody_and_is_final(scene: Scene) -> None:
    scene.told.status, scene.told.body = 400, b'{"code":"400005","msg":"Invalid KC-API-SIGN"}'
    failure = await scene.fail(signed=True)
    assert failure.refused
    assert "Invalid KC-API-SIGN" in failure.problem
    assert await scene.waited_s("/x", signed=True) < 0.3


async def test_a_server_error_holds_its_endpoint_for_a_moment(scene: Scene) -> None:
    for status in (500, 502, 503, 504):
        scene.told.status, scene.told.body = status, b"<html>oops</html>"
        failure = await scene.fail()
        assert (failure.status, failure.refused) == (status, False)
    assert await scene.waited_s("/bullet") < 0.3
    assert 0.3 < await scene.waited_s("/x") < 0.8
    assert scene.client.status()[PUBLIC].requests == {"server_error": 4}


async def test_no_answer_in_time(scene: Scene) -> None:
    scene.told.delay_s = 1.0
    failure = await scene.fail()
    assert (failure.status, failure.problem) == (None, "no answer in time")
    assert not failure.refused
    assert 0 < await scene.waited_s("/x") < 1.0


async def test_a_weight_beyond_the_burst_does_not_hang(scene: Scene) -> None:
    assert 0.3 < await scene.waited_s("/heavy") < 1.0
    assert scene.client.status()[PUBLIC].used_ratio == pytest.approx(0.6)


async def test_a_token_does_not_queue_behind_a_thousand_books(scene: Scene) -> None:
    books = [asyncio.create_task(scene.client.wait_turn(f"/x?symbol={n}")) for n in range(1000)]
    await asyncio.sleep(0.05)
    assert await scene.waited_s("/bullet", urgent=True) < 0.4
    assert sum(book.done() for book in books) < 500
    for book in books:
        book.cancel()
    await asyncio.gather(*books, return_exceptions=True)


async def test_a_stall_of_the_venue_does_not_end_in_a_burst(scene: Scene) -> None:
    scene.told.delay_s = 2.0
    scene.client._timeout = aiohttp.ClientTimeout(total=30.0)  # of a stall that is not given up

    async def ask(number: int) -> None:
        await scene.client.wait_turn(f"/x?symbol={number}")
        await scene.client.get(f"/x?symbol={number}")

    asking = [asyncio.create_task(ask(number)) for number in range(60)]
    for _ in range(1000):
        if len(scene.told.requests) >= IN_FLIGHT_MAX:
            break
        await asyncio.sleep(0.01)
    await asyncio.sleep(0.1)
    assert len(scene.told.requests) == IN_FLIGHT_MAX
    assert await scene.waited_s("/bullet", urgent=True) < 1.5, "a token waits for no book"
    scene.told.delay_s = 0.0
    await asyncio.gather(*asking)
    assert len(scene.told.requests) == 60


async def test_what_is_used_never_exceeds_what_the_venue_allows(scene: Scene) -> None:
    loop = asyncio.get_running_loop()
    until, ratios = loop.time() + 1.3, list[float]()

    async def ask(path: str) -> None:
        while loop.time() < until:
            await scene.client.wait_turn(path)
            ratios.append(scene.client.status()[PUBLIC].used_ratio)

    await asyncio.gather(*(ask("/x") for _ in range(20)), ask("/bullet"))
    assert 0.7 < max(ratios) <= 1.0
