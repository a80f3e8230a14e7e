"""Sliding windows."""

from replay.exchange.rate_limit import SlidingWindow


def test_no_window_holds_more_than_the_limit() -> None:
    window = SlidingWindow(3, 10)
    allowed = [now for now in range(40) if window.allow(now)]
    assert allowed == [0, 1, 2, 10, 11, 12, 20, 21, 22, 30, 31, 32]


def test_refused_events_are_not_counted() -> None:
    window = SlidingWindow(1, 10)
    assert window.allow(0)
    assert not any(window.allow(now) for now in range(1, 10))
    assert window.allow(10)
