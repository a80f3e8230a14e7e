"""The catalog: the one source of truth for readers. SQLite DDL and the Arrow twin of each table.

Times are int64 ns UTC in SQLite and timestamp[ns] in Arrow. `stream` is one of
`l2 l3 trades tickers market_snapshots`. `FIELDS.md` says what each column means.
"""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa

CATALOG_VERSION = 3
# What readers know the tables of; a writer brings older ones up to date.
READABLE_VERSIONS = (1, 2, 3)

_ARROW = {
    "INTEGER": pa.int64(),
    "TEXT": pa.string(),
    "TIME": pa.timestamp("ns"),
    "REAL": pa.float64(),
}


@dataclass(frozen=True, slots=True)
class Table:
    """A catalog table: columns as (name, kind), kind one of INTEGER, TEXT, REAL, TIME."""

    name: str
    columns: tuple[tuple[str, str], ...]
    primary_key: tuple[str, ...]
    indexes: tuple[tuple[str, ...], ...] = ()

    @property
    def ddl(self) -> str:
        """SQL that creates the table and its indexes where they are missing."""
        columns = ", ".join(
            f"{name} {'INTEGER' if kind == 'TIME' else kind}" for name, kind in self.columns
        )
        key = ", ".join(self.primary_key)
        statements = [f"CREATE TABLE IF NOT EXISTS {self.name} ({columns}, PRIMARY KEY ({key}));"]
        statements += [
            f"CREATE INDEX IF NOT EXISTS {self.name}_by_{'_'.join(index)} "
            f"ON {self.name} ({', '.join(index)});"
            for index in self.indexes
        ]
        return "\n".join(statements)

    @property
    def stand_in_ddl(self) -> str:
        """SQL that gives one connection an empty table of this name, and the file nothing."""
        columns = ", ".join(name for name, _ in self.columns)
        return f"CREATE TEMP TABLE {self.name} ({columns});"

    @property
    def schema(self) -> pa.Schema:
        """Arrow schema of the same columns, in the same order."""
        return pa.schema([pa.field(name, _ARROW[kind]) for name, kind in self.columns])

    @property
    def names(self) -> tuple[str, ...]:
        """Column names in order."""
        return tuple(name for name, _ in self.columns)


RUNS = Table(
    "runs",
    (
        ("run_id", "TEXT"),
        ("ts_start", "TIME"),
        ("ts_stop", "TIME"),
        ("stop_reason", "TEXT"),
        ("version", "TEXT"),
        ("profile", "TEXT"),
        ("profile_hash", "TEXT"),
        ("symbols", "TEXT"),
        ("streams", "TEXT"),
        ("source", "TEXT"),
        ("source_sha256", "TEXT"),
        ("lines", "INTEGER"),
        ("frames", "INTEGER"),
        ("counts", "TEXT"),
    ),
    ("run_id",),
)

PARTS = Table(
    "parts",
    (
        ("path", "TEXT"),
        ("dataset", "TEXT"),
        ("date", "TEXT"),
        ("symbol", "TEXT"),
        ("stream", "TEXT"),
        ("run_id", "TEXT"),
        ("rows", "INTEGER"),
        ("bytes", "INTEGER"),
        ("sha256", "TEXT"),
        ("ts_first", "TIME"),
        ("ts_last", "TIME"),
        ("ordinal_first", "INTEGER"),
        ("ordinal_last", "INTEGER"),
        ("sequence_first", "INTEGER"),
        ("sequence_last", "INTEGER"),
        ("ts_published", "TIME"),
        ("ts_replaced", "TIME"),
    ),
    ("path",),
    (("dataset", "symbol", "ts_first"), ("run_id",)),
)

FULL_BOOKS = Table(
    "full_books",
    (
        ("symbol", "TEXT"),
        ("stream", "TEXT"),
        ("run_id", "TEXT"),
        ("ordinal", "INTEGER"),
        ("origin", "TEXT"),
        ("ts", "TIME"),
        ("sequence", "INTEGER"),
        ("path", "TEXT"),
        ("row_first", "INTEGER"),
        ("rows", "INTEGER"),
    ),
    ("symbol", "stream", "run_id", "ordinal", "origin", "sequence"),
    (("symbol", "stream", "ts"),),
)

