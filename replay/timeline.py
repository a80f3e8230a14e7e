"""Where one book stream is known: its intervals, the full books inside, the gaps between.

Pure: it answers from a catalog snapshot and reads no rows. A *slice* is the stretch of one
interval from a full book to just before the next: the unit of seeking and of parallel work.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass

from replay.catalog import FullBook, Interval, Snapshot
from replay.errors import BookUnknown, Gap, OutsideArchive, PartDamaged, UnknownSymbol
from schemas.timestamps import format_iso

SEEDS = ("rest", "keyframe")


@dataclass(frozen=True, slots=True)
class Slice:
    """Rows of one interval between two full books.

    `seed` is the book before them; rows have ordinals in (seed.ordinal, ordinal_last]; none where
    two full books stand at one ordinal, as when a partial book was seeded again in silence.
    `following` is the full book they end at, None at the end of the interval. `is_first` says that
    the interval begins here.
    """

    interval: Interval
    seed: FullBook
    following: FullBook | None
    gap: Gap | None
    is_first: bool

    @property
    def ordinal_last(self) -> int:
        """Ordinal of the last row."""
        return self.following.ordinal if self.following else self.interval.ordinal_last

    @property
    def ts_to(self) -> int:
        """Known time of the last row."""
        return self.following.ts if self.following else self.interval.ts_to

    @property
    def is_last(self) -> bool:
        """Whether the interval ends here."""
        return self.following is None


class Timeline:
    """What the catalog knows about one book stream of one symbol.

    Raises
    ------
    UnknownSymbol   when the stream was never covered
    """

    def __init__(self, snapshot: Snapshot, symbol: str, stream: str) -> None:
        self.symbol, self.stream = symbol, stream
        self.intervals = snapshot.intervals.get((symbol, stream), [])
        self.gaps = snapshot.gaps.get((symbol, stream), [])
        if not self.intervals:
            covered = sorted({name for name, kind in snapshot.intervals if kind == stream})
            what = "level-3 books" if stream == "l3" else "level-2 books"
            raise UnknownSymbol(symbol, tuple(covered), what)
        self._slices = [
            self._cut(snapshot, interval, self._gap_after(interval)) for interval in self.intervals
        ]

    def _gap_after(self, interval: Interval) -> Gap | None:
        for gap in self.gaps:
            if gap.run_id == interval.run_id and gap.ordinal_from == interval.ordinal_last:
                return gap
        for gap in self.gaps:  # a gap told by another run, after a crash
            if gap.ts_from >= interval.ts_to:
                return gap
        return None

    def _cut(self, snapshot: Snapshot, interval: Interval, gap: Gap | None) -> list[Slice]:
        seeds = [
            book
            for book in snapshot.full_books.get((self.symbol, self.stream, interval.run_id), [])
            if book.origin in SEEDS
            and interval.ordinal_first <= book.ordinal <= interval.ordinal_last
        ]
        if not seeds or seeds[0].ordinal != interval.ordinal_first:
            raise PartDamaged(
                "catalog",
                f"{self.symbol} {self.stream} has no full book at ordinal "
                f"{interval.ordinal_first} of run {interval.run_id}, where an interval begins",
            )
        following: list[FullBook | None] = [*seeds[1:], None]
        return [
            Slice(interval, seed, after, gap, is_first=at == 0)
            for at, (seed, after) in enumerate(zip(seeds, following, strict=True))
        ]

    @property
    def slices(self) -> list[list[Slice]]:
        """Slices of each interval, in order."""
        return self._slices

    def at_time(self, ts: int) -> Slice:
        """Return the slice that holds the book at a time.

        Raises
        ------
        BookUnknown      inside a gap
        OutsideArchive   before the first or after the last known book
        """
        starts = [interval.ts_from for interval in self.intervals]
        index = bisect_right(starts, ts) - 1
        if index < 0:
            raise self._outside(format_iso(ts))
        interval, slices = self.intervals[index], self._slices[index]
        if ts > interval.ts_to:
            gap = slices[-1].gap
            if gap is not None and (gap.ts_to is None or ts < gap.ts_to) and ts > gap.ts_from:
                raise BookUnknown(self.symbol, self.stream, format_iso(ts), gap)
            raise self._outside(format_iso(ts))
        at = bisect_right([piece.seed.ts for piece in slices], ts) - 1
        return slices[max(at, 0)]

    def at_sequence(self, n: int) -> list[Slice]:
        """Return the slices of the newest interval that holds sequence n, up to the one with n.

        The last holds the answer unless its seed ends in the middle of a message: then the one
        before does.

        Raises
        ------
        BookUnknown      inside a gap
        OutsideArchive   in no interval
        """
        for interval, slices in zip(reversed(self.intervals), reversed(self._slices), strict=True):
            if _holds(interval, n):
                at = bisect_right([piece.seed.sequence for piece in slices], n)
                return slices[: max(at, 1)]
        for gap in reversed(self.gaps):
            expected, received = gap.sequence_expected, gap.sequence_received
            if expected is not None and expected <= n and (received is None or n < received):
                raise BookUnknown(self.symbol, self.stream, f"sequence {n}", gap)
        raise self._outside(f"sequence {n}")

    def _outside(self, asked: str) -> OutsideArchive:
        first, last = self.intervals[0], self.intervals[-1]
        hint = (
            f"books are known from {format_iso(first.ts_from)} (sequence {first.sequence_first}) "
            f"to {format_iso(last.ts_to)} (sequence {last.sequence_last})"
        )
        if last.is_open:
            hint += " and the recorder goes on; `recorder job roll` publishes what it holds"
        return OutsideArchive(self.symbol, self.stream, asked, hint)

    def check_range(self, ts_from: int | None, ts_to: int | None) -> None:
        """Refuse a range [ts_from, ts_to) that meets nothing recorded.

        Raises
        ------
        OutsideArchive   when it ends before the first or starts after the last known book
        """
        if ts_to is not None and ts_to <= self.intervals[0].ts_from:
            raise self._outside(f"a range ending at {format_iso(ts_to)}")
        last = self.intervals[-1].ts_to
        if ts_from is not None and ts_from > last:
            raise self._outside(f"a range starting at {format_iso(ts_from)}")

    def between(self, ts_from: int | None, ts_to: int | None) -> list[Slice]:
        """Return the slices that say anything about [ts_from, ts_to), in order.

        The first holds the book at `ts_from` where that is known.
        """
        chosen = []
        for slices in self._slices:
            for piece in slices:
                if ts_to is not None and piece.seed.ts >= ts_to:
                    break
                ended = piece.following.ts if piece.following else None
                if ended is None and ts_from is not None and piece.interval.ts_to < ts_from:
                    continue
                if ended is not None and ts_from is not None and ended <= ts_from:
                    continue
                chosen.append(piece)
        return chosen


def _holds(interval: Interval, n: int) -> bool:
    first, last = interval.sequence_first, interval.sequence_last
    return first is not None and last is not None and first <= n <= last


def timeline(snapshot: Snapshot, symbol: str, stream: str) -> Timeline:
    """Return the timeline of a stream, made once per snapshot."""
    key = ("timeline", symbol, stream)
    found = snapshot.memo.get(key)
    if found is None:
        found = snapshot.memo[key] = Timeline(snapshot, symbol, stream)
    assert isinstance(found, Timeline)
    return found
