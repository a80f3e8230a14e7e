"""Frames of partial and whole books as rows."""

from __future__ import annotations

import numpy as np
import pytest

from replay import Archive
from replay.depth_rows import DEPTH_SCHEMA, unknown_points
from tests.support.archive_builder import T0, ArchiveBuilder, S
from tests.support.arrow_rows import rows_of

SYMBOL = "ABC-XYZ"


def frame(tmp_path, bids: list, asks: list, known: tuple, levels: int, then: list) -> list[tuple]:
    """The frame after one message, as (side, level, price, valid)."""
    builder = ArchiveBuilder(tmp_path / "archive")
    builder.book(SYMBOL).snapshot(T0, 1, bids, asks, known=known).message(T0 + S, then)
    builder.write()
    with Archive(builder.root) as tape:
        rows = rows_of(tape.depth(SYMBOL, T0 + S, T0 + S + 1, S, levels))
    assert {row["sequence"] for row in rows} == {2}
    assert all((row["price"] is None) == (row["size"] is None) for row in rows)
    return [(row["side"], row["level"], row["price"], row["valid"]) for row in rows]


BIDS, ASKS = [("9", "1"), ("8", "1")], [("11", "1")]


@pytest.mark.parametrize(
    ("bids", "asks", "known", "levels", "then", "rows"),
    [
        # A whole book shows what it has.
        (BIDS, ASKS, (None, None), 3, ("bid", "7", "1"),
         [("bid", 1, 9, True), ("bid", 2, 8, True), ("bid", 3, 7, True), ("ask", 1, 11, True)]),
        # Beyond the bound a level is shown and not valid; where none is, a row says that it ends.
        (BIDS, ASKS, ("8", "11"), 3, ("bid", "7", "1"),
         [("bid", 1, 9, True), ("bid", 2, 8, True), ("bid", 3, 7, False),
          ("ask", 1, 11, True), ("ask", 2, None, False)]),
        # Cut inside the known depth, nothing is missing.
        (BIDS, ASKS, ("8", "11"), 1, ("bid", "7", "1"),
         [("bid", 1, 9, True), ("ask", 1, 11, True)]),
        # The touch itself may be missing.
        (BIDS, ASKS, (None, "11"), 1, ("ask", "11", "0"),
         [("bid", 1, 9, True), ("ask", 1, None, False)]),
        ([], ASKS, (None, "11"), 2, ("ask", "11", "0"), [("ask", 1, None, False)]),
        # Known, and empty.
        ([], ASKS, (None, None), 2, ("ask", "11", "0"), [(None, None, None, True)]),
    ],
)  # fmt: skip
def test_what_is_not_known_is_a_row(tmp_path, bids, asks, known, levels, then, rows):
    assert frame(tmp_path, bids, asks, known, levels, [then]) == rows


def test_unknown_points_have_neither_side_nor_sequence():
    batch = unknown_points(np.array([T0, T0 + S], np.int64))
    assert batch.schema.equals(DEPTH_SCHEMA)
    assert [(row["ts"], row["side"], row["sequence"], row["valid"]) for row in rows_of(batch)] == [
        (T0, None, None, False), (T0 + S, None, None, False),
    ]  # fmt: skip
