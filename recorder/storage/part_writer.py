"""One part: a Parquet file written whole, named by its content, described for the catalog."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from recorder.pipeline.output import FullBook, Rows
from recorder.storage.batch import table_of
from recorder.storage.disk import disk
from recorder.storage.durable import beside, make_folder, publish_file
from schemas.archive_layout import part_folder, part_path
from schemas.datasets import SCHEMA_VERSION, WORD

# Small enough that a seek decodes little, large enough that encodings pay; a later measurement
# may move it.
ROW_GROUP_ROWS = 64 * 1024
_SHA_BYTES = 1024 * 1024

# So few rows are one page a column, most of them shorter than what zstd adds to any: only texts are
# compressed then, and an index of pages says nothing. Measured at fifty rows: as many bytes, and
# half the time to write them and to read them.
_SMALL_ROWS = 64

# A group commit brings a quiet symbol a row or two, and an array costs more than its numbers: so
# many batches are joined into one.
_BATCHES_JOINED = 64
_COLUMN_BYTES = 160  # an array or list beside its values, its place in the dict
_TEXT_BYTES = 80  # a text of the wire and the pointer to it

_DELTA = frozenset(
    {"ts_recv", "ts_event", "held_ns", "ordinal"} | {"sequence", "sequence_start", "sequence_end"}
)


@dataclass(frozen=True, slots=True)
class Part:
    """A published file: the row of the catalog's `parts`, and the full books in it."""

    row: dict[str, Any]
    full_books: list[dict[str, Any]]


class PartRows:
    """Rows of one (dataset, symbol, stream, day), gathering until the part closes.

    Attributes
    ----------
    batches : list[Rows]   in order; many small ones are joined, a full book stays by itself
    rows, bytes : int      how many, and a fair estimate of the memory they hold
    """

    __slots__ = ("_loose", "_overhead", "_width", "batches", "bytes", "date", "rows", "since_ns")

    def __init__(self, date: str, since_ns: int) -> None:
        self.date = date
        self.since_ns = since_ns
        self.batches: list[Rows] = []
        self.rows = 0
        self.bytes = 0
        self._loose = 0  # how many of the last batches may still be joined
        self._width = 0
        self._overhead = 0

    def add(self, rows: Rows) -> None:
        """Add a batch."""
        if not self.batches:
            columns = rows.columns.values()
            self._width = sum(
                values.dtype.itemsize if hasattr(values, "dtype") else _TEXT_BYTES
                for values in columns
            )
            self._overhead = _COLUMN_BYTES * len(columns)
        self.batches.append(rows)
        self.rows += len(rows)
        self.bytes += len(rows) * self._width + self._overhead
        self._loose = 0 if rows.full_book is not None else self._loose + 1
        if self._loose == _BATCHES_JOINED:
            joined = join_rows(self.batches[-_BATCHES_JOINED:])
            self.batches[-_BATCHES_JOINED:] = [joined]
            self.bytes -= (_BATCHES_JOINED - 1) * self._overhead
            self._loose = 0


def join_rows(batches: list[Rows]) -> Rows:
    """Join consecutive batches of one dataset, symbol and stream."""
    columns: dict[str, Any] = {}
    for name, first in batches[0].columns.items():
        pieces = [batch.columns[name] for batch in batches]
        columns[name] = (
            [value for piece in pieces for value in piece]
            if isinstance(first, list)
            else np.concatenate(pieces)
        )
    return replace(
        batches[0], columns=columns, known=np.concatenate([batch.known for batch in batches])
    )


