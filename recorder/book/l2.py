"""The live level-2 book: two dictionaries from price to size, and how far it is known.

A book seeded by the best hundred levels a side is exact down to the worst bid of its seed and up
to the worst ask: the bounds. Beyond them it has only what changes told.
"""

from __future__ import annotations

from heapq import heapify, heappop, heappush
from typing import Any

import numpy as np

from recorder.book.columns import Columns, align, aligned, column
from schemas.datasets import ASK, BID
from schemas.fixed_point import INT64_MAX, format_fixed

# A heap of prices keeps those that left the book until they surface. Beyond this many for every
# live level it is built anew, which bounds it and costs little per change.
_HEAP_SLACK = 4
_HEAP_MIN = 256

# Bounds of a side that is whole, as price mantissas: below every bid, above every ask.
_NO_BID_BOUND = -1
_NO_ASK_BOUND = INT64_MAX + 1

Number = tuple[int, int]  # mantissa, scale


class BooksDiffer(ValueError):
    """Two books at the same sequence that are not equal where both are known.

    Attributes
    ----------
    side : int     0 bid, 1 ask
    price : str    the first such level, from the touch
    mine, theirs : str   its size in each book, "0" where there is none; of level 3 the first
        order in its queue that is another one
    deepest : dict[int, str]   by side that differs, the level farthest from the touch that does
    """

    def __init__(
        self,
        side: int,
        price: str,
        mine: str,
        theirs: str,
        deepest: dict[int, str] | None = None,
    ) -> None:
        self.deepest = deepest or {side: price}
        self.side = side
        self.price = price
        self.mine = mine
        self.theirs = theirs
        word = "bid" if side == BID else "ask"
        super().__init__(f"the {word} at {price} is {mine} in one book, {theirs} in the other")


