"""Reads rows out of part files: only the row groups and columns that are needed."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from replay.catalog import FullBook, Part, Snapshot
from replay.errors import PartDamaged, SnapshotExpired
from schemas.datasets import DATASETS

_FOOTERS_MAX = 512  # a footer of a million-row part is some 30 KiB


@dataclass(frozen=True, slots=True)
class _Footer:
    metadata: pq.FileMetaData
    ordinals: tuple[tuple[int, int] | None, ...]  # of each row group, None where not stated
    starts: tuple[int, ...]  # first row of each row group, and the row count at the end


class PartReader:
    """Reads rows by ordinal, and full books by place, from the parts of one archive.

    Footers are kept, parts being immutable. Threads may share a reader.

    Attributes
    ----------
    touched : set[str]   paths of the parts that rows were read from
    """

    def __init__(self, root: Path) -> None:
        self.touched: set[str] = set()
        self._root = root
        self._footers: OrderedDict[str, _Footer] = OrderedDict()
        self._lock = threading.Lock()

    def rows(
        self,
        snapshot: Snapshot,
        dataset: str,
        symbol: str,
        run_id: str,
        ordinals: tuple[int, int],
        columns: Sequence[str],
    ) -> pa.Table:
        """Return rows with an ordinal in the closed range, in order.

        Raises
        ------
        SnapshotExpired   a part is gone
        PartDamaged       a part cannot be read
        """
        first, last = ordinals
        wanted = _parts_with(snapshot, dataset, symbol, run_id, ordinals)
        tables = [self._part_rows(part, first, last, columns) for part in wanted]
        if not tables:
            schema = DATASETS[dataset].schema
            return pa.schema([schema.field(name) for name in columns]).empty_table()
        return pa.concat_tables(tables)

    @staticmethod
    def promised(
        snapshot: Snapshot, dataset: str, symbol: str, run_id: str, ordinals: tuple[int, int]
    ) -> int:
        """Return how many ordinals of the closed range a catalog has parts for, at most."""
        first, last = ordinals
        return sum(
            min(part.ordinal_last, last) - max(part.ordinal_first, first) + 1
            for part in _parts_with(snapshot, dataset, symbol, run_id, ordinals)
        )

    def full_book(self, book: FullBook, columns: Sequence[str]) -> pa.Table:
        """Return the rows of one full book.

        Raises
        ------
        SnapshotExpired   its part is gone
        PartDamaged       its part cannot be read, or is shorter than the catalog says
        """
        footer = self._footer(book.path)
        stop = book.row_first + book.rows
        if book.rows < 1 or stop > footer.starts[-1]:
            raise PartDamaged(
                book.path, f"the catalog has a book at rows {book.row_first} to {stop}"
            )
        groups = [
            group
            for group in range(len(footer.starts) - 1)
            if footer.starts[group] < stop and footer.starts[group + 1] > book.row_first
        ]
        table = self._read(book.path, footer, groups, columns)
        return table.slice(book.row_first - footer.starts[groups[0]], book.rows)

    def _part_rows(self, part: Part, first: int, last: int, columns: Sequence[str]) -> pa.Table:
        footer = self._footer(part.path)
        groups = [
            group
            for group, span in enumerate(footer.ordinals)
            if span is None or (span[0] <= last and span[1] >= first)
        ]
        table = self._read(part.path, footer, groups, columns)
        ordinal = table.column("ordinal")
        keep = pc.and_(pc.greater_equal(ordinal, first), pc.less_equal(ordinal, last))
        inside = pc.sum(keep).as_py() or 0
        if inside == len(table):
            return table
        # Rows are in ordinal order, so those inside are one stretch.
        return table.slice(pc.index(keep, True).as_py() if inside else 0, inside)

    def _read(
        self, path: str, footer: _Footer, groups: list[int], columns: Sequence[str]
    ) -> pa.Table:
        self.touched.add(path)
        try:
            with pq.ParquetFile(self._root / path, metadata=footer.metadata) as file:
                return file.read_row_groups(groups, columns=list(columns), use_threads=False)
        except FileNotFoundError:
            raise SnapshotExpired(path) from None
        except (OSError, pa.ArrowException, KeyError) as error:
            raise PartDamaged(path, str(error)) from error

    def _footer(self, path: str) -> _Footer:
        with self._lock:
            footer = self._footers.get(path)
            if footer is not None:
                self._footers.move_to_end(path)
                return footer
        try:
            with pq.ParquetFile(self._root / path) as file:
                metadata = file.metadata
        except FileNotFoundError:
            raise SnapshotExpired(path) from None
        except (OSError, pa.ArrowException) as error:
            raise PartDamaged(path, str(error)) from error
        footer = _footer_of(metadata)
        with self._lock:
            self._footers[path] = footer
            while len(self._footers) > _FOOTERS_MAX:
                self._footers.popitem(last=False)
        return footer


def _parts_with(
    snapshot: Snapshot, dataset: str, symbol: str, run_id: str, ordinals: tuple[int, int]
) -> list[Part]:
    """Return the parts of a run that reach into a closed range of ordinals, in order."""
    first, last = ordinals
    found = [
        part
        for part in snapshot.parts.get((dataset, symbol), [])
        if part.run_id == run_id and part.ordinal_first <= last and part.ordinal_last >= first
    ]
    return sorted(found, key=lambda part: part.ordinal_first)


def _footer_of(metadata: pq.FileMetaData) -> _Footer:
    spans: list[tuple[int, int] | None] = []
    starts = [0]
    for group in range(metadata.num_row_groups):
        row_group = metadata.row_group(group)
        starts.append(starts[-1] + row_group.num_rows)
        span = None
        for index in range(row_group.num_columns):
            column = row_group.column(index)
            if column.path_in_schema == "ordinal":
                statistics = column.statistics
                if statistics is not None and statistics.has_min_max:
                    span = (statistics.min, statistics.max)
                break
        spans.append(span)
    return _Footer(metadata, tuple(spans), tuple(starts))
