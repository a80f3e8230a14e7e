"""An archive as its meaning: rows and ledger, without file names, part bounds and write times."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from schemas.archive_layout import CATALOG_DB
from schemas.catalog import TABLES

_INCIDENTAL = {
    "full_books": {"path", "row_first"},
    "runs": {"version"},
    "parts": {"path", "bytes", "sha256", "ts_published"},
}


def table_rows(archive: Path, table: str) -> list[dict[str, Any]]:
    """Return a catalog table, whole."""
    with sqlite3.connect(archive / CATALOG_DB) as db:
        db.row_factory = sqlite3.Row
        rows = [dict(row) for row in db.execute(f"SELECT * FROM {table}")]
    db.close()
    return rows


def plain(table: pa.Table) -> pa.Table:
    """Return a table with its words as text: dictionaries differ from part to part."""
    fields = [
        pa.field(f.name, pa.string() if pa.types.is_dictionary(f.type) else f.type)
        for f in table.schema
    ]
    return table.cast(pa.schema(fields)).replace_schema_metadata(None)


def archive_rows(archive: Path) -> dict[tuple[str, ...], pa.Table]:
    """Return all rows by (dataset, symbol, stream, run), in the order they were written."""
    found: dict[tuple[str, ...], list[pa.Table]] = {}
    parts = [part for part in table_rows(archive, "parts") if part["ts_replaced"] is None]
    parts.sort(key=lambda p: (p["ordinal_first"], p["ts_first"], p["ordinal_last"]))
    for part in parts:
        key = tuple(part[name] for name in ("dataset", "symbol", "stream", "run_id"))
        found.setdefault(key, []).append(
            plain(pq.read_table(archive / part["path"], partitioning=None))
        )
    return {key: pa.concat_tables(tables).combine_chunks() for key, tables in found.items()}


def archive_ledger(archive: Path) -> dict[str, list[tuple]]:
    """Return the catalog's tables, but for parts and checkpoints, as sorted rows."""
    ledger = {}
    for name, table in TABLES.items():
        if name in {"parts", "checkpoints"}:
            continue
        names = [n for n in table.names if n not in _INCIDENTAL.get(name, ())]
        rows = [tuple(row[n] for n in names) for row in table_rows(archive, name)]
        ledger[name] = sorted(rows, key=repr)
    return ledger


def assert_same_content(left: Path, right: Path) -> None:
    """Compare two archives, row by row and ledger by ledger."""
    rows, expected = archive_rows(left), archive_rows(right)
    assert sorted(rows) == sorted(expected)
    for key, table in expected.items():
        assert rows[key].equals(table), key
    ledger, expected_ledger = archive_ledger(left), archive_ledger(right)
    for name, entries in expected_ledger.items():
        assert ledger[name] == entries, name
