"""Today's dialect over real sockets: what it shows, what it hides, and that its streams add up."""

from __future__ import annotations

import asyncio
from decimal import Decimal
from itertools import pairwise
from typing import Any

import pytest

from tests.service.replay.exchange.conftest import (
    CLASSIC,
    Client,
    ask,
    hear,
    running,
    subscribe,
)

BOOK = "/api/v1/market/orderbook"
L2 = "/market/level2"

# fmt: off
TODAYS_SNAPSHOT = {
    "askSize", "averagePrice", "baseCurrency", "bidSize", "board", "buy", "changePrice",
    "changeRate", "close", "datetime", "high", "lastTradedPrice", "low", "makerCoefficient",
    "makerFeeRate", "marginTrade", "mark", "market", "marketChange1h", "marketChange24h",
    "marketChange4h", "markets", "open", "quoteCurrency", "sell", "siteTypes", "sort", "symbol",
    "symbolCode", "takerCoefficient", "takerFeeRate", "trading", "vol", "volValue",
}
TODAYS_WINDOW = {"changePrice", "changeRate", "high", "low", "open", "vol", "volValue"}
TODAYS_TICKER = {
    "symbol", "symbolName", "buy", "bestBidSize", "sell", "bestAskSize", "changeRate",
    "changePrice", "high", "low", "vol", "volValue", "last", "averagePrice", "takerFeeRate",
    "makerFeeRate", "takerCoefficient", "makerCoefficient",
}
# fmt: on


@pytest.mark.parametrize(
    "path",
    [
        "/api/v1/market/orderbook/level2",
        "/api/v2/market/orderbook/level2",
        "/api/v1/market/orderbook/level3",
        "/api/v2/market/orderbook/level3",
        "/api/v3/market/orderbook/level3",
    ],
)
async def test_whole_books_of_old_are_not_there(path: str) -> None:
    async with running(dialect=CLASSIC) as (_, client):
        answer = await client.get(f"{path}?symbol=BTC-USDT")
        assert answer == (404, {"code": "404000", "msg": f"Url Not Found: {path}"})


async def test_the_whole_book_wants_a_key_and_the_parts_do_not() -> None:
    async with running(dialect=CLASSIC, rate=0.01) as (server, client):
        status, body = await client.get("/api/v3/market/orderbook/level2?symbol=BTC-USDT")
        assert (status, body["code"]) == (401, "400001")
        whole = server.source.l2_book("BTC-USDT")
        for depth in (20, 100):
            part = await client.data(f"{BOOK}/level2_{depth}?symbol=BTC-USDT")
            assert part["sequence"] == str(whole.sequence)
            assert [tuple(row) for row in part["bids"]] == whole.bids[:depth]
            assert [tuple(row) for row in part["asks"]] == whole.asks[:depth]


@pytest.mark.parametrize(("dialect", "interval_ms"), [(CLASSIC, 18_000), ("kucoin-2019", 50_000)])
async def test_clients_are_told_to_ping_as_often_as_the_dialect_has_it(
    dialect: str, interval_ms: int
) -> None:
    async with (
        running(dialect=dialect) as (_, client),
        client.http.post(f"{client.url}/api/v1/bullet-public") as answer,
    ):
        server = (await answer.json())["data"]["instanceServers"][0]
    assert (server["pingInterval"], server["pingTimeout"]) == (interval_ms, 10_000)


async def test_symbols_and_tickers_have_todays_fields() -> None:
    async with running("BTC-USDT", "ETH-BTC", dialect=CLASSIC, rate=400.0) as (_, client):
        symbols = await client.data("/api/v2/symbols")
        assert [entry["symbol"] for entry in symbols] == ["BTC-USDT", "ETH-BTC"]
        assert {"feeCurrency", "minFunds", "priceLimitRate", "st", "callauctionIsEnabled"} <= set(
            symbols[0]
        )
        assert await client.data("/api/v2/symbols/ETH-BTC") == symbols[1]
        tickers = (await client.data("/api/v1/market/allTickers"))["ticker"]
        assert {frozenset(entry) for entry in tickers} == {frozenset(TODAYS_TICKER)}
        first = tickers[0]
        assert Decimal(first["volValue"]) > 0
        assert Decimal(first["low"]) <= Decimal(first["averagePrice"]) <= Decimal(first["high"])


async def test_there_is_no_level_3_and_a_space_is_a_mistake() -> None:
    async with running(dialect=CLASSIC) as (_, client):
        socket = await client.connect()
        wish = {"type": "subscribe", "response": True}
        answer = await ask(socket, id="1", topic="/market/level3:BTC-USDT", **wish)
        assert (answer["code"], answer["data"]) == (
            404,
            "topic /market/level3:BTC-USDT is not found",
        )
        answer = await ask(socket, id="2", topic=f"{L2}:BTC-USDT, WIN-USDT", **wish)
        assert answer["code"] == 400
        await socket.close()


async def collect(client: Client, topics: tuple[str, ...], seconds: float) -> list[Any]:
    """Subscribe and return the data of everything that comes."""
    socket = await client.connect()
    for topic in topics:
        await subscribe(socket, topic)
    heard = []
    try:
        async with asyncio.timeout(seconds):
            while True:
                heard.append(await hear(socket, timeout_s=60))
    except TimeoutError:
        pass
    await socket.close()
    return heard


