"""One consistent snapshot of an archive's catalog, from SQLite or from its Parquet copy.

`catalog.db` is read in one read-only transaction. Where it is missing or cannot be opened (an
object store, a read-only mount, a copy), the tables named by `catalog.parquet/CURRENT` are read.
"""

from __future__ import annotations

import sqlite3
import threading
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from replay.errors import Gap, NotAnArchive
from schemas.archive_layout import CATALOG_DB, CATALOG_PARQUET, CURRENT
from schemas.catalog import READABLE_VERSIONS, TABLES, Table

LATER_TABLES = ("removals", "jobs")
"""Since version 2 of the catalog; no rows of them in an older one."""
READ_TABLES = (
    "runs", "parts", "full_books", "gaps", "coverage", "instruments", "audits", *LATER_TABLES,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Part:
    """A part file; times are known times, ns UTC."""

    path: str
    dataset: str
    symbol: str
    run_id: str
    rows: int
    ts_first: int
    ts_last: int
    ordinal_first: int
    ordinal_last: int


@dataclass(frozen=True, slots=True)
class FullBook:
    """Where a full book lies: `rows` rows from `row_first` of the part at `path`."""

    symbol: str
    stream: str
    run_id: str
    ordinal: int
    origin: str
    ts: int
    sequence: int
    path: str
    row_first: int
    rows: int


@dataclass(frozen=True, slots=True)
class Interval:
    """A stretch in which one stream is known: ordinals and known times, both ends included."""

    symbol: str
    stream: str
    run_id: str
    ordinal_first: int
    ordinal_last: int
    ts_from: int
    ts_to: int
    sequence_first: int | None
    sequence_last: int | None
    is_open: int
    messages: int
    rows: int


def _objects(kind: Any, table: pa.Table) -> list[Any]:
    """Turn Arrow rows into objects; times come out as int ns, never as datetime."""
    columns = []
    for name in kind.__dataclass_fields__:
        column = table.column(name)
        if pa.types.is_timestamp(column.type):
            column = column.cast(pa.int64())
        columns.append(column.to_pylist())
    return [kind(*values) for values in zip(*columns, strict=True)]


@dataclass(frozen=True)
class Snapshot:
    """The catalog at one moment, as Arrow tables and as objects.

    Attributes
    ----------
    tables : dict[str, pa.Table]   every catalog table a reader needs, in the Arrow schema of it
    memo : dict                      what others worked out from this snapshot, to share
    """

    tables: dict[str, pa.Table]
    memo: dict[Any, Any] = field(default_factory=dict, repr=False)

    @cached_property
    def parts(self) -> dict[tuple[str, str], list[Part]]:
        """Live parts by (dataset, symbol), in catalog order."""
        live = self.tables["parts"]
        live = live.filter(pc.is_null(live.column("ts_replaced")))
        return _grouped(_objects(Part, live), "dataset", "symbol")

    @cached_property
    def full_books(self) -> dict[tuple[str, str, str], list[FullBook]]:
        """Full books by (symbol, stream, run_id), in order of ordinal."""
        books = _grouped(
            _objects(FullBook, self.tables["full_books"]), "symbol", "stream", "run_id"
        )
        for group in books.values():
            group.sort(key=lambda book: (book.ordinal, book.ts))
        return books

    @cached_property
    def intervals(self) -> dict[tuple[str, str], list[Interval]]:
        """Covered intervals by (symbol, stream), in order of time."""
        groups = _grouped(_objects(Interval, self.tables["coverage"]), "symbol", "stream")
        for group in groups.values():
            group.sort(key=lambda i: (i.ts_from, i.run_id, i.ordinal_first))
        return groups

    @cached_property
    def gaps(self) -> dict[tuple[str, str], list[Gap]]:
        """Gaps by (symbol, stream), in order of time."""
        groups = _grouped(_objects(Gap, self.tables["gaps"]), "symbol", "stream")
        for group in groups.values():
            group.sort(key=lambda gap: (gap.ts_from, gap.run_id, gap.ordinal_from))
        return groups

    @cached_property
    def run_order(self) -> dict[str, int]:
        """Rank of each run in time."""
        runs = self.tables["runs"]
        starts = runs.column("ts_start").cast(pa.int64()).to_pylist()
        names = runs.column("run_id").to_pylist()
        ordered = sorted(zip((s or 0 for s in starts), names, strict=True))
        return {name: rank for rank, (_, name) in enumerate(ordered)}

    @cached_property
    def symbols(self) -> tuple[str, ...]:
        """Every symbol with a part or a covered interval, sorted."""
        found = {symbol for _, symbol in self.parts}
        found |= {symbol for symbol, _ in self.intervals}
        return tuple(sorted(found))


def _grouped(rows: list[Any], *names: str) -> dict[Any, list[Any]]:
    groups: dict[Any, list[Any]] = {}
    for row in rows:
        groups.setdefault(tuple(getattr(row, name) for name in names), []).append(row)
    return groups


class CatalogReader:
    """Reads snapshots of one archive's catalog, again only when it has changed.

    Parameters
    ----------
    root : Path   the archive folder

    Raises
    ------
    NotAnArchive   when neither form of the catalog can be read
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._stamp: object = None
        self._snapshot: Snapshot | None = None
        self._db: sqlite3.Connection | None = None
        self._inode = 0
        self._lock = threading.Lock()
        if not root.is_dir():
            problem = "it is no folder" if root.exists() else "it does not exist"
            raise NotAnArchive(str(root), problem)

    def newest(self) -> Snapshot:
        """Return the newest snapshot, the same object while nothing was committed."""
        problem = f"it has no {CATALOG_DB}"
        with self._lock:
            if (self._root / CATALOG_DB).is_file():
                try:
                    return self._fresh()
                except sqlite3.Error as error:
                    self._disconnect()
                    problem = f"{CATALOG_DB} cannot be read ({error})"
            return self._published(problem)

    def close(self) -> None:
        """Let go of the database."""
        with self._lock:
            self._disconnect()

    def _disconnect(self) -> None:
        if self._db is not None:
            self._db.close()
            self._db = None

    def _connected(self) -> sqlite3.Connection:
        path = self._root / CATALOG_DB
        inode = path.stat().st_ino
        if self._db is not None and inode != self._inode:
            self._disconnect()  # the file was replaced by another
        if self._db is None:
            uri = f"{path.absolute().as_uri()}?mode=ro"
            self._db = sqlite3.connect(
                uri, uri=True, timeout=10, isolation_level=None, check_same_thread=False
            )
            self._inode, self._stamp = inode, None
        return self._db

    def _fresh(self) -> Snapshot:
        db = self._connected()
        db.execute("BEGIN")
        try:
            version = int(db.execute("PRAGMA user_version").fetchone()[0])
            if version not in READABLE_VERSIONS:
                known = " and ".join(map(str, READABLE_VERSIONS))
                raise NotAnArchive(
                    str(self._root),
                    f"its catalog has version {version}, this program reads {known}",
                )
            # SQLite's own word on whether another connection has committed since.
            stamp = ("db", db.execute("PRAGMA data_version").fetchone()[0])
            if self._snapshot is None or stamp != self._stamp:
                tables = {name: _read_table(db, TABLES[name]) for name in READ_TABLES}
                self._snapshot, self._stamp = Snapshot(tables), stamp
            return self._snapshot
        finally:
            db.execute("COMMIT")

    def _published(self, problem: str) -> Snapshot:
        folder = self._root / CATALOG_PARQUET
        for _ in range(3):  # CURRENT may move on while we read what it named
            try:
                number = (folder / CURRENT).read_text(encoding="ascii").strip()
            except (OSError, UnicodeDecodeError):
                raise NotAnArchive(
                    str(self._root), f"{problem} and no {CATALOG_PARQUET}/{CURRENT}"
                ) from None
            if self._snapshot is not None and self._stamp == number:
                return self._snapshot
            try:
                tables = {name: _read_copy(folder / number, TABLES[name]) for name in READ_TABLES}
            except (OSError, pa.ArrowException) as error:
                problem = f"{CATALOG_PARQUET}/{number} cannot be read ({error})"
                continue
            self._snapshot, self._stamp = Snapshot(tables), number
            return self._snapshot
        raise NotAnArchive(str(self._root), problem)


def _read_copy(folder: Path, table: Table) -> pa.Table:
    path = folder / f"{table.name}.parquet"
    if table.name in LATER_TABLES and not path.exists() and folder.is_dir():
        return table.schema.empty_table()
    found = pq.read_table(path)
    for field_ in table.schema:  # one that came later is NULL in an older catalog
        if field_.name not in found.column_names:
            found = found.append_column(field_, pa.nulls(len(found), field_.type))
    return found.select(table.names).cast(table.schema)


def _read_table(db: sqlite3.Connection, table: Table) -> pa.Table:
    there = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = ?"
    if table.name in LATER_TABLES and db.execute(there, [table.name]).fetchone() is None:
        return table.schema.empty_table()
    # A column that came later is NULL in an older catalog.
    found = {row[1] for row in db.execute(f"PRAGMA table_info({table.name})")}
    names = [name if name in found else f"NULL AS {name}" for name in table.names]
    rows = db.execute(f"SELECT {', '.join(names)} FROM {table.name}").fetchall()
    columns = list(zip(*rows, strict=True)) or [()] * len(table.names)
    return pa.Table.from_arrays(
        [pa.array(column, kind.type) for column, kind in zip(columns, table.schema, strict=True)],
        schema=table.schema,
    )
