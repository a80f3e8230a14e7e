"""Tickers and snapshots by the clock."""

import orjson

from replay.exchange.dialects.kucoin_2019 import Dialect2019
from replay.exchange.hub import Hub
from replay.exchange.periodic import SnapshotPushes, TickerPushes, snapshot_entry
from replay.exchange.source import DayFigures, Push
from replay.exchange.synthetic.source import SyntheticSource
from schemas.kucoin.market_snapshot import parse_market_snapshot

DAY = DayFigures(
    symbol="KCS-BTC",
    market="BTC",
    base_currency="KCS",
    quote_currency="BTC",
    sequence=5,
    buy="0.00011",
    sell="0.0012",
    last="0.00012",
    high="12.5",
    low="0.0001",
    vol="27514.34842",
    vol_value="0",
    change_price="-0.00001",
    change_rate="-0.0769",
)


# fmt: off
DOCUMENTED = {
    "trading", "symbol", "buy", "sell", "sort", "volValue", "baseCurrency", "market",
    "quoteCurrency", "symbolCode", "datetime", "high", "vol", "low", "changePrice", "changeRate",
    "lastTradedPrice", "board", "mark",
}
# fmt: on


class Ear:
    """A subscriber that keeps the frames."""

    def __init__(self) -> None:
        self.frames: list[bytes] = []

    def deliver(self, _push: Push, frame: bytes) -> None:
        self.frames.append(frame)


def test_numbers_are_json_numbers_with_every_digit() -> None:
    entry = snapshot_entry(DAY, 1_548_388_122_031)
    assert entry["buy"] == "1.1E-4"
    assert entry["sell"] == "0.0012"
    assert entry["changePrice"] == "-1.0E-5"
    assert entry["changeRate"] == "-0.0769"
    assert entry["vol"] == "27514.34842"
    assert entry["volValue"] == "0"


def test_snapshot_of_a_symbol_is_an_object_and_of_a_market_a_list() -> None:
    source, hub, ear = SyntheticSource(["BTC-USDT", "WIN-USDT", "ETH-BTC"]), Hub(), Ear()
    pushes = SnapshotPushes(source, hub, Dialect2019().snapshots)
    pushes.push()
    hub.subscribe(ear, ("snapshot", "WIN-USDT"))
    hub.subscribe(ear, ("snapshot", "USDT"))
    pushes.push()
    symbol, market = ear.frames
    frame = orjson.loads(symbol)
    assert frame["subject"] == "trade.snapshot"
    assert frame["topic"] == "/market/snapshot:WIN-USDT"
    assert frame["data"]["data"]["symbolCode"] == "WIN-USDT"
    assert isinstance(frame["data"]["data"]["buy"], float)
    assert set(frame["data"]["data"]) == DOCUMENTED
    parsed = parse_market_snapshot(market)
    assert parsed.is_list
    assert [entry["symbol"] for entry in parsed.entries] == ["BTC-USDT", "WIN-USDT"]


def test_tickers_are_pushed_when_they_change_only() -> None:
    source, hub, one, everything = SyntheticSource(["BTC-USDT", "ETH-BTC"]), Hub(), Ear(), Ear()
    tickers = TickerPushes(source, hub)
    hub.subscribe(one, ("ticker", "ETH-BTC"))
    hub.subscribe(everything, ("ticker", "all"))
    for _ in range(3):
        tickers.push_symbols()
        tickers.push_all()
    (frame,) = map(orjson.loads, one.frames)
    book = source.l2_book("ETH-BTC")
    assert frame["topic"] == "/market/ticker:ETH-BTC"
    assert frame["subject"] == "trade.ticker"
    assert frame["data"]["sequence"] == str(book.sequence)
    assert (frame["data"]["bestBid"], frame["data"]["bestBidSize"]) == book.bids[0]
    assert (frame["data"]["bestAsk"], frame["data"]["bestAskSize"]) == book.asks[0]
    frames = [orjson.loads(data) for data in everything.frames]
    assert {f["topic"] for f in frames} == {"/market/ticker:all"}
    assert [f["subject"] for f in frames] == ["BTC-USDT", "ETH-BTC"]
    before = book.bids[0], book.asks[0]
    market = source.market("ETH-BTC")
    while (source.l2_book("ETH-BTC").bids[0], source.l2_book("ETH-BTC").asks[0]) == before:
        market.step(0)
    tickers.push_symbols()
    assert len(one.frames) == 2
