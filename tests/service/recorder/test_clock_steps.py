"""The wall clock is set while the recorder is at work, by minutes and both ways."""

from __future__ import annotations

import asyncio
import time
from itertools import pairwise

import numpy as np
import pytest

from recorder.clock import use_clock
from tests.support.collecting import (
    assert_no_hole,
    collecting,
    rows_of,
    trading,
    wait_milliseconds,
)
from tests.support.fake_venue import FakeVenue

FEEDS = ("level2", "match", "ticker")
MINUTE_NS = 60_000_000_000


class SetClock:
    """Clocks of which the wall one is set by hand."""

    def __init__(self) -> None:
        self.offset_ns = 0

    def time_ns(self) -> int:
        return time.time_ns() + self.offset_ns

    def monotonic_ns(self) -> int:
        return time.monotonic_ns()


async def test_no_row_is_lost_and_known_time_never_runs_backwards(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    wait_milliseconds(monkeypatch)
    symbols = ["A-X", "B-X"]
    clock = SetClock()
    with use_clock(clock):
        async with FakeVenue([]) as venue, collecting(venue, symbols, FEEDS) as scene:
            async with trading(venue, symbols):
                await scene.until(lambda: scene.synced(*symbols), "both books")
                for offset_ns in (-5 * MINUTE_NS, 3 * MINUTE_NS, 0):
                    clock.offset_ns = offset_ns
                    grown = scene.tape.meters.rows["l2_updates"] + 60
                    await scene.until(
                        lambda grown=grown: scene.tape.meters.rows["l2_updates"] > grown, "rows"
                    )
            await asyncio.sleep(0.05)
            status = scene.collector.status()
    tape = scene.tape
    assert (tape.gaps(), status.reconnects) == ([], {})
    for symbol in symbols:
        for dataset in ("l2_updates", "trades", "tickers"):
            assert_no_hole(rows_of(tape, dataset, symbol))
    known: dict[tuple[str, str], list[np.ndarray]] = {}
    backwards = 0
    for output in tape.outputs:
        for rows in output.rows:
            known.setdefault((rows.symbol, rows.stream), []).append(rows.known)
            if "held_ns" in rows.columns:
                backwards += int((np.asarray(rows.columns["held_ns"]) > 2 * MINUTE_NS).sum())
                sums = rows.columns["ts_recv"] + rows.columns["held_ns"]
                assert np.array_equal(sums, rows.known), "known is receipt and what it was held"
    assert backwards > 60, "rows received at an earlier time than others were known"
    for pieces in known.values():
        assert np.all(np.diff(np.concatenate(pieces)) >= 0)
    received = [line for line in tape.lines if line.kind == "recv"]
    assert all(a.ts_mono <= b.ts_mono for a, b in pairwise(received)), "one clock goes forward"
    assert any(a.ts_recv > b.ts_recv + MINUTE_NS for a, b in pairwise(received))
    assert tape.meters.clock_steps == {"back": 2, "forward": 1}
    assert tape.meters.clock_step_s == pytest.approx(-180.0, abs=0.1)
