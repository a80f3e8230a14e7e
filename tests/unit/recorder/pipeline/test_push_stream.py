"""Streams without a book: intervals and gaps that stay apart whatever the wall clock does."""

from __future__ import annotations

from itertools import pairwise

from recorder.pipeline.output import Gap, Interval, Output
from recorder.pipeline.push_stream import PushStream

S = 1_000_000_000
EMPTY = ((0, -1),) * 6


def test_ups_and_downs_behind_a_clock_that_stepped_back_leave_one_gap_each() -> None:
    output = Output()
    stream = PushStream("BTC-USDT", "tickers")
    stream.on_up(10 * S, output)
    stream.write(11 * S, None, 1, EMPTY, ("ticker",), output)
    stream.on_down(13 * S, 12 * S, "disconnected", output)
    for _ in range(3):  # an hour earlier, and nothing is pushed
        stream.on_up(5 * S, output)
        stream.on_down(6 * S, 5 * S, "disconnected", output)
    stream.on_up(7 * S, output)
    intervals = [entry for entry in output.ledger.values() if isinstance(entry, Interval)]
    gaps = [entry for entry in output.ledger.values() if isinstance(entry, Gap)]
    assert len({(i.ordinal_first, i.ts_from) for i in intervals}) == len(intervals) == 5
    assert len({(g.ordinal_from, g.ts_from) for g in gaps}) == len(gaps) == 4
    for earlier, later in pairwise(intervals):
        (gap,) = [
            g for g in gaps if g.ordinal_from == earlier.ordinal_last and g.ts_to == later.ts_from
        ]
        assert gap.ts_from == earlier.ts_to < later.ts_from
