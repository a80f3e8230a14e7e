"""How far a book is known: a partial one is compared down to its bounds and no further."""

from __future__ import annotations

from dataclasses import dataclass

from schemas.datasets import BID
from tests.simulation.market import book_levels

Order = tuple[int, str, int, int]  # side code, id, price, size


@dataclass(frozen=True, slots=True)
class Bounds:
    """The worst bid and the worst ask that are known, as integers of the market's digits."""

    bid_from: int
    ask_to: int

    def holds(self, side: int, price: int) -> bool:
        """Say whether a level is within."""
        return price >= self.bid_from if side == BID else price <= self.ask_to


NO_BOUNDS = Bounds(-1, 1 << 80)


def known_levels(answer: bytes, bounds: Bounds) -> frozenset[tuple[int, int, int]]:
    """Return the levels (side code, price, size) of the venue's whole book within bounds."""
    levels = book_levels(answer)[1]
    if bounds == NO_BOUNDS:
        return levels
    return frozenset(level for level in levels if bounds.holds(level[0], level[1]))


def queues_of(orders: tuple[Order, ...]) -> dict[tuple[int, int], list[tuple[str, int]]]:
    """Return the orders of each level, as they stand: id and size."""
    queues: dict[tuple[int, int], list[tuple[str, int]]] = {}
    for side, order_id, price, size in orders:
        queues.setdefault((side, price), []).append((order_id, size))
    return queues
