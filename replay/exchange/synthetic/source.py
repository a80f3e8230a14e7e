"""The synthetic markets as a source for the server: paced by a clock, speaking wire messages."""

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from replay.exchange.source import CandleText, DayFigures, Push, Sink
from replay.exchange.synthetic import wire
from replay.exchange.synthetic.instruments import instrument_for
from replay.exchange.synthetic.level2 import Level2Batcher
from replay.exchange.synthetic.market import Observer, SyntheticMarket
from replay.exchange.synthetic.orders import EngineEvent
from replay.exchange.synthetic.truth import OrderLogWriter, TruthWriter
from schemas.kucoin.market import L2Update, Ticker
from schemas.kucoin.rest import BookAnswer, HistoryTrade, Instrument

NS = 1_000_000_000
_PUMP_EVERY_S = 0.005
_PUMP_AT_MOST_NS = 20_000_000
"""A pump gives the loop back after this, so that sockets are served when the rate is too high."""

_CATCH_UP_NS = NS
"""A market further behind than this lets the lost time go instead of racing after it."""

_BATCH_WAITS_NS = 100_000_000
"""A level2 message waits no longer than this for the events that would complete it."""


@dataclass(slots=True)
class _Paced:
    """A market and when its next command is due."""

    market: SyntheticMarket
    batcher: Level2Batcher
    due: int = 0


