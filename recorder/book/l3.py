"""The live level-3 book: orders by id, and the queue of ids at every price."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import islice, zip_longest
from typing import Any

import numpy as np

from recorder.book.columns import Columns, align, column
from recorder.book.l2 import BooksDiffer
from schemas.datasets import ASK, BID
from schemas.fixed_point import format_fixed

# Private kinds stand in the stream but take no public number and touch no public order.
PRIVATE_KINDS = frozenset({"stop", "activate"})
QUIET_KINDS = PRIVATE_KINDS | {"received"}  # kinds that change no book


# A resting order: side, price mantissa, size mantissa, at the book's scales.
Order = tuple[int, int, int]


@dataclass(slots=True)
class Oddities:
    """Events that did not fit the book; counted, because the venue is known to send them."""

    unknown_makers: int = 0  # matches of orders that do not rest here (hidden ones, for one)
    unknown_changes: int = 0
    done_not_resting: int = 0  # expected after a full fill, and of orders that never rested
    overfilled: int = 0  # matches larger than what was left of the maker
    replaced: int = 0  # opens of an id that already rested


class L3Book:
    """Resting orders in price-time priority, at one scale for prices and one for sizes.

    Attributes
    ----------
    sequence : int
        Where the book stands: the sequence of the last public row.
    price_scale, size_scale : int
        The finest scales met since the last `load`.
    oddities : Oddities
    """

    __slots__ = ("_levels", "_orders", "oddities", "price_scale", "sequence", "size_scale")

    def __init__(self) -> None:
        self.sequence = 0
        self.price_scale = 0
        self.size_scale = 0
        self.oddities = Oddities()
        self._orders: dict[str, Order] = {}
        # By side, then price: order ids, first in the queue first. No level is ever empty.
        self._levels: tuple[dict[int, dict[str, None]], dict[int, dict[str, None]]] = ({}, {})

    def __getstate__(self) -> tuple[Any, ...]:
        """Return the book as a few arrays and its order ids, queue by queue."""
        prices = [
            (side, price, len(queue))
            for side, levels in zip((BID, ASK), self._levels, strict=True)
            for price, queue in levels.items()
        ]
        ids = [order for levels in self._levels for queue in levels.values() for order in queue]
        sizes = np.fromiter((self._orders[order][2] for order in ids), np.int64, len(ids))
        numbers = (self.sequence, self.price_scale, self.size_scale, self.oddities)
        return numbers, np.array(prices, np.int64).reshape(-1, 3), ids, sizes

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        """Take up what `__getstate__` returned."""
        numbers, prices, ids, sizes = state
        self.sequence, self.price_scale, self.size_scale, self.oddities = numbers
        self._orders = {}
        self._levels = ({}, {})
        every_id, every_size = iter(ids), iter(sizes.tolist())
        for side, price, count in prices.tolist():
            queue = dict.fromkeys(islice(every_id, count))
            self._levels[side][price] = queue
            for order in queue:
                self._orders[order] = (side, price, next(every_size))

    @property
    def orders(self) -> int:
        """Number of resting orders."""
        return len(self._orders)

    @property
    def levels(self) -> int:
        """Number of prices with resting orders, both sides."""
        return len(self._levels[BID]) + len(self._levels[ASK])

    def load(self, columns: Columns, sequence: int) -> None:
        """Replace the whole book.

        Parameters
        ----------
        columns : Columns
            `order_id, side, price_mantissa, price_scale, size_mantissa, size_scale`; the order of
            rows inside a price is the queue's.
        sequence : int
            Where the full book stands.

        Raises
        ------
        BookOverflow   if its numbers fit no common scale; the book is then unchanged
        """
        fresh = L3Book()
        for order_id, side, price, price_scale, size, size_scale in zip(
            column(columns, "order_id", 0, None),
            column(columns, "side", 0, None),
            column(columns, "price_mantissa", 0, None),
            column(columns, "price_scale", 0, None),
            column(columns, "size_mantissa", 0, None),
            column(columns, "size_scale", 0, None),
            strict=True,
        ):
            fresh._open(order_id, side, price, price_scale, size, size_scale)
        self.sequence = sequence
        self.price_scale, self.size_scale = fresh.price_scale, fresh.size_scale
        self._orders, self._levels = fresh._orders, fresh._levels

    def apply(self, columns: Columns, first: int = 0, last: int | None = None) -> None:
        """Apply order events in order.

        Parameters
        ----------
        columns : Columns
            `sequence, kind, side, order_id, price_mantissa, price_scale, size_mantissa,
            size_scale, remain_size_mantissa, remain_size_scale`. A scale of -1 marks a number the
            wire did not give. `order_id` of a match is the maker's.
        first, last : int
            Rows `first` up to, not including, `last`.

        Raises
        ------
        BookOverflow   if a number fits no common scale; rows before it stay applied
        ValueError   for a kind that no document names
        """
        sequences = columns["sequence"][first:last]
        kinds = column(columns, "kind", first, last)
        order_ids = column(columns, "order_id", first, last)
        sides = column(columns, "side", first, last)
        prices = column(columns, "price_mantissa", first, last)
        price_scales = column(columns, "price_scale", first, last)
        sizes = column(columns, "size_mantissa", first, last)
        size_scales = column(columns, "size_scale", first, last)
        remain_sizes = column(columns, "remain_size_mantissa", first, last)
        remain_scales = column(columns, "remain_size_scale", first, last)
        for row, (kind, order_id) in enumerate(zip(kinds, order_ids, strict=True)):
            if kind == "open":
                self._open(
                    order_id,
                    sides[row],
                    prices[row],
                    price_scales[row],
                    remain_sizes[row],
                    remain_scales[row],
                )
            elif kind == "done":
                if not self._remove(order_id):
                    self.oddities.done_not_resting += 1
            elif kind == "match":
                self._match(order_id, sizes[row], size_scales[row])
            elif kind == "change":
                self._change(order_id, sizes[row], size_scales[row])
            elif kind not in QUIET_KINDS:
                raise ValueError(f"unknown kind of order event: {kind!r}")
        for row in range(len(kinds) - 1, -1, -1):
            if kinds[row] not in PRIVATE_KINDS:
                self.sequence = int(sequences[row])
                break

    def best_bid(self) -> int | None:
        """Return the mantissa of the highest bid, None if there is none; O(levels)."""
        return max(self._levels[BID], default=None)

    def best_ask(self) -> int | None:
        """Return the mantissa of the lowest ask, None if there is none; O(levels)."""
        return min(self._levels[ASK], default=None)

    @property
    def crossed(self) -> bool:
        """Whether the best bid is at or above the best ask."""
        bid, ask = self.best_bid(), self.best_ask()
        return bid is not None and ask is not None and bid >= ask

    @property
    def known_crossed(self) -> bool:
        """Whether it is crossed; the whole book is known."""
        return self.crossed

    def rows(self) -> dict[str, Any]:
        """Return the book as columns: bids high to low, then asks low to high, in queue order.

        Returns
        -------
        dict[str, ndarray or list]
            `side` int8, `price_mantissa` int64, `price_scale` int8, `size_mantissa` int64,
            `size_scale` int8, and `order_id`, a list of str; owned by the caller.
        """
        ids = [
            order_id
            for side in (BID, ASK)
            for price in sorted(self._levels[side], reverse=side == BID)
            for order_id in self._levels[side][price]
        ]
        orders = [self._orders[order_id] for order_id in ids]
        return {
            "side": np.array([side for side, _, _ in orders], np.int8),
            "price_mantissa": np.array([price for _, price, _ in orders], np.int64),
            "price_scale": np.full(len(orders), self.price_scale, np.int8),
            "size_mantissa": np.array([size for _, _, size in orders], np.int64),
            "size_scale": np.full(len(orders), self.size_scale, np.int8),
            "order_id": ids,
        }

    def aggregate(self) -> dict[str, Any]:
        """Return the levels these orders add up to, as the columns of `L2Book.rows`.

        Raises
        ------
        BookOverflow   if the sizes of one price add up to more than int64 holds
        """
        levels = [
            (
                side,
                price,
                align(
                    sum(self._orders[order_id][2] for order_id in self._levels[side][price]),
                    self.size_scale,
                    self.size_scale,
                ),
            )
            for side in (BID, ASK)
            for price in sorted(self._levels[side], reverse=side == BID)
        ]
        return {
            "side": np.array([side for side, _, _ in levels], np.int8),
            "price_mantissa": np.array([price for _, price, _ in levels], np.int64),
            "price_scale": np.full(len(levels), self.price_scale, np.int8),
            "size_mantissa": np.array([size for _, _, size in levels], np.int64),
            "size_scale": np.full(len(levels), self.size_scale, np.int8),
        }

    def fork(self) -> L3Book:
        """Return an independent copy, to follow a stream up to an audit's sequence."""
        copy = L3Book()
        copy.sequence = self.sequence
        copy.price_scale, copy.size_scale = self.price_scale, self.size_scale
        copy.oddities = replace(self.oddities)
        copy._orders = self._orders.copy()
        copy._levels = (
            {price: queue.copy() for price, queue in self._levels[BID].items()},
            {price: queue.copy() for price, queue in self._levels[ASK].items()},
        )
        return copy

    def compare(self, other: L3Book) -> int:
        """Compare with another book at the same sequence: orders, sizes, places in the queues.

        Returns
        -------
        int   orders that are equal

        Raises
        ------
        BooksDiffer    naming the first difference, from the touch
        BookOverflow   if their numbers fit no common scale
        """
        mine, theirs = self.fork(), other.fork()
        price_scale = max(mine.price_scale, theirs.price_scale)
        size_scale = max(mine.size_scale, theirs.size_scale)
        mine._rescale(price_scale, size_scale)
        theirs._rescale(price_scale, size_scale)
        if mine._orders == theirs._orders:  # else the queues tell where
            queues = zip(mine._queues(), theirs._queues(), strict=True)
            if all(one == another for one, another in queues):
                return len(mine._orders)
        for side in (BID, ASK):
            prices = mine._levels[side].keys() | theirs._levels[side].keys()
            for price in sorted(prices, reverse=side == BID):
                ours, other_queue = mine._queue(side, price), theirs._queue(side, price)
                for place, (one, another) in enumerate(zip_longest(ours, other_queue), 1):
                    if one != another:
                        raise BooksDiffer(
                            side,
                            format_fixed(price, price_scale),
                            _tell_order(place, one, size_scale),
                            _tell_order(place, another, size_scale),
                        )
        raise AssertionError("books of the same queues have the same orders")

    def same_orders(self, other: L3Book) -> bool:
        """Say whether both books have the same orders by value, in the same queues."""
        mine, theirs = self.fork(), other.fork()
        price_scale = max(mine.price_scale, theirs.price_scale)
        size_scale = max(mine.size_scale, theirs.size_scale)
        mine._rescale(price_scale, size_scale)
        theirs._rescale(price_scale, size_scale)
        left, right = mine.rows(), theirs.rows()
        return left["order_id"] == right["order_id"] and all(
            np.array_equal(left[name], right[name])
            for name in ("side", "price_mantissa", "size_mantissa")
        )

    def _queues(self) -> Iterator[tuple[int, int, list[str]]]:
        """Yield side, price and queue of every level, in an order that books share."""
        for side in (BID, ASK):
            for price in sorted(self._levels[side]):
                yield side, price, list(self._levels[side][price])

    def _queue(self, side: int, price: int) -> list[tuple[str, int]]:
        """Return the orders of a price with their sizes, in queue order."""
        return [(order, self._orders[order][2]) for order in self._levels[side].get(price, ())]

    def _open(
        self, order_id: str, side: int, price: int, price_scale: int, size: int, size_scale: int
    ) -> None:
        if order_id in self._orders:
            self._remove(order_id)
            self.oddities.replaced += 1
        # Hidden orders are announced without price or size and rest in no public book.
        if not price or not size or price_scale < 0 or size_scale < 0:
            return
        if side not in (BID, ASK):
            raise ValueError(f"a resting order has side 0 or 1, not {side}")
        price = self._price_key(price, price_scale)
        size = self._size_key(size, size_scale)
        self._orders[order_id] = (side, price, size)
        levels = self._levels[side]
        if price in levels:
            levels[price][order_id] = None
        else:
            levels[price] = {order_id: None}

    def _match(self, order_id: str, size: int, size_scale: int) -> None:
        if order_id not in self._orders:
            self.oddities.unknown_makers += 1
            return
        traded = self._size_key(size, size_scale)  # may rescale, so before the order is read
        side, price, resting = self._orders[order_id]
        if traded < resting:
            self._orders[order_id] = (side, price, resting - traded)
            return
        if traded > resting:
            self.oddities.overfilled += 1
        self._remove(order_id)

    def _change(self, order_id: str, size: int, size_scale: int) -> None:
        if order_id not in self._orders or size_scale < 0:
            self.oddities.unknown_changes += 1
        elif size:
            changed = self._size_key(size, size_scale)  # may rescale, as above
            side, price, _ = self._orders[order_id]
            self._orders[order_id] = (side, price, changed)
        else:
            self._remove(order_id)

    def _remove(self, order_id: str) -> bool:
        """Take a resting order out of the book; False if there was none."""
        order = self._orders.pop(order_id, None)
        if order is None:
            return False
        side, price, _ = order
        levels = self._levels[side]
        queue = levels[price]
        del queue[order_id]
        if not queue:
            del levels[price]
        return True

    def _price_key(self, price: int, scale: int) -> int:
        if scale == self.price_scale:
            return price
        if scale > self.price_scale:
            self._rescale(scale, self.size_scale)
        return align(price, scale, self.price_scale)

    def _size_key(self, size: int, scale: int) -> int:
        if scale == self.size_scale:
            return size
        if scale > self.size_scale:
            self._rescale(self.price_scale, scale)
        return align(size, scale, self.size_scale)

    def _rescale(self, price_scale: int, size_scale: int) -> None:
        """Bring every order to finer scales, all or nothing."""
        orders = {
            order_id: (
                side,
                align(price, self.price_scale, price_scale),
                align(size, self.size_scale, size_scale),
            )
            for order_id, (side, price, size) in self._orders.items()
        }
        bids, asks = (
            {align(price, self.price_scale, price_scale): queue for price, queue in levels.items()}
            for levels in self._levels
        )
        self._orders, self._levels = orders, (bids, asks)
        self.price_scale, self.size_scale = price_scale, size_scale


def _tell_order(place: int, order: tuple[str, int] | None, size_scale: int) -> str:
    """Say what stands at one place of a queue."""
    if order is None:
        return f"nobody at place {place}"
    return f"{order[0]} with {format_fixed(order[1], size_scale)} at place {place}"
