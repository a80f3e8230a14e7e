"""Times on the wire, whatever stands there."""

from __future__ import annotations

import pytest

from schemas.kucoin.wire_time import UNREADABLE_TIME, parse_time


@pytest.mark.parametrize(
    ("value", "unit_ns", "ts"),
    [
        (1729816425625, 10**6, 1_729_816_425_625_000_000),
        ("1729843222921000000", 1, 1_729_843_222_921_000_000),
        ("1550653727731", 10**6, 1_550_653_727_731_000_000),
        (0, 1, 0),
        (None, 1, None),
    ],
)
def test_a_count_is_brought_to_ns(value: object, unit_ns: int, ts: int | None) -> None:
    assert parse_time(value, unit_ns) == ts


@pytest.mark.parametrize(
    "value", ["", "soon", "1.5", "-5", "٣", "1" * 21, 1.5, True, [], {}, "1e9", " 7"]
)
def test_what_is_no_count_is_told_apart_from_silence(value: object) -> None:
    assert parse_time(value, 1) == UNREADABLE_TIME < 0
