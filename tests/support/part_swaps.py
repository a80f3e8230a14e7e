"""Compaction and retention by hand: parts swapped in one transaction, files removed later."""

from __future__ import annotations

import hashlib
import sqlite3
from itertools import groupby
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from schemas.archive_layout import CATALOG_DB, part_path


def swap_parts(root: Path, number: int) -> list[Path]:
    """Replace the live parts of each dataset, symbol, run and book by one; return the old files.

    `number` tells swaps apart. One transaction says it all; nothing is removed.
    """
    replaced = []
    with sqlite3.connect(root / CATALOG_DB, isolation_level=None) as db:
        db.row_factory = sqlite3.Row
        live = [
            dict(row)
            for row in db.execute(
                "SELECT * FROM parts WHERE ts_replaced IS NULL "
                "ORDER BY dataset, symbol, run_id, ordinal_first"
            )
        ]
        db.execute("BEGIN IMMEDIATE")
        for _, parts in groupby(live, key=lambda part: _unit(root, part)):
            old = list(parts)
            _merge(root, db, old, number)
            replaced += [root / part["path"] for part in old]
        db.execute("COMMIT")
    db.close()
    return replaced


def _unit(root: Path, part: dict[str, Any]) -> tuple[Any, ...]:
    book = None
    if part["dataset"] == "book_snapshots":
        table = pq.read_table(root / part["path"], columns=["book"], partitioning=None)
        book = table["book"][0].as_py()
    return part["dataset"], part["symbol"], part["run_id"], book


def _merge(root: Path, db: sqlite3.Connection, old: list[dict[str, Any]], number: int) -> None:
    tables = [pq.read_table(root / part["path"], partitioning=None) for part in old]
    first, last = old[0], old[-1]
    path = part_path(
        first["dataset"],
        first["date"],
        first["symbol"],
        first["ts_first"],
        last["ts_last"],
        hashlib.sha256(f"{first['path']}{number}".encode()).hexdigest()[:12],
    )
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.concat_tables(tables), root / path, row_group_size=512)
    row = first | {
        "path": path,
        "rows": sum(map(len, tables)),
        "ts_first": min(part["ts_first"] for part in old),
        "ts_last": max(part["ts_last"] for part in old),
        "ordinal_last": last["ordinal_last"],
    }
    marks = ", ".join("?" * len(row))
    db.execute(f"INSERT INTO parts ({', '.join(row)}) VALUES ({marks})", list(row.values()))
    before = 0
    for part, table in zip(old, tables, strict=True):
        db.execute("UPDATE parts SET ts_replaced = 1 WHERE path = ?", [part["path"]])
        db.execute(
            "UPDATE full_books SET path = ?, row_first = row_first + ? WHERE path = ?",
            [path, before, part["path"]],
        )
        before += len(table)


def split_parts(root: Path, rows: int, number: int) -> list[Path]:
    """Replace each live part of rows (no full books) by parts of so many; return the old files."""
    replaced = []
    with sqlite3.connect(root / CATALOG_DB, isolation_level=None) as db:
        db.row_factory = sqlite3.Row
        live = db.execute(
            "SELECT * FROM parts WHERE ts_replaced IS NULL AND dataset <> 'book_snapshots'"
        ).fetchall()
        db.execute("BEGIN IMMEDIATE")
        for part in map(dict, live):
            table = pq.read_table(root / part["path"], partitioning=None)
            for at in range(0, len(table), rows):
                piece = table.slice(at, rows)
                ordinals = piece["ordinal"].to_pylist()
                path = f"{part['path'].removesuffix('.parquet')}-{number}-{at}.parquet"
                pq.write_table(piece, root / path)
                row = part | {
                    "path": path,
                    "rows": len(piece),
                    "ordinal_first": ordinals[0],
                    "ordinal_last": ordinals[-1],
                }
                marks = ", ".join("?" * len(row))
                db.execute(
                    f"INSERT INTO parts ({', '.join(row)}) VALUES ({marks})", list(row.values())
                )
            db.execute("UPDATE parts SET ts_replaced = 1 WHERE path = ?", [part["path"]])
            replaced.append(root / part["path"])
        db.execute("COMMIT")
    db.close()
    return replaced


def remove_front(root: Path, symbol: str, stream: str, ordinal: int, ts: int) -> list[Path]:
    """Forget the rows of a stream before the full book at an ordinal; return the files let go.

    Parts are removed whole: those that end before it.
    """
    with sqlite3.connect(root / CATALOG_DB, isolation_level=None) as db:
        dataset = "l2_updates" if stream == "l2" else "l3_events"
        db.execute("BEGIN IMMEDIATE")
        gone = [
            root / path
            for (path,) in db.execute(
                "SELECT path FROM parts WHERE symbol = ? AND ordinal_last < ? "
                "AND dataset IN (?, 'book_snapshots')",
                [symbol, ordinal, dataset],
            )
        ]
        keys = [[str(path.relative_to(root))] for path in gone]
        db.executemany("DELETE FROM parts WHERE path = ?", keys)
        db.executemany("DELETE FROM full_books WHERE path = ?", keys)
        db.execute(
            "UPDATE coverage SET ordinal_first = ?, ts_from = ? "
            "WHERE symbol = ? AND stream = ? AND ordinal_first < ?",
            [ordinal, ts, symbol, stream, ordinal],
        )
        db.execute("COMMIT")
    db.close()
    return gone


def remove_files(paths: list[Path]) -> None:
    """Unlink what no catalog names any more."""
    for path in paths:
        path.unlink()
