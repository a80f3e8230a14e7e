"""The synthetic markets as a source for the server: paced by a clock, speaking wire messages."""

import asyncio
import time
from collections.abc import Callable, Sequence
from heapq import heappop, heappush

from replay.exchange.events import VenueEvent
from replay.exchange.source import CandleText, DayFigures, Push, Sink, WindowFigures
from replay.exchange.synthetic import wire
from replay.exchange.synthetic.flow import USUAL_LEVELS, Habit
from replay.exchange.synthetic.instruments import instrument_for
from replay.exchange.synthetic.listing import Listing
from replay.exchange.synthetic.market import Observer, SyntheticMarket
from replay.exchange.synthetic.orders import EngineEvent
from replay.exchange.synthetic.truth import OrderLogWriter, TruthWriter
from replay.exchange.synthetic.wording import Wording, Wording2019
from schemas.kucoin.market import L2Update, Ticker
from schemas.kucoin.rest import BookAnswer, HistoryTrade, Instrument
from schemas.kucoin.venue_state import CANCEL_ONLY, CLOSE, OPEN, VenueStatus

NS = 1_000_000_000
_PUMP_EVERY_S = 0.005
_PUMP_AT_MOST_NS = 20_000_000
"""A pump gives the loop back after this, so that sockets are served when the rate is too high."""

_CATCH_UP_NS = NS
"""A market further behind than this lets the lost time go instead of racing after it."""

_BATCH_WAITS_NS = 100_000_000
"""A level2 message waits no longer than this for the events that would complete it."""

OPENED_AT_ONCE = 50
"""Markets open from the start; of more, each opens when somebody first wants it."""

