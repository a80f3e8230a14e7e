"""What `recorder status` says in the terminal."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest

from recorder.commands_operate import DECODE_LAG_TOLD_S, format_running
from recorder.health.status import DiskFacts, format_status
from tests.support.health_facts import make_facts


@dataclass(frozen=True)
class Case:
    """Facts, and the lines they alone bring."""

    facts: dict[str, Any]
    lines: list[str]


@pytest.mark.parametrize(
    "case",
    [
        Case({}, []),
        Case({"decode_lag_lines": 3, "decode_lag_s": DECODE_LAG_TOLD_S / 2}, []),
        Case(
            {"decode_lag_lines": 900, "decode_lag_s": 4.26},
            ["decoding     900 lines and 4.3 s behind"],
        ),
        Case(
            {"decode_lag_lines": 7, "decodes_from_raw_log": True},
            ["decoding     7 lines and 0.0 s behind, from the raw log"],
        ),
        Case(
            {"disk_stage": "parts_held"},
            ["disk         little room: parts wait, the raw log goes on"],
        ),
        Case(
            {"disk_stage": "full"},
            ["disk         FULL: recording is paused until there is room"],
        ),
    ],
)
def test_what_is_behind_or_without_room_is_told_and_nothing_else(case: Case) -> None:
    disk = DiskFacts(1, 2_000_000_000, 1, 100.0)
    usual = format_running(format_status(make_facts(disk=disk)))
    said = format_running(format_status(make_facts(disk=disk, **case.facts)))
    assert [line for line in said if line not in usual] == case.lines
    assert [line for line in said if line not in case.lines] == usual