def write_part(archive: Path, run_id: str, rows: PartRows, ts_published: int) -> Part:
    """Write rows as one part and give it its name.

    The sha256 is that of the file read back, and the row count is read back from its footer: what
    the catalog says of a part was true of the disk.

    Raises
    ------
    OSError   when the disk refuses; no part has a name then
    """
    first, last = rows.batches[0], rows.batches[-1]
    dataset, symbol = first.dataset, first.symbol
    table = table_of(rows.batches, run_id)
    folder = archive / part_folder(dataset, rows.date, symbol)
    make_folder(folder)
    draft = folder / f"{first.stream}-{run_id}.parquet"
    unfinished = beside(draft)
    write_table(table, unfinished)
    with disk().open(unfinished) as file:
        written = pq.read_metadata(file).num_rows
    if written != rows.rows:
        raise OSError(f"part {unfinished} reads back {written} of {rows.rows} rows")
    sha256 = sha256_of(unfinished)
    ts_first, ts_last = int(first.known[0]), int(last.known[-1])
    relative = part_path(dataset, rows.date, symbol, ts_first, ts_last, sha256[:12])
    target = archive / relative
    disk().rename(unfinished, beside(target))
    publish_file(target)
    sequences = [batch.columns["sequence"] for batch in rows.batches]
    return Part(
        {
            "path": relative,
            "dataset": dataset,
            "date": rows.date,
            "symbol": symbol,
            "stream": first.stream,
            "run_id": run_id,
            "rows": rows.rows,
            "bytes": disk().size(target),
            "sha256": sha256,
            "ts_first": ts_first,
            "ts_last": ts_last,
            "ordinal_first": int(first.columns["ordinal"][0]),
            "ordinal_last": int(last.columns["ordinal"][-1]),
            "sequence_first": min(int(values.min()) for values in sequences),
            "sequence_last": max(int(values.max()) for values in sequences),
            "ts_published": ts_published,
            "ts_replaced": None,
        },
        _full_books(rows, run_id, relative),
    )


def write_table(table: pa.Table, path: Path) -> None:
    """Write a dataset's table with the encodings that fit each column."""
    is_small = table.num_rows < _SMALL_ROWS
    with (
        disk().create(path) as file,
        open_writer(file, table.schema, is_small=is_small) as writer,
    ):
        writer.write_table(table, row_group_size=ROW_GROUP_ROWS)


def open_writer(file: BinaryIO, schema: pa.Schema, *, is_small: bool = False) -> pq.ParquetWriter:
    """Write a dataset's tables into a file, with the encodings that fit each column.

    Parameters
    ----------
    is_small : bool   it will have so few rows that compressing numbers is for nothing
    """
    return pq.ParquetWriter(file, **_options(schema.remove_metadata(), is_small))


@cache
def _options(schema: pa.Schema, is_small: bool) -> dict[str, Any]:
    words = [field.name for field in schema if field.type == WORD]
    scales = [name for name in schema.names if name.endswith("_scale")]
    prices = [name for name in schema.names if name.endswith("price_mantissa")]
    compressed = [field.name for field in schema if not is_small or field.type == pa.string()]
    encodings = {name: "DELTA_BINARY_PACKED" for name in schema.names if name in _DELTA} | {
        name: "BYTE_STREAM_SPLIT"
        for name in schema.names
        if name.endswith("_mantissa") and name not in prices
    }
    return {
        "schema": schema.with_metadata({"booktape_schema": SCHEMA_VERSION}),
        "compression": {name: "zstd" if name in compressed else "none" for name in schema.names},
        "compression_level": dict.fromkeys(compressed, 3),
        "use_dictionary": [*words, *scales, *prices],
        "column_encoding": encodings,
        "write_page_index": not is_small,
    }


def sha256_of(path: Path) -> str:
    """Return the sha256 of a file's bytes."""
    digest = hashlib.sha256()
    with disk().open(path) as file:
        while chunk := file.read(_SHA_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def _full_books(rows: PartRows, run_id: str, path: str) -> list[dict[str, Any]]:
    entries = []
    row_first = 0
    for batch in rows.batches:
        book: FullBook | None = batch.full_book
        if book is not None:
            entries.append(
                {
                    "symbol": batch.symbol,
                    "stream": batch.stream,
                    "run_id": run_id,
                    "ordinal": book.ordinal,
                    "origin": book.origin,
                    "ts": book.ts,
                    "sequence": book.sequence,
                    "path": path,
                    "row_first": row_first,
                    "rows": len(batch),
                }
            )
        row_first += len(batch)
    return entries
