"""The line a recording logs every so often."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from recorder.live import summarize
from recorder.meters import Meters


def test_gaps_of_every_stream_are_summed_up_not_those_of_books_alone() -> None:
    meters = Meters()
    meters.gaps.update({("sequence", "l2"): 2, ("garbage", "trades"): 3, ("garbage", "tickers"): 3})
    status: dict[Any, dict[str, Any]] = {
        ("BTC-USDT", "l2"): {"state": "synced", "gaps": 2},
        ("BTC-USDT", "trades"): {"state": "up"},
    }
    tape: Any = SimpleNamespace(meters=meters)
    intake: Any = SimpleNamespace(lines_committed=9)
    collector: Any = SimpleNamespace(connections_open=1, refused=("x",))
    assert summarize(status, tape, intake, collector) == {
        "lines": 9,
        "connections": 1,
        "streams": {"synced": 1, "up": 1},
        "gaps": 8,
        "refused": 1,
    }
