"""What a run left on its disk, read as a stranger would: catalog, parts and raw logs."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import zstandard

from recorder.raw_line import RawLine, decode_line
from schemas.archive_layout import (
    CATALOG_DB,
    CATALOG_PARQUET,
    CURRENT,
    RAW,
    RAW_SUFFIX,
    parse_raw_segment_name,
)
from schemas.catalog import TABLES
from tests.simulation.disk import SimulatedDisk
from tests.simulation.market import DIGITS

Int64Array = npt.NDArray[np.int64]
Key = tuple[str, str, str, str]  # dataset, symbol, stream, run


@dataclass
class Archive:
    """An archive on a simulated disk."""

    disk: SimulatedDisk
    path: Path
    _parts_open: dict[str, pq.ParquetFile] = field(default_factory=dict)

    @cached_property
    def files(self) -> dict[str, bytes]:
        """Content by path, relative to the archive."""
        prefix = f"{self.path}/"
        return {
            name.removeprefix(prefix): data
            for name, data in self.disk.files().items()
            if name.startswith(prefix)
        }

    def table(self, name: str) -> list[dict[str, Any]]:
        """Return the rows of a catalog table."""
        database = self.disk.database(self.path / CATALOG_DB)
        return [] if database is None else database.rows(f"SELECT * FROM {name}")

    @cached_property
    def parts(self) -> list[dict[str, Any]]:
        """The parts in force, in order."""
        live = [part for part in self.table("parts") if part["ts_replaced"] is None]
        return sorted(live, key=lambda p: (p["ordinal_first"], p["ts_first"], p["ordinal_last"]))

    @cached_property
    def raw_lines(self) -> dict[str, list[RawLine]]:
        """The lines of each run's raw log."""
        segments: dict[str, list[tuple[int, str]]] = {}
        for name in self.files:
            if name.startswith(RAW) and name.endswith(RAW_SUFFIX):
                run_id, number = parse_raw_segment_name(name.rpartition("/")[2])
                segments.setdefault(run_id, []).append((number, name))
        return {
            run_id: [
                decode_line(text)
                for _, name in sorted(numbered)
                for text in unpack(self.files[name]).splitlines()
            ]
            for run_id, numbered in segments.items()
        }

    def check_parts(self) -> list[str]:
        """Say which parts of the catalog are not what it says."""
        return [
            f"part {part['path']} is not what the catalog says"
            for part in self.parts
            if hashlib.sha256(self.files.get(part["path"], b"")).hexdigest() != part["sha256"]
        ]

    def check_twin(self) -> list[str]:
        """Say what a reader of the catalog's Parquet twin would stumble over."""
        folder = CATALOG_PARQUET
        current = self.files.get(f"{folder}/{CURRENT}")
        if current is None:
            return []
        try:
            number = int(current)
            names = ["path", "sha256", "ts_replaced"]
            table = read_table(self.files[f"{folder}/{number}/parts.parquet"], names)
            for name in self.files:
                if name.startswith(f"{folder}/{number}/"):
                    pq.read_metadata(pa.BufferReader(self.files[name]))
        except (ValueError, KeyError, pa.ArrowException, OSError) as error:
            return [f"the catalog's Parquet twin cannot be read: {error!r}"]
        return [
            f"part {path} of the Parquet twin is not there"
            for path, sha256, is_live in zip(
                table["path"].to_pylist(),
                table["sha256"].to_pylist(),
                table["ts_replaced"].is_null().to_pylist(),
                strict=True,
            )
            if is_live and hashlib.sha256(self.files.get(path, b"")).hexdigest() != sha256
        ]

    def check_twin_is_the_catalog(self) -> list[str]:
        """Say which tables of the Parquet twin tell another story than the catalog."""
        folder = CATALOG_PARQUET
        current = self.files.get(f"{folder}/{CURRENT}")
        if current is None:
            return ["there is no Parquet twin of the catalog"]
        return [
            f"{name} of the Parquet twin has {found} rows, the catalog {told}"
            for name in TABLES
            if (found := self._twin_rows(int(current), name)) != (told := len(self.table(name)))
        ]

    def _twin_rows(self, number: int, name: str) -> int:
        data = self.files[f"{CATALOG_PARQUET}/{number}/{name}.parquet"]
        return int(pq.read_metadata(pa.BufferReader(data)).num_rows)

    def _opened(self, path: str) -> pq.ParquetFile:
        """Return a part, opened once: most of a small one is its footer."""
        if path not in self._parts_open:
            self._parts_open[path] = pq.ParquetFile(pa.BufferReader(self.files[path]))
        return self._parts_open[path]

    def rows(self, dataset: str, columns: list[str]) -> dict[Key, dict[str, Any]]:
        """Return columns of a dataset's rows by (dataset, symbol, stream, run), as arrays."""
        tables: dict[Key, list[pa.Table]] = {}
        for part in self.parts:
            if part["dataset"] == dataset:
                key = (dataset, part["symbol"], part["stream"], part["run_id"])
                found = self._opened(part["path"]).read(columns, use_threads=False)
                if found.num_rows != part["rows"]:
                    raise AssertionError(f"part {part['path']} has {found.num_rows} rows")
                tables.setdefault(key, []).append(found)
        return {
            key: {
                name: np.concatenate([as_array(piece[name]) for piece in pieces])
                for name in columns
            }
            for key, pieces in tables.items()
        }


def read_table(data: bytes, columns: list[str] | None) -> pa.Table:
    """Read a Parquet file."""
    with pq.ParquetFile(pa.BufferReader(data)) as file:
        return file.read(columns, use_threads=False)


def as_array(column: pa.ChunkedArray) -> npt.NDArray[Any]:
    """Return a column as an array; words as objects, nothing as -1 where there are numbers."""
    if pa.types.is_dictionary(column.type):
        return np.concatenate(
            [
                np.array([*chunk.dictionary.to_pylist(), None], dtype=object)[
                    chunk.indices.fill_null(len(chunk.dictionary)).to_numpy()
                ]
                for chunk in column.chunks
            ]
        )
    if pa.types.is_string(column.type):
        return np.array(column.to_pylist(), dtype=object)
    if pa.types.is_timestamp(column.type):
        column = column.cast(pa.int64())
    return column.fill_null(-1).to_numpy()


def values(mantissa: Int64Array, scale: npt.NDArray[np.int8]) -> Int64Array:
    """Return numbers as integers of `DIGITS` digits."""
    powers = np.array([10**n for n in range(DIGITS + 1)], dtype=np.int64)
    return mantissa * powers[DIGITS - scale]


def unpack(data: bytes) -> bytes:
    """Return the content of a raw-log segment; every frame of it must be whole."""
    content, rest, decompressor = [], data, zstandard.ZstdDecompressor()
    while rest:
        frame = decompressor.decompressobj()
        content.append(frame.decompress(rest))
        if not frame.eof:
            raise AssertionError("a torn frame was left in the raw log")
        rest = frame.unused_data
    return b"".join(content)