class L2Book:
    """Sizes by price, both sides, at one scale for prices and one for sizes.

    Attributes
    ----------
    sequence : int
        Where the book stands; after `apply`, the `sequence_end` of the last row.
    price_scale, size_scale : int
        The finest scales met since the last `load`.
    absent_removals : int
        Removals of levels that were not there. Harmless: the venue sends them.
    """

    __slots__ = (
        "_ask_to",
        "_asks",
        "_best_asks",
        "_best_bids",
        "_bid_from",
        "_bids",
        "_known_asks",
        "_known_bids",
        "absent_removals",
        "price_scale",
        "sequence",
        "size_scale",
    )

    def __init__(self) -> None:
        self.sequence = 0
        self.price_scale = 0
        self.size_scale = 0
        self.absent_removals = 0
        self._bids: dict[int, int] = {}
        self._asks: dict[int, int] = {}
        self._bid_from = _NO_BID_BOUND
        self._ask_to = _NO_ASK_BOUND
        # Levels at or inside the bounds: counted as they come and go, so that asking is free.
        self._known_bids = 0
        self._known_asks = 0
        # Heaps of prices, best first, bids negated. Every live price is in its heap at least once.
        self._best_bids: list[int] = []
        self._best_asks: list[int] = []

    def __getstate__(self) -> tuple[Any, ...]:
        """Return the book as a few arrays: a checkpoint holds a thousand books."""
        return (
            (self.sequence, self.price_scale, self.size_scale, self.absent_removals),
            (self._bid_from, self._ask_to),
            *(
                np.fromiter(numbers, np.int64, len(levels))
                for levels in (self._bids, self._asks)
                for numbers in (levels.keys(), levels.values())
            ),
        )

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        """Take up what `__getstate__` returned."""
        numbers, bounds, bids, bid_sizes, asks, ask_sizes = state
        self.sequence, self.price_scale, self.size_scale, self.absent_removals = numbers
        self._bid_from, self._ask_to = bounds
        self._bids = dict(zip(bids.tolist(), bid_sizes.tolist(), strict=True))
        self._asks = dict(zip(asks.tolist(), ask_sizes.tolist(), strict=True))
        self._count_known()
        self._build_heaps()

    @property
    def levels(self) -> int:
        """Number of live levels, both sides."""
        return len(self._bids) + len(self._asks)

    @property
    def known_bid_from(self) -> Number | None:
        """Lowest price down to which bids are exact; None: all of them are."""
        return None if self._bid_from == _NO_BID_BOUND else (self._bid_from, self.price_scale)

    @property
    def known_ask_to(self) -> Number | None:
        """Highest price up to which asks are exact; None: all of them are."""
        return None if self._ask_to == _NO_ASK_BOUND else (self._ask_to, self.price_scale)

    @property
    def known_left(self) -> int | None:
        """Levels from the touch to the nearer bound, by their number; None: the book is whole."""
        bids = None if self._bid_from == _NO_BID_BOUND else self._known_bids
        asks = None if self._ask_to == _NO_ASK_BOUND else self._known_asks
        if bids is None or asks is None:
            return asks if bids is None else bids
        return min(bids, asks)

    def load(
        self,
        columns: Columns,
        sequence: int,
        known_bid_from: Number | None = None,
        known_ask_to: Number | None = None,
    ) -> None:
        """Replace the whole book.

        Parameters
        ----------
        columns : Columns
            `side, price_mantissa, price_scale, size_mantissa, size_scale`, in any order of rows;
            sizes of 0 are left out.
        sequence : int
            Where the full book stands.
        known_bid_from, known_ask_to : (mantissa, scale) or None
            How far the rows are all there is; None: the side is whole.

        Raises
        ------
        BookOverflow   if its numbers fit no common scale; the book is then unchanged
        """
        fresh = L2Book()
        for side, price, size in fresh._rows(columns, 0, None):
            if side not in {BID, ASK}:
                raise ValueError(f"a level has side 0 or 1, not {side}")
            if size:
                (fresh._bids if side == BID else fresh._asks)[price] = size
        fresh._bound(known_bid_from, known_ask_to)
        self.sequence = sequence
        self.price_scale, self.size_scale = fresh.price_scale, fresh.size_scale
        self._bids, self._asks = fresh._bids, fresh._asks
        self._bid_from, self._ask_to = fresh._bid_from, fresh._ask_to
        self._count_known()
        self._build_heaps()

    def apply(self, columns: Columns, first: int = 0, last: int | None = None) -> None:
        """Apply rows in order: price 0 only advances, size 0 removes, else the size is set.

        Parameters
        ----------
        columns : Columns
            `sequence_end, side, price_mantissa, price_scale, size_mantissa, size_scale`.
        first, last : int
            Rows `first` up to, not including, `last`; they should end where a message ends.

        Raises
        ------
        BookOverflow   if a number fits no common scale; no level is then changed
        """
        ends = columns["sequence_end"][first:last]
        if not len(ends):
            return
        rows = self._rows(columns, first, last)  # may rescale, so before the levels are read
        bids, asks = self._bids, self._asks
        best_bids, best_asks = self._best_bids, self._best_asks
        bid_from, ask_to = self._bid_from, self._ask_to
        known_bids, known_asks = self._known_bids, self._known_asks
        absent = 0
        for side, price, size in rows:
            if not price:
                continue
            if side == BID:
                if size:
                    if price not in bids:
                        heappush(best_bids, -price)
                        known_bids += price >= bid_from
                    bids[price] = size
                elif bids.pop(price, None) is None:
                    absent += 1
                else:
                    known_bids -= price >= bid_from
            elif side == ASK:
                if size:
                    if price not in asks:
                        heappush(best_asks, price)
                        known_asks += price <= ask_to
                    asks[price] = size
                elif asks.pop(price, None) is None:
                    absent += 1
                else:
                    known_asks -= price <= ask_to
            else:
                raise ValueError(f"a level has side 0 or 1, not {side}")
        self._known_bids, self._known_asks = known_bids, known_asks
        self.absent_removals += absent
        self.sequence = int(ends[-1])
        if len(best_bids) + len(best_asks) > _HEAP_SLACK * self.levels + _HEAP_MIN:
            self._build_heaps()

    def best_bid(self) -> tuple[int, int] | None:
        """Return price and size mantissas of the highest bid, None if there is none."""
        heap = self._best_bids
        while heap:
            if (size := self._bids.get(-heap[0])) is not None:
                return -heap[0], size
            heappop(heap)
        return None

    def best_ask(self) -> tuple[int, int] | None:
        """Return price and size mantissas of the lowest ask, None if there is none."""
        heap = self._best_asks
        while heap:
            if (size := self._asks.get(heap[0])) is not None:
                return heap[0], size
            heappop(heap)
        return None

    @property
    def crossed(self) -> bool:
        """Whether the best bid is at or above the best ask."""
        bid, ask = self.best_bid(), self.best_ask()
        return bid is not None and ask is not None and bid[0] >= ask[0]

    @property
    def known_crossed(self) -> bool:
        """Whether it is crossed by levels inside the bounds, which the venue's book has, too."""
        bid, ask = self.best_bid(), self.best_ask()
        if bid is None or ask is None or bid[0] < ask[0]:
            return False
        return bid[0] >= self._bid_from and ask[0] <= self._ask_to

    def rows(self) -> dict[str, Any]:
        """Return the book as columns: bids high to low, then asks low to high.

        Returns
        -------
        dict[str, ndarray]
            `side` int8, `price_mantissa` int64, `price_scale` int8, `size_mantissa` int64,
            `size_scale` int8; owned by the caller.
        """
        bids = sorted(self._bids.items(), reverse=True)
        asks = sorted(self._asks.items())
        total = self.levels
        return {
            "side": np.repeat(np.array([BID, ASK], np.int8), [len(bids), len(asks)]),
            "price_mantissa": np.array([price for price, _ in bids + asks], np.int64),
            "price_scale": np.full(total, self.price_scale, np.int8),
            "size_mantissa": np.array([size for _, size in bids + asks], np.int64),
            "size_scale": np.full(total, self.size_scale, np.int8),
        }

    def fork(self) -> L2Book:
        """Return an independent copy, to follow a stream up to an audit's sequence."""
        copy = L2Book()
        copy.sequence = self.sequence
        copy.price_scale, copy.size_scale = self.price_scale, self.size_scale
        copy.absent_removals = self.absent_removals
        copy._bids, copy._asks = self._bids.copy(), self._asks.copy()
        copy._best_bids, copy._best_asks = self._best_bids.copy(), self._best_asks.copy()
        copy._bid_from, copy._ask_to = self._bid_from, self._ask_to
        copy._known_bids, copy._known_asks = self._known_bids, self._known_asks
        return copy

    def widen(self, other: L2Book) -> None:
        """Take over what another book at the same sequence knows beyond our bounds.

        Inside its bounds the other book is the truth, beyond them ours stays as it is; of two
        bounds the wider one holds from now on.

        Raises
        ------
        BooksDiffer    if the two are not equal inside both bounds; this book keeps its levels
        BookOverflow   if their numbers fit no common scale; this book is then unchanged
        """
        theirs = other.fork()
        self._compare(theirs)
        bid_from, ask_to = theirs._bid_from, theirs._ask_to
        bids = {price: size for price, size in self._bids.items() if price < bid_from}
        asks = {price: size for price, size in self._asks.items() if price > ask_to}
        bids.update((price, size) for price, size in theirs._bids.items() if price >= bid_from)
        asks.update((price, size) for price, size in theirs._asks.items() if price <= ask_to)
        self._bids, self._asks = bids, asks
        self._bid_from = min(bid_from, self._bid_from)
        self._ask_to = max(ask_to, self._ask_to)
        self._count_known()
        self._build_heaps()

    def compare(self, other: L2Book) -> int:
        """Compare with another book at the same sequence, where both are known.

        Returns
        -------
        int   levels that are equal, both sides

        Raises
        ------
        BooksDiffer    naming the first level that is not, from the touch
        BookOverflow   if their numbers fit no common scale
        """
        return self.fork()._compare(other.fork())

    def same_levels(self, other: L2Book) -> bool:
        """Say whether both books have the same levels by value, whatever their scales."""
        mine, theirs = self.fork(), other.fork()
        price_scale = max(mine.price_scale, theirs.price_scale)
        size_scale = max(mine.size_scale, theirs.size_scale)
        mine._rescale(price_scale, size_scale)
        theirs._rescale(price_scale, size_scale)
        return mine._bids == theirs._bids and mine._asks == theirs._asks

    def _compare(self, other: L2Book) -> int:
        """Bring both books to common scales and compare them inside both bounds."""
        price_scale = max(self.price_scale, other.price_scale)
        size_scale = max(self.size_scale, other.size_scale)
        other._rescale(price_scale, size_scale)
        self._rescale(price_scale, size_scale)
        bid_from = max(self._bid_from, other._bid_from)
        ask_to = min(self._ask_to, other._ask_to)
        mine, theirs = (self._bids, self._asks), (other._bids, other._asks)
        bounds = (bid_from, ask_to)
        equal = 0
        wrong: dict[int, list[int]] = {}
        for side in (BID, ASK):
            sign = -1 if side == BID else 1
            known = [
                price
                for price in mine[side].keys() | theirs[side].keys()
                if sign * price <= sign * bounds[side]
            ]
            differing = [p for p in known if mine[side].get(p) != theirs[side].get(p)]
            if differing:
                wrong[side] = sorted(differing, reverse=side == BID)
            equal += len(known)
        if wrong:
            side = min(wrong)
            first = wrong[side][0]
            raise BooksDiffer(
                side,
                format_fixed(first, price_scale),
                format_fixed(mine[side].get(first, 0), size_scale),
                format_fixed(theirs[side].get(first, 0), size_scale),
                {each: format_fixed(prices[-1], price_scale) for each, prices in wrong.items()},
            )
        return equal

    def _bound(self, known_bid_from: Number | None, known_ask_to: Number | None) -> None:
        """Set the bounds; a price finer than every level makes the book finer."""
        given = [bound for bound in (known_bid_from, known_ask_to) if bound is not None]
        finest = max([self.price_scale, *(scale for _, scale in given)])
        if finest != self.price_scale:
            self._rescale(finest, self.size_scale)
        if known_bid_from is not None:
            self._bid_from = align(*known_bid_from, finest)
        if known_ask_to is not None:
            self._ask_to = align(*known_ask_to, finest)

    def _count_known(self) -> None:
        self._known_bids = sum(price >= self._bid_from for price in self._bids)
        self._known_asks = sum(price <= self._ask_to for price in self._asks)

    def _rows(self, columns: Columns, first: int, last: int | None) -> zip[tuple[int, int, int]]:
        """Return rows as (side, price, size) at scales of the book, made finer where needed."""
        prices = column(columns, "price_mantissa", first, last)
        price_scales = column(columns, "price_scale", first, last)
        sizes = column(columns, "size_mantissa", first, last)
        size_scales = column(columns, "size_scale", first, last)
        price_scale = max([self.price_scale, *price_scales])
        size_scale = max([self.size_scale, *size_scales])
        prices = aligned(prices, price_scales, price_scale)
        sizes = aligned(sizes, size_scales, size_scale)
        if (price_scale, size_scale) != (self.price_scale, self.size_scale):
            self._rescale(price_scale, size_scale)
        return zip(column(columns, "side", first, last), prices, sizes, strict=True)

    def _rescale(self, price_scale: int, size_scale: int) -> None:
        """Bring every level to finer scales, all or nothing."""
        bids, asks = (
            {
                align(price, self.price_scale, price_scale): align(
                    size, self.size_scale, size_scale
                )
                for price, size in levels.items()
            }
            for levels in (self._bids, self._asks)
        )
        bid_from, ask_to = self._bid_from, self._ask_to
        if bid_from != _NO_BID_BOUND:
            bid_from = align(bid_from, self.price_scale, price_scale)
        if ask_to != _NO_ASK_BOUND:
            ask_to = align(ask_to, self.price_scale, price_scale)
        self._bids, self._asks = bids, asks
        self._bid_from, self._ask_to = bid_from, ask_to
        self.price_scale, self.size_scale = price_scale, size_scale
        self._build_heaps()

    def _build_heaps(self) -> None:
        self._best_bids = [-price for price in self._bids]
        self._best_asks = list(self._asks)
        heapify(self._best_bids)
        heapify(self._best_asks)
