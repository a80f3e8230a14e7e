"""Durations as people type them."""

import pytest

from replay.exchange.duration import NS, parse_duration
from replay.exchange.errors import BadDuration


@pytest.mark.parametrize(
    ("text", "ns"),
    [
        ("500ms", NS // 2),
        ("8s", 8 * NS),
        ("1.5s", 3 * NS // 2),
        ("2m", 120 * NS),
        ("1h", 3600 * NS),
    ],
)
def test_parse_duration(text: str, ns: int) -> None:
    assert parse_duration(text) == ns


@pytest.mark.parametrize("text", ["", "5", "s", "-5s", "five s", "1.2.3s", "5 s", "٥s"])
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(BadDuration) as caught:
        parse_duration(text)
    assert str(caught.value) == (f"{text!r} is no duration; give it a unit, as in 500ms, 8s or 2m")
