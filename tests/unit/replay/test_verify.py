"""Proof by replay notices every kind of change in what was written."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from replay import Archive
from tests.support.archive_builder import T0, ArchiveBuilder, S
from tests.support.arrow_rows import rows_of
from tests.unit.replay.conftest import SYMBOL


def change(root: Path, dataset: str, edit: Callable[[list[dict]], None]) -> None:
    """Rewrite the rows of a dataset's first part."""
    part = min((root / dataset).rglob("*.parquet"))
    table = pq.read_table(part, partitioning=None)
    rows = rows_of(table)
    edit(rows)
    pq.write_table(pa.Table.from_pylist(rows, schema=table.schema), part)


def test_a_true_archive_is_equal_throughout(tape):
    report = tape.verify()
    assert report.ok, report.lines()
    assert {what: counts["equal"] for what, counts in report.counts.items()} == {
        "l2 rows": 0, "keyframes": 2, "audits": 1, "l3 rows": 0, "l3 = l2": 8,
    }  # fmt: skip
    assert report.counts["l2 rows"]["checked"] == 6
    assert report.counts["l3 rows"]["checked"] == 5


def set_size(rows: list[dict]) -> None:
    rows[0]["size_mantissa"] += 1


def make_hole(rows: list[dict]) -> None:
    rows[2].update(sequence=104, sequence_start=104, sequence_end=104)


def run_back(rows: list[dict]) -> None:
    rows[4]["ts_recv"] -= 2 * S


def leave_open(rows: list[dict]) -> None:
    rows[-1]["is_last"] = False


@pytest.mark.parametrize(
    ("dataset", "edit", "what", "detail"),
    [
        ("l2_updates", set_size, "keyframes", "bids at place 1: replayed ('10.5', '1.0001')"),
        ("l2_updates", make_hole, "rows", "sequences do not follow at ordinal 3"),
        ("l2_updates", run_back, "rows", "known times run back"),
        ("l2_updates", leave_open, "rows", "the last message is incomplete"),
        ("l3_events", lambda rows: rows[0].update(order_id="z"), "keyframes", "bids at place 1"),
        ("l3_events", lambda rows: rows[4].update(remain_size_mantissa=9), "l3 = l2", "asks"),
    ],
)
def test_a_changed_row_is_found(builder, dataset, edit, what, detail):
    if what == "l3 = l2":  # beyond the depth that the level-2 seed knew nothing is compared
        builder = told_whole(builder.root.parent / "whole")
    change(builder.root, dataset, edit)
    with Archive(builder.root) as tape:
        report = tape.verify()
    assert not report.ok
    assert what in {difference.what for difference in report.differences}
    assert any(detail in line for line in report.lines()), report.lines()


def told_whole(root: Path) -> ArchiveBuilder:
    """Level 2 without bounds beside the same level 3."""
    builder = ArchiveBuilder(root)
    builder.book(SYMBOL).snapshot(T0, 1, [], []).message(T0, [("ask", "2", "1")] * 5)
    orders = builder.book(SYMBOL, "l3").snapshot(T0, 1, [], [])
    for at in range(4):
        orders.event(T0, "received", str(at))
    orders.event(T0, "open", "a", side="ask", price="2", remain="1")
    builder.write()
    with Archive(root) as tape:
        assert tape.verify().ok
    return builder


def test_an_audit_that_differs_is_found_and_one_outside_is_inconclusive(tmp_path):
    builder = ArchiveBuilder(tmp_path / "audited")
    stream = builder.book(SYMBOL).snapshot(T0, 10, [("1", "1")], [])
    stream.message(T0 + S, [("bid", "1", "2")])
    stream.audit(T0 + S, 11, [("1", "3")], []).audit(T0 + S, 10, [("1", "1")], [])
    stream.audit(T0 + S, 9, [], []).message(T0 + 2 * S, [("bid", "2", "2")] * 3, end=20)
    stream.audit(T0 + 2 * S, 15, [], [])
    builder.write()
    with Archive(builder.root) as tape:
        report = tape.verify()
    assert report.counts["audits"] == {"equal": 1, "unequal": 1, "inconclusive": 2, "whole": 2}
    assert [(d.what, d.sequence) for d in report.differences] == [("audits", 11)]


