"""One slice replayed: a seed book, the rows after it, and a place between them.

The same four questions for both books: move to a row, follow the best prices, cut frames, give
the book. L2 and L3 differ in how rows change the book, so each has its class.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from replay.book import Book, BookSide, Int64s
from replay.errors import ScaleOverflow
from replay.kernels import book_l2, book_l3, frames
from replay.kernels.levels import BOUND, WHOLE, compact, count_live, new_levels, note_best
from replay.numbers import to_decimal
from replay.rows import NO_TIME, FullBookRows, L2Rows, L3Rows, Numbers

_CAPACITY_MIN = 1 << 10
_NEVER = np.iinfo(np.int64).min


@dataclass(frozen=True, slots=True)
class BestChanges:
    """Where the best bid or ask changed.

    Attributes
    ----------
    rows : int64[n]       row of each change
    bests : int64[n, 4]   bid price, bid size, ask price, ask size after it; size 0 is an empty
        side, `UNKNOWN` in both sizes a book whose best prices are not known
    """

    rows: Int64s
    bests: Int64s


@dataclass(frozen=True, slots=True)
class Frames:
    """Tops of a book: int64[k, 2, n] prices and sizes, int64[k, 2] levels present."""

    prices: Int64s
    sizes: Int64s
    counts: Int64s


class _SliceReplay:
    """What L2 and L3 share: scales, levels that grow, message ends."""

    level: int

    def __init__(
        self, seed: FullBookRows, rows: L2Rows | L3Rows, size: Numbers, queues: bool
    ) -> None:
        self.seed, self.rows = seed, rows
        bounds = [_as_numbers(bound) for bound in (seed.known_bid_from, seed.known_ask_to)]
        self.price_scale = max(
            seed.price.finest(), rows.price.finest(), *(bound.finest() for bound in bounds)
        )
        self.size_scale = max(seed.size.finest(), size.finest())
        self.position = 0
        """Rows applied so far."""
        self._price = rows.price.at(self.price_scale, "price")
        self._size = size.at(self.size_scale, "size")
        self._levels = new_levels(_capacity(len(seed)), queues)
        for side, bound in enumerate(bounds):
            for price in bound.at(self.price_scale, "known depth"):
                self._levels.counts[side, BOUND] = -price if side == 0 else price
        self._best = np.full(4, _NEVER, np.int64)
        self._ends = np.flatnonzero(rows.is_last)

    def __len__(self) -> int:
        return len(self.rows)

    def _grow(self) -> None:
        larger = new_levels(
            max(self._levels.table.shape[1], _capacity(2 * int(count_live(self._levels)))),
            self._levels.queues.shape[1] > 0,
        )
        compact(self._levels, larger)
        self._levels = larger

    def rows_known_at(self, ts: int) -> int:
        """Return how many rows belong to complete messages known at `ts` or before."""
        return self._complete(int(np.searchsorted(self.rows.known, ts, "right")))

    def rows_known_at_each(self, ts: Int64s) -> Int64s:
        """Return `rows_known_at` of many times."""
        known = np.searchsorted(self.rows.known, ts, "right")
        ended = np.searchsorted(self._ends, known, "left")
        return np.asarray(np.concatenate(([0], self._ends + 1))[ended], np.int64)

    def rows_known_before(self, ts: int) -> int:
        """Return how many rows belong to complete messages known before `ts`."""
        return self._complete(int(np.searchsorted(self.rows.known, ts, "left")))

    def rows_up_to_sequence(self, n: int) -> int:
        """Return how many rows belong to complete messages with `sequence_end` <= n."""
        ended = int(np.searchsorted(self.rows.sequence_end[self._ends], n, "right"))
        return int(self._ends[ended - 1]) + 1 if ended else 0

    def all_rows(self) -> int:
        """Return how many rows belong to complete messages."""
        return self._complete(len(self.rows))

    def _complete(self, count: int) -> int:
        ended = int(np.searchsorted(self._ends, count, "left"))
        return int(self._ends[ended - 1]) + 1 if ended else 0

    def moment(self) -> tuple[int, int | None, int]:
        """Return known time, event time and sequence of the book as it stands."""
        return self.moment_at(self.position)

    def moment_at(self, position: int) -> tuple[int, int | None, int]:
        """Return known time, event time and sequence after so many rows."""
        if position == 0:
            return self.seed.ts_known, self.seed.ts_event, self.seed.sequence
        row = position - 1
        ts_event = int(self.rows.ts_event[row])
        return (
            int(self.rows.known[row]),
            None if ts_event == NO_TIME else ts_event,
            int(self.rows.sequence_end[row]),
        )

    def best(self) -> Int64s:
        """Return bid price, bid size, ask price, ask size now: as `BestChanges` has them."""
        note_best(self._levels, self._best)
        return self._best.copy()

    def sides(self) -> list[tuple[Int64s, Int64s]]:
        """Return live (prices, sizes) of bids and asks, best first."""
        found = []
        for side in (0, 1):
            table = self._levels.table[side]
            live = table[table[:, 1] > 0]
            keys, sizes = live[:, 0], live[:, 1]
            order = np.argsort(keys)
            found.append((-keys[order] if side == 0 else keys[order], sizes[order]))
        return found

    def known_to(self, side: int) -> Decimal | None:
        """Return the worst price to which a side (0 bid, 1 ask) is exact; None: it is whole."""
        bound = int(self._levels.counts[side, BOUND])
        if bound == WHOLE:
            return None
        return to_decimal(-bound if side == 0 else bound, self.price_scale)

    @property
    def is_partial(self) -> bool:
        """Whether levels may be missing beyond a bound."""
        return bool((self._levels.counts[:, BOUND] != WHOLE).any())

    def are_known(self, side: int, prices: Int64s) -> npt.NDArray[np.bool_]:
        """Tell which prices lie inside the depth that the seed knew."""
        keys = -prices if side == 0 else prices
        return np.asarray(keys <= self._levels.counts[side, BOUND])

    def book(self, symbol: str) -> Book:
        """Return the book as it stands."""
        ts_recv, ts_event, sequence = self.moment()
        bids, asks = (
            self._book_side(side, prices, sizes)
            for side, (prices, sizes) in enumerate(self.sides())
        )
        return Book(symbol, self.level, sequence, ts_recv, ts_event, bids, asks)

    def _book_side(self, side: int, prices: Int64s, sizes: Int64s) -> BookSide:
        return BookSide(
            prices,
            sizes,
            self.price_scale,
            self.size_scale,
            self.are_known(side, prices),
            self.known_to(side),
        )


class L2Replay(_SliceReplay):
    """A level-2 slice."""

    level = 2

    def __init__(self, seed: FullBookRows, rows: L2Rows) -> None:
        super().__init__(seed, rows, rows.size, queues=False)
        self._side, self._is_last = rows.side, rows.is_last
        price = seed.price.at(self.price_scale, "price")
        size = seed.size.at(self.size_scale, "size")
        done = 0
        while (
            done := book_l2.apply_changes(self._levels, seed.side, price, size, done, len(seed))
        ) < len(seed):
            self._grow()
        note_best(self._levels, self._best)

    def move_to(self, stop: int) -> None:
        """Apply rows up to `stop`."""
        while self.position < stop:
            self.position = book_l2.apply_changes(
                self._levels, self._side, self._price, self._size, self.position, stop
            )
            if self.position < stop:
                self._grow()

    def follow_best(self, stop: int) -> BestChanges:
        """Apply rows up to `stop`, noting where messages change the best bid or ask."""
        note_best(self._levels, self._best)
        room = max(stop - self.position, 0)
        rows, bests = np.empty(room, np.int64), np.empty((room, 4), np.int64)
        found = 0
        while self.position < stop:
            self.position, found = book_l2.follow_best(
                self._levels, self._side, self._price, self._size, self._is_last,
                self.position, stop, self._best, rows, bests, found,
            )  # fmt: skip
            if self.position < stop:
                self._grow()
        return BestChanges(rows[:found], bests[:found])

    def frames(self, cuts: Int64s, n: int) -> Frames:
        """Apply rows, and give the n best levels a side after each (ascending) cut."""
        count = len(cuts)
        out = Frames(
            np.zeros((count, 2, n), np.int64),
            np.zeros((count, 2, n), np.int64),
            np.zeros((count, 2), np.int64),
        )
        frame = 0
        while frame < count:
            self.position, frame = frames.frames_l2(
                self._levels, self._side, self._price, self._size, self.position,
                cuts, frame, out.prices, out.sizes, out.counts,
            )  # fmt: skip
            if frame < count:
                self._grow()
        return out


class L3Replay(_SliceReplay):
    """A level-3 slice; order ids become dense codes for its length."""

    level = 3

    def __init__(self, seed: FullBookRows, rows: L3Rows) -> None:
        super().__init__(seed, rows, rows.amount, queues=True)
        coded = pc.dictionary_encode(
            pa.chunked_array([seed.order_id.cast(pa.string()), rows.order_id.cast(pa.string())])
        ).combine_chunks()
        if isinstance(coded, pa.ChunkedArray):
            coded = coded.chunk(0)
        self._names = coded.dictionary
        codes = np.asarray(coded.indices.fill_null(-1).to_numpy(zero_copy_only=False), np.int32)
        self._kind, self._side = rows.kind, rows.side
        self._order = codes[len(seed) :]
        self._orders = book_l3.new_orders(len(self._names))
        price = seed.price.at(self.price_scale, "price")
        size = seed.size.at(self.size_scale, "size")
        opens = np.full(len(seed), book_l3.OPEN, np.int8)
        done = 0
        while done < len(seed):
            done, status = book_l3.apply_events(
                self._levels, self._orders, opens, seed.side, codes[: len(seed)], price, size,
                done, len(seed),
            )  # fmt: skip
            self._make_room(status)
        note_best(self._levels, self._best)

    def _make_room(self, status: int) -> None:
        if status == book_l3.OVERFLOW:
            raise ScaleOverflow("size of a level", self.size_scale)
        if status == book_l3.NO_ROOM:
            self._grow()

    def move_to(self, stop: int) -> None:
        """Apply rows up to `stop`."""
        while self.position < stop:
            self.position, status = book_l3.apply_events(
                self._levels, self._orders, self._kind, self._side, self._order, self._price,
                self._size, self.position, stop,
            )  # fmt: skip
            self._make_room(status)

    def follow_best(self, stop: int) -> BestChanges:
        """Apply rows up to `stop`, noting where one changes the best bid or ask."""
        note_best(self._levels, self._best)
        room = max(stop - self.position, 0)
        rows, bests = np.empty(room, np.int64), np.empty((room, 4), np.int64)
        found = 0
        while self.position < stop:
            self.position, status, found = book_l3.follow_best_orders(
                self._levels, self._orders, self._kind, self._side, self._order, self._price,
                self._size, self.position, stop, self._best, rows, bests, found,
            )  # fmt: skip
            self._make_room(status)
        return BestChanges(rows[:found], bests[:found])

    def _book_side(self, side: int, prices: Int64s, sizes: Int64s) -> BookSide:
        resting = int(np.count_nonzero(self._orders.side == side))
        codes, levels = np.empty(resting, np.int32), np.empty(resting, np.int64)
        listed = book_l3.list_queues(self._levels, self._orders, side, prices, codes, levels)
        assert listed == resting, "every resting order stands in the queue of its level"
        names = tuple(self._names.take(pa.array(codes)).to_pylist())
        return BookSide(
            prices,
            sizes,
            self.price_scale,
            self.size_scale,
            self.are_known(side, prices),
            self.known_to(side),
            names,
            self._orders.size[codes],
            levels,
        )


def _as_numbers(bound: tuple[int, int] | None) -> Numbers:
    known = [] if bound is None else [bound]
    return Numbers(
        np.array([mantissa for mantissa, _ in known], np.int64),
        np.array([scale for _, scale in known], np.int8),
    )


def _capacity(levels: int) -> int:
    """Return a power of two with room for these levels and as many new ones."""
    return max(_CAPACITY_MIN, 1 << (4 * levels).bit_length())