async def test_matches_have_a_number_space_of_their_own_and_whole_milliseconds() -> None:
    async with running("BTC-USDT", dialect=CLASSIC, rate=500.0) as (_, client):
        topics = ("/market/match:BTC-USDT", "/market/ticker:BTC-USDT")
        heard = await collect(client, topics, 1.5)
        matches = [m["data"] for m in heard if m["subject"] == "trade.l3match"]
        tickers = [m["data"] for m in heard if m["subject"] == "trade.ticker"]
        assert len(matches) > 50
        assert all(m["sequence"] == m["tradeId"] for m in matches)
        assert all(m["time"].endswith("000000") and len(m["time"]) == 19 for m in matches)
        numbers = [int(m["sequence"]) for m in matches]
        assert all(after > before + 1 for before, after in pairwise(numbers))
        books = [int(t["sequence"]) for t in tickers]
        assert max(books) < min(numbers) // 1_000
        assert all(len(str(t["time"])) == 13 for t in tickers)
        trades = await client.data("/api/v1/market/histories?symbol=BTC-USDT")
        known = {str(trade["sequence"]): trade for trade in trades}
        told = [known[m["sequence"]] for m in matches if m["sequence"] in known]
        assert len(told) > 20
        assert {str(trade["time"])[-6:] for trade in told} == {"000000"}


async def test_snapshots_are_one_object_a_message_with_todays_fields() -> None:
    symbols = ("BTC-USDT", "WIN-USDT", "ETH-BTC")
    async with running(*symbols, dialect=CLASSIC, rate=400.0) as (_, client):
        topics = ("/market/snapshot:WIN-USDT", "/market/snapshot:USDT")
        heard = await collect(client, topics, 4.5)
        by_topic: dict[str, list[Any]] = {topic: [] for topic in topics}
        for message in heard:
            by_topic[message["topic"]].append(message["data"]["data"])
        of_symbol, of_market = by_topic.values()
        assert [set(entry) for entry in of_symbol + of_market] == [TODAYS_SNAPSHOT] * (
            len(of_symbol) + len(of_market)
        )
        assert {entry["symbol"] for entry in of_symbol} == {"WIN-USDT"}
        assert [entry["symbol"] for entry in of_market[:2]] == ["BTC-USDT", "WIN-USDT"]
        for window in ("marketChange1h", "marketChange4h", "marketChange24h"):
            assert set(of_symbol[0][window]) == TODAYS_WINDOW
        assert of_symbol[0]["marketChange24h"]["open"] == of_symbol[0]["open"]


@pytest.mark.parametrize("whole", [True, False])
async def test_level_2_continues_a_partial_book_inside_its_bounds(whole: bool) -> None:
    """Apply ranges whole, or each change by its own number: both are the exchange's book."""
    async with running(
        "WIN-USDT", dialect=CLASSIC, rate=600.0, l2_batch=6, events=("status@3s:close",)
    ) as (server, client):
        socket = await client.connect()
        await subscribe(socket, f"{L2}:WIN-USDT")
        heard = [(await hear(socket))["data"] for _ in range(10)]
        seed = await client.data(f"{BOOK}/level2_100?symbol=WIN-USDT")
        try:
            while True:
                heard.append((await hear(socket, timeout_s=1.0))["data"])
        except TimeoutError:  # the market is closed and nothing is under way
            pass
        last = first = int(seed["sequence"])
        book = {side: {Decimal(p): s for p, s in seed[side]} for side in ("bids", "asks")}
        overlaps = 0
        for update in heard:
            if update["sequenceEnd"] <= last:
                continue
            assert update["sequenceStart"] <= last + 1
            assert len(str(update["time"])) == 13
            overlaps += update["sequenceStart"] <= last
            for side, changes in update["changes"].items():
                for price, size, sequence in changes:
                    if price != "0" and (whole or int(sequence) > last):
                        book[side][Decimal(price)] = size
            last = update["sequenceEnd"]
        assert last > first + 500
        assert overlaps > 3
        truth = server.source.l2_book("WIN-USDT")
        lowest, highest = (Decimal(seed[side][-1][0]) for side in ("bids", "asks"))
        for rows, mine, sign, bound in (
            (truth.bids, book["bids"], 1, lowest),
            (truth.asks, book["asks"], -1, highest),
        ):
            known = {p: s for p, s in mine.items() if s != "0" and (p - bound) * sign >= 0}
            exact = {Decimal(p): s for p, s in rows if (Decimal(p) - bound) * sign >= 0}
            assert known == exact
            assert len(known) > 20
        await socket.close()


async def test_a_walking_price_leaves_the_hundred_levels_of_a_partial_book() -> None:
    async with running("BTC-USDT", dialect=CLASSIC, rate=500.0, levels=400, walk_ticks=80.0) as (
        server,
        client,
    ):
        seed = await client.data(f"{BOOK}/level2_100?symbol=BTC-USDT")
        lowest, highest = (Decimal(seed[side][-1][0]) for side in ("bids", "asks"))
        assert len(server.source.l2_book("BTC-USDT").bids) > 300
        async with asyncio.timeout(12):
            while True:
                best = await client.data(f"{BOOK}/level1?symbol=BTC-USDT")
                if Decimal(best["bestAsk"]) <= lowest or Decimal(best["bestBid"]) >= highest:
                    break
                await asyncio.sleep(0.2)
