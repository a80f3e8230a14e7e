"""Rebuilt books against an exchange's own, sequence by sequence.

The file says what the exchange's books really were: JSON lines, plain or zstd, each
`{"symbol", "book": "l2" | "l3", "sequence", "bids", "asks"}` with rows `[price, size]`, at level 3
`[order_id, price, size]` in queue order, best first, all numbers as the shortest decimal text.

Where the record claims to know a book it must be that very book, to the bound of its known depth
where it has one; where it says that it does not, there must be a gap that says why.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import orjson
import zstandard

from replay.book import Book
from replay.comparison import (
    EMPTY,
    SIDES,
    WHOLE,
    Comparison,
    Row,
    common_bound,
    depth_of,
    first_difference,
    rows_inside,
)
from replay.engine import Engine, SliceReplay
from replay.errors import BadInput, BookUnknown, Gap, OutsideArchive, UnknownSymbol
from replay.timeline import Slice, Timeline

LEVEL_OF_BOOK = {"l2": 2, "l3": 3}
DIFFERENCES_MAX = 5


@dataclass
class TruthCount:
    """What became of the exchange's books of one symbol and level.

    Attributes
    ----------
    equal, unequal : int   compared, every row inside the known depth
    partial : int          of these, those whose depth has a bound: what lies beyond was marked
    empty : int            nothing was known: no level of either book inside the bound
    touch_unknown : int    best price of a side beyond its bound, and said to be unknown
    refused : int          inside a gap, and refused as they must be
    wrong : int            answered though a gap covers them, or refused though none does
    inconclusive : int     in the middle of a message that carries several changes
    outside : int          before the first or after the last recorded book
    differences : list     the first of them, in words
    """

    symbol: str
    book: str
    equal: int = 0
    unequal: int = 0
    partial: int = 0
    empty: int = 0
    touch_unknown: int = 0
    refused: int = 0
    wrong: int = 0
    inconclusive: int = 0
    outside: int = 0
    differences: list[str] = field(default_factory=list)

    @property
    def compared(self) -> int:
        """Books compared with the exchange's at the same sequence."""
        return self.equal + self.unequal

    def take(self, sequence: int, outcome: Comparison) -> None:
        """Count a comparison."""
        if outcome.difference is not None:
            self.unequal += 1
            self.differ(sequence, outcome.difference)
        elif outcome.depth == EMPTY:
            self.empty += 1
            return
        else:
            self.equal += 1
        self.partial += outcome.depth != WHOLE

    def differ(self, sequence: int, what: str) -> None:
        """Note what is not as it should be."""
        if len(self.differences) < DIFFERENCES_MAX:
            self.differences.append(f"sequence {sequence}: {what}")

    def to_json(self) -> dict[str, Any]:
        """Return JSON-ready values."""
        return {"symbol": self.symbol, "book": self.book, "compared": self.compared} | {
            name: getattr(self, name)
            for name in (
                "equal",
                "unequal",
                "partial",
                "empty",
                "touch_unknown",
                "refused",
                "wrong",
                "inconclusive",
                "outside",
                "differences",
            )
        }


@dataclass
class TruthReport:
    """Counts by symbol and book, in the order they came."""

    counts: list[TruthCount]

    @property
    def ok(self) -> bool:
        """Whether something was compared and nothing differed."""
        return any(count.compared for count in self.counts) and not any(
            count.unequal or count.wrong for count in self.counts
        )

    def lines(self) -> list[str]:
        """Return a line for each book, and one for each difference noted."""
        told = []
        for count in self.counts:
            told.append(
                f"{count.symbol} {count.book}: {count.compared} books compared with the exchange "
                f"at the same sequence, {count.equal} equal; {count.refused} refused inside gaps, "
                f"{count.wrong} wrongly known or unknown, {count.inconclusive} inside a message, "
                f"{count.outside} outside the record"
            )
            if count.partial or count.empty:
                told.append(
                    f"  {count.partial} of the compared inside their known depth, {count.empty} "
                    f"more with nothing known; {count.touch_unknown} times a best price was beyond "
                    "it and said to be unknown"
                )
            told += [f"  {difference}" for difference in count.differences]
        return told

    def to_json(self) -> dict[str, Any]:
        """Return JSON-ready values."""
        return {"ok": self.ok, "truth": [count.to_json() for count in self.counts]}


def check_truth(engine: Engine, path: Path) -> TruthReport:
    """Compare every book of the file that the archive claims to know, exactly, as deep as it does.

    Books of symbols or levels that were never recorded are left out.

    Raises
    ------
    BadInput   the file cannot be read, or a line is no book
    """
    walkers: dict[tuple[str, str], _Walker | None] = {}
    for truth in _read_lines(path):
        key = (truth["symbol"], truth["book"])
        if key not in walkers:
            walkers[key] = _open_walker(engine, *key)
        walker = walkers[key]
        if walker is not None:
            walker.take(truth)
    return TruthReport([walker.count for walker in walkers.values() if walker is not None])


