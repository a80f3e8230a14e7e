"""The picture of completeness."""

from __future__ import annotations

from collections import Counter
from xml.etree import ElementTree

import pytest

from replay.calendar import ROWS_MAX, calendar_of, footer, lines, percent, svg
from replay.coverage import DayTime
from schemas.timestamps import NS_PER_S

DAY = 86_400 * NS_PER_S


def day(unknown: int, *reasons: str) -> DayTime:
    """Return a whole day of which some ns are unknown."""
    return DayTime(DAY - unknown, unknown, Counter(reasons))


TIMES = {
    ("BTC-USDT", "l2"): {"2026-11-20": day(0), "2026-11-22": day(DAY // 1000 * 5, "sequence")},
    ("ETH-USDT", "l2"): {"2026-11-22": day(DAY // 2, "crashed", "silent")},
    ("ETH-USDT", "trades"): {"2026-11-20": DayTime(), "2026-11-22": day(1)},
}


@pytest.mark.parametrize(
    ("covered", "unknown", "text"),
    [
        (DAY, 0, "100.00 %"),
        (DAY - 1, 1, "99.99 %"),
        (9998, 2, "99.98 %"),
        (0, 5, "0.00 %"),
        (0, 0, "no time wanted"),
    ],
)
def test_only_what_is_whole_is_called_whole(covered, unknown, text):
    assert percent(covered, unknown) == text


def test_the_picture_says_everything_without_colour():
    assert lines(calendar_of(TIMES), coloured=False) == [
        "UTC days 2026-11-20 to 2026-11-22",
        "                 222",
        "                 012  covered    gaps",
        "ETH-USDT l2      ..!   50.00 %       2",
        "BTC-USDT l2      #.=   99.75 %       1",
        "ETH-USDT trades  ..+   99.99 %       0",
        "# all  + 99.9 %  = 99 %  - 90 %  ! less  . nothing wanted",
        "complete: 87.37 % of the wanted time, 3 gaps",
    ]


def test_colours_only_add_to_the_signs():
    plain, coloured = (lines(calendar_of(TIMES), coloured=is_on) for is_on in (False, True))
    assert "\x1b[31m!\x1b[0m" in coloured[3]
    stripped = coloured[3].replace("\x1b[31m", "").replace("\x1b[0m", "")
    assert stripped == plain[3]
    assert not any("\x1b" in line for line in plain)


def test_the_last_days_are_shown_and_alone_counted():
    calendar = calendar_of(TIMES, days_max=1)
    assert calendar.dates == ("2026-11-22",)
    assert [row.symbol for row in calendar.rows] == ["ETH-USDT", "BTC-USDT", "ETH-USDT"]
    only_old = calendar_of({("A-B", "l2"): {"2026-11-20": day(0)}, **TIMES}, days_max=1)
    assert "A-B" not in {row.symbol for row in only_old.rows}


def test_of_many_rows_the_worst_are_shown():
    times = {(f"S{at:04}", "l2"): {"2026-11-22": day(at)} for at in range(1200)}
    drawn = lines(calendar_of(times), coloured=False)
    assert drawn[3].startswith("S1199 l2")
    assert drawn[3 + ROWS_MAX] == f"(1200 rows, the least complete {ROWS_MAX} shown)"
    assert svg(calendar_of(times)).count("<title>") == 1200


def test_nothing_at_all():
    assert lines(calendar_of({}), coloured=False) == [
        "nothing is covered",
        "complete: no time was wanted, 0 gaps",
    ]
    ElementTree.fromstring(svg(calendar_of({})))


def test_the_file_is_xml_with_a_title_a_day():
    root = ElementTree.fromstring(svg(calendar_of({("<&>", "l2"): TIMES["BTC-USDT", "l2"]})))
    titles = [node.text for node in root.iter("{http://www.w3.org/2000/svg}title")]
    assert titles == [
        "2026-11-20: complete: 100.00 % of the wanted time, 0 gaps",
        "2026-11-21: nothing wanted",
        "2026-11-22: complete: 99.50 % of the wanted time, 1 gap",
    ]
    assert footer(day(0)) == "complete: 100.00 % of the wanted time, 0 gaps"
