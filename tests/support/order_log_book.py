"""The naive book: lists of orders, built from the exchange's own order log and nothing else.

Every question is answered by scanning a list. No dict of levels, no sorted prices, no scales shared
with anything: slow, obvious, and written apart from the engine, the recorder and the kernels.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import IO, Any

import zstandard


@dataclass
class RestingOrder:
    """An order on the book; `left` in lots."""

    order_id: str
    side: str
    price: int
    left: int


class OrderLogBook:
    """The book of one symbol after each line of its log.

    Orders of both sides stand in one list, in the order in which they came to rest: that is the
    queue.
    """

    def __init__(self, price_digits: int, size_digits: int) -> None:
        self.price_digits = price_digits
        self.size_digits = size_digits
        self.sequence: int | None = None
        self.orders: list[RestingOrder] = []

    def apply(self, line: dict[str, Any]) -> None:
        """Apply one event of the log."""
        assert self.sequence is None or line["sequence"] == self.sequence + 1, "a hole in the log"
        self.sequence = line["sequence"]
        kind = line["kind"]
        if kind == "open":
            self.orders.append(
                RestingOrder(line["order_id"], line["side"], line["price"], line["size"])
            )
        elif kind == "match":
            place = self._find(line["order_id"])
            assert place is not None, "a maker rests"
            maker = self.orders[place]
            maker.left -= line["size"]
            assert maker.left >= 0, "a maker gives no more than it has"
            if maker.left == 0:
                del self.orders[place]
        elif kind == "done":
            place = self._find(line["order_id"])
            if place is not None:
                assert line["reason"] == "canceled", "what was filled left at its match"
                assert self.orders[place].left == line["size"]
                del self.orders[place]
        elif kind == "change":
            place = self._find(line["order_id"])
            if place is not None:
                self.orders[place].left = line["size"]

    def l3(self) -> dict[str, list[list[str]]]:
        """Return ``bids`` and ``asks``: [order id, price, size], best first, in queue order."""
        return {
            name: [
                [order.order_id, self._price(order.price), self._size(order.left)]
                for order in self._side(side)
            ]
            for name, side in (("bids", "bid"), ("asks", "ask"))
        }

    def l2(self) -> dict[str, list[list[str]]]:
        """Return ``bids`` and ``asks``: [price, size], best first."""
        book: dict[str, list[list[str]]] = {}
        for name, side in (("bids", "bid"), ("asks", "ask")):
            levels: list[list[int]] = []
            for order in self._side(side):
                if levels and levels[-1][0] == order.price:
                    levels[-1][1] += order.left
                else:
                    levels.append([order.price, order.left])
            book[name] = [[self._price(price), self._size(size)] for price, size in levels]
        return book

    def _side(self, side: str) -> list[RestingOrder]:
        """Return one side, best price first; sorting is stable, so equal prices keep the queue."""
        orders = [order for order in self.orders if order.side == side]
        return sorted(orders, key=lambda order: -order.price if side == "bid" else order.price)

    def _find(self, order_id: str) -> int | None:
        for place, order in enumerate(self.orders):
            if order.order_id == order_id:
                return place
        return None

    def _price(self, ticks: int) -> str:
        return plain_text(Decimal(ticks).scaleb(-self.price_digits))

    def _size(self, lots: int) -> str:
        return plain_text(Decimal(lots).scaleb(-self.size_digits))


def plain_text(number: Decimal) -> str:
    """Write a decimal without exponent or trailing zeros."""
    text = format(number, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


def read_lines(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the JSON lines of a truth file or a log, compressed or not."""
    opened: IO[str] = (
        zstandard.open(path, "rt", encoding="utf-8")
        if path.suffix == ".zst"
        else path.open(encoding="utf-8")
    )
    with opened as lines:
        for line in lines:
            yield json.loads(line)


def books_at(
    lines: Iterable[dict[str, Any]], wanted: dict[str, set[int]]
) -> dict[tuple[str, int], OrderLogBook]:
    """Replay a log; return a frozen copy of the book at each wanted (symbol, sequence).

    Parameters
    ----------
    lines : iterable of dict
        The lines of an order log, symbols in any interleaving.
    wanted : dict of str to set of int
        Sequences by symbol; those not in the log are missing from the result.
    """
    live: dict[str, OrderLogBook] = {}
    found: dict[tuple[str, int], OrderLogBook] = {}
    for line in lines:
        symbol = line["symbol"]
        if line["kind"] == "instrument":
            live[symbol] = OrderLogBook(line["price_digits"], line["size_digits"])
            continue
        book = live[symbol]
        book.apply(line)
        if line["sequence"] in wanted.get(symbol, ()):
            copy = OrderLogBook(book.price_digits, book.size_digits)
            copy.sequence = book.sequence
            copy.orders = [
                RestingOrder(order.order_id, order.side, order.price, order.left)
                for order in book.orders
            ]
            found[symbol, line["sequence"]] = copy
    return found
