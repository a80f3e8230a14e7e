"""Times survive text, whatever zone they are written in."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.timestamps import (
    NS_PER_DAY,
    NS_PER_MS,
    NS_PER_S,
    TimeError,
    date_of,
    day_start,
    format_iso,
    parse_epoch,
    parse_iso,
)

TIMES = st.integers(-(2**63), 2**63 - 1)
OFFSETS = st.integers(-23 * 60 - 59, 23 * 60 + 59)


@given(TIMES)
def test_a_time_survives_its_text(ts: int) -> None:
    text = format_iso(ts)
    assert parse_iso(text) == ts
    assert len(text) == len("2026-11-22T10:00:00.000000000Z")


@given(st.datetimes(datetime(1700, 1, 1), datetime(2200, 1, 1)), OFFSETS)  # noqa: DTZ001
def test_an_offset_is_that_of_the_calendar(moment: datetime, minutes: int) -> None:
    aware = moment.replace(tzinfo=timezone(timedelta(minutes=minutes)))
    microseconds = (aware - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
    assert parse_iso(aware.isoformat()) == microseconds * 1000


@given(st.datetimes())
def test_a_naive_time_is_always_refused_with_the_remedy(moment: datetime) -> None:
    with pytest.raises(TimeError, match="names no time zone; append Z"):
        parse_iso(moment.isoformat())


@given(st.text(max_size=30) | st.from_regex(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(Z|[+-]\d\d:\d\d)"))
def test_any_text_is_a_time_or_a_time_error(text: str) -> None:
    try:
        assert parse_iso(format_iso(parse_iso(text))) == parse_iso(text)
    except TimeError as error:
        assert error.text == text
        assert error.remedy


@given(st.integers(0, 2**63 - 1), st.integers(0, 9), st.sampled_from([NS_PER_S, NS_PER_MS, 1]))
def test_a_wire_time_is_exact_or_refused(digits: int, places: int, unit_ns: int) -> None:
    text = str(Decimal(digits).scaleb(-places).quantize(Decimal(1).scaleb(-places)))
    if "E" in text:
        return
    exact = Decimal(text) * unit_ns
    if exact == exact.to_integral_value():
        assert parse_epoch(text, unit_ns) == int(exact)
    else:
        with pytest.raises(TimeError, match="finer than a nanosecond"):
            parse_epoch(text, unit_ns)


@given(TIMES)
def test_a_time_lies_in_its_day(ts: int) -> None:
    start = day_start(date_of(ts))
    assert start <= ts < start + NS_PER_DAY
    assert date_of(start) == date_of(ts)
