"""What is known by symbol, stream and day."""

from __future__ import annotations

import json

import pytest

from replay import Archive
from replay.errors import BadInput, UnknownSymbol
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


def archive_of(root, intervals, gaps=(), stream="trades"):
    """Write a catalog without rows; times are seconds after a midnight."""
    builder = ArchiveBuilder(root)
    for number, (begin, stop) in enumerate(intervals):
        builder.catalog(
            "coverage", symbol=SYMBOL, stream=stream, run_id=f"run-{number}", ordinal_first=0,
            ordinal_last=-1, ts_from=MIDNIGHT + begin * S, ts_to=MIDNIGHT + stop * S, messages=0,
            rows=0, is_open=0,
        )  # fmt: skip
    for number, (begin, stop, healed_by) in enumerate(gaps):
        builder.catalog(
            "gaps", symbol=SYMBOL, stream=stream, run_id=f"run-{number}", ordinal_from=number,
            reason="crashed", ts_from=MIDNIGHT + begin * S,
            ts_to=None if stop is None else MIDNIGHT + stop * S, healed_by=healed_by,
        )  # fmt: skip
    builder.write()
    return builder.root


MIDNIGHT = day_start("2026-11-22")
DAY_S = 86_400


@pytest.mark.parametrize(
    ("intervals", "gaps", "expected"),
    [
        pytest.param([(0, 10), (30, 40)], [(10, 30, "next_run")], [(20, 20, 1)], id="off between"),
        pytest.param([(0, 10), (30, 40)], [(10, 30, "backfill")], [(40, 0, 1)], id="filled in"),
        pytest.param([(0, 30), (20, 40)], [], [(40, 0, 0)], id="two runs at once"),
        pytest.param([(0, 10), (5, 40)], [(10, 20, None)], [(40, 0, 1)], id="the other covers"),
        pytest.param([(0, 10), (15, 40)], [(10, 20, None)], [(35, 5, 1)], id="half covered"),
        pytest.param(
            [(0, 10), (DAY_S + 5, DAY_S + 6)],
            [(10, DAY_S + 5, "next_run")],
            [(10, DAY_S - 10, 1), (1, 5, 0)],
            id="across midnight",
        ),
        pytest.param(
            [(0, 2 * DAY_S + 5)],
            [],
            [(DAY_S, 0, 0), (DAY_S, 0, 0), (5, 0, 0)],
            id="days without a message",
        ),
        pytest.param([(50, 60)], [], [(10, 0, 0)], id="before the first book"),
        pytest.param([(0, 10)], [(10, None, None)], [(10, 0, 1)], id="open at the very end"),
    ],
)
def test_time_is_counted_once_and_to_the_second(tmp_path, intervals, gaps, expected):
    with Archive(archive_of(tmp_path / "archive", intervals, gaps)) as tape:
        rows = tape.coverage(SYMBOL).to_pylist()
    told = [(row["seconds_covered"], row["seconds_unknown"], row["gaps"]) for row in rows]
    assert told == expected


def test_a_range_that_runs_backwards_is_refused(tape):
    with pytest.raises(BadInput, match="ends before it begins"):
        tape.coverage(SYMBOL, T0 + S, T0)


def test_rows_of_days_come_from_the_parts_of_those_days(tmp_path):
    builder = ArchiveBuilder(tmp_path / "archive", rows_per_part=3)
    stream = builder.book(SYMBOL).snapshot(MIDNIGHT, 0, [], [])
    for hour in range(1, 73):
        stream.message(MIDNIGHT + hour * 3600 * S, [("bid", "1", "1"), ("bid", "2", "1")])
    builder.write()
    with Archive(builder.root) as tape:
        rows = tape.coverage(SYMBOL).to_pylist()
        assert [(row["messages"], row["rows"]) for row in rows] == [
            (23, 46), (24, 48), (24, 48), (1, 2),
        ]  # fmt: skip


def test_parts_that_midnight_does_not_cut_are_not_read_for_their_rows(tmp_path):
    builder = ArchiveBuilder(tmp_path / "archive", rows_per_part=4)
    for stream in ("l3", "l2"):
        book = builder.book(SYMBOL, stream).snapshot(MIDNIGHT, 0, [], [])
        for hour in range(6, 72, 6):
            ts = MIDNIGHT + hour * 3600 * S - (hour % 24 == 0)  # one more before each midnight
            if stream == "l2":
                book.message(ts, [("bid", "1", "1")])
            else:
                book.event(ts, "open", f"{hour}", side="bid", price="1", remain="1")
    builder.write()
    with Archive(builder.root) as tape:
        read = []
        reader = tape.engine().reader
        rows = reader.rows

        def count(snapshot, *wanted):
            read.append((wanted[0], wanted[-1]))
            return rows(snapshot, *wanted)

        reader.rows = count
        found = {}
        for row in tape.coverage(SYMBOL).to_pylist():
            found.setdefault(row["stream"], []).append((row["messages"], row["rows"]))
        assert found == {stream: [(4, 4), (4, 4), (3, 3)] for stream in ("l2", "l3")}
        # Which rows of level 2 end a message; and nothing of the last day, which has what is left.
        assert read == [("l2_updates", ("ordinal", "is_last"))] * 2
        late = tape.coverage(SYMBOL, MIDNIGHT + 13 * 3600 * S, MIDNIGHT + 25 * 3600 * S)
        assert late.column("rows").to_pylist() == [2, 0, 2, 0]


def test_stop_orders_are_rows_of_their_day_and_no_messages(tmp_path):
    builder = ArchiveBuilder(tmp_path / "archive", rows_per_part=3)
    book = builder.book(SYMBOL, "l3").snapshot(MIDNIGHT - 100 * S, 0, [], [])
    for number in range(4):
        book.event(MIDNIGHT - (50 - number) * S, "stop", f"s{number}", side="bid", price="1")
    book.event(MIDNIGHT - 5 * S, "open", "a", side="bid", price="1", remain="1")
    book.event(MIDNIGHT + 5 * S, "open", "b", side="bid", price="1", remain="1")
    builder.write()
    with Archive(builder.root) as tape:
        days = tape.coverage(SYMBOL).to_pylist()
        assert [(day["messages"], day["rows"]) for day in days] == [(1, 5), (1, 1)]
        (cut,) = tape.coverage(SYMBOL, MIDNIGHT - 49 * S, MIDNIGHT).to_pylist()
        assert (cut["messages"], cut["rows"]) == (1, 4)
