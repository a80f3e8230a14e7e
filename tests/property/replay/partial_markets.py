"""Seeded histories of partial books: a walking price, shallow seeds, seeds told again and gaps.

The market's own whole book is kept beside the stream that tells of it.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path

from tests.support.archive_builder import T0, ArchiveBuilder, Bounds, S, StreamBuilder
from tests.support.naive import NaiveL2

SYMBOL = "ABC-XYZ"
DEPTH = 6
TICK = Decimal("0.05")
SIDES = ("bid", "ask")


@dataclass
class Market:
    """The whole book of a market, and what it was at each sequence."""

    rng: random.Random
    mid: int = 10_000
    drift: int = 0
    book: NaiveL2 = field(default_factory=NaiveL2)
    history: dict[int, tuple[list, list]] = field(default_factory=dict)
    log: list[dict] = field(default_factory=list)
    """What an exchange would log of it: each level is one order of a cent a tick."""

    def begin(self, sequence: int) -> None:
        """Bring the log to a sequence: with orders for the levels at first, else with nothing."""
        levels = [(side, *level) for side in SIDES for level in self.book.levels(side)]
        if not self.log:
            self.log.append({"kind": "instrument", "price_digits": 2, "size_digits": 0})
            for at, (side, price, size) in enumerate(levels, start=sequence - len(levels) + 1):
                self.log.append(self._order("open", at, side, price, size))
        for at in range(self.log[-1]["sequence"] + 1, sequence + 1):
            self.log.append({"kind": "received", "sequence": at})

    def note(self, sequence: int, side: str | None, price: Decimal, size: Decimal) -> None:
        """Log a change before it is made."""
        standing = None if side is None else self.book.sides[side].get(price)
        if side is None or not price or (standing is None and not size):
            self.log.append({"kind": "received", "sequence": sequence})
        elif not size:
            assert standing is not None
            gone = self._order("done", sequence, side, price, standing)
            self.log.append(gone | {"reason": "canceled"})
        else:
            kind = "open" if standing is None else "change"
            self.log.append(self._order(kind, sequence, side, price, size))

    @staticmethod
    def _order(kind: str, sequence: int, side: str, price: Decimal, size: Decimal) -> dict:
        return {
            "kind": kind,
            "sequence": sequence,
            "order_id": f"{side}{price:f}",
            "side": side,
            "price": int(price * 100),
            "size": int(size),
        }

    def size(self) -> str:
        return str(self.rng.randrange(1, 99))

    def price(self, side: str) -> Decimal:
        away = self.rng.choice((1, 1, 2, 3, 5, 8, 13, 21))
        return (self.mid - away if side == "bid" else self.mid + away) * TICK

    def best_levels(self, side: str) -> list[tuple[str, str]]:
        return [(f"{p:f}", f"{s:f}") for p, s in self.book.levels(side)[:DEPTH]]

    def bounds(self) -> Bounds:
        """A side with fewer levels than a seed can hold is whole."""
        told = [self.best_levels(side) for side in SIDES]
        ends = [rows[-1][0] if len(rows) == DEPTH else None for rows in told]
        return ends[0], ends[1]

    def changes(self, sequence: int) -> list[tuple[str | None, str, str]]:
        """Move the price, take away what it passed, and change some levels; never nothing."""
        found: list[tuple[str | None, str, str]] = []
        if self.rng.random() < 0.1:
            self.drift = self.rng.choice((-2, 0, 2))
        self.mid += self.drift + self.rng.choice((0, 0, 1, -1))
        limit = self.mid * TICK
        for side in SIDES:
            for price in list(self.book.sides[side]):
                passed = price >= limit if side == "bid" else price <= limit
                if passed or self.rng.random() < 0.02:
                    found.append((side, f"{price:f}", "0"))
        for _ in range(self.rng.choice((0, 2, 4))):
            side = self.rng.choice(SIDES)
            found.append((side, f"{self.price(side):f}", self.size()))
        if not found:
            found.append((self.rng.choice((*SIDES, None)), "0", "0"))
        for at, (side, price, size) in enumerate(found, start=sequence):
            self.note(at, side, Decimal(price), Decimal(size))
            self.book.change(side, Decimal(price), Decimal(size))
        return found


def tell(stream: StreamBuilder, market: Market, ts: int, sequence: int, messages: int) -> int:
    """Tell one interval; return the time after it."""
    rng = market.rng

    def note() -> None:
        market.history[stream.sequence] = market.book.whole()

    market.begin(sequence)
    stream.snapshot(
        ts, sequence, *(market.best_levels(side) for side in SIDES), known=market.bounds()
    )
    note()
    for _ in range(messages):
        ts += rng.choice((0, 1, S // 10, S))
        stream.message(ts, market.changes(stream.sequence + 1))
        note()
        roll = rng.random()
        if roll < 0.12:
            stream.keyframe()
        elif roll < 0.22:
            ts += rng.choice((0, 1, S // 10))
            stream.reseed(ts, *(market.best_levels(side) for side in SIDES), known=market.bounds())
    return ts


def build(root: Path, seed: int) -> tuple[ArchiveBuilder, Market]:
    """Write an archive of one partial level-2 book: three intervals, gaps between."""
    market = Market(random.Random(seed))
    builder = ArchiveBuilder(root, rows_per_part=41, row_group=9)
    stream = builder.book(SYMBOL)
    for side in SIDES:
        for _ in range(market.rng.choice((3, 30))):
            market.book.change(side, market.price(side), Decimal(market.size()))
    ts, sequence = T0, 1000
    for _ in range(3):
        if stream.stretches:
            stream.lose()
        ts = tell(stream, market, ts, sequence, market.rng.randrange(20, 70)) + 3 * S
        sequence = stream.sequence + 50
    stream.still_open()
    builder.write()
    return builder, market