GAPS = Table(
    "gaps",
    (
        ("symbol", "TEXT"),
        ("stream", "TEXT"),
        ("run_id", "TEXT"),
        ("ordinal_from", "INTEGER"),
        ("reason", "TEXT"),
        ("ts_from", "TIME"),
        ("ts_to", "TIME"),
        ("ts_detected", "TIME"),
        ("sequence_expected", "INTEGER"),
        ("sequence_received", "INTEGER"),
        ("healed_by", "TEXT"),
    ),
    ("symbol", "stream", "run_id", "ordinal_from", "ts_from"),
    (("symbol", "stream", "ts_from"),),
)

COVERAGE = Table(
    "coverage",
    (
        ("symbol", "TEXT"),
        ("stream", "TEXT"),
        ("run_id", "TEXT"),
        ("ordinal_first", "INTEGER"),
        ("ordinal_last", "INTEGER"),
        ("ts_from", "TIME"),
        ("ts_to", "TIME"),
        ("sequence_first", "INTEGER"),
        ("sequence_last", "INTEGER"),
        ("messages", "INTEGER"),
        ("rows", "INTEGER"),
        ("is_open", "INTEGER"),
    ),
    ("symbol", "stream", "run_id", "ordinal_first", "ts_from"),
    (("symbol", "stream", "ts_from"),),
)

INSTRUMENTS = Table(
    "instruments",
    (
        ("symbol", "TEXT"),
        ("ts_from", "TIME"),
        ("ts_to", "TIME"),
        ("run_id", "TEXT"),
        ("name", "TEXT"),
        ("base_currency", "TEXT"),
        ("quote_currency", "TEXT"),
        ("price_increment", "TEXT"),
        ("base_increment", "TEXT"),
        ("quote_increment", "TEXT"),
        ("price_scale", "INTEGER"),
        ("size_scale", "INTEGER"),
        ("funds_scale", "INTEGER"),
        ("enable_trading", "INTEGER"),
        ("wire", "TEXT"),
    ),
    ("symbol", "ts_from"),
)

AUDITS = Table(
    "audits",
    (
        ("symbol", "TEXT"),
        ("stream", "TEXT"),
        ("run_id", "TEXT"),
        ("ts", "TIME"),
        ("sequence", "INTEGER"),
        ("result", "TEXT"),
        ("detail", "TEXT"),
        ("compared", "INTEGER"),
    ),
    ("symbol", "stream", "run_id", "ts"),
)

CHECKPOINTS = Table(
    "checkpoints",
    (
        ("run_id", "TEXT"),
        ("ts", "TIME"),
        ("raw_path", "TEXT"),
        ("raw_bytes", "INTEGER"),
        ("lines", "INTEGER"),
        ("published", "TEXT"),
    ),
    ("run_id",),
)

REMOVALS = Table(
    "removals",
    (
        ("path", "TEXT"),
        ("dataset", "TEXT"),
        ("date", "TEXT"),
        ("symbol", "TEXT"),
        ("stream", "TEXT"),
        ("run_id", "TEXT"),
        ("rows", "INTEGER"),
        ("bytes", "INTEGER"),
        ("ts_removed", "TIME"),
        ("rule", "TEXT"),
    ),
    ("path",),
    (("run_id", "symbol", "stream"), ("dataset", "run_id")),
)

JOBS = Table(
    "jobs",
    (
        ("name", "TEXT"),
        ("ts_start", "TIME"),
        ("ts_stop", "TIME"),
        ("outcome", "TEXT"),
        ("detail", "TEXT"),
    ),
    ("name", "ts_start"),
)

TABLES: dict[str, Table] = {
    table.name: table
    for table in (
        RUNS, PARTS, FULL_BOOKS, GAPS, COVERAGE, INSTRUMENTS, AUDITS, CHECKPOINTS, REMOVALS, JOBS,
    )
}  # fmt: skip

DDL = "\n".join(
    [*(table.ddl for table in TABLES.values()), f"PRAGMA user_version={CATALOG_VERSION};"]
)
