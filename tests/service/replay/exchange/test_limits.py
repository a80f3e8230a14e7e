"""Today's limits, the four ways to refuse a request, and the age at which a connection ends."""

from __future__ import annotations

import asyncio
import time

import aiohttp
import orjson
import pytest

from replay.exchange.app import ServerLimits
from schemas.kucoin.profile import PUBLIC
from schemas.kucoin.profiles.kucoin_classic import KUCOIN_CLASSIC
from tests.service.replay.exchange.conftest import CLASSIC, ask, ended, hear, running, subscribe

LIMITS = KUCOIN_CLASSIC.limits


async def test_each_answer_tells_the_weight_that_is_left() -> None:
    async with running(dialect=CLASSIC) as (_, client):
        left = LIMITS.rest[PUBLIC].count
        for path in ("/api/v1/timestamp", "/api/v2/symbols", "/api/v1/market/allTickers", "/no"):
            async with client.http.get(client.url + path) as answer:
                left -= LIMITS.weight(path)
                assert answer.headers["gw-ratelimit-remaining"] == str(left)
                assert answer.headers["gw-ratelimit-limit"] == str(LIMITS.rest[PUBLIC].count)
                assert 0 < int(answer.headers["gw-ratelimit-reset"]) <= 30_000


async def test_a_spent_pool_refuses_until_it_is_full_again() -> None:
    async with running(dialect=CLASSIC) as (_, client):
        path = "/api/v1/market/allTickers"
        fits = LIMITS.rest[PUBLIC].count // LIMITS.weight(path)
        for _ in range(fits):
            assert (await client.get(path))[0] == 200
        async with client.http.get(client.url + path) as answer:
            assert answer.status == 429
            assert orjson.loads(await answer.read())["code"] == "429000"
            assert int(answer.headers["gw-ratelimit-reset"]) > 1_000
        # Another pool: it is refused for its signature, not for its weight.
        assert (await client.get("/api/v3/market/orderbook/level2?symbol=BTC-USDT"))[0] == 401


@pytest.mark.parametrize(
    ("kind", "status", "code", "tells_quota"),
    [
        ("429", 429, "429000", True),
        ("429000", 429, "429000", False),
        ("200002", 200, "200002", False),
        ("1015", 429, None, False),
    ],
)
async def test_four_ways_to_refuse(
    kind: str, status: int, code: str | None, tells_quota: bool
) -> None:
    async with running(dialect=CLASSIC, faults=(f"{kind}@0s:for=700ms",)) as (server, client):
        url = f"{client.url}/api/v1/timestamp"
        async with client.http.get(url) as answer:
            assert answer.status == status
            body = await answer.read()
            assert ("gw-ratelimit-reset" in answer.headers) == tells_quota
            if tells_quota:
                assert 0 < int(answer.headers["gw-ratelimit-reset"]) <= 700
        if code is None:
            assert answer.content_type == "text/html"
            assert b"1015" in body
            assert answer.headers["Retry-After"] == "30"
        else:
            assert orjson.loads(body)["code"] == code
        await asyncio.sleep(0.8)
        assert (await client.get("/api/v1/timestamp"))[0] == 200
        assert server.faults.carried_out == {kind: 1}


async def test_a_hundred_topics_a_message_and_three_hundred_a_connection() -> None:
    symbols = [f"C{n:03}-USDT" for n in range(101)]
    async with running(*symbols, dialect=CLASSIC, rate=0.01, levels=30) as (_, client):
        socket = await client.connect()
        wish = {"type": "subscribe", "response": True}
        answer = await ask(socket, id="1", topic=f"/market/level2:{','.join(symbols)}", **wish)
        assert (answer["code"], answer["data"]) == (
            509,
            "exceed max subscription count limitation of 100 per time",
        )
        for feed in ("level2", "match", "ticker"):
            await subscribe(socket, f"/market/{feed}:{','.join(symbols[:100])}")
        answer = await ask(socket, id="2", topic=f"/market/level2:{symbols[100]}", **wish)
        assert (answer["code"], answer["data"]) == (
            509,
            "exceed max subscription count limitation of 300 per session",
        )
        await socket.close()


async def test_a_hundred_messages_in_ten_seconds_pings_among_them() -> None:
    async with running(dialect=CLASSIC) as (_, client):
        socket = await client.connect()
        wish = {"topic": "/market/snapshot:WIN-USDT", "response": True}
        answers = []
        for n in range(52):
            answers.append(await ask(socket, id=str(n), type="ping"))
            answers.append(await ask(socket, id=str(n), type="subscribe", **wish))
        kinds = [answer["type"] for answer in answers]
        assert kinds == ["pong", "ack"] * 50 + ["error"] * 4
        assert answers[-1]["code"] == 429
        assert "100 messages (ping, subscribe, unsubscribe) in 10 s" in answers[-1]["data"]
        await socket.close()


async def test_a_connection_ends_with_its_token_and_an_old_token_opens_none() -> None:
    async with running("BTC-USDT", dialect=CLASSIC, token_life_ns=10**9) as (server, client):
        async with client.http.post(f"{client.url}/api/v1/bullet-public") as answer:
            old = orjson.loads(await answer.read())["data"]["token"]
        began = time.monotonic()
        socket = await client.connect("mine")
        await subscribe(socket, "/market/level2:BTC-USDT")
        while (message := await hear(socket))["type"] == "message":
            pass
        assert message == {"id": "mine", "type": "error", "code": 401, "data": "token is expired"}
        await ended(socket)
        assert socket.close_code == 4401
        assert 0.9 < time.monotonic() - began < 3
        again = await client.http.ws_connect(f"{client.url}/endpoint?token={old}")
        assert (await hear(again))["code"] == 401
        await ended(again)
        fresh = await client.connect("fresh")
        await subscribe(fresh, "/market/level2:BTC-USDT")
        assert server.cuts == {"token expired": 1}
        await fresh.close()


async def test_so_many_connects_a_minute() -> None:
    limits = ServerLimits.of(LIMITS)
    assert limits.connects is not None
    async with running("BTC-USDT", dialect=CLASSIC, limits=limits) as (_, client):
        for _ in range(limits.connects.count):
            await (await client.connect()).close()
        with pytest.raises(aiohttp.WSServerHandshakeError) as caught:
            await client.connect()
        assert caught.value.status == 429
