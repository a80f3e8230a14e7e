"""Plain books for comparing: dicts and lists of exact decimals, nothing clever.

They follow the rules of the record and share no code with either package.
"""

from __future__ import annotations

from decimal import Decimal

Levels = list[tuple[Decimal, Decimal]]
Orders = list[tuple[Decimal, Decimal, str]]


Known = tuple[Decimal | None, Decimal | None]


class NaiveL2:
    """Level-2 book: a dict of sizes by price and side.

    `known` says to which price bids and asks are exact, None where they are whole.
    """

    def __init__(self) -> None:
        self.sides: dict[str, dict[Decimal, Decimal]] = {"bid": {}, "ask": {}}
        self.known: Known = (None, None)

    def seed(self, bids: Levels, asks: Levels, known: Known = (None, None)) -> None:
        self.sides = {"bid": dict(bids), "ask": dict(asks)}
        self.known = known

    def seed_again(self, bids: Levels, asks: Levels, known: Known) -> None:
        """Learn the best levels anew, to bounds of their own: the deeper of two bounds holds."""
        old, both = self.known, []
        for side, rows, at in (("bid", bids, 0), ("ask", asks, 1)):
            told = [price for price in self.sides[side] if is_inside(side, price, known[at])]
            for price in told:
                del self.sides[side][price]
            self.sides[side].update(rows)
            deeper = min if side == "bid" else max
            ends = [end for end in (old[at], known[at]) if end is not None]
            both.append(deeper(ends) if len(ends) == 2 else None)
        self.known = (both[0], both[1])

    def marked(self, side: str) -> list[tuple[Decimal, Decimal, bool]]:
        """Levels, best first, each with whether it lies inside the known depth."""
        bound = self.known[0 if side == "bid" else 1]
        return [(price, size, is_inside(side, price, bound)) for price, size in self.levels(side)]

    def change(self, side: str | None, price: Decimal, size: Decimal) -> None:
        if price == 0 or side is None:
            return
        if size == 0:
            self.sides[side].pop(price, None)
        else:
            self.sides[side][price] = size

    def levels(self, side: str) -> Levels:
        return sorted(self.sides[side].items(), reverse=side == "bid")

    def whole(self) -> tuple[Levels, Levels]:
        return self.levels("bid"), self.levels("ask")


def is_inside(side: str, price: Decimal, bound: Decimal | None) -> bool:
    """Say whether a price is at a bound or better; without a bound every price is."""
    return bound is None or (price >= bound if side == "bid" else price <= bound)


class NaiveL3:
    """Level-3 book: one list of resting orders, oldest first; always whole."""

    known: Known = (None, None)

    def __init__(self) -> None:
        self.resting: list[list] = []  # [order_id, side, price, size]

    def seed(self, bids: list, asks: list) -> None:
        self.resting = [
            [name, side, price, size]
            for side, rows in (("bid", bids), ("ask", asks))
            for name, price, size in rows
        ]

    def _find(self, order_id: str | None) -> list | None:
        return next((order for order in self.resting if order[0] == order_id), None)

    def event(
        self,
        kind: str,
        side: str | None,
        order_id: str | None,
        price: Decimal | None,
        size: Decimal | None,
        remain_size: Decimal | None,
    ) -> None:
        order = self._find(order_id)
        if kind == "open" and order_id is not None:
            if order is not None:
                self.resting.remove(order)
            if price and remain_size and side:
                self.resting.append([order_id, side, price, remain_size])
        elif order is None:
            return
        elif kind == "match":
            order[3] -= size or 0
        elif kind == "change":
            order[3] = size or Decimal(0)
        elif kind == "done":
            order[3] = Decimal(0)
        if order is not None and order[3] <= 0 and order in self.resting:
            self.resting.remove(order)

    def orders(self, side: str) -> Orders:
        """Orders level by level, best first, queue order inside a level."""
        mine = [(price, size, name) for name, s, price, size in self.resting if s == side]
        return sorted(mine, key=lambda order: -order[0] if side == "bid" else order[0])

    def levels(self, side: str) -> Levels:
        totals: dict[Decimal, Decimal] = {}
        for price, size, _ in self.orders(side):
            totals[price] = totals.get(price, Decimal(0)) + size
        return list(totals.items())

    def whole(self) -> tuple[Orders, Orders]:
        return self.orders("bid"), self.orders("ask")


Best = tuple[Decimal | None, Decimal | None, Decimal | None, Decimal | None, bool]


def best(book: NaiveL2 | NaiveL3) -> Best:
    """Best bid, its size, best ask, its size, and whether they are known at all.

    They are unless a side that may go on unseen has no level inside its bound.
    """
    found: list[Decimal | None] = []
    for side, bound in zip(("bid", "ask"), book.known, strict=True):
        levels = book.levels(side)
        if bound is not None and not (levels and is_inside(side, levels[0][0], bound)):
            return None, None, None, None, False
        found += levels[0] if levels else (None, None)
    return found[0], found[1], found[2], found[3], True
