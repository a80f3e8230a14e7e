"""Times as callers write them, brought to int64 ns UTC; times going out, as text."""

from __future__ import annotations

import re
from datetime import date, datetime
from typing import Any

import numpy as np

from replay.errors import BadTime
from schemas.timestamps import NS_PER_DAY, TimeError, day_start, format_iso, parse_iso

_UNITS = {
    "ns": 1, "us": 1_000, "ms": 1_000_000, "s": 10**9, "m": 60 * 10**9, "min": 60 * 10**9,
    "h": 3600 * 10**9, "d": NS_PER_DAY,
}  # fmt: skip
_EVERY = re.compile(r"\s*(\d+)\s*([a-z]+)\s*", re.IGNORECASE)
_LONG = {"second": "s", "minute": "m", "hour": "h", "day": "d", "millisecond": "ms"}
_REMEDY = "give int ns, ISO text with Z or an offset, an aware datetime, or datetime64[ns]"

Time = int | str | datetime | np.datetime64
Every = int | str


def to_ns(value: Any) -> int:
    """Bring a time to ns since the epoch, UTC.

    Parameters
    ----------
    value : int ns, ISO 8601 text with a zone, aware datetime, or numpy datetime64[ns]

    Raises
    ------
    BadTime   for anything else, above all for a time without a zone
    """
    if isinstance(value, bool):
        raise BadTime(value, "is no time", _REMEDY)
    if isinstance(value, int | np.integer):
        return _within(int(value))
    if isinstance(value, str):
        try:
            if value.isdecimal() and len(value) > 12:
                return _within(int(value))
            return parse_iso(value)
        except TimeError as error:
            raise BadTime(value, *_problem_of(error)) from None
    if isinstance(value, datetime):
        if value.tzinfo is None:
            raise BadTime(value.isoformat(), "names no time zone", "pass tzinfo=datetime.UTC")
        nanosecond = int(getattr(value, "nanosecond", 0))  # pandas keeps three more digits
        return parse_iso(value.isoformat()) + nanosecond
    if isinstance(value, np.datetime64):
        if np.isnat(value):
            raise BadTime(value, "is not a time", _REMEDY)
        return int(value.astype("datetime64[ns]").astype(np.int64))
    raise BadTime(value, "is no time", _REMEDY)


def _within(ns: int) -> int:
    if abs(ns) >= 2**63:
        raise BadTime(ns, "is beyond 64 bits of ns", "count ns since 1970-01-01T00:00:00Z")
    return ns


def _problem_of(error: TimeError) -> tuple[str, str]:
    message = str(error).removeprefix(f"time {error.text!r} ")
    return message.removesuffix(f"; {error.remedy}"), error.remedy


def sql_to_ns(text: str | None, kind: str) -> int | None:
    """Bring a SQL value, as text with its SQL type, to ns; None for NULL.

    A TIMESTAMP without a zone is UTC by contract; *text* must name its zone.
    """
    if text is None:
        return None
    if kind == "TIMESTAMP WITH TIME ZONE":
        if re.search(r"[+-]\d\d$", text):
            text += ":00"
        return to_ns(text)
    if kind.startswith("TIMESTAMP") and kind != "TIMESTAMP WITH TIME ZONE":
        return to_ns(text + "Z")
    if kind == "DATE":
        return day_start(text)
    if kind in {"BIGINT", "INTEGER", "HUGEINT", "UBIGINT"}:
        return _within(int(text))
    return to_ns(text)


def every_to_ns(every: Every) -> int:
    """Bring a spacing like "1s", "250ms", "5m" or int ns to ns.

    Raises
    ------
    BadTime   when it is none, or not positive
    """
    if isinstance(every, int) and not isinstance(every, bool):
        if 0 < every < 2**63:
            return every
    elif isinstance(every, str):
        match = _EVERY.fullmatch(every)
        if match:
            unit = match[2].lower()
            unit_ns = _UNITS.get(unit) or _UNITS.get(_LONG.get(unit.removesuffix("s"), ""))
            if unit_ns and 0 < int(match[1]) * unit_ns < 2**63:
                return int(match[1]) * unit_ns
    raise BadTime(every, "is no spacing", "write it like 250ms, 1s, 5m, 1h or 1d")


def day_of(value: date) -> int:
    """Return the first ns of a UTC day."""
    return day_start(value.isoformat())


def to_text(ts: int | None) -> str | None:
    """Format ns as ISO text with nine digits and `Z`; None stays None."""
    return None if ts is None else format_iso(ts)
