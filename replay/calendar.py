"""A small picture of completeness: a row a symbol and stream, a column a UTC day.

Wanted time is what is covered and what is unknown; before the first book nothing is wanted.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from html import escape

from replay.coverage import Days, DayTime
from schemas.timestamps import NS_PER_DAY, date_of, day_start

DAYS_MAX = 31
ROWS_MAX = 60
"""Rows a terminal is shown, the least complete first; a file holds all."""
SHADES = ((1.0, "#", "green"), (0.999, "+", "green"), (0.99, "=", "yellow"),
          (0.9, "-", "yellow"), (0.0, "!", "red"))  # fmt: skip
"""From this share of the wanted time on: sign, colour."""
NOTHING = "."
_COLOURS = {"green": "#2e9949", "yellow": "#e0b32d", "red": "#cf3b3b"}
_CELL, _LABEL, _LINE = 14, 190, 18


@dataclass(frozen=True)
class Row:
    """One symbol and stream over the days of the picture; a day is None where nothing is wanted."""

    symbol: str
    stream: str
    days: tuple[DayTime | None, ...]

    @property
    def total(self) -> DayTime:
        """All days in one."""
        return add_up(day for day in self.days if day is not None)


@dataclass(frozen=True)
class Calendar:
    """What is drawn: dates in order, rows with the least complete first."""

    dates: tuple[str, ...]
    rows: tuple[Row, ...]

    @property
    def total(self) -> DayTime:
        """All rows in one."""
        return add_up(row.total for row in self.rows)


def add_up(days: Iterator[DayTime]) -> DayTime:
    """Return the sum of days."""
    total = DayTime()
    for day in days:
        total.covered_ns += day.covered_ns
        total.unknown_ns += day.unknown_ns
        total.reasons.update(day.reasons)
    return total


def share(day: DayTime) -> float | None:
    """Return the covered share of the wanted time, None where none is wanted."""
    wanted = day.covered_ns + day.unknown_ns
    return day.covered_ns / wanted if wanted else None


def percent(covered: int, unknown: int) -> str:
    """Write a share with two decimals, rounded down: 100.00 % says that nothing is unknown."""
    wanted = covered + unknown
    if not wanted:
        return "no time wanted"
    hundredths = covered * 10_000 // wanted
    return f"{hundredths // 100}.{hundredths % 100:02} %"


def calendar_of(times: dict[tuple[str, str], Days], days_max: int = DAYS_MAX) -> Calendar:
    """Arrange what `covered_time` found: the last days up to the newest one."""
    newest = max((date for days in times.values() for date in days), default=None)
    if newest is None:
        return Calendar((), ())
    oldest = min(date for days in times.values() for date in days)
    count = (day_start(newest) - day_start(oldest)) // NS_PER_DAY + 1
    shown = min(count, days_max)
    dates = tuple(date_of(day_start(newest) - at * NS_PER_DAY) for at in reversed(range(shown)))
    rows = [Row(*key, tuple(days.get(date) for date in dates)) for key, days in times.items()]
    rows = [row for row in rows if any(row.days)]
    return Calendar(dates, tuple(sorted(rows, key=_worst_first)))


def _worst_first(row: Row) -> tuple[float, str, str]:
    known = share(row.total)
    return (2.0 if known is None else known, row.symbol, row.stream)


def sign_of(day: DayTime | None) -> tuple[str, str]:
    """Return the sign of a day and its colour, "" for none."""
    known = None if day is None else share(day)
    if known is None:
        return NOTHING, ""
    return next((sign, colour) for least, sign, colour in SHADES if known >= least)


def footer(total: DayTime) -> str:
    """Return the number to quote."""
    gaps = total.reasons.total()
    told = f"{gaps} gap{'' if gaps == 1 else 's'}"
    if not total.covered_ns + total.unknown_ns:
        return f"complete: no time was wanted, {told}"
    return f"complete: {percent(total.covered_ns, total.unknown_ns)} of the wanted time, {told}"


def lines(calendar: Calendar, coloured: bool) -> list[str]:
    """Draw for a terminal; signs alone say everything, colours only help."""
    if not calendar.rows:
        return ["nothing is covered", footer(calendar.total)]
    shown = calendar.rows[:ROWS_MAX]
    name = max(len(f"{row.symbol} {row.stream}") for row in shown)
    top = " " * name + "  "
    drawn = [
        f"UTC days {calendar.dates[0]} to {calendar.dates[-1]}",
        top + "".join(date[8] for date in calendar.dates),
        top + "".join(date[9] for date in calendar.dates) + "  covered    gaps",
    ]
    for row in shown:
        cells = "".join(_painted(*sign_of(day), coloured) for day in row.days)
        total = row.total
        known = percent(total.covered_ns, total.unknown_ns)
        label = f"{row.symbol} {row.stream}".ljust(name)
        drawn.append(f"{label}  {cells}  {known:>8}  {total.reasons.total():>6}")
    if len(shown) < len(calendar.rows):
        drawn.append(f"({len(calendar.rows)} rows, the least complete {len(shown)} shown)")
    drawn.append("# all  + 99.9 %  = 99 %  - 90 %  ! less  . nothing wanted")
    return [*drawn, footer(calendar.total)]


def _painted(sign: str, colour: str, coloured: bool) -> str:
    codes = {"green": 32, "yellow": 33, "red": 31}
    return f"\x1b[{codes[colour]}m{sign}\x1b[0m" if coloured and colour else sign


def svg(calendar: Calendar) -> str:
    """Draw as SVG: every row, and a title on each day for who points at it."""
    width = _LABEL + _CELL * len(calendar.dates) + 150
    height = _LINE * (len(calendar.rows) + 3)
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}">',
        "<style>text { font: 11px sans-serif }</style>",
        '<rect width="100%" height="100%" fill="white"/>',
    ]
    for at, date in enumerate(calendar.dates):
        out.append(f'<text x="{_LABEL + at * _CELL}" y="{_LINE - 5}">{date[8:]}</text>')
    for number, row in enumerate(calendar.rows, 1):
        y = number * _LINE
        out.append(f'<text x="4" y="{y + 11}">{escape(f"{row.symbol} {row.stream}")}</text>')
        for at, (date, day) in enumerate(zip(calendar.dates, row.days, strict=True)):
            sign, colour = sign_of(day)
            told = "nothing wanted" if day is None else footer(day)
            out.append(
                f'<g><title>{date}: {told}</title><rect x="{_LABEL + at * _CELL}" y="{y}" '
                f'width="{_CELL - 2}" height="{_CELL}" fill="{_COLOURS.get(colour, "#ddd")}"/>'
                f'<text x="{_LABEL + at * _CELL + 3}" y="{y + 11}" fill="white">{sign}</text></g>'
            )
        total = row.total
        known = percent(total.covered_ns, total.unknown_ns)
        x = _LABEL + len(calendar.dates) * _CELL + 6
        out.append(f'<text x="{x}" y="{y + 11}">{known}, {total.reasons.total()} gaps</text>')
    out.append(f'<text x="4" y="{height - 8}">{escape(footer(calendar.total))}</text></svg>')
    return "\n".join(out) + "\n"
