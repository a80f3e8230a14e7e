"""Proof by replay: every full book of the record against the book replayed to it from Parquet.

The recorder wrote keyframes and audits from its own books and from the venue; the kernels here
were written apart from those. Where both agree, neither is likely to be wrong.
"""

from __future__ import annotations

import operator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from replay.catalog import FullBook
from replay.comparison import EMPTY, PARTIAL, SIDES, WHOLE, Comparison, compare_books
from replay.engine import Engine, SliceReplay
from replay.errors import PartDamaged, ReplayError, SnapshotExpired
from replay.rows import L2Rows, L3Rows
from replay.slice_replay import L2Replay, L3Replay
from replay.timeline import Slice, Timeline, timeline
from schemas.datasets import BOOK_STREAMS

DIFFERENCES_MAX = 20
POINTS_PER_SLICE = 16
"""Sequences at which level 3 is compared with level 2 in each slice of level 3, besides its end."""


@dataclass(frozen=True, slots=True)
class Difference:
    """One thing that is not as it should be."""

    symbol: str
    stream: str
    what: str
    run_id: str
    sequence: int | None
    detail: str


@dataclass
class Report:
    """What was compared and what differed. `differences` keeps the first of them only."""

    counts: dict[str, dict[str, int]] = field(default_factory=dict)
    differences: list[Difference] = field(default_factory=list)
    unequal: int = 0

    @property
    def ok(self) -> bool:
        """Whether nothing differed."""
        return self.unequal == 0

    def add(self, what: str, result: str, count: int = 1) -> None:
        """Count a comparison.

        `result` is equal, unequal or inconclusive; how deep it went: whole, partial (inside what
        both books know) or empty (no level there, so nothing was compared); or rows checked.
        """
        into = self.counts.setdefault(what, {"equal": 0, "unequal": 0, "inconclusive": 0})
        into[result] = into.get(result, 0) + count

    def differ(self, difference: Difference) -> None:
        """Note a difference."""
        self.unequal += 1
        if len(self.differences) < DIFFERENCES_MAX:
            self.differences.append(difference)

    def lines(self) -> list[str]:
        """Return the report as lines for a reader."""
        told = []
        for what, counts in self.counts.items():
            words = [
                f"{count} {word}"
                for word, count in counts.items()
                if count and word not in (WHOLE, PARTIAL, EMPTY)
            ]
            if counts.get(PARTIAL):
                words.append(f"{counts[PARTIAL]} of them inside a known depth")
            if counts.get(EMPTY):
                words.append(f"{counts[EMPTY]} with nothing known in common")
            told.append(f"{what}: {', '.join(words) or 'none'}")
        told += [
            f"DIFFERENT {difference.symbol} {difference.stream} {difference.what} "
            f"at sequence {difference.sequence} of run {difference.run_id}: {difference.detail}"
            for difference in self.differences
        ]
        if self.unequal > len(self.differences):
            told.append(f"and {self.unequal - len(self.differences)} more")
        told.append("equal" if self.ok else f"{self.unequal} differences")
        return told

    def to_json(self) -> dict[str, Any]:
        """Return JSON-ready values."""
        return {
            "ok": self.ok,
            "unequal": self.unequal,
            "compared": self.counts,
            "differences": [
                {name: getattr(difference, name) for name in Difference.__slots__}
                for difference in self.differences
            ],
        }


def verify(engine: Engine) -> Report:
    """Replay every covered slice and compare.

    Compared are keyframes, audits, level 3 summed up against level 2 at equal sequences, and the
    rows themselves: dense ordinals, times that do not run back, sequences that follow. Partial
    books are compared inside what both know, and inside an interval none may know less than before.

    Returns
    -------
    Report   damaged or missing parts are differences too, not exceptions

    Raises
    ------
    SnapshotExpired   retention removed what was still to be compared
    """
    report = Report()
    for symbol, stream in sorted(engine.snapshot.intervals):
        if stream in BOOK_STREAMS:
            _verify_stream(engine, symbol, stream, report)
    for symbol, stream in sorted(engine.snapshot.intervals):
        if stream == "l3" and (symbol, "l2") in engine.snapshot.intervals:
            _verify_levels(engine, symbol, report)
    return report


