"""When parts close: rows, age, the end of the day, memory."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from recorder.pipeline.output import FullBook, Rows
from recorder.storage.open_parts import OpenParts, RollRules, skip_rows
from schemas.timestamps import NS_PER_DAY, NS_PER_S, day_start

T = day_start("2026-11-22") + 10 * 3600 * NS_PER_S


def rows(
    symbol: str = "A-B", n: int = 10, ts: int = T, step: int = 0, dataset: str = "l2_updates"
) -> Rows:
    """Return a batch of n rows."""
    known = ts + step * np.arange(n, dtype=np.int64)
    columns: dict[str, Any] = {"ordinal": np.arange(n), "words": ["x"] * n}
    return Rows(dataset, symbol, "l2", columns, known)


def filled(rules: RollRules, *batches: Rows) -> OpenParts:
    """Return open parts with batches in them."""
    parts = OpenParts(rules)
    parts.add(batches)
    return parts


KEY = ("A-B", "l2")


@pytest.mark.parametrize(
    ("n", "age_s", "is_due"),
    [
        (10, 0, False),
        (99, 899, False),
        (99, 900, False),  # old enough and too few
        (100, 899, False),  # enough and too young
        (100, 900, True),
        (10, 6 * 3600 - 1, False),
        (10, 6 * 3600, True),
        (999, 0, False),
        (1000, 0, True),
    ],
)
def test_rows_and_age(n: int, age_s: int, is_due: bool) -> None:
    parts = filled(RollRules(rows_max=1000, rows_min=100), rows(n=n))
    assert parts.due(T + age_s * NS_PER_S) == ({KEY} if is_due else set())


def test_the_end_of_the_day_closes_even_a_single_row() -> None:
    parts = filled(RollRules(age_max_s=1e9), rows(n=1))
    midnight = day_start("2026-11-23")
    assert parts.due(midnight - 1) == set()
    assert parts.due(midnight) == {KEY}


def test_a_batch_over_midnight_is_parts_of_two_days() -> None:
    midnight = day_start("2026-11-23")
    parts = filled(RollRules(), rows(n=5, ts=midnight - 2, step=1))
    assert parts.due(midnight) == {KEY}
    first, second = parts.peek(KEY)
    assert [(part.date, part.rows) for part in (first, second)] == [
        ("2026-11-22", 2),
        ("2026-11-23", 3),
    ]
    assert first.batches[0].columns["ordinal"].tolist() == [0, 1]
    assert second.batches[0].columns["ordinal"].tolist() == [2, 3, 4]
    assert second.batches[0].columns["words"] == ["x"] * 3
    parts.drop({KEY})
    assert len(parts) == 0
    assert parts.bytes == 0
    assert KEY not in parts


def test_days_without_rows_between_leave_one_part_a_day() -> None:
    parts = filled(RollRules(), *(rows(ts=T + n * NS_PER_DAY) for n in (0, 2, 3)))
    assert [part.date for part in parts.peek(KEY)] == ["2026-11-22", "2026-11-24", "2026-11-25"]


def test_memory_closes_the_largest_first_and_only_as_many_as_needed() -> None:
    batches = [rows("A-B", 1000), rows("C-D", 5000), rows("E-F", 3000)]
    total = filled(RollRules(), *batches).bytes
    for limit, due in (
        (total, set()),
        (total - 1, {("C-D", "l2")}),
        (total // 3, {("C-D", "l2"), ("E-F", "l2")}),
        (0, {("A-B", "l2"), ("C-D", "l2"), ("E-F", "l2")}),
    ):
        assert filled(RollRules(memory_max_bytes=limit), *batches).due(T) == due


def test_changes_and_full_books_of_a_stream_close_together() -> None:
    parts = filled(RollRules(rows_max=50), rows(n=5), rows(n=60, dataset="book_snapshots"))
    assert parts.due(T) == {KEY}
    assert [part.batches[0].dataset for part in parts.peek(KEY)] == [
        "l2_updates",
        "book_snapshots",
    ]


def test_skipping_rows_keeps_the_rest() -> None:
    batch = rows(n=5, step=1)
    batch.full_book = FullBook("rest", 0, T, 1)
    assert skip_rows(batch, 0) is batch
    rest = skip_rows(batch, 3)
    assert rest.columns["ordinal"].tolist() == [3, 4]
    assert rest.columns["words"] == ["x", "x"]
    assert rest.known.tolist() == [T + 3, T + 4]
    assert rest.full_book is None
