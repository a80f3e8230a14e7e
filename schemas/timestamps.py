"""Times as int64 nanoseconds since 1970-01-01 UTC, parsed and formatted as text, never as float."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta, timezone
from functools import lru_cache

NS_PER_S = 1_000_000_000
NS_PER_MS = 1_000_000
NS_PER_DAY = 86_400 * NS_PER_S

# Names of units as profiles use them.
UNITS_NS = {"s": NS_PER_S, "ms": NS_PER_MS, "us": 1_000, "ns": 1}

# A time outside is a slip of unit or of the venue's: a clock that was never set, milliseconds
# where nanoseconds were meant. No venue of ours is older than the first date.
PLAUSIBLE_FROM = 1_262_304_000 * NS_PER_S  # 2010-01-01
PLAUSIBLE_BEFORE = 4_102_444_800 * NS_PER_S  # 2100-01-01

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_ISO = re.compile(
    r"(?P<whole>\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d(?::\d\d(?:[.,](?P<fraction>\d+))?)?)?)"
    r"(?P<zone>Z|z|[+-]\d\d:?\d\d)?",
    re.ASCII,
)
_TS_MIN, _TS_MAX = -(2**63), 2**63 - 1


class TimeError(ValueError):
    """A time that cannot be read, or that leaves its zone open.

    Attributes
    ----------
    text : str     the time as it was given
    remedy : str   what to write instead
    """

    def __init__(self, text: str, problem: str, remedy: str) -> None:
        self.text = text
        self.remedy = remedy
        super().__init__(f"time {text!r} {problem}; {remedy}")


def parse_iso(text: str) -> int:
    """Parse ISO 8601 with at most nine digits of a second and `Z` or an offset.

    Returns
    -------
    int   ns since the epoch, UTC

    Raises
    ------
    TimeError   naive, malformed, finer than a nanosecond, or beyond int64 ns (1678 to 2261)
    """
    match = _ISO.fullmatch(text.strip())
    if match is None:
        raise TimeError(text, "is not ISO 8601", "write it like 2026-11-22T10:00:00.123456789Z")
    whole, fraction, zone = match["whole"], match["fraction"] or "", match["zone"]
    if zone is None:
        raise TimeError(text, "names no time zone", f"append Z for UTC ({text.strip()}Z) or +08:00")
    if len(fraction) > 9:
        raise TimeError(text, "is finer than a nanosecond", "give at most nine digits of a second")
    try:
        moment = datetime.fromisoformat(whole.replace(",", ".").partition(".")[0])
    except ValueError:
        raise TimeError(text, "is no date of the calendar", "check month, day and hour") from None
    offset = timedelta(0)
    if zone not in {"Z", "z"}:
        hours, minutes = int(zone[1:3]), int(zone[-2:])
        if hours > 23 or minutes > 59:
            raise TimeError(text, "has an impossible offset", "write the offset like +08:00")
        offset = timedelta(hours=hours, minutes=minutes) * (-1 if zone[0] == "-" else 1)
    since = moment.replace(tzinfo=timezone(offset)) - _EPOCH
    seconds = since.days * 86_400 + since.seconds
    ts = seconds * NS_PER_S + int(fraction.ljust(9, "0"))
    if not _TS_MIN <= ts <= _TS_MAX:
        raise TimeError(text, "fits no int64 of nanoseconds", "give a year from 1678 to 2261")
    return ts


def format_iso(ts: int) -> str:
    """Format ns since the epoch with nine digits and `Z`."""
    seconds, fraction = divmod(ts, NS_PER_S)
    moment = _EPOCH + timedelta(seconds=seconds)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{fraction:09d}Z"


def parse_epoch(text: str, unit_ns: int) -> int:
    """Parse a wire time, digits with an optional fraction, to ns: ("1550653727731", 10**6).

    Raises
    ------
    TimeError   when it is no number, or finer than a nanosecond
    """
    whole, _, fraction = text.partition(".")
    if not (text.isascii() and whole.isdecimal()) or (fraction and not fraction.isdecimal()):
        raise TimeError(text, "is not a count of seconds", "give digits, e.g. 1619378325.093176")
    parts: int = 10 ** len(fraction)
    scaled, rest = divmod(int(fraction or "0") * unit_ns, parts)
    if rest:
        raise TimeError(text, "is finer than a nanosecond", "give at most nine digits of a second")
    return int(whole) * unit_ns + scaled


def is_plausible(ts: int) -> bool:
    """Say whether a venue can have meant this time, ns."""
    return PLAUSIBLE_FROM <= ts < PLAUSIBLE_BEFORE


def date_of(ts: int) -> str:
    """Return the UTC day of a time, as in the folder `date=2026-11-22`."""
    return _date_of_day(ts // NS_PER_DAY)


@lru_cache(maxsize=64)  # asked for every batch of rows, and most of them are of today
def _date_of_day(day: int) -> str:
    return (date(1970, 1, 1) + timedelta(days=day)).isoformat()


def day_start(day: str) -> int:
    """Return the first ns of a UTC day given as 2026-11-22."""
    return (date.fromisoformat(day) - date(1970, 1, 1)).days * NS_PER_DAY
