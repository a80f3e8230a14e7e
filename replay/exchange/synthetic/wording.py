"""How events of the engine are told: numbers of trades, level-2 messages, clocks of a dialect."""

from typing import Protocol

from replay.exchange.synthetic import wire
from replay.exchange.synthetic.coalesced import CoalescingBatcher
from replay.exchange.synthetic.history import Trade
from replay.exchange.synthetic.instruments import Instrument
from replay.exchange.synthetic.level2 import Level2Batcher
from replay.exchange.synthetic.market import SyntheticMarket
from replay.exchange.synthetic.orders import EngineEvent
from replay.exchange.synthetic.trade_ids import IdSpace, TradeIds, TradeNumbers
from schemas.kucoin.market import L2Update, Match, Ticker
from schemas.kucoin.rest import HistoryTrade

_NS_PER_MS = 1_000_000


class Batcher(Protocol):
    """Whatever turns a symbol's events into level-2 messages."""

    first_ts: int

    def __len__(self) -> int:
        """Return how many events wait for their message."""

    def add(self, event: EngineEvent) -> L2Update | None:
        """Take in the next event; return a message when it is complete."""

    def flush(self) -> L2Update | None:
        """Return the message of what waits, if anything does."""


class Wording(Protocol):
    """One dialect's way to tell what happened.

    Attributes
    ----------
    l2_batch : int
        Most events in one level-2 message, where nobody asks for another number.
    """

    l2_batch: int

    def trade_ids(self, seed: int, symbol: str) -> TradeIds:
        """Return what names the trades of a symbol."""

    def batcher(self, instrument: Instrument, size_max: int, seed: int) -> Batcher:
        """Return what makes the level-2 messages of a symbol."""

    def match(self, instrument: Instrument, event: EngineEvent) -> Match:
        """Tell a match for the match topic."""

    def history_trade(self, instrument: Instrument, trade: Trade) -> HistoryTrade:
        """Tell a trade for `histories`."""

    def ticker(self, market: SyntheticMarket, now: int) -> Ticker:
        """Tell best bid and offer and the last trade."""


class Wording2019:
    """One number space for books and trades, one level-2 message an event, clocks in ns."""

    l2_batch = 1

    def trade_ids(self, seed: int, symbol: str) -> TradeIds:
        """Return ids that say nothing."""
        return IdSpace(seed, f"{symbol}/trade")

    def batcher(self, instrument: Instrument, size_max: int, seed: int) -> Batcher:
        """Return messages that link up without a hole."""
        return Level2Batcher(instrument, size_max, seed)

    def match(self, instrument: Instrument, event: EngineEvent) -> Match:
        """Tell a match at its place in the book's own sequence."""
        return wire.match(instrument, event)

    def history_trade(self, instrument: Instrument, trade: Trade) -> HistoryTrade:
        """Tell a trade at its place in the book's own sequence."""
        return wire.history_trade(instrument, trade)

    def ticker(self, market: SyntheticMarket, now: int) -> Ticker:  # noqa: ARG002
        """Tell the best without a time: the document has none."""
        return wire.ticker(market)


class WordingClassic:
    """Trades counted apart from the book, coalesced level 2 with overlaps, clocks in ms."""

    l2_batch = 8

    def trade_ids(self, seed: int, symbol: str) -> TradeIds:
        """Return numbers that grow with holes."""
        return TradeNumbers(seed, symbol)

    def batcher(self, instrument: Instrument, size_max: int, seed: int) -> Batcher:
        """Return messages as the overlap rule allows them."""
        return CoalescingBatcher(instrument, size_max, seed)

    def match(self, instrument: Instrument, event: EngineEvent) -> Match:
        """Tell a match under its trade number; its ns are ms with six zeros."""
        match = wire.match(instrument, event)
        assert match.trade_id is not None, "every match has a trade id"
        match.sequence = int(match.trade_id)
        match.ts_event = _whole_ms(event.ts)
        return match

    def history_trade(self, instrument: Instrument, trade: Trade) -> HistoryTrade:
        """Tell a trade under its trade number."""
        told = wire.history_trade(instrument, trade)
        return HistoryTrade(
            int(trade.trade_id), told.price, told.size, told.side, _whole_ms(trade.ts)
        )

    def ticker(self, market: SyntheticMarket, now: int) -> Ticker:
        """Tell the best with the time of the answer."""
        ticker = wire.ticker(market)
        ticker.ts_event = now
        return ticker


def _whole_ms(ts: int) -> int:
    return ts // _NS_PER_MS * _NS_PER_MS