class _Walker:
    """One book moving along with the file: sequences mostly ascend, so a slice is read once."""

    def __init__(self, engine: Engine, timeline: Timeline) -> None:
        self._engine = engine
        self._timeline = timeline
        self._piece: Slice | None = None
        self._replay: SliceReplay | None = None
        self.count = TruthCount(timeline.symbol, timeline.stream)

    def take(self, truth: dict[str, Any]) -> None:
        """Compare one book."""
        n, count = int(truth["sequence"]), self.count
        try:
            replay = self._at(n)
        except OutsideArchive:
            if self._is_between_recorded(n):
                count.wrong += 1
                count.differ(n, "refused, and no gap says why")
            else:
                count.outside += 1
            return
        except BookUnknown:
            count.refused += 1
            return
        if self._in_gap(n):
            count.wrong += 1
            count.differ(n, "answered, though it lies in a gap")
        elif replay.moment()[2] != n:
            count.inconclusive += 1
        else:
            book = replay.book(truth["symbol"])
            count.touch_unknown += not book.bbo.valid
            count.take(n, _compare(book, truth))

    def _at(self, n: int) -> SliceReplay:
        """Return the slice that holds sequence n, moved there."""
        for piece in reversed(self._timeline.at_sequence(n)):
            replay = self._load(piece, n)
            if replay.seed.sequence <= n or piece.is_first:
                break
        replay.move_to(replay.rows_up_to_sequence(n))
        return replay

    def _load(self, piece: Slice, n: int) -> SliceReplay:
        replay = self._replay
        if replay is None or piece is not self._piece or replay.moment()[2] > n:
            replay = self._engine.load(piece)
            self._piece, self._replay = piece, replay
        return replay

    def _in_gap(self, n: int) -> bool:
        return any(
            gap.sequence_expected is not None
            and gap.sequence_expected <= n
            and (gap.sequence_received is None or n < gap.sequence_received)
            and not self._was_known_before(n, gap)
            for gap in self._timeline.gaps
        )

    def _was_known_before(self, n: int, gap: Gap) -> bool:
        """Tell whether an earlier interval than the one that the gap ends knows sequence n.

        A book that was old when it was given steps back: what is missing behind it may be what
        was recorded before it.
        """
        before = [each for each in self._timeline.intervals if each.ts_from <= gap.ts_from]
        return any(
            each.sequence_first is not None
            and each.sequence_last is not None
            and each.sequence_first <= n <= each.sequence_last
            for each in before[:-1]
        )

    def _is_between_recorded(self, n: int) -> bool:
        known = [
            bound
            for interval in self._timeline.intervals
            for bound in (interval.sequence_first, interval.sequence_last)
            if bound is not None
        ]
        return bool(known) and min(known) <= n <= max(known)


def _open_walker(engine: Engine, symbol: str, book: str) -> _Walker | None:
    try:
        return _Walker(engine, engine.timeline(symbol, LEVEL_OF_BOOK[book]))
    except UnknownSymbol:
        return None


def _compare(book: Book, truth: dict[str, Any]) -> Comparison:
    """Compare both sides inside the known depth of the book, and what it shows beyond it.

    A level beyond the bound of a partial book is real too, as far as it goes: others may be
    missing, but each that is there must be the exchange's own.
    """
    limits, compared, difference = [], 0, None
    for name in SIDES:
        side = getattr(book, name)
        price_at = 0 if book.level == 2 else 1
        ours: list[Row] = (
            side.texts()
            if book.level == 2
            else [(order, price, size) for price, size, order in side.order_texts()]
        )
        theirs: list[Row] = [tuple(row) for row in truth[name]]
        limit = common_bound(name, side)
        limits.append(limit)
        inside, expected = (rows_inside(name, rows, limit, price_at) for rows in (ours, theirs))
        compared += len(inside) + len(expected)
        at = first_difference(inside, expected)
        beyond = set(ours) - set(theirs)
        if difference is not None:
            continue
        if at is not None:
            difference = (
                f"{name}, row {at + 1}: rebuilt {inside[at : at + 1]}, "
                f"exchange {expected[at : at + 1]}"
            )
        elif beyond:
            difference = f"{name}, beyond the known depth: rebuilt {min(beyond)}, exchange has none"
    return Comparison(depth_of(limits, compared), difference)


def _read_lines(path: Path) -> Iterator[dict[str, Any]]:
    """Read the books of a file, one at a time."""
    try:
        with path.open("rb") as raw:
            packed = path.suffix == ".zst"
            reader = (
                zstandard.ZstdDecompressor().stream_reader(raw, read_across_frames=True)
                if packed
                else raw
            )
            stream: BinaryIO = io.BufferedReader(reader, 1 << 20)
            for number, line in enumerate(stream, start=1):
                yield _parse_line(path, number, line)
    except (OSError, zstandard.ZstdError) as error:
        raise BadInput(
            f"{path} cannot be read: {error}", "name the exchange's truth file"
        ) from None


def _parse_line(path: Path, number: int, line: bytes) -> dict[str, Any]:
    try:
        truth = orjson.loads(line)
        if truth["book"] in LEVEL_OF_BOOK and {"symbol", "sequence", "bids", "asks"} <= set(truth):
            return dict(truth)
    except (orjson.JSONDecodeError, KeyError, TypeError):
        pass
    raise BadInput(f"{path}, line {number} is no book", "give what `replay exchange --truth` wrote")
