"""The catalog's Parquet twin: every table as a file, for readers that cannot open the database."""

from __future__ import annotations

import io
import sqlite3
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from recorder.clock import monotonic_s
from recorder.storage.disk import disk
from recorder.storage.durable import beside, make_folder, publish_file, write_file
from schemas.archive_layout import CATALOG_PARQUET, CURRENT
from schemas.catalog import TABLES, Table

# Pauses between two twins, in multiples of what writing one took: a twentieth of the writer's
# time at most. A small catalog is published after every transaction all the same.
_SPACING = 20
_KEPT_VERSIONS = 3  # readers that opened the one before the last may still be at it
# Most tables are what they were the last time. One of more rows is encoded anew all the same:
# holding it would cost more memory than that is worth.
_ROWS_REMEMBERED = 2_000
# Fewer are not compressed: what describes the file is longer than they are.
_ROWS_COMPRESSED = 64


@dataclass(frozen=True, slots=True)
class _Written:
    """A table as it was in the last twin: its rows, and the file they gave."""

    rows: list[tuple[Any, ...]]
    content: bytes


class ParquetTwin:
    """Write the tables of a catalog as Parquet beside it, a whole version at a time.

    Parameters
    ----------
    archive : Path
    db : sqlite3.Connection   the catalog's
    """

    def __init__(self, archive: Path, db: sqlite3.Connection) -> None:
        self._archive = archive
        self._db = db
        self._due_s = 0.0
        self._last: dict[str, _Written] = {}

    def publish(self, *, sparing: bool) -> bool:
        """Write every table and point CURRENT at the new version.

        Parameters
        ----------
        sparing : bool
            Leave it for a later transaction where the last time took so long that the writer
            would do little else: a catalog of 100,000 parts takes seconds to write.

        Returns
        -------
        bool   whether it was written
        """
        began = monotonic_s()
        if sparing and began < self._due_s:
            return False
        self._write()
        ended = monotonic_s()
        self._due_s = ended + _SPACING * (ended - began)
        return True

    def _write(self) -> None:
        root = self._archive / CATALOG_PARQUET
        make_folder(root)
        versions = sorted(int(name) for name in disk().names(root) if name.isdecimal())
        number = versions[-1] + 1 if versions else 1
        folder = root / str(number)
        make_folder(folder)
        try:
            for table in TABLES.values():
                self._write_table(table, folder / f"{table.name}.parquet")
        except OSError:
            # Nothing names it, and a full disk must not fill up with what each try has left. It
            # would also stand among the versions kept, in place of one that is read.
            with suppress(OSError):
                disk().remove_tree(folder)
            raise
        write_file(root / CURRENT, f"{number}\n".encode())
        for old in versions[: max(0, len(versions) + 1 - _KEPT_VERSIONS)]:
            disk().remove_tree(root / str(old))

    def _write_table(self, table: Table, target: Path) -> None:
        select = f"SELECT {', '.join(table.names)} FROM {table.name}"
        rows = self._db.execute(select).fetchall()
        with disk().create(beside(target)) as file:
            if len(rows) > _ROWS_REMEMBERED:
                self._last.pop(table.name, None)
                _encode(table, rows, file)
            else:
                file.write(self._content(table, rows))
        publish_file(target)

    def _content(self, table: Table, rows: list[tuple[Any, ...]]) -> bytes:
        if not rows:
            return _without_rows(table)
        last = self._last.get(table.name)
        if last is None or last.rows != rows:
            last = self._last[table.name] = _Written(rows, _encoded(table, rows))
        return last.content


@cache
def _without_rows(table: Table) -> bytes:
    return _encoded(table, [])


def _encoded(table: Table, rows: list[tuple[Any, ...]]) -> bytes:
    buffer = io.BytesIO()
    _encode(table, rows, buffer)
    return buffer.getvalue()


def _encode(table: Table, rows: list[tuple[Any, ...]], file: BinaryIO) -> None:
    compression = "zstd" if len(rows) >= _ROWS_COMPRESSED else "none"
    pq.write_table(_arrow(table, rows), file, compression=compression)


def _arrow(table: Table, rows: list[tuple[Any, ...]]) -> pa.Table:
    schema = _schema(table)
    columns = zip(*rows, strict=True) if rows else ((),) * len(schema)
    return pa.Table.from_arrays(
        [pa.array(values, field.type) for values, field in zip(columns, schema, strict=True)],
        schema=schema,
    )


@cache
def _schema(table: Table) -> pa.Schema:
    return table.schema
