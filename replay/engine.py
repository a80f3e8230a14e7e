"""Loads slices of book streams and asks them for books, best prices and depth frames."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa

from replay.bbo_rows import BBO_SCHEMA, changes_rows, end_row, moment_row
from replay.book import Book, Int64s
from replay.catalog import FullBook, Snapshot
from replay.depth_rows import DEPTH_SCHEMA, depth_rows
from replay.errors import BadInput, PartDamaged, SnapshotExpired, UnknownSymbol
from replay.parts import PartReader
from replay.rows import (
    BOOK_COLUMNS,
    L2_COLUMNS,
    L3_COLUMNS,
    NO_TIME,
    FullBookRows,
    L3Rows,
    decode_full_book,
    decode_l2,
    decode_l3,
    no_rows,
)
from replay.slice_replay import L2Replay, L3Replay
from replay.timeline import Slice, Timeline, timeline

SliceReplay = L2Replay | L3Replay

STREAM_OF_LEVEL = {2: "l2", 3: "l3"}

FRAMES_MAX = 4096
"""Frames a task cuts, unless its grid is very fine: at 20 levels some 10 MiB of rows."""
CELLS_MAX = FRAMES_MAX * 40
"""Levels of both sides held at once while frames are cut, however deep they are."""


@dataclass
class Counters:
    """What the engine has done since it was made."""

    slices_replayed: int = 0
    rows_replayed: int = 0


class Engine:
    """Answers from one catalog snapshot. Threads may share it.

    A part that compaction replaced and removed meanwhile is no reason to begin again: the rows are
    in another part of the newest catalog, under the same run and ordinals, and are read there.

    Parameters
    ----------
    snapshot : Snapshot          what is known
    reader : PartReader          where rows are
    counters : Counters          counts of slices and rows replayed, shared between engines
    newest : () -> Snapshot      asked when a part is gone; without it (pinned) `SnapshotExpired`
                                 is the answer
    """

    def __init__(
        self,
        snapshot: Snapshot,
        reader: PartReader,
        counters: Counters,
        newest: Callable[[], Snapshot] | None = None,
    ) -> None:
        self.snapshot, self.reader, self.counters = snapshot, reader, counters
        self._newest = newest

    def timeline(self, symbol: str, level: int) -> Timeline:
        """Return the timeline of a symbol's level-2 or level-3 book.

        Raises
        ------
        UnknownSymbol   the archive has no such symbol or stream
        """
        if level not in STREAM_OF_LEVEL:
            raise BadInput(f"book level {level!r} does not exist", "ask for level 2 or 3")
        if symbol not in self.snapshot.symbols:
            raise UnknownSymbol(symbol, self.snapshot.symbols)
        return timeline(self.snapshot, symbol, STREAM_OF_LEVEL[level])

    def names_still(self, path: str) -> bool:
        """Tell whether the newest catalog names a part: if it is not there, it is lost."""
        if self._newest is None:
            return False
        groups = self._newest().parts.values()
        return any(part.path == path for parts in groups for part in parts)

    def full_book(self, book: FullBook) -> pa.Table:
        """Return the rows of a full book, from wherever they lie now.

        Raises
        ------
        SnapshotExpired   they are nowhere any more
        """
        try:
            return self.reader.full_book(book, BOOK_COLUMNS)
        except SnapshotExpired:
            if self._newest is None:
                raise
            key = (book.symbol, book.stream, book.run_id)
            for moved in self._newest().full_books.get(key, []):
                if _place(moved) == _place(book) and moved.path != book.path:
                    return self.reader.full_book(moved, BOOK_COLUMNS)
            raise

    def rows(
        self,
        dataset: str,
        symbol: str,
        run_id: str,
        ordinals: tuple[int, int],
        columns: Sequence[str],
    ) -> pa.Table:
        """Return rows with an ordinal in the closed range, from wherever they lie now.

        Raises
        ------
        SnapshotExpired   some of them are nowhere any more
        """
        wanted = (dataset, symbol, run_id, ordinals, columns)
        try:
            return self.reader.rows(self.snapshot, *wanted)
        except SnapshotExpired:
            if self._newest is None:
                raise
            newest = self._newest()
            if self.reader.promised(newest, *wanted[:4]) < self.reader.promised(
                self.snapshot, *wanted[:4]
            ):
                raise  # retention removed what compaction never would
            return self.reader.rows(newest, *wanted)

    def seed_rows(self, book: FullBook) -> FullBookRows:
        """Read a full book."""
        rows = decode_full_book(self.full_book(book))
        if rows.sequence != book.sequence:
            raise PartDamaged(
                book.path,
                f"the full book at row {book.row_first} has sequence {rows.sequence}, "
                f"the catalog says {book.sequence}",
            )
        return rows

    def load(self, piece: Slice) -> SliceReplay:
        """Read a slice, standing at its seed."""
        seed = self.seed_rows(piece.seed)
        interval = piece.interval
        is_l2 = interval.stream == "l2"
        # A keyframe repeats the moment of the row before it; that row alone says what the venue
        # said and where its message ended. It is read with the others and not applied. Where the
        # interval begins there may be none: a REST snapshot has the ordinal, or retention took it.
        repeats = piece.seed.origin != "rest"
        first = piece.seed.ordinal + (not repeats)
        table = self.rows(
            "l2_updates" if is_l2 else "l3_events",
            interval.symbol,
            interval.run_id,
            (first, piece.ordinal_last),
            L2_COLUMNS if is_l2 else L3_COLUMNS,
        )
        if repeats and piece.seed.ordinal == interval.ordinal_first:
            repeats = len(table) > 0 and table.column("ordinal")[0].as_py() == first
            first += not repeats
        expected = piece.ordinal_last - first + 1
        if len(table) != expected:
            raise PartDamaged(
                piece.seed.path,
                f"{interval.symbol} {interval.stream} run {interval.run_id} has {len(table)} rows "
                f"with ordinals {first} to {piece.ordinal_last}, not {expected}",
            )
        if repeats:
            first_row = table.slice(0, 1)
            row = decode_l2(first_row) if is_l2 else decode_l3(first_row, seed.sequence)
            ts_event = int(row.ts_event[0])
            seed = replace(
                seed,
                ts_known=max(int(row.known[0]), seed.ts_known),  # later where REST told more
                ts_event=None if ts_event == NO_TIME else ts_event,
                sequence=int(row.sequence_end[0]),
            )
            table = table.slice(1)
        self.counters.slices_replayed += 1
        self.counters.rows_replayed += len(table)
        if is_l2:
            return L2Replay(seed, decode_l2(table))
        return L3Replay(seed, decode_l3(table, seed.sequence))

    def at_time(self, symbol: str, ts: int, level: int) -> SliceReplay:
        """Return a slice moved to the last complete message known at `ts`."""
        replay = self.load(self.timeline(symbol, level).at_time(ts))
        replay.move_to(replay.rows_known_at(ts))
        return replay

    def at_sequence(self, symbol: str, n: int, level: int) -> SliceReplay:
        """Return a slice moved to the last complete message with `sequence_end` <= n."""
        for piece in reversed(self.timeline(symbol, level).at_sequence(n)):
            replay = self.load(piece)
            if replay.seed.sequence <= n or piece.is_first:
                break
        replay.move_to(replay.rows_up_to_sequence(n))
        return replay

    def book(self, symbol: str, ts: int | None, n: int | None, level: int) -> Book:
        """Return the book at a time or at a sequence; the newest book when both are None."""
        if n is not None:
            return self.at_sequence(symbol, n, level).book(symbol)
        if ts is None:
            ts = self.timeline(symbol, level).intervals[-1].ts_to
        return self.at_time(symbol, ts, level).book(symbol)

    def bbo(self, piece: Slice, ts_from: int | None, ts_to: int | None) -> pa.RecordBatch:
        """Return the rows of `bbo` that one slice of `Timeline.between` accounts for."""
        replay = self.load(piece)
        shown: list[pa.RecordBatch] = []
        starts_range = ts_from is not None and piece.seed.ts <= ts_from
        if ts_from is not None and starts_range:
            replay.move_to(replay.rows_known_at(ts_from))
        if starts_range and ts_from is not None and piece.interval.ts_to >= ts_from:
            # Known before the range begins: it is stated as of its beginning.
            shown.append(moment_row(piece, replay, max(ts_from, replay.moment()[0])))
        elif piece.is_first and not starts_range:
            shown.append(moment_row(piece, replay, replay.moment()[0]))
        stop = replay.all_rows() if ts_to is None else replay.rows_known_before(ts_to)
        if stop > replay.position:
            shown.append(changes_rows(piece, replay, replay.follow_best(stop)))
        if piece.following is not None and _inside(piece.following.ts, ts_from, ts_to):
            shown += self._bbo_told_anew(piece, replay, piece.following)
        end = end_row(piece)
        if end is not None and _inside(end.column("ts_recv")[0].value, ts_from, ts_to):
            shown.append(end)
        return _joined(shown, BBO_SCHEMA)

    def _bbo_told_anew(
        self, piece: Slice, replay: SliceReplay, following: FullBook
    ) -> list[pa.RecordBatch]:
        """Return the row of a full book that makes best prices known again, or none.

        Only a partial book has such: it may be seeded again, deeper, between two messages.
        """
        if not replay.is_partial:
            return []
        before, after = (
            moment_row(piece, replay, following.ts, shown)
            for shown in (replay, self.standing(following, replay))
        )
        return [] if before.equals(after) else [after]

    def standing(self, full: FullBook, like: SliceReplay) -> SliceReplay:
        """Return a full book as a slice without rows, of the same kind as another."""
        seed = self.seed_rows(full)
        rows = like.rows
        if isinstance(rows, L3Rows):
            return L3Replay(seed, no_rows(rows))
        return L2Replay(seed, no_rows(rows))

    def depth(self, piece: Slice, points: Int64s, levels: int) -> pa.RecordBatch:
        """Return the top of the book at some ascending times inside one slice."""
        replay = self.load(piece)
        if isinstance(replay, L3Replay):
            raise BadInput("depth frames are cut from level 2", "ask for level 2")
        ends = replay.rows_known_at_each(points)
        sequences = np.where(
            ends > 0, np.append(replay.rows.sequence_end, 0)[ends - 1], replay.seed.sequence
        )
        room = min(levels, len(replay.seed) + len(replay))  # no book of the slice is deeper
        at_once = max(CELLS_MAX // (2 * max(room, 1)), 1)
        cut = [
            depth_rows(
                replay,
                points[at : at + at_once],
                sequences[at : at + at_once],
                replay.frames(ends[at : at + at_once], room),
                levels,
            )
            for at in range(0, len(points), at_once)
        ]
        return _joined(cut, DEPTH_SCHEMA)


def _place(book: FullBook) -> tuple[int, str, int]:
    """Return what a full book keeps wherever its rows are moved to."""
    return book.ordinal, book.origin, book.sequence


def _inside(ts: int, ts_from: int | None, ts_to: int | None) -> bool:
    return (ts_from is None or ts >= ts_from) and (ts_to is None or ts < ts_to)


def _joined(batches: list[pa.RecordBatch], schema: pa.Schema) -> pa.RecordBatch:
    if not batches:
        return pa.RecordBatch.from_pylist([], schema)
    return batches[0] if len(batches) == 1 else pa.concat_batches(batches)
