"""Where a stream begins after retention took its first days: coverage and gaps that stay true.

A book is known again from the first full book that is left with every change behind it. A stream
without books is known from the first day that is left.
"""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from typing import Any

from schemas.datasets import BOOK_STREAMS, DATASETS
from schemas.timestamps import NS_PER_DAY, day_start


@dataclass(frozen=True, slots=True)
class Floor:
    """The first row of a stream in one run that still counts.

    Attributes
    ----------
    ordinal : int           of that row or full book
    ts : int                ns UTC; known from here
    sequence : int or None  None where no row is left
    has_books : bool        the stream has a book: nothing of it is known before this very row
    """

    ordinal: int
    ts: int
    sequence: int | None
    has_books: bool


NOTHING_LEFT = Floor(2**63 - 1, 2**63 - 1, None, has_books=True)
"""No full book is left: nothing of the stream is known."""


def floor_of(db: sqlite3.Connection, symbol: str, stream: str, run_id: str) -> Floor | None:
    """Return where a stream of a run begins, None where retention took nothing of it."""
    key = (run_id, symbol, stream)
    where = "WHERE run_id = ? AND symbol = ? AND stream = ?"
    date, rows = db.execute(
        f"SELECT max(date), sum(CASE WHEN dataset != 'book_snapshots' THEN rows END) "
        f"FROM removals {where}",
        key,
    ).fetchone()
    if date is None:
        return None
    first = db.execute(
        f"SELECT ordinal_first, sequence_first FROM parts {where} AND dataset = ? "
        "AND ts_replaced IS NULL ORDER BY ordinal_first LIMIT 1",
        (*key, _dataset_of(stream)),
    ).fetchone()
    if stream not in BOOK_STREAMS:
        # Ordinals of such a stream are dense: so many rows are gone, so far it begins.
        ts = day_start(date) + NS_PER_DAY
        return Floor(rows, ts, None if first is None else first[1], has_books=False)
    # A keyframe repeats the moment of the change before it, which a reader looks up.
    seed = db.execute(
        f"SELECT ordinal, ts, sequence FROM full_books {where} "
        "AND (origin = 'rest' OR (origin = 'keyframe' AND ordinal >= ?)) "
        "ORDER BY ordinal, ts LIMIT 1",
        (*key, NOTHING_LEFT.ordinal if first is None else first[0]),
    ).fetchone()
    if seed is None:
        return NOTHING_LEFT
    ordinal, ts, sequence = seed
    return Floor(ordinal, ts, sequence, has_books=True)


def gaps_begin(db: sqlite3.Connection, symbol: str, stream: str) -> int:
    """Return the time before which no gap of a stream is told: nothing is known there at all."""
    first = db.execute(
        "SELECT min(ts_from) FROM coverage WHERE symbol = ? AND stream = ?", (symbol, stream)
    ).fetchone()[0]
    if first is not None:
        return int(first)
    date = db.execute(
        "SELECT max(date) FROM removals WHERE symbol = ? AND stream = ?", (symbol, stream)
    ).fetchone()[0]
    return 0 if date is None else day_start(date) + NS_PER_DAY


def trimmed(interval: dict[str, Any], floor: Floor | None) -> dict[str, Any] | None:
    """Return a row of `coverage` as it is above a floor, None where nothing of it is left."""
    if floor is None:
        return interval
    if floor.has_books:
        if interval["ordinal_last"] < floor.ordinal:
            return None
        if interval["ordinal_first"] >= floor.ordinal:
            return interval
        first, sequence_first = floor.ordinal, floor.sequence
        sequence_last = interval["sequence_last"]
    else:
        if interval["ts_to"] < floor.ts:
            return None
        if interval["ts_from"] >= floor.ts:
            return interval
        first = max(interval["ordinal_first"], min(floor.ordinal, interval["ordinal_last"] + 1))
        is_empty = first > interval["ordinal_last"]
        sequence_first = None if is_empty else floor.sequence
        sequence_last = None if is_empty else interval["sequence_last"]
    return {
        **interval,
        "ordinal_first": first,
        "ts_from": floor.ts,
        "sequence_first": sequence_first,
        "sequence_last": sequence_last,
        "messages": None,
        "rows": None,
    }


def trim(db: sqlite3.Connection, symbol: str, stream: str, run_id: str) -> None:
    """Bring coverage and gaps of a stream to what is left of it; inside a transaction.

    Does nothing where retention took nothing, and nothing the second time.
    """
    floor = floor_of(db, symbol, stream, run_id)
    if floor is None:
        return
    key = (symbol, stream, run_id)
    rows = db.execute(
        "SELECT * FROM coverage WHERE symbol = ? AND stream = ? AND run_id = ?", key
    ).fetchall()
    for row in map(dict, rows):
        left = trimmed(row, floor)
        if left == row:
            continue
        db.execute(
            "DELETE FROM coverage WHERE symbol = ? AND stream = ? AND run_id = ? "
            "AND ordinal_first = ? AND ts_from = ?",
            (*key, row["ordinal_first"], row["ts_from"]),
        )
        if left is not None:
            marks = ", ".join("?" for _ in left)
            db.execute(
                f"INSERT OR REPLACE INTO coverage ({', '.join(left)}) VALUES ({marks})",
                list(left.values()),
            )
    db.execute(
        "DELETE FROM gaps WHERE symbol = ? AND stream = ? AND ts_to <= ?",
        (symbol, stream, gaps_begin(db, symbol, stream)),
    )


def _dataset_of(stream: str) -> str:
    """Return the dataset whose rows carry a stream's ordinals one by one."""
    return next(
        dataset.name
        for dataset in DATASETS.values()
        if stream in dataset.streams and dataset.name != "book_snapshots"
    )
