"""The same match and the same market in the words of both dialects."""

import orjson

from replay.exchange.synthetic.coalesced import CoalescingBatcher
from replay.exchange.synthetic.history import Trade
from replay.exchange.synthetic.instruments import Instrument, instrument_for
from replay.exchange.synthetic.level2 import Level2Batcher
from replay.exchange.synthetic.market import SyntheticMarket
from replay.exchange.synthetic.orders import EngineEvent
from replay.exchange.synthetic.wording import Wording2019, WordingClassic
from schemas.kucoin.market import format_match
from schemas.kucoin.rest import HistoryTrade

TOY = Instrument("BTC-USDT", 2, 8, 2, 1000, 100)
TS = 1_729_843_222_921_345_678
MATCH = EngineEvent(
    12, TS, "match", "ask", "m", 830, 7_600_000, 830, 0, taker_order_id="t", trade_id="9007"
)
TRADE = Trade(12, TS, "bid", 830, 7_600_000, "9007")


def test_a_match_of_2019_stands_in_the_books_sequence() -> None:
    match = Wording2019().match(TOY, MATCH)
    assert (match.sequence, match.ts_event, match.trade_id) == (12, TS, "9007")
    assert Wording2019().history_trade(TOY, TRADE) == HistoryTrade(12, "8.3", "0.076", "buy", TS)


def test_a_match_of_today_stands_under_its_trade_number_in_whole_milliseconds() -> None:
    data = orjson.loads(format_match(WordingClassic().match(TOY, MATCH)))["data"]
    assert (data["sequence"], data["tradeId"]) == ("9007", "9007")
    assert data["time"] == "1729843222921000000"
    assert WordingClassic().history_trade(TOY, TRADE) == HistoryTrade(
        9007, "8.3", "0.076", "buy", 1_729_843_222_921_000_000
    )


def test_only_today_a_ticker_has_a_time() -> None:
    market = SyntheticMarket(instrument_for("WIN-USDT"), 1)
    market.open_market(0)
    old, new = Wording2019().ticker(market, TS), WordingClassic().ticker(market, TS)
    assert (old.ts_event, new.ts_event) == (None, TS)
    assert (old.sequence, old.best_bid) == (new.sequence, new.best_bid)


def test_each_has_its_own_level_2_and_trade_ids() -> None:
    assert isinstance(Wording2019().batcher(TOY, 1, 1), Level2Batcher)
    assert isinstance(WordingClassic().batcher(TOY, 1, 1), CoalescingBatcher)
    assert len(Wording2019().trade_ids(1, "A-B").next()) == 24
    assert WordingClassic().trade_ids(1, "A-B").next().isdigit()
