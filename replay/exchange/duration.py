"""Durations as people type them: 500ms, 8s, 2m."""

from replay.exchange.errors import BadDuration

NS = 1_000_000_000

_UNITS_NS = (("ms", NS // 1000), ("s", NS), ("m", 60 * NS), ("h", 3600 * NS))


def parse_duration(text: str) -> int:
    """Parse a duration to ns.

    Raises
    ------
    BadDuration
        There is no number, or no unit.
    """
    for unit, factor in _UNITS_NS:
        number = text.removesuffix(unit)
        if number != text and number.isascii() and number.replace(".", "", 1).isdigit():
            return round(float(number) * factor)
    raise BadDuration(text)