def _verify_stream(engine: Engine, symbol: str, stream: str, report: Report) -> None:
    try:
        line = timeline(engine.snapshot, symbol, stream)
    except PartDamaged as error:
        report.differ(Difference(symbol, stream, "catalog", "", None, str(error)))
        return
    for slices in line.slices:
        for piece in slices:
            try:
                replay = engine.load(piece)
                _check_rows(piece, replay, report)
                _check_audits(engine, piece, replay, report)
                replay.move_to(replay.all_rows())
                _check_keyframe(engine, piece, replay, report)
            except ReplayError as error:
                _unless_expired(engine, error)
                run_id, n = piece.interval.run_id, piece.seed.sequence
                report.differ(Difference(symbol, stream, "rows", run_id, n, str(error)))


def _unless_expired(engine: Engine, error: ReplayError) -> None:
    """Pass on that retention took a part meanwhile: only a part still named is lost."""
    if isinstance(error, SnapshotExpired) and not engine.names_still(error.path):
        raise error


def _check_rows(piece: Slice, replay: SliceReplay, report: Report) -> None:
    """Check that rows are dense, ordered and follow each other's sequences."""
    rows, interval = replay.rows, piece.interval
    stream = interval.stream
    problems = [
        ("ordinals are not dense", _first_bad(np.diff(rows.ordinal) != 1)),
        ("known times run back", _first_bad(np.diff(rows.known) < 0)),
        ("sequences do not follow", _first_hole(rows, replay.seed.sequence)),
    ]
    if len(rows) and not bool(rows.is_last[-1]):
        problems.append(("the last message is incomplete", len(rows) - 1))
    for what, at in problems:
        if at is not None:
            report.differ(
                Difference(
                    interval.symbol, stream, "rows", interval.run_id,
                    int(rows.sequence[at]), f"{what} at ordinal {int(rows.ordinal[at])}",
                )
            )  # fmt: skip
    report.add(f"{stream} rows", "checked", len(rows))


def _first_bad(bad: np.ndarray[Any, np.dtype[np.bool_]]) -> int | None:
    found = np.flatnonzero(bad)
    return int(found[0]) + 1 if len(found) else None


def _first_hole(rows: L2Rows | L3Rows, before: int) -> int | None:
    """Return the first row whose message does not begin where the one before it ended.

    Overlap is legal after a snapshot and in the venue's later dialect; a hole never is, nor a
    message that brings nothing new.
    """
    if isinstance(rows, L3Rows):
        taking = np.flatnonzero(~rows.exempt)
        ends = np.concatenate(([before], rows.sequence[taking]))
        found = np.flatnonzero(ends[1:] != ends[:-1] + 1)
        return int(taking[found[0]]) if len(found) else None
    ends_at = np.flatnonzero(rows.is_last)
    ends = np.concatenate(([before], rows.sequence_end[ends_at]))
    starts = rows.sequence_start[ends_at]
    found = np.flatnonzero((starts > ends[:-1] + 1) | (ends[1:] <= ends[:-1]))
    return int(ends_at[found[0]]) if len(found) else None


def _check_keyframe(engine: Engine, piece: Slice, replay: SliceReplay, report: Report) -> None:
    if piece.following is None:
        return
    _compare(engine, replay, piece.following, report, "keyframes")
    written = engine.standing(piece.following, replay)
    for side, better in ((0, operator.gt), (1, operator.lt)):
        before, after = replay.known_to(side), written.known_to(side)
        if after is not None and (before is None or better(after, before)):
            known = "whole" if before is None else f"known to {before:f}"
            report.differ(
                Difference(
                    piece.interval.symbol, piece.interval.stream, "keyframes",
                    piece.interval.run_id, piece.following.sequence,
                    f"{SIDES[side]} known to {after:f} only, and {known} before it",
                )
            )  # fmt: skip


