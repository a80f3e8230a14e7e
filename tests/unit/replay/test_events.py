"""Events of several books in the order they were known."""

from __future__ import annotations

from decimal import Decimal

import pytest

from replay import Archive
from replay.errors import OutsideArchive, UnknownSymbol
from tests.support.archive_builder import T0, ArchiveBuilder, S
from tests.unit.replay.conftest import SYMBOL


@pytest.fixture
def two(tmp_path):
    builder = ArchiveBuilder(tmp_path / "two")
    one = builder.book("B-X").snapshot(T0, 10, [("1", "1")], [])
    one.message(T0 + S, [("bid", "2", "1")]).keyframe().message(T0 + 3 * S, [("bid", "2", "0")])
    two = builder.book("A-X").snapshot(T0, 50, [], [("9", "1")])
    two.message(T0 + S, [("ask", "8", "1"), ("ask", "9", "0")]).lose()
    two.snapshot(T0 + 2 * S, 90, [], [("7", "1")])
    builder.write()
    with Archive(builder.root) as tape:
        yield tape


def test_books_move_together_and_ties_go_by_symbol(two):
    seen = [
        (e.symbol, e.kind, e.ts_recv - T0, e.sequence, e.book.bbo.bid, e.book.bbo.ask, e.book.known)
        for e in two.replay(["B-X", "A-X"])
    ]
    assert seen == [
        ("A-X", "snapshot", 0, 50, None, 9, True),
        ("B-X", "snapshot", 0, 10, 1, None, True),
        ("A-X", "update", S, 51 + 1, None, 8, True),
        ("B-X", "update", S, 11, 2, None, True),
        ("A-X", "gap", S + 1, None, None, None, False),
        ("A-X", "snapshot", 2 * S, 90, None, 7, True),
        ("A-X", "gap", 2 * S + 1, None, None, None, False),
        ("B-X", "update", 3 * S, 12, 1, None, True),
        ("B-X", "gap", 3 * S + 1, None, None, None, False),
    ]


def test_a_gap_names_its_row_and_a_message_its_changes(two):
    events = list(two.replay("A-X"))
    assert [e.gap.reason for e in events if e.kind == "gap" and e.gap] == ["sequence"]
    update = next(e for e in events if e.kind == "update")
    assert update.changes == [
        ("ask", (Decimal(8), Decimal(1))), ("ask", (Decimal(9), Decimal(0))),
    ]  # fmt: skip


def test_a_range_begins_with_the_book_as_it_stood(two):
    events = two.replay("B-X", T0 + 2 * S, T0 + 3 * S + 1)
    seen = [(e.kind, e.sequence, e.ts_recv - T0, e.book.book().bids.texts()) for e in events]
    assert seen == [
        ("snapshot", 11, S, [("2", "1"), ("1", "1")]),
        ("update", 12, 3 * S, [("1", "1")]),
    ]


def test_orders(tape):
    kinds = [(e.kind, e.sequence, e.changes) for e in tape.replay(SYMBOL, level=3)]
    assert kinds[0] == ("snapshot", 100, [])
    assert [n for kind, n, _ in kinds if kind == "update"] == [101, 102, 103, 104, 105]


def test_refusals_come_at_once(two):
    with pytest.raises(UnknownSymbol):
        two.replay(["B-X", "C-X"])
    with pytest.raises(OutsideArchive):
        two.replay("B-X", end=T0)
