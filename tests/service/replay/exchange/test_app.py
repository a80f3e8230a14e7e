"""Routes, limits and REST faults over real sockets, held against the document's examples."""

from __future__ import annotations

import asyncio
from decimal import Decimal

import aiohttp
import pytest

from replay.exchange.app import ServerLimits
from tests.service.replay.exchange.conftest import Client, running

BOOK = "/api/v1/market/orderbook"


async def test_timestamp_and_envelope(client: Client) -> None:
    status, body = await client.get("/api/v1/timestamp")
    assert status == 200
    assert set(body) == {"code", "data"}
    assert body["code"] == "200000"
    assert body["data"] > 1_500_000_000_000


async def test_symbols_have_the_documents_fields(client: Client) -> None:
    symbols = await client.data("/api/v1/symbols")
    assert [entry["symbol"] for entry in symbols] == ["BTC-USDT", "WIN-USDT"]
    assert symbols[0]["priceIncrement"] == "0.1"
    assert symbols[0]["baseIncrement"] == "0.00000001"
    # fmt: off
    assert set(symbols[0]) == {
        "symbol", "name", "baseCurrency", "quoteCurrency", "baseMinSize", "quoteMinSize",
        "baseMaxSize", "quoteMaxSize", "baseIncrement", "quoteIncrement", "priceIncrement",
        "enableTrading",
    }
    # fmt: on
    assert await client.data("/api/v1/symbols?market=USDT") == symbols
    assert await client.data("/api/v1/symbols?market=BTC") == []


async def test_markets_and_currencies(client: Client) -> None:
    assert await client.data("/api/v1/markets") == ["USDT"]
    currencies = {entry["currency"]: entry for entry in await client.data("/api/v1/currencies")}
    assert set(currencies) == {"BTC", "USDT", "WIN"}
    assert await client.data("/api/v1/currencies/BTC") == currencies["BTC"]
    # fmt: off
    assert set(currencies["BTC"]) == {
        "currency", "name", "fullName", "precision", "withdrawalMinSize", "withdrawalMinFee",
        "isWithdrawEnabled", "isDepositEnabled",
    }
    # fmt: on
    later = await client.data("/api/v3/currencies")
    assert {entry["currency"] for entry in later} == set(currencies)


async def test_tickers(client: Client) -> None:
    one = await client.data(f"{BOOK}/level1?symbol=BTC-USDT")
    # fmt: off
    assert set(one) == {
        "sequence", "bestAsk", "size", "price", "bestBidSize", "bestBid", "bestAskSize", "time",
    }
    every = await client.data("/api/v1/market/allTickers")
    assert set(every) == {"time", "ticker"}
    assert [entry["symbol"] for entry in every["ticker"]] == ["BTC-USDT", "WIN-USDT"]
    fields = {
        "symbol", "buy", "sell", "changeRate", "changePrice", "high", "low", "vol", "last",
    }
    # fmt: on
    assert set(every["ticker"][0]) == fields
    stats = await client.data("/api/v1/market/stats?symbol=WIN-USDT")
    assert set(stats) == {*fields, "time"}
    assert all(isinstance(stats[name], str) for name in fields)


async def test_parts_are_the_top_of_the_full_book_and_v1_has_asks_high_to_low() -> None:
    async with running(rate=0.01) as (_, client):  # stands still: all answers speak of one book
        symbol = "symbol=WIN-USDT"
        full = await client.data(f"/api/v2/market/orderbook/level2?{symbol}")
        assert set(full) == {"sequence", "time", "bids", "asks"}
        asks = [Decimal(price) for price, _ in full["asks"]]
        bids = [Decimal(price) for price, _ in full["bids"]]
        assert len(asks) > 100 < len(bids)
        assert asks == sorted(asks)
        assert bids == sorted(bids, reverse=True)
        assert bids[0] < asks[0]
        for depth in (20, 100):
            part = await client.data(f"{BOOK}/level2_{depth}?{symbol}")
            assert part["sequence"] == full["sequence"]
            assert (part["bids"], part["asks"]) == (full["bids"][:depth], full["asks"][:depth])
        old = await client.data(f"{BOOK}/level2?{symbol}")
        assert (old["bids"], old["asks"]) == (full["bids"], full["asks"][::-1])
        orders = await client.data(f"{BOOK}/level3?{symbol}")
        assert orders["sequence"] == full["sequence"]
        for side in ("bids", "asks"):
            totals: dict[str, Decimal] = {}
            for order_id, price, size in orders[side]:
                assert len(order_id) == 24
                totals[price] = totals.get(price, Decimal(0)) + Decimal(size)
            assert [(p, Decimal(s)) for p, s in full[side]] == list(totals.items())
        ticker = await client.data(f"{BOOK}/level1?{symbol}")
        assert [ticker["bestBid"], ticker["bestBidSize"]] == full["bids"][0]
        assert [ticker["bestAsk"], ticker["bestAskSize"]] == full["asks"][0]


