"""The rows of a part against the rows they should be, piece by piece: the first difference."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq


def part_difference(path: Path, source: RowSource) -> str:
    """Return the first difference of a part and the next rows in words, "" when there is none."""
    first = 0
    difference = ""
    for found in _row_groups(path):
        expected = source.take(found.num_rows)
        difference = difference or _difference(found, expected, first)
        first += found.num_rows
    return difference


def _row_groups(path: Path) -> Iterator[pa.Table]:
    """Yield the rows of a part piece by piece: a compacted one would fill the memory."""
    with pq.ParquetFile(path) as file:
        for group in range(file.num_row_groups):
            yield _plain(file.read_row_group(group))


class RowSource:
    """Rows of one stream in order, taken in runs of any length.

    Parameters
    ----------
    archive : Path
    parts : list   rows of the catalog's `parts`, in order

    Attributes
    ----------
    remaining : int   rows not taken yet
    """

    def __init__(self, archive: Path, parts: list[dict[str, Any]]) -> None:
        self._pieces = (piece for part in parts for piece in _row_groups(archive / part["path"]))
        self._table: pa.Table | None = None
        self.remaining = sum(part["rows"] for part in parts)

    def take(self, count: int) -> pa.Table | None:
        """Return the next rows, fewer at the end."""
        taken = list(self._next(count))
        return pa.concat_tables(taken) if taken else None

    def skip(self, count: int) -> None:
        """Pass over the next rows."""
        for _ in self._next(count):
            pass

    def _next(self, count: int) -> Iterator[pa.Table]:
        while count:
            if self._table is None or not self._table.num_rows:
                self._table = next(self._pieces, None)
                if self._table is None:
                    return
            piece = self._table.slice(0, count)
            self._table = self._table.slice(piece.num_rows)
            count -= piece.num_rows
            self.remaining -= piece.num_rows
            yield piece


def _plain(table: pa.Table) -> pa.Table:
    """Return the table with words as text: dictionaries differ from part to part."""
    fields = [
        pa.field(f.name, pa.string() if pa.types.is_dictionary(f.type) else f.type)
        for f in table.schema
    ]
    return table.cast(pa.schema(fields)).replace_schema_metadata(None)


def _difference(found: pa.Table, expected: pa.Table | None, first: int) -> str:
    """Return the first difference in words, "" when there is none.

    Parameters
    ----------
    first : int   row of the part that is the first of `found`
    """
    if expected is None or expected.num_rows < found.num_rows:
        rows = expected.num_rows if expected is not None else 0
        return f"{found.num_rows - rows} rows more than the raw log gives"
    if found.equals(expected):
        return ""
    for row in _differing_rows(found, expected):
        left, right = _row(found, row), _row(expected, row)
        names = [name for name in found.column_names if left.get(name) != right.get(name)]
        if names:
            name = names[0]
            return (
                f"row {first + row} (ordinal {left['ordinal']}), column {name}: "
                f"{left[name]!r} in the part, {right[name]!r} from the raw log"
            )
    return "its columns differ"


def _row(table: pa.Table, row: int) -> dict[str, Any]:
    """Return one row as plain values, times as ns: pyarrow hands out no ns without pandas."""
    piece = table.slice(row, 1)
    return {
        name: (column.cast(pa.int64()) if pa.types.is_timestamp(column.type) else column)[0].as_py()
        for name, column in zip(piece.column_names, piece.columns, strict=True)
    }


def _differing_rows(found: pa.Table, expected: pa.Table) -> Iterator[int]:
    """Yield candidates for the first differing row, by halving."""
    low, high = 0, found.num_rows
    while high - low > 1:
        middle = (low + high) // 2
        if found.slice(low, middle - low).equals(expected.slice(low, middle - low)):
            low = middle
        else:
            high = middle
    yield low
