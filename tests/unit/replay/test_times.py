"""Times in and out."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import numpy as np
import pytest

from replay.errors import BadTime
from replay.times import every_to_ns, sql_to_ns, to_ns, to_text

FORMS = "give int ns, ISO text with Z or an offset, an aware datetime, or datetime64[ns]"
NS = 1_795_341_600_123_456_789


@pytest.mark.parametrize(
    "value",
    [
        NS,
        np.int64(NS),
        str(NS),
        "2026-11-22T10:00:00.123456789Z",
        "2026-11-22 18:00:00.123456789+08:00",
        np.datetime64(NS, "ns"),
    ],
)
def test_every_form_is_the_same_moment(value):
    assert to_ns(value) == NS


def test_aware_datetimes_of_any_zone():
    moment = datetime(2026, 11, 22, 10, tzinfo=UTC)
    assert to_ns(moment) == to_ns(moment.astimezone(timezone(timedelta(hours=-5))))
    assert to_ns(moment) == NS - 123_456_789


@pytest.mark.parametrize(
    ("value", "remedy"),
    [
        ("2026-11-22T10:00:00", "append Z for UTC (2026-11-22T10:00:00Z) or +08:00"),
        (datetime(2026, 11, 22), "pass tzinfo=datetime.UTC"),  # noqa: DTZ001
        ("soon", "write it like 2026-11-22T10:00:00.123456789Z"),
        (1.5, FORMS),
        (True, FORMS),
        (2**63, "count ns since 1970-01-01T00:00:00Z"),
        ("9" * 30, "count ns since 1970-01-01T00:00:00Z"),
        (np.datetime64("NaT", "ns"), FORMS),
    ],
)  # fmt: skip
def test_what_is_no_moment_is_refused_with_the_remedy(value, remedy):
    with pytest.raises(BadTime) as caught:
        to_ns(value)
    assert caught.value.hint == remedy


@pytest.mark.parametrize(
    ("text", "kind", "ns"),
    [
        (None, '"NULL"', None),
        ("2026-11-22 10:00:00.123456789", "TIMESTAMP_NS", NS),
        ("2026-11-22 10:00:00", "TIMESTAMP", NS - 123_456_789),
        ("2026-11-22 10:00:00+00", "TIMESTAMP WITH TIME ZONE", NS - 123_456_789),
        ("2026-11-22", "DATE", NS - 123_456_789 - 36_000 * 10**9),
        (str(NS), "BIGINT", NS),
        ("2026-11-22T10:00:00.123456789Z", "VARCHAR", NS),
    ],
)
def test_sql_values(text, kind, ns):
    assert sql_to_ns(text, kind) == ns


def test_sql_text_must_name_its_zone_though_a_timestamp_need_not():
    with pytest.raises(BadTime):
        sql_to_ns("2026-11-22 10:00:00", "VARCHAR")
    with pytest.raises(BadTime):
        sql_to_ns(str(2**63), "HUGEINT")


@pytest.mark.parametrize(
    ("every", "ns"),
    [("1s", 10**9), ("250ms", 250 * 10**6), ("5m", 300 * 10**9), ("1 hour", 3600 * 10**9),
     ("2 days", 2 * 86400 * 10**9), ("7us", 7000), ("9ns", 9), (5, 5)],
)  # fmt: skip
def test_spacings(every, ns):
    assert every_to_ns(every) == ns


@pytest.mark.parametrize("every", ["0s", 0, -1, "a week", "1.5s", True, None, 2**63, "9999999999d"])
def test_no_spacing(every):
    with pytest.raises(BadTime):
        every_to_ns(every)


def test_text_out_has_nine_digits():
    assert to_text(NS) == "2026-11-22T10:00:00.123456789Z"
    assert to_text(None) is None