async def test_histories_and_candles(client: Client) -> None:
    await asyncio.sleep(0.5)
    trades = await client.data("/api/v1/market/histories?symbol=BTC-USDT")
    assert 0 < len(trades) <= 100
    assert set(trades[0]) == {"sequence", "price", "size", "side", "time"}
    assert trades[0]["time"] > 1_500_000_000 * 10**9
    sequences = [int(trade["sequence"]) for trade in trades]
    assert sequences == sorted(sequences)
    candles = await client.data("/api/v1/market/candles?symbol=BTC-USDT&type=1min")
    start, first, last, high, low, volume, turnover = candles[0]
    assert int(start) % 60 == 0
    assert Decimal(low) <= min(Decimal(first), Decimal(last))
    assert Decimal(high) >= max(Decimal(first), Decimal(last))
    assert Decimal(low) * Decimal(volume) <= Decimal(turnover) <= Decimal(high) * Decimal(volume)
    assert await client.data("/api/v1/market/candles?symbol=BTC-USDT&type=1min&endAt=60") == []
    # The exchange's own client sends 0 for what it does not ask.
    assert await client.data("/api/v1/market/candles?symbol=BTC-USDT&type=1min&startAt=0&endAt=0")


@pytest.mark.parametrize(
    ("path", "status", "code", "message"),
    [
        ("/api/v1/nothing", 404, "404000", "Url Not Found: /api/v1/nothing"),
        ("/api/v1/bullet-public", 405, "405000", "Method Not Allowed: GET"),
        (f"{BOOK}/level2_20", 400, "400100", "symbol is required"),
        (f"{BOOK}/level3?symbol=NO-SUCH", 400, "400100", "symbol NO-SUCH does not exist"),
        ("/api/v1/currencies/XYZ", 400, "400100", "currency XYZ does not exist"),
        (
            "/api/v1/market/candles?symbol=BTC-USDT&type=1min&startAt=now",
            400,
            "400100",
            "startAt must be a whole number of seconds",
        ),
        (
            "/api/v1/market/candles?symbol=BTC-USDT&type=1min&endAt=" + "9" * 5_000,
            400,
            "400100",
            "endAt must be a whole number of seconds",
        ),
    ],
)
async def test_errors(client: Client, path: str, status: int, code: str, message: str) -> None:
    assert await client.get(path) == (status, {"code": code, "msg": message})


async def test_a_hundred_requests_in_ten_seconds_and_no_more(client: Client) -> None:
    answers = [await client.get("/api/v1/timestamp") for _ in range(103)]
    assert [status for status, _ in answers] == [200] * 100 + [429] * 3
    assert answers[-1][1] == {"code": "429000", "msg": "Too Many Requests"}


async def test_ten_connections_and_thirty_connects_a_minute(client: Client) -> None:
    sockets = [await client.connect(f"c{n}") for n in range(10)]
    with pytest.raises(aiohttp.WSServerHandshakeError) as caught:
        await client.connect()
    assert caught.value.status == 429
    for _ in range(20):
        await sockets.pop().close()
        sockets.append(await client.connect())
    await sockets.pop().close()
    with pytest.raises(aiohttp.WSServerHandshakeError) as caught:
        await client.connect()
    assert caught.value.status == 429
    for socket in sockets:
        await socket.close()


async def test_limits_can_be_lifted() -> None:
    async with running(limits=ServerLimits.lifted()) as (_, client):
        for _ in range(150):
            assert (await client.get("/api/v1/timestamp"))[0] == 200
        for socket in [await client.connect() for _ in range(12)]:
            await socket.close()


async def test_stale_books_and_429_on_demand() -> None:
    async with running(
        rate=2_000.0, faults=("stale@0s:count=1:events=200:topic=level2", "429=0.2")
    ) as (server, client):
        await asyncio.sleep(0.4)
        answers = [await client.get(f"{BOOK}/level2?symbol=BTC-USDT") for _ in range(40)]
        books = [int(body["data"]["sequence"]) for status, body in answers if status == 200]
        assert books[1] - books[0] >= 200
        assert books[1:] == sorted(books[1:])
        assert 1 <= len(answers) - len(books) < 20
        assert server.faults.carried_out == {"stale": 1, "429": len(answers) - len(books)}
