"""Turn engine events into level-2 messages: one each, or coalesced as the real exchange does."""

import random

from replay.exchange.synthetic.instruments import Instrument
from replay.exchange.synthetic.orders import NO_DEPTH_CHANGE, EngineEvent, Side
from schemas.kucoin.market import L2Update


class Level2Batcher:
    """Collect up to `size_max` consecutive events of one symbol into one message.

    A message spans all its events' sequences. Changes are coalesced per side and price: the level's
    last size, with the sequence of its last modification, in the order the levels were first
    touched, hence not sorted by sequence. Price-0 changes are dropped unless nothing else remains;
    then one stands for all.

    Parameters
    ----------
    instrument : Instrument
        For the decimal text.
    size_max : int
        Most events in one message; each message draws its size from 1 to this. 1: one event each.
    seed : int
        Draws the sizes, together with the symbol.
    """

    def __init__(self, instrument: Instrument, size_max: int, seed: int) -> None:
        self._instrument = instrument
        self._size_max = size_max
        self._random = random.Random(f"{seed}/{instrument.symbol}/level2")
        self._size = self._draw()
        self._levels: dict[tuple[Side, int], tuple[int, int]] = {}
        self._first = 0
        self._last = 0
        self._last_side: Side = "bid"
        self.first_ts = 0

    def __len__(self) -> int:
        """Events waiting."""
        return self._last - self._first + 1 if self._first else 0

    def add(self, event: EngineEvent) -> L2Update | None:
        """Take in the next event; return a message when it is complete."""
        if not self._first:
            self._first = event.sequence
            self.first_ts = event.ts
        self._last = event.sequence
        self._last_side = event.side
        if event.level_price != NO_DEPTH_CHANGE:
            self._levels[event.side, event.level_price] = (event.level_size, event.sequence)
        return self.flush() if len(self) >= self._size else None

    def flush(self) -> L2Update | None:
        """Return the message of the events waiting, if any are."""
        if not self._first:
            return None
        price_text, size_text = self._instrument.price_text, self._instrument.size_text
        changes: dict[Side, list[tuple[str, str, int]]] = {"ask": [], "bid": []}
        for (side, price), (size, sequence) in self._levels.items():
            changes[side].append((price_text(price), size_text(size), sequence))
        if not self._levels:
            changes[self._last_side].append(("0", "0", self._last))
        update = L2Update(
            self._instrument.symbol, self._first, self._last, changes["ask"], changes["bid"]
        )
        self._levels.clear()
        self._first = 0
        self._size = self._draw()
        return update

    def _draw(self) -> int:
        return self._random.randint(1, self._size_max)
