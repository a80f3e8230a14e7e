"""The recorder's two clocks, and durations as people write them."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping

from recorder.raw_line import NO_CONNECTION, RawLine

_DURATION = re.compile(r"(?P<number>\d+(?:\.\d+)?)(?P<unit>ms|s|m|h)")
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}


class BadDuration(ValueError):
    """A duration that is not like `30s`, `5m` or `1h`."""

    def __init__(self, text: str) -> None:
        self.text = text
        super().__init__(
            f"{text!r} is not a duration: write a number and its unit, e.g. 30s, 5m or 1h"
        )


def stamp_line(
    kind: str,
    fields: Mapping[str, object],
    *,
    connection: int = NO_CONNECTION,
    data: bytes | None = None,
) -> RawLine:
    """Make a line of the raw log that happens now, on both clocks."""
    return RawLine(kind, time.time_ns(), time.monotonic_ns(), connection, data, fields)


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
