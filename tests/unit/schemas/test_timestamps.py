"""Times as int64 ns: texts in, texts out, never through a float."""

from __future__ import annotations

import pytest

from schemas.timestamps import (
    NS_PER_DAY,
    NS_PER_MS,
    NS_PER_S,
    PLAUSIBLE_BEFORE,
    PLAUSIBLE_FROM,
    UNITS_NS,
    TimeError,
    date_of,
    day_start,
    format_iso,
    is_plausible,
    parse_epoch,
    parse_iso,
)

TEN_O_CLOCK = 1_795_341_600 * NS_PER_S


@pytest.mark.parametrize(
    ("text", "ts"),
    [
        ("1970-01-01T00:00:00Z", 0),
        ("1970-01-01Z", 0),
        ("1969-12-31T23:59:59.999999999Z", -1),
        ("2026-11-22T10:00:00Z", TEN_O_CLOCK),
        ("2026-11-22T10:00Z", TEN_O_CLOCK),
        ("2026-11-22 10:00:00z", TEN_O_CLOCK),
        (" 2026-11-22T10:00:00Z ", TEN_O_CLOCK),
        ("2026-11-22T18:00:00+08:00", TEN_O_CLOCK),
        ("2026-11-22T18:00:00+0800", TEN_O_CLOCK),
        ("2026-11-22T04:30:00-05:30", TEN_O_CLOCK),
        ("2026-11-22T10:00:00.5Z", TEN_O_CLOCK + 500_000_000),
        ("2026-11-22T10:00:00,5Z", TEN_O_CLOCK + 500_000_000),
        ("2026-11-22T10:00:00.123456789Z", TEN_O_CLOCK + 123_456_789),
        ("2026-11-22T10:00:00.000000001+00:00", TEN_O_CLOCK + 1),
        ("2262-04-11T23:47:16.854775807Z", 2**63 - 1),
        ("1677-09-21T00:12:43.145224192Z", -(2**63)),
    ],
)
def test_iso_text_is_read_to_the_nanosecond(text: str, ts: int) -> None:
    assert parse_iso(text) == ts


@pytest.mark.parametrize(
    ("text", "problem", "remedy"),
    [
        ("2026-11-22T10:00:00", "names no time zone",
         "append Z for UTC (2026-11-22T10:00:00Z) or +08:00"),
        ("2026-11-22", "names no time zone", "append Z for UTC (2026-11-22Z) or +08:00"),
        ("2026-11-22T10:00:00.1234567891Z", "is finer than a nanosecond",
         "give at most nine digits of a second"),
        ("2026-02-30T10:00:00Z", "is no date of the calendar", "check month, day and hour"),
        ("2026-11-22T24:01:00Z", "is no date of the calendar", "check month, day and hour"),
        ("2026-11-22T10:00:00+24:00", "has an impossible offset", "write the offset like +08:00"),
        ("2263-01-01T00:00:00Z", "fits no int64 of nanoseconds", "give a year from 1678 to 2261"),
        ("1600-01-01T00:00:00Z", "fits no int64 of nanoseconds", "give a year from 1678 to 2261"),
    ],
)  # fmt: skip
def test_a_refused_time_comes_with_its_remedy(text: str, problem: str, remedy: str) -> None:
    with pytest.raises(TimeError) as caught:
        parse_iso(text)
    assert (caught.value.text, caught.value.remedy) == (text, remedy)
    assert str(caught.value) == f"time {text!r} {problem}; {remedy}"


@pytest.mark.parametrize(
    "text",
    ["", "yesterday", "22.11.2026", "2026-11-22T", "2026-11-22.5Z", "2026-11-22T10:00.5Z",
     "2026-11-22T10:00:00.Z", "1619378325", "２０２６-11-22T10:00:00Z"],
)  # fmt: skip
def test_what_is_not_iso_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(TimeError, match="is not ISO 8601; write it like 2026-11-22T10"):
        parse_iso(text)


@pytest.mark.parametrize(
    ("ts", "text"),
    [
        (0, "1970-01-01T00:00:00.000000000Z"),
        (-1, "1969-12-31T23:59:59.999999999Z"),
        (1_619_378_325_093_176_100, "2021-04-25T19:18:45.093176100Z"),
        (2**63 - 1, "2262-04-11T23:47:16.854775807Z"),
    ],
)
def test_a_time_is_written_with_nine_digits_and_z(ts: int, text: str) -> None:
    assert format_iso(ts) == text


@pytest.mark.parametrize(
    ("text", "unit_ns", "ts"),
    [
        ("1619378325.0931761", NS_PER_S, 1_619_378_325_093_176_100),
        ("1619378325", NS_PER_S, 1_619_378_325_000_000_000),
        ("1550653727731", NS_PER_MS, 1_550_653_727_731_000_000),
        ("1545913818099033203", 1, 1_545_913_818_099_033_203),
        # As a float this one would end in ...092 instead of ...091.
        ("1619378325.000000091", NS_PER_S, 1_619_378_325_000_000_091),
        ("1.5000000000", NS_PER_S, 1_500_000_000),
    ],
)
def test_a_wire_time_is_read_as_text(text: str, unit_ns: int, ts: int) -> None:
    assert parse_epoch(text, unit_ns) == ts


@pytest.mark.parametrize("text", ["", "now", "-1", "1e9", " 1", "1.2.3", "1.x", "1.٣", "٣"])
def test_a_wire_time_that_is_no_count_is_refused(text: str) -> None:
    with pytest.raises(TimeError, match="is not a count of seconds"):
        parse_epoch(text, NS_PER_S)


def test_a_wire_time_finer_than_a_nanosecond_is_refused() -> None:
    with pytest.raises(TimeError, match="is finer than a nanosecond"):
        parse_epoch("1619378325.0000000001", NS_PER_S)


def test_days_are_utc_days() -> None:
    assert day_start("1970-01-02") == NS_PER_DAY
    assert date_of(day_start("2026-11-22")) == "2026-11-22"
    assert date_of(day_start("2026-11-22") - 1) == "2026-11-21"
    assert date_of(-1) == "1969-12-31"


def test_a_time_in_a_wrong_unit_is_not_plausible() -> None:
    assert format_iso(PLAUSIBLE_FROM) == "2010-01-01T00:00:00.000000000Z"
    assert format_iso(PLAUSIBLE_BEFORE) == "2100-01-01T00:00:00.000000000Z"
    assert is_plausible(PLAUSIBLE_FROM)
    assert not is_plausible(PLAUSIBLE_FROM - 1)
    assert is_plausible(PLAUSIBLE_BEFORE - 1)
    assert not is_plausible(PLAUSIBLE_BEFORE)
    now = TEN_O_CLOCK
    for told in UNITS_NS.values():
        for taken in UNITS_NS.values():
            assert is_plausible(now // told * taken) == (told == taken)
    assert not is_plausible(-1)
