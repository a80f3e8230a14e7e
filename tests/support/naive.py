"""Plain books for comparing: dicts and lists of exact decimals, nothing clever.

They follow the rules of the record and share no code with either package.
"""

from __future__ import annotations

from decimal import Decimal

Levels = list[tuple[Decimal, Decimal]]
Orders = list[tuple[Decimal, Decimal, str]]


class NaiveL2:
    """Level-2 book: a dict of sizes by price and side."""

    def __init__(self) -> None:
        self.sides: dict[str, dict[Decimal, Decimal]] = {"bid": {}, "ask": {}}

    def seed(self, bids: Levels, asks: Levels) -> None:
        self.sides = {"bid": dict(bids), "ask": dict(asks)}

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


class NaiveL3:
    """Level-3 book: one list of resting orders, oldest first."""

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


def best(book: NaiveL2 | NaiveL3) -> tuple[Decimal | None, ...]:
    """Best bid, its size, best ask, its size."""
    found: list[Decimal | None] = []
    for side in ("bid", "ask"):
        levels = book.levels(side)
        found += levels[0] if levels else (None, None)
    return tuple(found)
