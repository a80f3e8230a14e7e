"""What a stitcher counts."""

from __future__ import annotations

from dataclasses import asdict

from recorder.stitch.events import SnapshotFailed, StreamUp, Timer
from recorder.stitch.machine import Counters, Stitcher
from recorder.stitch.rules import StrictRule


def test_nothing_is_counted_before_anything_happened():
    assert set(asdict(Counters()).values()) == {0}


def test_a_failed_request_is_counted_once_and_asked_again():
    stitcher = Stitcher(StrictRule(), "BTC-USDT", "l2")
    stitcher.handle(StreamUp(ts_recv=1))
    stitcher.handle(Timer(ts_recv=2, timer_id=1))
    stitcher.handle(SnapshotFailed(ts_recv=3, request_id=1))
    assert stitcher.counters.snapshots_failed == 1
    assert stitcher.counters.snapshots_requested == 2
