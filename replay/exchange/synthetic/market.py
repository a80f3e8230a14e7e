"""One symbol's market: engine, flow, trade history, and old books for stale answers."""

import hashlib
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from replay.exchange.synthetic.engine import Engine
from replay.exchange.synthetic.flow import Cancel, Flow, Habit
from replay.exchange.synthetic.history import TradeHistory
from replay.exchange.synthetic.instruments import Instrument
from replay.exchange.synthetic.orders import EngineEvent, NewOrder
from replay.exchange.synthetic.trade_ids import TradeIds

Observer = Callable[["SyntheticMarket", EngineEvent], None]

FIRST_SEQUENCE = 1_545_896_668_000
"""Sequences of early 2019 were of this size; each symbol adds a number of its own."""

KEPT_EVERY = 100
KEPT_BOOKS = 60
"""Old books, taken every `KEPT_EVERY` events: answers up to 6,000 events stale."""


@dataclass(frozen=True, slots=True)
class Books:
    """Both books of a symbol after one command: L2 (price, size), L3 (id, price, size)."""

    sequence: int
    ts: int
    l2: tuple[list[tuple[int, int]], list[tuple[int, int]]]
    l3: tuple[list[tuple[str, int, int]], list[tuple[str, int, int]]]


class SyntheticMarket:
    """A market that moves when it is told to.

    Parameters
    ----------
    instrument : Instrument
        What is traded.
    seed : int
        The same seed and number of commands give the same events.
    keep_books : bool
        Keep old books for `books_before`; costs a copy every `KEPT_EVERY` events.
    habit : Habit
        How deep the book is and how far the price goes.
    trade_ids : TradeIds or None
        Names the trades; None: text that says nothing.
    """

    def __init__(
        self,
        instrument: Instrument,
        seed: int,
        *,
        keep_books: bool = False,
        habit: Habit | None = None,
        trade_ids: TradeIds | None = None,
    ) -> None:
        self.instrument = instrument
        offset = hashlib.blake2b(f"{seed}/{instrument.symbol}".encode(), digest_size=4).digest()
        first = FIRST_SEQUENCE + int.from_bytes(offset, "big") % 1_000_000
        self.engine = Engine(instrument.symbol, seed, first, self._on_event, trade_ids)
        self.flow = Flow(instrument, self.engine, seed, habit or Habit())
        self.history = TradeHistory()
        self._observers: list[Observer] = []
        self._kept: deque[Books] | None = deque(maxlen=KEPT_BOOKS) if keep_books else None

    def observe(self, observer: Observer) -> None:
        """Have `observer` called with every event while the book is what it is at its sequence."""
        self._observers.append(observer)

    def open_market(self, now: int) -> None:
        """Fill the book and let the first trades happen, so that there is a last price."""
        for order in self.flow.opening_orders():
            self.engine.submit(order, now)
        while self.history.last is None:
            self.step(now)
        if self._kept is not None:
            self._kept.append(self.books())

    def step(self, now: int) -> int:
        """Carry out the next command of the flow at `now` (ns UTC).

        Returns
        -------
        int
            How many events it caused; at least 1.
        """
        return self._carry_out(self.flow.next_command(), now)

    def step_cancel(self, now: int) -> int:
        """Carry out a cancel, while nothing else is allowed; returns how many events it caused."""
        command = self.flow.next_cancel()
        return 0 if command is None else self._carry_out(command, now)

    def _carry_out(self, command: NewOrder | Cancel, now: int) -> int:
        before = self.engine.sequence
        if isinstance(command, Cancel):
            rested = self.engine.cancel(command.order_id, now)
            assert rested, "the flow cancels resting orders only"
        else:
            self.engine.submit(command, now)
        events = self.engine.sequence - before
        if self._kept is not None and (
            not self._kept or self.engine.sequence - self._kept[-1].sequence >= KEPT_EVERY
        ):
            self._kept.append(self.books())
        return events

    def books(self) -> Books:
        """Copy both books as they stand."""
        return Books(self.engine.sequence, self.engine.ts, self.engine.l2(), self.engine.l3())

    def books_before(self, events: int) -> Books:
        """Return books at least `events` old, or the oldest there are."""
        if not self._kept:
            return self.books()
        wanted = self.engine.sequence - events
        older = [books for books in self._kept if books.sequence <= wanted]
        return older[-1] if older else self._kept[0]

    def _on_event(self, event: EngineEvent) -> None:
        self.flow.observe(event)
        self.history.observe(event)
        for observer in self._observers:
            observer(self, event)
