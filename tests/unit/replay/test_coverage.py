"""What is known by symbol, stream and day."""

from __future__ import annotations

import json

import pytest

from replay import Archive
from replay.errors import UnknownSymbol
from schemas.timestamps import day_start
from tests.support.archive_builder import T0, ArchiveBuilder, S
from tests.unit.replay.conftest import SYMBOL


def test_known_and_unknown_seconds(tape):
    rows = {row["stream"]: row for row in tape.coverage().to_pylist()}
    l2 = rows["l2"]
    assert (l2["seconds_covered"], l2["seconds_unknown"]) == (4.0, 7.0)
    assert (l2["messages"], l2["rows"], l2["gaps"]) == (5, 6, 1)
    assert json.loads(l2["gaps_by_reason"]) == {"sequence": 1}
    assert (l2["audits_equal"], l2["audits_unequal"], l2["trades_proven"]) == (1, 0, None)
    # Level 3 was synced for the first three seconds: one trade fell into them.
    assert (rows["trades"]["rows"], rows["trades"]["trades_proven"]) == (3, 1)


def test_a_range_counts_its_own_rows(tape):
    rows = tape.coverage(SYMBOL, T0 + 2 * S, T0 + 4 * S).to_pylist()
    l2 = next(row for row in rows if row["stream"] == "l2")
    assert (l2["messages"], l2["rows"], l2["seconds_covered"]) == (3, 3, 1.0)
    assert l2["seconds_unknown"] == 1.0


def test_midnight_divides_intervals_and_gaps(tmp_path):
    midnight = day_start("2026-11-23")
    builder = ArchiveBuilder(tmp_path / "days")
    stream = builder.book(SYMBOL).snapshot(midnight - 10 * S, 0, [], [])
    stream.message(midnight - S, [("bid", "1", "1"), ("bid", "2", "1")])
    stream.message(midnight + 5 * S, [("bid", "1", "2")]).lose("disconnected")
    builder.book("ETH-BTC").snapshot(midnight + 25 * S, 0, [], [])
    builder.write()
    with Archive(builder.root) as tape:
        first, second = tape.coverage(SYMBOL).to_pylist()
        assert [first["date"], second["date"]] == ["2026-11-22", "2026-11-23"]
        assert (first["seconds_covered"], first["messages"], first["rows"]) == (10.0, 1, 2)
        assert (second["seconds_covered"], second["messages"], second["rows"]) == (5.0, 1, 1)
        # The open gap runs to the end of what is known of any symbol.
        assert (first["gaps"], second["gaps"], second["seconds_unknown"]) == (0, 1, 20.0)


def test_an_unknown_symbol(tape):
    with pytest.raises(UnknownSymbol):
        tape.coverage("ETH-BTC")
