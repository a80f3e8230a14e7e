"""What is counted of lines, rows, gaps and parts."""

from __future__ import annotations

import time

import numpy as np

from recorder.meters import LastRow, Meters, Tally
from recorder.pipeline.output import NO_TIME, FullBook, Gap, Interval, Output, Rows
from recorder.raw_line import RawLine

MS = 1_000_000


def rows(dataset: str, stream: str, ts_recv: list[int], ts_event: list[int] | None) -> Rows:
    columns = {"ts_recv": np.array(ts_recv, np.int64)}
    if ts_event is not None:
        columns["ts_event"] = np.array(ts_event, np.int64)
    return Rows(dataset, "A-B", stream, columns, columns["ts_recv"])


def gap(reason: str = "sequence", symbol: str = "A-B", stream: str = "l2") -> Gap:
    return Gap(symbol, stream, 1, reason, 10, 20, None)


def told(*entries: Interval | Gap) -> Output:
    output = Output()
    for entry in entries:
        output.touch(entry)
    return output


def test_a_tally_counts_under_each_bound() -> None:
    tally = Tally((0.1, 1.0))
    for seconds in (0.1, 0.5, 7.0):
        tally.add(seconds)
    tally.add_all_ns(np.array([50 * MS, 2_000 * MS], np.int64))
    assert tally.cumulative == [("0.1", 2), ("1.0", 3), ("+Inf", 5)]
    assert abs(tally.sum_s - 9.65) < 1e-9


def test_durable_counts_frames_by_connection_and_nothing_else() -> None:
    meters = Meters()
    now = time.monotonic_ns()
    lines = [
        RawLine("open", 1, now, 1),
        RawLine("recv", 2, now - 30 * MS, 1, b"{}"),
        RawLine("recv", 3, now, 2, b"{}"),
        RawLine("rest_answer", 4, now, fields={"purpose": "reseed"}),
        RawLine("rest_answer", 5, now, fields={"request_id": 1}),
    ]
    meters.count_durable(lines, 321)
    assert meters.durable == {1: 1, 2: 1}
    assert (meters.raw_bytes, meters.reseeds, meters.ts_frame) == (321, 1, 3)
    assert meters.durable_lag_s.cumulative[-1] == ("+Inf", 2)
    assert meters.durable_lag_s.sum_s >= 0.03


def test_a_wall_clock_that_is_set_is_a_step_and_one_that_is_slewed_is_none() -> None:
    meters = Meters()
    mono, wall = 0, 1_700_000_000_000 * MS

    def commit(passed: int, set_by: int = 0) -> None:
        nonlocal mono, wall
        mono, wall = mono + passed, wall + passed + set_by
        meters.count_durable([RawLine("recv", wall, mono, 1, b"{}")], 1)

    for _ in range(100):
        commit(1_000 * MS, set_by=MS // 2)  # as fast as a clock is ever slewed
    assert (meters.clock_steps, meters.clock_step_s) == ({}, 0.0)
    commit(50 * MS, set_by=-300_000 * MS)
    assert (meters.clock_steps, meters.clock_step_s) == ({"back": 1}, -300.0)
    commit(50 * MS)
    held_back = RawLine("recv", wall + 300_000 * MS, mono - 200 * MS, 2, b"{}")
    meters.count_durable([held_back], 1)
    commit(50 * MS)
    assert meters.clock_steps == {"back": 1}
    commit(50 * MS, set_by=7_000 * MS)
    assert (meters.clock_steps, meters.clock_step_s) == ({"back": 1, "forward": 1}, 7.0)


def test_rows_are_counted_and_lag_is_told_where_the_venue_says_a_time() -> None:
    meters = Meters()
    book = rows("book_snapshots", "l2", [9, 9], None)
    book.full_book = FullBook("rest", 0, 9, 1)
    batches = [
        book,
        rows("l2_updates", "l2", [1_000 * MS, 1_002 * MS], [998 * MS, NO_TIME]),
        rows("tickers", "tickers", [5], None),
        rows("trades", "trades", [1_003 * MS], [1_000 * MS]),
    ]
    meters.count_output(Output(rows=batches))
    assert meters.rows == {"book_snapshots": 2, "l2_updates": 2, "tickers": 1, "trades": 1}
    assert meters.venue_lag_s["l2"].cumulative[-1] == ("+Inf", 1)
    assert abs(meters.venue_lag_s["trades"].sum_s - 0.003) < 1e-9
    assert "tickers" not in meters.venue_lag_s
    assert meters.last_rows == {
        ("A-B", "l2"): LastRow(1_002 * MS, None),
        ("A-B", "tickers"): LastRow(5, None),
        ("A-B", "trades"): LastRow(1_003 * MS, 1_000 * MS),
    }


def test_a_gap_is_counted_once_however_often_it_is_told() -> None:
    meters = Meters()
    one = gap()
    meters.count_output(told(one))
    meters.count_output(told(one))
    one.ts_to, one.healed_by = 30, "snapshot"
    meters.count_output(told(one))
    assert meters.gaps == {("sequence", "l2"): 1}
    assert meters.resyncs == {"l2": 1}
    again = gap()
    meters.count_output(told(again))
    assert meters.gaps == {("sequence", "l2"): 2}
    assert meters.stream_gaps == {("A-B", "l2"): 2}


def test_a_gap_told_when_it_is_healed_counts_too() -> None:
    meters = Meters()
    one = gap("disconnected", stream="trades")
    one.ts_to = 30
    meters.count_output(told(one, Interval("A-B", "trades", 0, 0, 1, 1, None, None)))
    assert meters.gaps == {("disconnected", "trades"): 1}
    assert meters.resyncs == {}, "what was missed on a stream without a book stays missed"


def test_a_gap_filled_in_later_counts_no_second_time() -> None:
    meters = Meters()
    one, other = gap("disconnected", stream="trades"), gap("disconnected", stream="trades")
    for each in (one, other):
        meters.count_output(told(each))
        each.ts_to = 30
        meters.count_output(told(each))
    one.healed_by = "backfill"
    meters.count_output(told(one))
    meters.count_output(told(other))
    assert meters.gaps == {("disconnected", "trades"): 2}


def test_what_is_filled_in_late_says_nothing_of_how_late_the_venue_tells() -> None:
    meters = Meters()
    trades = rows("trades", "trades", [1_003 * MS, 1_004 * MS], [1_000 * MS, 4 * MS])
    trades.columns["source"] = ["match", "backfill"]
    meters.count_output(Output(rows=[trades]))
    assert abs(meters.venue_lag_s["trades"].sum_s - 0.003) < 1e-9
    assert meters.venue_lag_s["trades"].cumulative[-1] == ("+Inf", 1)
    assert meters.last_rows["A-B", "trades"] == LastRow(1_004 * MS, 4 * MS)


def test_parts_by_dataset() -> None:
    meters = Meters()
    meters.count_parts([{"dataset": "trades", "bytes": 3}, {"dataset": "trades", "bytes": 4}])
    assert (meters.parts, meters.part_bytes) == ({"trades": 2}, {"trades": 7})