_STATUS_MESSAGES = {OPEN: "", CLOSE: "upgrade match engine", CANCEL_ONLY: "orders are not taken"}


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
    l2_batch : int or None
        Most events in one level2 message; None: the wording's habit.
    truth : TruthWriter or None
        Called with every event after the opening.
    order_log : OrderLogWriter or None
        Called with every event, from the first.
    keep_books : bool
        Keep old books so that stale answers can be given.
    clock : callable
        ns UTC.
    wording : Wording or None
        How events are told; None: as in 2019.
    levels : int
        Levels a side the books return to, about.
    walk_ticks : float
        Ticks a second the fair price walks in one direction, before it turns round; 0: it trembles.

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
        l2_batch: int | None = None,
        truth: TruthWriter | None = None,
        order_log: OrderLogWriter | None = None,
        keep_books: bool = False,
        clock: Callable[[], int] = time.time_ns,
        wording: Wording | None = None,
        levels: int = USUAL_LEVELS,
        walk_ticks: float = 0.0,
    ) -> None:
        self.now = clock
        self._seed = seed
        self._ns_per_event = NS / rate
        self._wording: Wording = wording or Wording2019()
        self._l2_batch = l2_batch or self._wording.l2_batch
        self._truth, self._order_log, self._keep_books = truth, order_log, keep_books
        self._habit = Habit(levels, walk_ticks / rate)
        self._sink: Sink | None = None
        self._status = VenueStatus(OPEN)
        self._listings: dict[str, Listing] = {}
        self._gone: dict[str, Listing] = {}
        # (due, number, listing): the number keeps equal times in order and listings uncompared.
        self._queue: list[tuple[int, int, Listing]] = []
        self._numbered = 0
        self._unflushed: dict[str, Listing] = {}
        self._wanted: dict[str, None] = {}
        for symbol in dict.fromkeys(symbols):
            self._listings[symbol] = self._make(symbol)
        if len(self._listings) <= OPENED_AT_ONCE:
            for listing in self._listings.values():
                self._open(listing)

    def market(self, symbol: str) -> SyntheticMarket:
        """Return the market of a listed symbol, opening it if need be."""
        listing = self._listings[symbol]
        if listing.opened is None:
            self._open(listing)
        return listing.market

    @property
    def opened(self) -> int:
        """How many markets are open."""
        return sum(listing.opened is not None for listing in self._listings.values())

    def instruments(self) -> list[Instrument]:
        """Return the metadata of every symbol, in listing order."""
        return [listing.wire() for listing in self._listings.values()]

    def lists(self, symbol: str) -> bool:
        """Tell whether a symbol is listed now."""
        return symbol in self._listings

    def status(self) -> VenueStatus:
        """Return whether the exchange as a whole trades, and why not."""
        return self._status

    def wake(self, symbol: str) -> None:
        """Open the market of a symbol soon: somebody is about to listen."""
        listing = self._listings.get(symbol)
        if listing is not None and listing.opened is None:
            self._wanted[symbol] = None

    def carry_out(self, event: VenueEvent) -> None:
        """Let something happen to the list of symbols or to the exchange as a whole."""
        if event.kind == "status":
            self._status = VenueStatus(event.status, _STATUS_MESSAGES[event.status])
        elif event.kind == "list":
            # What was listed before goes on where it stopped, numbers and all.
            listing = self._gone.pop(event.symbol, None) or self._make(event.symbol)
            listing.is_trading = True
            self._listings[event.symbol] = listing
            if listing.opened is None:
                self._open(listing)
            else:
                self._schedule(listing, self.now())
        elif event.kind == "delist":
            listing = self._listings.pop(event.symbol)
            self._publish_l2(listing.batcher.flush())
            self._gone[event.symbol] = listing
        elif event.kind == "rename":
            self._listings[event.symbol].name = event.name
        else:
            self._listings[event.symbol].is_trading = event.kind == "enable"

    def markets(self) -> list[str]:
        """Return the names of the markets that have symbols."""
        return sorted({listing.instrument.market for listing in self._listings.values()})

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
        return self._wording.ticker(self.market(symbol), self.now())

    def day(self, symbol: str) -> DayFigures:
        """Return the last 24 hours; nothing happened on a symbol nobody has yet asked for."""
        listing = self._listings[symbol]
        if listing.opened is None:
            return wire.quiet_day(listing.instrument)
        return wire.day_figures(listing.opened, self.now())

    def window(self, symbol: str, minutes: int) -> WindowFigures:
        """Return the last `minutes`, at most 24 hours."""
        return wire.window_figures(self.market(symbol), self.now(), minutes)

    def histories(self, symbol: str) -> list[HistoryTrade]:
        """Return the last hundred trades, oldest first."""
        market, told = self.market(symbol), self._wording.history_trade
        return [told(market.instrument, trade) for trade in market.history.recent]

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
        for listing in self._listings.values():
            self._publish_l2(listing.batcher.flush())

    def start(self, sink: Sink) -> None:
        """Begin now, handing pushes to `sink`."""
        self._sink = sink
        self._queue.clear()
        now = self.now()
        for listing in self._listings.values():
            if listing.opened is not None:
                self._schedule(listing, now)

    def pump(self) -> bool:
        """Carry out every command that is due; True if some had to wait for the next pump."""
        now = self.now()
        stop_at = time.monotonic_ns() + _PUMP_AT_MOST_NS
        late = False
        queue = self._queue
        while queue and queue[0][0] <= now:
            if time.monotonic_ns() > stop_at:
                late = True
                break
            due, _, listing = heappop(queue)
            if due != listing.due or listing.symbol not in self._listings:
                continue
            self._schedule(listing, self._trade(listing, max(due, now - _CATCH_UP_NS)))
        while self._wanted and time.monotonic_ns() <= stop_at:
            symbol = next(iter(self._wanted))
            del self._wanted[symbol]
            if symbol in self._listings and self._listings[symbol].opened is None:
                self._open(self._listings[symbol])
        self._flush_batches(now)
        return late or bool(self._wanted)

    def _trade(self, listing: Listing, due: int) -> int:
        """Carry out a market's next command; returns when the one after it is due."""
        market = listing.market
        events = 0
        if listing.is_trading and self._status.is_open:
            events = market.step(due)
        elif listing.is_trading and self._status.status == CANCEL_ONLY:
            events = market.step_cancel(due)
        if len(listing.batcher):
            self._unflushed[listing.symbol] = listing
        wait = market.flow.next_wait() * (events or 1)
        return due + int(wait * self._ns_per_event) + 1

    def _flush_batches(self, now: int) -> None:
        """Send what has waited long enough for its message to fill."""
        for symbol, listing in list(self._unflushed.items()):
            if not len(listing.batcher):
                del self._unflushed[symbol]
            elif now - listing.batcher.first_ts > _BATCH_WAITS_NS:
                del self._unflushed[symbol]
                self._publish_l2(listing.batcher.flush())

    def _schedule(self, listing: Listing, due: int) -> None:
        listing.due = due
        self._numbered += 1
        heappush(self._queue, (due, self._numbered, listing))

    def _make(self, symbol: str) -> Listing:
        """List a symbol, its market still closed."""
        instrument = instrument_for(symbol)
        batcher = self._wording.batcher(instrument, self._l2_batch, self._seed)

        def build() -> SyntheticMarket:
            return SyntheticMarket(
                instrument,
                self._seed,
                keep_books=self._keep_books,
                habit=self._habit,
                trade_ids=self._wording.trade_ids(self._seed, symbol),
            )

        return Listing(instrument, batcher, build, symbol)

    def _open(self, listing: Listing) -> None:
        """Fill the book of a market and let it trade from now on."""
        market, now = listing.market, self.now()
        if self._order_log is not None:
            self._order_log.write_instrument(listing.instrument)
            market.observe(self._order_log)
        market.open_market(now)
        if self._truth is not None:
            market.observe(self._truth)
        market.observe(self._publisher(listing))
        if self._sink is not None:
            self._schedule(listing, now)

    def _publisher(self, listing: Listing) -> Observer:
        """Return an observer that turns each event of one market into pushes."""
        batcher, wording = listing.batcher, self._wording

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
                traded = wording.match(instrument, event)
                sink.publish(Push("match", symbol, traded.sequence, traded.sequence, traded))

        return publish

    def _publish_l2(self, update: L2Update | None) -> None:
        if update is None or self._sink is None or not self._sink.wants("level2", update.symbol):
            return
        self._sink.publish(
            Push("level2", update.symbol, update.sequence_start, update.sequence_end, update)
        )
