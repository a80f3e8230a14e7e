"""What happens to the list of symbols while the exchange runs, and to the exchange itself."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from tests.service.replay.exchange.conftest import (
    CLASSIC,
    Client,
    ask,
    hear,
    running,
    subscribe,
    until,
)

L2 = "/market/level2"


def answers(client: Client, path: str, wanted: int) -> Callable[[], Awaitable[bool]]:
    """Return a probe: is this the status of the answer now?"""

    async def probe() -> bool:
        return (await client.get(path))[0] == wanted

    return probe


async def listed(client: Client) -> dict[str, Any]:
    """Return the list of symbols by symbol."""
    return {entry["symbol"]: entry for entry in await client.data("/api/v2/symbols")}


async def test_a_new_symbol_trades_from_its_listing_on() -> None:
    async with running(
        "BTC-USDT", dialect=CLASSIC, rate=300.0, events=("list@400ms:NEW-USDT",)
    ) as (_, client):
        socket = await client.connect()
        wish = {"type": "subscribe", "topic": f"{L2}:NEW-USDT", "response": True}
        assert (await ask(socket, id="1", **wish))["code"] == 404
        assert set(await listed(client)) == {"BTC-USDT"}
        await until(answers(client, "/api/v2/symbols/NEW-USDT", 200))
        assert set(await listed(client)) == {"BTC-USDT", "NEW-USDT"}
        await subscribe(socket, f"{L2}:NEW-USDT")
        first = await hear(socket)
        assert first["topic"] == f"{L2}:NEW-USDT"
        book = await client.data("/api/v1/market/orderbook/level2_100?symbol=NEW-USDT")
        assert int(book["sequence"]) >= first["data"]["sequenceStart"]
        await socket.close()


async def test_a_delisted_symbol_is_not_found_and_falls_silent_and_the_others_go_on() -> None:
    async with running(
        "BTC-USDT", "OLD-USDT", dialect=CLASSIC, rate=300.0, events=("delist@700ms:OLD-USDT",)
    ) as (server, client):
        socket = await client.connect()
        for feed in ("level2", "match", "ticker", "snapshot"):
            await subscribe(socket, f"/market/{feed}:BTC-USDT,OLD-USDT")
        await subscribe(socket, "/spotMarket/level2Depth5:OLD-USDT")
        await until(answers(client, "/api/v2/symbols/OLD-USDT", 400))
        assert set(await listed(client)) == {"BTC-USDT"}
        for path in ("orderbook/level2_100", "histories", "stats", "orderbook/level1"):
            status, body = await client.get(f"/api/v1/market/{path}?symbol=OLD-USDT")
            assert (status, body["msg"]) == (400, "symbol OLD-USDT does not exist")
        await ask(socket, id="p", type="ping")  # everything sent before is read
        after = [(await hear(socket))["topic"] for _ in range(400)]
        assert {topic.partition(":")[2] for topic in after} == {"BTC-USDT"}
        wish = {"topic": f"{L2}:OLD-USDT", "response": True}
        assert (await ask(socket, id="1", type="unsubscribe", **wish))["type"] == "ack"
        assert (await ask(socket, id="2", type="subscribe", **wish))["code"] == 404
        assert server.failure is None
        await socket.close()


async def test_what_comes_back_goes_on_in_its_old_numbers() -> None:
    events = ("delist@300ms:WIN-USDT", "list@900ms:WIN-USDT")
    async with running("WIN-USDT", dialect=CLASSIC, rate=500.0, events=events) as (_, client):
        path = "/api/v1/market/orderbook/level2_20?symbol=WIN-USDT"
        before = int((await client.data(path))["sequence"])
        await until(answers(client, path, 400))
        await until(answers(client, path, 200))
        assert int((await client.data(path))["sequence"]) > before


async def test_a_rename_changes_the_name_alone_and_a_disabled_symbol_stands_still() -> None:
    events = ("rename@200ms:WIN-USDT=WINK-USDT", "disable@300ms:BTC-USDT", "enable@2s:BTC-USDT")
    async with running(dialect=CLASSIC, rate=500.0, events=events) as (_, client):
        before = await listed(client)
        assert {entry["name"] for entry in before.values()} == set(before)

        async def is_disabled() -> bool:
            return not (await listed(client))["BTC-USDT"]["enableTrading"]

        await until(is_disabled)
        now = await listed(client)
        assert now["WIN-USDT"] == {**before["WIN-USDT"], "name": "WINK-USDT"}
        tickers = (await client.data("/api/v1/market/allTickers"))["ticker"]
        assert {e["symbol"]: e["symbolName"] for e in tickers}["WIN-USDT"] == "WINK-USDT"
        book = "/api/v1/market/orderbook/level2_20?symbol="
        still = (await client.data(f"{book}BTC-USDT"))["sequence"]
        moving = (await client.data(f"{book}WIN-USDT"))["sequence"]
        await asyncio.sleep(0.3)
        assert (await client.data(f"{book}BTC-USDT"))["sequence"] == still
        assert (await client.data(f"{book}WIN-USDT"))["sequence"] > moving

        async def moves() -> bool:
            return bool((await client.data(f"{book}BTC-USDT"))["sequence"] != still)

        await until(moves)


@pytest.mark.parametrize("status", ["close", "cancelonly"])
async def test_the_status_says_why_it_is_silent(status: str) -> None:
    events = (f"status@300ms:{status}:for=1s",)
    async with running("BTC-USDT", dialect=CLASSIC, rate=500.0, events=events) as (_, client):
        socket = await client.connect()
        await subscribe(socket, "/market/match:BTC-USDT")

        async def says(word: str) -> bool:
            return bool((await client.data("/api/v1/status"))["status"] == word)

        await until(lambda: says(status))
        said = await client.data("/api/v1/status")
        assert said["msg"]
        await ask(socket, id="p", type="ping")
        with pytest.raises(TimeoutError):
            await hear(socket, timeout_s=0.4)
        await until(lambda: says("open"))
        assert (await hear(socket))["subject"] == "trade.l3match"
        await socket.close()
