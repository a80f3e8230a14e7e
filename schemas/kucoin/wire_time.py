"""Times on the wire: a count since the epoch in the channel's unit, a number or its text."""

from __future__ import annotations

# What is said instead of a time that is no count: before the epoch, so never taken for one.
UNREADABLE_TIME = -1

_DIGITS_MAX = 20  # of an int64 in ns, and a little more


def parse_time(value: object, unit_ns: int) -> int | None:
    """Return ns, None where the wire says nothing, `UNREADABLE_TIME` where it says no count.

    Never through float: a fraction, a word or a list is no count.
    """
    if value is None:
        return None
    if type(value) is int:
        return value * unit_ns
    if type(value) is str and len(value) <= _DIGITS_MAX and value.isascii() and value.isdecimal():
        return int(value) * unit_ns
    return UNREADABLE_TIME