def _check_audits(engine: Engine, piece: Slice, replay: SliceReplay, report: Report) -> None:
    """Compare audits whose sequence lies in this slice; the slice moves along."""
    interval = piece.interval
    key = (interval.symbol, interval.stream, interval.run_id)
    first = replay.seed.sequence
    last = int(replay.rows.sequence_end[-1]) if len(replay) else first
    audits = [
        book
        for book in engine.snapshot.full_books.get(key, [])
        if book.origin == "audit"
        and interval.ordinal_first <= book.ordinal <= interval.ordinal_last
    ]
    for audit in sorted(audits, key=lambda book: book.sequence):
        low, high = interval.sequence_first or 0, interval.sequence_last or 0
        if not low <= audit.sequence <= high:
            if piece.is_first:  # counted once an interval
                report.add("audits", "inconclusive")
            continue
        # A keyframe belongs to the slice it ends, so the first sequence of any but the first
        # slice was looked at by the one before.
        if not (first < audit.sequence <= last or (piece.is_first and audit.sequence == first)):
            continue
        replay.move_to(replay.rows_up_to_sequence(audit.sequence))
        if replay.moment()[2] != audit.sequence:
            report.add("audits", "inconclusive")  # in the middle of a message
            continue
        _compare(engine, replay, audit, report, "audits")


def _compare(
    engine: Engine, replay: SliceReplay, full: FullBook, report: Report, what: str
) -> None:
    replayed, written = (book.book(full.symbol) for book in (replay, engine.standing(full, replay)))
    detail = _counted(report, what, compare_books(replayed, written))
    if detail is not None:
        report.differ(
            Difference(full.symbol, full.stream, what, full.run_id, full.sequence, detail)
        )


def _counted(report: Report, what: str, outcome: Comparison) -> str | None:
    """Count a comparison; return its difference."""
    report.add(what, outcome.depth)
    if outcome.depth != EMPTY:
        report.add(what, "equal" if outcome.difference is None else "unequal")
    return outcome.difference


def _verify_levels(engine: Engine, symbol: str, report: Report) -> None:
    """Sum level 3 up and compare it with level 2 at sequences where both are known."""
    try:
        lines = [timeline(engine.snapshot, symbol, stream) for stream in BOOK_STREAMS]
    except PartDamaged:
        return  # told already
    l2, l3 = lines
    for slices in l3.slices:
        for piece in slices:
            try:
                _compare_levels(engine, l2, piece, report)
            except ReplayError as error:
                _unless_expired(engine, error)
                run_id, n = piece.interval.run_id, piece.seed.sequence
                report.differ(Difference(symbol, "l3", "l3 = l2", run_id, n, str(error)))


def _compare_levels(engine: Engine, l2: Timeline, piece: Slice, report: Report) -> None:
    orders = engine.load(piece)
    assert isinstance(orders, L3Replay)
    low, high = orders.seed.sequence, orders.seed.sequence
    if len(orders):
        high = int(orders.rows.sequence[-1])
    for slices in l2.slices:
        for other in slices:
            first = other.seed.sequence
            last = other.following.sequence if other.following else other.interval.sequence_last
            if last is None or last < low or first > high:
                continue
            levels = engine.load(other)
            assert isinstance(levels, L2Replay)
            ends = levels.rows.sequence_end[levels.rows.is_last]
            ends = np.unique(np.append(ends, levels.seed.sequence))
            ends = ends[(ends >= low) & (ends <= high)]
            if len(ends) > POINTS_PER_SLICE:
                ends = ends[np.linspace(0, len(ends) - 1, POINTS_PER_SLICE).astype(np.int64)]
            for n in ends.tolist():
                _compare_at(piece, orders, levels, n, report)
            if orders.position:  # the next level-2 slice may begin before this one's last point
                orders = engine.load(piece)
                assert isinstance(orders, L3Replay)


def _compare_at(piece: Slice, orders: L3Replay, levels: L2Replay, n: int, report: Report) -> None:
    orders.move_to(orders.rows_up_to_sequence(n))
    levels.move_to(levels.rows_up_to_sequence(n))
    if orders.moment()[2] != n or levels.moment()[2] != n:
        report.add("l3 = l2", "inconclusive")
        return
    symbol = piece.interval.symbol
    outcome = compare_books(orders.book(symbol), levels.book(symbol), levels_only=True)
    detail = _counted(report, "l3 = l2", outcome)
    if detail is not None:
        detail = detail.replace("replayed", "from orders").replace("written", "from levels")
        report.differ(Difference(symbol, "l3", "l3 = l2", piece.interval.run_id, n, detail))
