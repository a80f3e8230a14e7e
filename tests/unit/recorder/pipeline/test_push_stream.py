"""Streams without a book: intervals and gaps that stay apart whatever the wall clock does."""

from __future__ import annotations

from itertools import pairwise

import pytest

from recorder.pipeline.output import Gap, Interval, Output
from recorder.pipeline.push_stream import PushStream
from recorder.pipeline.streams import Streams
from recorder.pipeline.trade_stream import TradeStream
from recorder.stitch.rules import StrictRule

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


@pytest.mark.parametrize("is_published_meanwhile", [False, True])
def test_what_the_older_connection_proved_counts_whenever_parts_are_published(
    is_published_meanwhile: bool,
) -> None:
    """Published intervals reach to the last frame heard; a rebuild publishes at other moments."""
    output = Output()
    key = ("BTC-USDT", "tickers")
    streams = Streams(StrictRule(), 10, TradeStream, {}, frozenset())
    for connection, ts in ((1, 10 * S), (2, 11 * S)):
        streams.carriage.hear(connection, ts)
        streams.carried(key, connection, ts, output)
    streams.carriage.hear(1, 20 * S)
    if is_published_meanwhile:
        streams.extend(output)
    streams.closed(1, 21 * S, "disconnected", output)
    streams.closed(2, 22 * S, "disconnected", output)
    (interval,) = [entry for entry in output.ledger.values() if isinstance(entry, Interval)]
    (gap,) = [entry for entry in output.ledger.values() if isinstance(entry, Gap)]
    assert (interval.ts_from, interval.ts_to, gap.ts_from) == (10 * S, 20 * S, 20 * S)
