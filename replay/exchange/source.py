"""What the server needs from whatever stands behind it: a synthetic market, or an archive.

A source owns the clock and the books. It answers questions about now (REST) and, while `run` runs,
hands pushes to a sink (websocket). It speaks in wire messages of `schemas.kucoin`, never in bytes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from replay.exchange.events import VenueEvent
from schemas.kucoin.market import L2Update, L3Event, Match, Ticker
from schemas.kucoin.market_snapshot import MarketSnapshot
from schemas.kucoin.rest import BookAnswer, HistoryTrade, Instrument
from schemas.kucoin.venue_state import VenueStatus

DocumentedFeed = Literal["level2", "level3", "match", "ticker", "snapshot"]
FEEDS: tuple[DocumentedFeed, ...] = ("level2", "level3", "match", "ticker", "snapshot")

LaterFeed = Literal["level1", "depth5", "depth50", "candles"]
LATER_FEEDS: tuple[LaterFeed, ...] = ("level1", "depth5", "depth50", "candles")
"""What the document of 2019 does not have and today's clients ask for."""

Feed = DocumentedFeed | LaterFeed


@dataclass(frozen=True, slots=True)
class LaterMessage:
    """A message of a later topic, ready but for its bytes."""

    topic: str
    subject: str
    data: dict[str, Any]


Wire = L2Update | L3Event | Match | Ticker | MarketSnapshot | LaterMessage


@dataclass(frozen=True, slots=True)
class Push:
    """One message for everybody who subscribed to `name` of `feed`.

    Attributes
    ----------
    name : str
        What stands behind the topic's colon: a symbol, a market, ``all``, or a symbol with the
        length of its candles.
    first_sequence, last_sequence : int
        Range the message speaks for; equal for all but level2, 0 for later topics.
    """

    feed: Feed
    name: str
    first_sequence: int
    last_sequence: int
    message: Wire


@dataclass(frozen=True, slots=True)
class DayFigures:
    """The last 24 hours of a symbol in exact decimal text; None where there was no trade."""

    symbol: str
    market: str
    base_currency: str
    quote_currency: str
    sequence: int
    buy: str | None
    sell: str | None
    last: str | None
    high: str | None
    low: str | None
    vol: str
    vol_value: str
    change_price: str | None
    change_rate: str | None
    bid_size: str | None = None
    ask_size: str | None = None


@dataclass(frozen=True, slots=True)
class WindowFigures:
    """The last minutes of a symbol in exact decimal text; None where there was no trade."""

    open: str | None
    close: str | None
    high: str | None
    low: str | None
    vol: str
    vol_value: str
    change_price: str | None
    change_rate: str | None


QUIET_WINDOW = WindowFigures(None, None, None, None, "0", "0", None, None)


@dataclass(frozen=True, slots=True)
class CandleText:
    """One candle: start in s since the epoch, all else exact decimal text."""

    start: int
    open: str
    close: str
    high: str
    low: str
    volume: str
    turnover: str

    def row(self) -> tuple[str, ...]:
        """Return the candle as requests and topics have it."""
        return (
            str(self.start),
            self.open,
            self.close,
            self.high,
            self.low,
            self.volume,
            self.turnover,
        )


class Sink(Protocol):
    """Where a source puts its pushes."""

    def wants(self, feed: Feed, name: str) -> bool:
        """Tell whether anybody subscribed: a source need not build what nobody reads."""

    def publish(self, push: Push) -> None:
        """Hand one push to all its subscribers; never blocks."""


class Source(Protocol):
    """A market, synthetic or recorded."""

    def now(self) -> int:
        """Return the source's clock, ns UTC."""

    def instruments(self) -> Sequence[Instrument]:
        """Return the metadata of every symbol, in listing order."""

    def lists(self, symbol: str) -> bool:
        """Tell whether a symbol is listed now."""

    def status(self) -> VenueStatus:
        """Return whether the exchange as a whole trades, and why not."""

    def wake(self, symbol: str) -> None:
        """Learn that somebody is about to listen to a symbol; never blocks for long."""

    def carry_out(self, event: VenueEvent) -> None:
        """Let something happen to the list of symbols or to the exchange as a whole."""

    def markets(self) -> Sequence[str]:
        """Return the names of the markets that have symbols."""

    def l2_book(self, symbol: str, older_by: int = 0) -> BookAnswer:
        """Return the full level-2 book, best first on both sides, `older_by` events old or more."""

    def l3_book(self, symbol: str, older_by: int = 0) -> BookAnswer:
        """Return the full level-3 book, best first and in queue order, likewise."""

    def ticker(self, symbol: str) -> Ticker:
        """Return best bid and offer, exact at the ticker's sequence, and the last trade."""

    def day(self, symbol: str) -> DayFigures:
        """Return the last 24 hours."""

    def window(self, symbol: str, minutes: int) -> WindowFigures:
        """Return the last `minutes`, at most 24 hours."""

    def histories(self, symbol: str) -> Sequence[HistoryTrade]:
        """Return the last hundred trades, oldest first."""

    def candles(self, symbol: str, minutes: int, start: int, end: int) -> Sequence[CandleText]:
        """Return candles of `minutes` that begin in [start, end) seconds, newest first."""

    async def run(self, sink: Sink) -> None:
        """Push until cancelled, or until there is nothing left to say."""

    def close(self) -> None:
        """Finish and close whatever the source writes."""