class SyntheticSource:
    """Markets that trade by themselves.

    Parameters
    ----------
    symbols : sequence of str
        What is listed.
    seed : int
        Decides every order of every symbol.
    rate : float
        Mean engine events per second and symbol.
    l2_batch : int
        Most events in one level2 message.
    truth : TruthWriter or None
        Called with every event after the opening.
    order_log : OrderLogWriter or None
        Called with every event, from the first.
    keep_books : bool
        Keep old books so that stale answers can be given.
    clock : callable
        ns UTC.

    Raises
    ------
    BadSymbol
        A symbol cannot be listed.
    """

    def __init__(
        self,
        symbols: Sequence[str],
        *,
        seed: int = 1,
        rate: float = 200.0,
        l2_batch: int = 1,
        truth: TruthWriter | None = None,
        order_log: OrderLogWriter | None = None,
        keep_books: bool = False,
        clock: Callable[[], int] = time.time_ns,
    ) -> None:
        self.now = clock
        self._ns_per_event = NS / rate
        self._sink: Sink | None = None
        self._paced: dict[str, _Paced] = {}
        now = clock()
        for symbol in dict.fromkeys(symbols):
            instrument = instrument_for(symbol)
            market = SyntheticMarket(instrument, seed, keep_books=keep_books)
            if order_log is not None:
                order_log.write_instrument(instrument)
                market.observe(order_log)
            market.open_market(now)
            if truth is not None:
                market.observe(truth)
            paced = _Paced(market, Level2Batcher(instrument, l2_batch, seed))
            market.observe(self._publisher(paced))
            self._paced[symbol] = paced

    def market(self, symbol: str) -> SyntheticMarket:
        """Return the market of a listed symbol."""
        return self._paced[symbol].market

    def instruments(self) -> list[Instrument]:
        """Return the metadata of every symbol, in listing order."""
        return [wire.wire_instrument(paced.market.instrument) for paced in self._paced.values()]

    def markets(self) -> list[str]:
        """Return the names of the markets that have symbols."""
        return sorted({paced.market.instrument.market for paced in self._paced.values()})

    def l2_book(self, symbol: str, older_by: int = 0) -> BookAnswer:
        """Return the full level-2 book, best first on both sides."""
        market = self.market(symbol)
        instrument = market.instrument
        if older_by:
            books = market.books_before(older_by)
            sequence, sides = books.sequence, books.l2
        else:
            sequence, sides = market.engine.sequence, market.engine.l2()
        price, size = instrument.price_text, instrument.size_text
        bids, asks = ([(price(p), size(s)) for p, s in side] for side in sides)
        return BookAnswer(sequence, self.now(), list(bids), list(asks))

    def l3_book(self, symbol: str, older_by: int = 0) -> BookAnswer:
        """Return the full level-3 book, best first and in queue order."""
        market = self.market(symbol)
        instrument = market.instrument
        if older_by:
            books = market.books_before(older_by)
            sequence, sides = books.sequence, books.l3
        else:
            sequence, sides = market.engine.sequence, market.engine.l3()
        price, size = instrument.price_text, instrument.size_text
        bids, asks = ([(o, price(p), size(s)) for o, p, s in side] for side in sides)
        return BookAnswer(sequence, self.now(), list(bids), list(asks))

    def ticker(self, symbol: str) -> Ticker:
        """Return best bid and offer, exact at the ticker's sequence, and the last trade."""
        return wire.ticker(self.market(symbol))

    def day(self, symbol: str) -> DayFigures:
        """Return the last 24 hours."""
        return wire.day_figures(self.market(symbol), self.now())

    def histories(self, symbol: str) -> list[HistoryTrade]:
        """Return the last hundred trades, oldest first."""
        market = self.market(symbol)
        return [wire.history_trade(market.instrument, trade) for trade in market.history.recent]

    def candles(self, symbol: str, minutes: int, start: int, end: int) -> list[CandleText]:
        """Return candles of `minutes` that begin in [start, end) seconds, newest first."""
        market = self.market(symbol)
        # Whole minutes: a candle begins in [start, end) exactly when ceil(start) ≤ it < ceil(end).
        candles = market.history.candles(minutes, -(-start // 60), -(-end // 60))
        return [wire.candle_text(market.instrument, candle) for candle in candles]

    async def run(self, sink: Sink) -> None:
        """Trade at the pace of the clock until cancelled."""
        self.start(sink)
        while True:
            late = self.pump()
            await asyncio.sleep(0 if late else _PUMP_EVERY_S)

    def close(self) -> None:
        """Hand out what still waits for its batch to fill."""
        for paced in self._paced.values():
            self._publish_l2(paced.batcher.flush())

    def start(self, sink: Sink) -> None:
        """Begin now, handing pushes to `sink`."""
        self._sink = sink
        now = self.now()
        for paced in self._paced.values():
            paced.due = now

    def pump(self) -> bool:
        """Carry out every command that is due; True if some had to wait for the next pump."""
        now = self.now()
        stop_at = time.monotonic_ns() + _PUMP_AT_MOST_NS
        late = False
        for paced in self._paced.values():
            paced.due = max(paced.due, now - _CATCH_UP_NS)
            while paced.due <= now:
                if time.monotonic_ns() > stop_at:
                    late = True
                    break
                events = paced.market.step(paced.due)
                wait = paced.market.flow.next_wait()
                paced.due += int(wait * events * self._ns_per_event) + 1
            if len(paced.batcher) and now - paced.batcher.first_ts > _BATCH_WAITS_NS:
                self._publish_l2(paced.batcher.flush())
        return late

    def _publisher(self, paced: _Paced) -> Observer:
        """Return an observer that turns each event of one market into pushes."""
        batcher = paced.batcher

        def publish(market: SyntheticMarket, event: EngineEvent) -> None:
            self._publish_l2(batcher.add(event))
            sink, instrument = self._sink, market.instrument
            if sink is None:
                return
            symbol, sequence = instrument.symbol, event.sequence
            if sink.wants("level3", symbol):
                message = wire.l3_event(instrument, event)
                sink.publish(Push("level3", symbol, sequence, sequence, message))
            if event.kind == "match" and sink.wants("match", symbol):
                traded = wire.match(instrument, event)
                sink.publish(Push("match", symbol, sequence, sequence, traded))

        return publish

    def _publish_l2(self, update: L2Update | None) -> None:
        if update is None or self._sink is None or not self._sink.wants("level2", update.symbol):
            return
        self._sink.publish(
            Push("level2", update.symbol, update.sequence_start, update.sequence_end, update)
        )