def test_a_sequence_hole_in_level_3_is_found_but_private_events_are_exempt(tmp_path):
    builder = ArchiveBuilder(tmp_path / "l3")
    stream = builder.book(SYMBOL, "l3").snapshot(T0, 10, [], [])
    stream.event(T0, "received", "a").event(T0, "stop", "a", sequence=3).event(T0, "received", "b")
    builder.write()
    with Archive(builder.root) as tape:
        assert tape.verify().ok
    change(builder.root, "l3_events", lambda rows: rows[2].update(sequence=13))
    with Archive(builder.root) as tape:
        assert "sequences do not follow at ordinal 3" in tape.verify().differences[0].detail


def test_only_the_first_differences_are_kept_but_all_are_counted(tmp_path):
    builder = ArchiveBuilder(tmp_path / "many")
    stream = builder.book(SYMBOL).snapshot(T0, 0, [("1", "1")], [])
    for at in range(1, 31):
        stream.message(T0 + at, [("bid", "1", str(at + 1))]).keyframe()
    builder.write()

    def spoil(rows: list[dict]) -> None:
        for row in rows:
            row["size_mantissa"] += 1

    change(builder.root, "l2_updates", spoil)
    with Archive(builder.root) as tape:
        report = tape.verify()
    assert (report.unequal, len(report.differences)) == (30, 20)
    assert "and 10 more" in report.lines()


def told_again(root: Path, deeper: tuple[str, str] = ("7", "14")) -> ArchiveBuilder:
    """A partial book whose price walks away, told again deeper, with an audit of its own depth."""
    builder = ArchiveBuilder(root)
    stream = builder.book(SYMBOL)
    stream.snapshot(T0, 10, [("9", "1"), ("8", "1")], [("10", "1")], known=("8", "10"))
    stream.message(T0 + S, [("bid", "9", "0"), ("bid", "8", "0"), ("bid", "7", "2")]).keyframe()
    stream.message(T0 + 2 * S, [("ask", "10", "0")])
    stream.reseed(T0 + 3 * S, [("7", "2")], [("13", "1"), ("14", "2")], known=deeper)
    stream.message(T0 + 4 * S, [("ask", "12", "1")])
    stream.audit(T0 + 4 * S, stream.sequence, [("7", "2")], [("12", "1")], known=("7", "12"))
    builder.write()
    return builder


def test_how_deep_partial_books_were_compared_is_counted(tmp_path):
    with Archive(told_again(tmp_path / "partial").root) as tape:
        report = tape.verify()
        assert report.ok, report.lines()
    # The keyframe after the walk has an ask in common; at the reseed nothing is left.
    assert report.counts["keyframes"] == {
        "equal": 1, "unequal": 0, "inconclusive": 0, "partial": 1, "empty": 1,
    }  # fmt: skip
    assert report.counts["audits"] == {
        "equal": 1, "unequal": 0, "inconclusive": 0, "partial": 1, "empty": 1,
    }  # fmt: skip
    assert "keyframes: 1 equal, 1 of them inside a known depth, 1 with nothing known in common" in (
        report.lines()
    )


@pytest.mark.parametrize("dataset", ["l2_updates", "book_snapshots"])
def test_a_level_inside_the_bound_of_a_partial_book_must_be_right(tmp_path, dataset):
    builder = told_again(tmp_path / "partial")

    def spoil(rows: list[dict]) -> None:
        rows[-1]["size_mantissa"] += 1

    change(builder.root, dataset, spoil)
    with Archive(builder.root) as tape:
        assert {d.what for d in tape.verify().differences} == {"audits"}


def test_a_keyframe_that_knows_less_than_the_book_before_it_is_found(tmp_path):
    builder = told_again(tmp_path / "partial")

    def narrow(rows: list[dict]) -> None:
        for row in rows:
            if row["origin"] == "keyframe" and row["known_bid_from_mantissa"] == 700:
                row["known_bid_from_mantissa"] = 900

    change(builder.root, "book_snapshots", narrow)
    with Archive(builder.root) as tape:
        lines = tape.verify().lines()
    assert any("bids known to 9 only, and known to 8 before it" in line for line in lines), lines
