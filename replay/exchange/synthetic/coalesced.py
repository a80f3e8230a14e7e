"""Level-2 messages as the exchange has sent them since September 2022.

Ranges hold numbers that no change uses, they begin at the number behind the last one, or now and
then before it: an overlapping range repeats the changes of the numbers it shares, so that whoever
applies it whole and whoever drops what is stale end with the same book.
"""

import random

from replay.exchange.synthetic.instruments import Instrument
from replay.exchange.synthetic.orders import NO_DEPTH_CHANGE, EngineEvent, Side
from schemas.kucoin.market import L2Update

_OVERLAP_CHANCE = 0.08
_EMPTY_CHANCE = 0.02

_Levels = dict[tuple[Side, int], tuple[int, int]]


class CoalescingBatcher:
    """Collect events of one symbol into messages whose ranges may overlap.

    A number that changes no level stands in no message of its own: the next message's range takes
    it in. Seldom a change of price 0 speaks for such numbers, as the documentation says it may.

    Parameters
    ----------
    instrument : Instrument
        For the decimal text.
    size_max : int
        Most events that wait for their message once one of them changed a level.
    seed : int
        Draws sizes, overlaps and empty changes, together with the symbol.
    """

    def __init__(self, instrument: Instrument, size_max: int, seed: int) -> None:
        self._instrument = instrument
        self._size_max = size_max
        self._random = random.Random(f"{seed}/{instrument.symbol}/coalesced")
        self._size = self._draw()
        self._first: int | None = None
        self._last = 0
        self._last_side: Side = "bid"
        self._waiting = 0
        self._levels: _Levels = {}
        self._before_first = 0
        self._before: _Levels = {}
        self.first_ts = 0
        self._last_ts = 0

    def __len__(self) -> int:
        """Events waiting, from the first one on that changed a level."""
        return self._waiting

    def add(self, event: EngineEvent) -> L2Update | None:
        """Take in the next event; return a message when it is complete."""
        if self._first is None:
            self._first = event.sequence
        self._last, self._last_side, self._last_ts = event.sequence, event.side, event.ts
        if event.level_price == NO_DEPTH_CHANGE:
            if not self._waiting:
                return self._empty() if self._random.random() < _EMPTY_CHANCE else None
        else:
            # Put back at the end: changes stand in the order of their last modification here,
            # hence asks and bids are each sorted and the message as a whole is not.
            self._levels.pop((event.side, event.level_price), None)
            self._levels[event.side, event.level_price] = (event.level_size, event.sequence)
        if not self._waiting:
            self.first_ts = event.ts
        self._waiting += 1
        return self.flush() if self._waiting >= self._size else None

    def flush(self) -> L2Update | None:
        """Return the message of the changes waiting, if there are any."""
        if not self._waiting:
            return None
        levels, first = self._levels, self._first
        assert first is not None, "events wait"
        if self._before and self._random.random() < _OVERLAP_CHANCE:
            first = self._random.randint(self._before_first, first - 1)
            shared = {k: v for k, v in self._before.items() if v[1] >= first and k not in levels}
            levels = {**shared, **levels}
        update = self._message(first, levels)
        self._before, self._before_first = levels, first
        return update

    def _empty(self) -> L2Update:
        """Let one change of price 0 speak for numbers that changed nothing."""
        assert self._first is not None, "an event was just taken in"
        first = self._first
        self._before, self._before_first = {}, first
        return self._message(first, {})

    def _message(self, first: int, levels: _Levels) -> L2Update:
        price_text, size_text = self._instrument.price_text, self._instrument.size_text
        changes: dict[Side, list[tuple[str, str, int]]] = {"ask": [], "bid": []}
        for (side, price), (size, sequence) in levels.items():
            changes[side].append((price_text(price), size_text(size), sequence))
        if not levels:
            changes[self._last_side].append(("0", "0", self._last))
        self._levels, self._waiting = {}, 0
        self._first = self._last + 1
        self._size = self._draw()
        return L2Update(
            self._instrument.symbol,
            first,
            self._last,
            changes["ask"],
            changes["bid"],
            self._last_ts,
        )

    def _draw(self) -> int:
        return self._random.randint(1, self._size_max)
