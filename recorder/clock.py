"""The recorder's two clocks, and durations as people write them.

Nothing else in the recorder reads a clock: whoever puts another one in their place, as the
simulation does, has replaced time for all of it.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Protocol

from recorder.raw_line import NO_CONNECTION, RawLine


class ClockSource(Protocol):
    """Where both clocks are read: the module `time`, or a twin of it."""

    def time_ns(self) -> int:
        """Return the wall clock, ns since the epoch, UTC; it may be set back."""

    def monotonic_ns(self) -> int:
        """Return a clock that only goes forward, ns from some beginning."""


class _Clocks:
    source: ClockSource = time


_DURATION = re.compile(r"(?P<number>\d+(?:\.\d+)?)(?P<unit>ms|s|m|h)")
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}


class BadDuration(ValueError):
    """A duration that is not like `30s`, `5m` or `1h`."""

    def __init__(self, text: str) -> None:
        self.text = text
        super().__init__(
            f"{text!r} is not a duration: write a number and its unit, e.g. 30s, 5m or 1h"
        )


def wall_ns() -> int:
    """Return the wall clock, ns since the epoch, UTC."""
    return _Clocks.source.time_ns()


def monotonic_ns() -> int:
    """Return the clock that only goes forward, ns from some beginning."""
    return _Clocks.source.monotonic_ns()


def monotonic_s() -> float:
    """Return the clock that only goes forward, seconds."""
    return _Clocks.source.monotonic_ns() / 1e9


@contextmanager
def use_clock(source: ClockSource) -> Iterator[None]:
    """Read the clocks elsewhere for a while; of this process, in every thread."""
    before, _Clocks.source = _Clocks.source, source
    try:
        yield
    finally:
        _Clocks.source = before


def stamp_line(
    kind: str,
    fields: Mapping[str, object],
    *,
    connection: int = NO_CONNECTION,
    data: bytes | None = None,
) -> RawLine:
    """Make a line of the raw log that happens now, on both clocks."""
    return RawLine(kind, wall_ns(), monotonic_ns(), connection, data, fields)


def parse_duration(text: str) -> float:
    """Parse `30s`, `1.5m`, `1h` or `250ms` to seconds; a bare number has no unit and is refused.

    Raises
    ------
    BadDuration   when it is anything else, or not above zero
    """
    match = _DURATION.fullmatch(text.strip())
    if match is None:
        raise BadDuration(text)
    seconds = float(match["number"]) * _SECONDS[match["unit"]]
    if seconds <= 0:
        raise BadDuration(text)
    return seconds
