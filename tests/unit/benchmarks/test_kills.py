"""The loop of kills fails on any loss, and when it has shown nothing."""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks import kills

GOOD: dict[str, Any] = {
    "frames_acknowledged": 76_610,
    "lost_after_acknowledgement": 0,
    "books_equal_to_the_exchange": 128,
    "problems": [],
    "wrong": {},
}


@pytest.mark.parametrize(
    "bad",
    [
        {"lost_after_acknowledgement": 1},
        {"problems": ["a frame is not what was sent"]},
        {"wrong": {"recorder verify": "NOT sound"}},
        {"frames_acknowledged": 0},
        {"books_equal_to_the_exchange": 0},
    ],
)
def test_it_is_good_only_when_something_was_shown_and_nothing_lost(bad: dict[str, Any]) -> None:
    assert kills.is_good(GOOD)
    assert not kills.is_good({**GOOD, **bad})


def test_it_exits_by_what_came_of_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for result, code in ((GOOD, 0), ({**GOOD, "lost_after_acknowledgement": 1}, 1)):
        monkeypatch.setattr(kills, "measure", lambda *_, result=result: result)
        monkeypatch.setattr("sys.argv", ["kills.py", "--kills", "1"])
        assert kills.main() == code
        assert '"frames_acknowledged": 76610' in capsys.readouterr().out
