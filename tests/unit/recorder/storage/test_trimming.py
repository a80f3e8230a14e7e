"""Coverage above a floor."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from recorder.pipeline.output import Gap, Interval
from recorder.storage.catalog_writer import CatalogWriter
from recorder.storage.trimming import NOTHING_LEFT, Floor, trimmed
from schemas.catalog import TABLES
from schemas.timestamps import NS_PER_DAY, date_of, day_start
from tests.support.archive_content import table_rows

DAY = day_start("2026-11-22")
BOOK = Floor(20, 200, 1200, has_books=True)
PUSH = Floor(20, 200, 1200, has_books=False)


def _row(first: int, last: int, ts_from: int, ts_to: int) -> dict[str, Any]:
    row: dict[str, Any] = dict.fromkeys(TABLES["coverage"].names)
    return row | {
        "ordinal_first": first, "ordinal_last": last, "ts_from": ts_from, "ts_to": ts_to,
        "sequence_first": 1000 + first, "sequence_last": 1000 + last, "messages": 5, "rows": 6,
    }  # fmt: skip


def _seen(row: dict[str, Any] | None) -> tuple | None:
    names = ("ordinal_first", "ts_from", "sequence_first", "sequence_last", "messages", "rows")
    return None if row is None else tuple(row[name] for name in names)


@pytest.mark.parametrize(
    ("floor", "row", "expected"),
    [
        (None, _row(0, 9, 0, 90), (0, 0, 1000, 1009, 5, 6)),
        (BOOK, _row(0, 19, 0, 190), None),
        (BOOK, _row(20, 30, 200, 300), (20, 200, 1020, 1030, 5, 6)),
        (BOOK, _row(5, 20, 50, 200), (20, 200, 1200, 1020, None, None)),
        (BOOK, _row(5, 30, 50, 300), (20, 200, 1200, 1030, None, None)),
        (NOTHING_LEFT, _row(5, 30, 50, 300), None),
        (PUSH, _row(0, 19, 0, 199), None),
        (PUSH, _row(20, 30, 200, 300), (20, 200, 1020, 1030, 5, 6)),
        (PUSH, _row(5, 30, 50, 300), (20, 200, 1200, 1030, None, None)),
        (PUSH, _row(5, 19, 50, 300), (20, 200, None, None, None, None)),
        (PUSH, _row(5, 12, 50, 300), (13, 200, None, None, None, None)),
    ],
)
def test_an_interval_above_a_floor(floor: Floor | None, row: dict, expected: tuple | None) -> None:
    assert _seen(trimmed(row, floor)) == expected
    kept = trimmed(row, floor)
    if kept is not None:
        assert trimmed(kept, floor) == kept


@pytest.fixture
def catalog(tmp_path: Path) -> Any:
    """A catalog that lost the first day of A-B l2 in run r1, with a keyframe on the second."""
    writer = CatalogWriter(tmp_path)
    _put(writer, "parts", path="u2", dataset="l2_updates", date=date_of(DAY + NS_PER_DAY),
         ordinal_first=20, ordinal_last=40)  # fmt: skip
    _put(writer, "removals", path="u1", dataset="l2_updates", date=date_of(DAY), rows=19)
    _put(writer, "removals", path="b1", dataset="book_snapshots", date=date_of(DAY), rows=7)
    # Written in the second day, but it repeats the last change of the first: no reader can use it.
    _put(writer, "full_books", path="b2", ordinal=19, origin="keyframe", ts=150, sequence=1190)
    _put(writer, "full_books", path="b2", ordinal=20, origin="audit", ts=199, sequence=1199)
    _put(writer, "full_books", path="b2", ordinal=20, origin="keyframe", ts=200, sequence=1200)
    yield writer
    writer.close()


def _put(catalog: CatalogWriter, table: str, **values: Any) -> None:
    key = {"symbol": "A-B", "stream": "l2", "run_id": "r1"}
    row = dict.fromkeys(TABLES[table].names) | key | values
    catalog._put(TABLES[table], [row])


def test_the_first_usable_full_book_is_the_floor(catalog: Any) -> None:
    assert catalog.floor_of("A-B", "l2", "r1") == BOOK
    assert catalog.floor_of("A-B", "l2", "r2") is None
    assert catalog.floor_of("A-B", "trades", "r1") is None
    _put(catalog, "full_books", path="b2", ordinal=10, origin="rest", ts=100, sequence=1100)
    assert catalog.floor_of("A-B", "l2", "r1") == Floor(10, 100, 1100, has_books=True)


def test_an_interval_that_grows_stays_trimmed(catalog: Any, tmp_path: Path) -> None:
    lost = Gap("A-B", "l2", 3, "sequence", 40, 41, 104, ts_to=60)
    interval = Interval("A-B", "l2", 5, 30, 60, 300, 1005, 1030, messages=9, rows=30)
    later = Gap("A-B", "l2", 35, "sequence", 350, 351, 1036)
    for last in (30, 35):
        interval.ordinal_last, interval.ts_to = last, 10 * last
        catalog.put_ledger("r1", [Interval("A-B", "l2", 0, 3, 10, 40, 1000, 1003), lost, interval])
        (row,) = table_rows(tmp_path, "coverage")
        assert (row["ordinal_first"], row["ordinal_last"], row["ts_to"]) == (20, last, 10 * last)
        assert (row["messages"], row["rows"]) == (None, None)
    interval.is_open = False
    catalog.put_ledger("r1", [interval, later])
    (row,) = table_rows(tmp_path, "coverage")
    assert (row["ordinal_first"], row["is_open"]) == (20, 0)
    assert [gap["ts_from"] for gap in table_rows(tmp_path, "gaps")] == [350]


def test_other_runs_and_streams_keep_theirs(catalog: Any, tmp_path: Path) -> None:
    catalog.put_ledger("r2", [Interval("A-B", "l2", 0, 3, 10, 40, 1000, 1003)])
    catalog.put_ledger("r1", [Interval("A-B", "trades", 0, 3, 10, 40, 1000, 1003)])
    assert {row["ordinal_first"] for row in table_rows(tmp_path, "coverage")} == {0}
