"""Durations, and lines stamped by both clocks."""

from __future__ import annotations

import time

import pytest

from recorder.clock import BadDuration, parse_duration, stamp_line


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("30s", 30.0), ("1.5m", 90.0), ("2h", 7200.0), ("250ms", 0.25), (" 5s ", 5.0)],
)
def test_durations(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["30", "s", "-5s", "0s", "1d", "5 s", "1e3s", "", "1.s"])
def test_what_is_no_duration_says_what_would_be(text: str) -> None:
    with pytest.raises(BadDuration, match="30s, 5m or 1h") as caught:
        parse_duration(text)
    assert caught.value.text == text


def test_lines_carry_both_clocks() -> None:
    before = time.time_ns(), time.monotonic_ns()
    line = stamp_line("close", {"reason": "silent"}, connection=3)
    after = time.time_ns(), time.monotonic_ns()
    assert before[0] <= line.ts_recv <= after[0]
    assert before[1] <= line.ts_mono <= after[1]
    assert (line.kind, line.connection, line.data, line.fields) == (
        "close",
        3,
        None,
        {"reason": "silent"},
    )
