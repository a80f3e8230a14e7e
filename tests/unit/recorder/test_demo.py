"""When the demo may say that all is well, and when it must not."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from recorder.demo import DROPPED_SYMBOL, SYMBOLS, Answers, DemoPlan


def gap(symbol: str, stream: str, reason: str) -> dict[str, Any]:
    return {
        "symbol": symbol,
        "stream": stream,
        "reason": reason,
        "healed_by": "snapshot",
        "ts_from": "2026-11-22 10:00:00",
        "ts_to": "2026-11-22 10:00:01",
    }


def good_answers() -> Answers:
    gaps = [gap(s, stream, "disconnected") for s in SYMBOLS for stream in ("l2", "l3")]
    counts = [
        {"symbol": s, "book": book, "compared": 9, "equal": 9, "unequal": 0, "wrong": 0}
        for s in SYMBOLS
        for book in ("l2", "l3")
    ]
    return Answers(
        coverage=[],
        gaps=[*gaps, gap(DROPPED_SYMBOL, "l2", "sequence")],
        book={},
        query="",
        rows=[],
        proof={"ok": True, "truth": counts},
    )


def test_all_is_well() -> None:
    answers = good_answers()
    assert answers.planned_faults_healed()
    assert answers.every_book_equal()


def test_a_drop_right_after_a_snapshot_is_a_bridge_that_failed() -> None:
    answers = good_answers()
    answers.gaps[-1]["reason"] = "bridge"
    assert answers.planned_faults_healed()


@pytest.mark.parametrize("missing", ["disconnected", "sequence"])
def test_a_fault_that_left_no_gap(missing: str) -> None:
    answers = good_answers()
    answers = replace(answers, gaps=[g for g in answers.gaps if g["reason"] != missing])
    assert not answers.planned_faults_healed()


@pytest.mark.parametrize(("name", "value"), [("healed_by", None), ("ts_to", None)])
def test_a_gap_that_stays_open(name: str, value: object) -> None:
    answers = good_answers()
    answers.gaps[2][name] = value
    assert not answers.planned_faults_healed()


@pytest.mark.parametrize(
    ("name", "value"), [("unequal", 1), ("wrong", 1), ("compared", 0), ("symbol", "ELSE-USDT")]
)
def test_a_book_that_is_not_proven(name: str, value: object) -> None:
    answers = deepcopy(good_answers())
    answers.proof["truth"][3][name] = value
    assert not answers.every_book_equal()


def test_a_replay_that_contradicts_the_record() -> None:
    answers = good_answers()
    answers.proof["ok"] = False
    assert not answers.every_book_equal()


@pytest.mark.parametrize("seconds", [12.0, 20.0, 600.0])
def test_faults_strike_while_it_records_and_apart(seconds: float) -> None:
    plan = DemoPlan(seconds, Path("archive"), Path("work"))
    assert 7 <= plan.cut_s <= plan.drop_s - 3
    assert plan.drop_s < seconds
