"""Rows are compared piece by piece; the first difference is named by its row of the part."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recorder.row_comparison import RowSource, part_difference

ROWS = [{"ordinal": n, "price": 100 + n} for n in range(50)]


def _write(path: Path, rows: list[dict[str, Any]], group: int) -> dict[str, Any]:
    pq.write_table(pa.Table.from_pylist(rows), path, row_group_size=group)
    return {"path": path.name, "rows": len(rows)}


@pytest.fixture
def source(tmp_path: Path) -> RowSource:
    """The rows in three parts."""
    parts = [_write(tmp_path / f"{a}", ROWS[a:b], 4) for a, b in ((0, 7), (7, 30), (30, 50))]
    return RowSource(tmp_path, parts)


def test_equal_rows_have_no_difference_however_they_are_cut(
    source: RowSource, tmp_path: Path
) -> None:
    _write(tmp_path / "ours", ROWS[:41], 9)
    assert part_difference(tmp_path / "ours", source) == ""
    assert source.remaining == 9
    source.skip(4)
    rest = source.take(100)
    assert rest is not None
    assert rest["ordinal"].to_pylist() == [45, 46, 47, 48, 49]
    assert source.take(1) is None


@pytest.mark.parametrize("row", [0, 8, 9, 29, 40])
def test_the_first_difference_is_named_by_its_row_of_the_part(
    source: RowSource, tmp_path: Path, row: int
) -> None:
    rows = [dict(entry) for entry in ROWS[:41]]
    for spoilt in {row, 40}:
        rows[spoilt]["price"] += 1
    _write(tmp_path / "ours", rows, 9)
    told = part_difference(tmp_path / "ours", source)
    assert told == (
        f"row {row} (ordinal {row}), column price: {101 + row} in the part, "
        f"{100 + row} from the raw log"
    )
    assert source.remaining == 9


def test_rows_too_many_are_told(source: RowSource, tmp_path: Path) -> None:
    source.skip(48)
    _write(tmp_path / "ours", ROWS[48:] + ROWS[:2], 9)
    assert part_difference(tmp_path / "ours", source) == "2 rows more than the raw log gives"
