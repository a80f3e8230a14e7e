"""What a stranger reads at the end of the demo."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

from rich.console import Console

from recorder.demo import DROPPED_SYMBOL, SYMBOLS, Answers, DemoPlan
from recorder.demo_report import PLAIN_WIDTH, Progressing, print_report

PLAN = DemoPlan(20.0, Path("demo-archive"), Path("demo-work"))


def answers(unequal: int = 0) -> Answers:
    gaps = [
        {
            "symbol": DROPPED_SYMBOL,
            "stream": "l2",
            "reason": reason,
            "healed_by": "snapshot",
            "ts_from": "2026-11-22 10:00:00.123456789",
            "ts_to": "2026-11-22 10:00:00.323456789",
            "sequence_expected": 1_000,
            "sequence_received": 1_042,
            "unknown_ms": 200.0,
        }
        for reason in ("disconnected", "sequence")
    ]
    day = {
        "seconds_covered": 9.75,
        "seconds_unknown": 0.2,
        "messages": 1_234,
        "rows": 2_345,
        "gaps": 1,
    }
    coverage = [
        {"symbol": s, "stream": "l2", "date": date, **day}
        for s in SYMBOLS
        for date in ("2026-11-22", "2026-11-23")
    ]
    counts: list[dict[str, Any]] = [
        {
            "symbol": s,
            "book": book,
            "compared": 1_500,
            "equal": 1_500,
            "unequal": 0,
            "refused": 7,
            "wrong": 0,
            "differences": [],
        }
        for s in SYMBOLS
        for book in ("l2", "l3")
    ]
    if unequal:
        counts[0] |= {"equal": 1_500 - unequal, "unequal": unequal}
        counts[0]["differences"] = ["sequence 7: bids, row 1: rebuilt [(1, 2)], exchange [(1, 3)]"]
    book = {
        "symbol": DROPPED_SYMBOL,
        "sequence": 1_545_896_000_000,
        "bids": [["59999.9", "0.5"], ["59999.8", "1"]],
        "asks": [["60000.1", "0.25"]],
    }
    rows = [{"aggressor": "buy", "trades": 1_234, "bps_from_mid": 0.05}]
    proof = {"ok": not unequal, "truth": counts, "differences": []}
    return Answers(coverage, gaps, book, "SELECT 1", rows, proof)


def shown(given: Answers) -> tuple[bool, str]:
    file = io.StringIO()
    ok = print_report(Console(file=file, width=PLAIN_WIDTH, highlight=False), PLAN, given)
    return ok, file.getvalue()


def test_a_good_end_says_what_was_lost_and_that_all_is_equal() -> None:
    ok, text = shown(answers())
    assert ok
    assert "1,500 books compared with the exchange at the same sequence, 1,500 equal" in text
    assert "7 inside a gap, refused" in text
    assert "All 9,000 books are equal" in text
    assert " ".join(["disconnected", "10:00:00.123", "200 ms", "42", "snapshot"]) in " ".join(
        text.split()
    )
    assert "19.50 s" in text, "days are added up"
    assert "rebuilt from Parquet at sequence 1545896000000" in text
    assert "1,234" in text
    assert str(PLAN.archive) in text


def test_a_bad_end_names_the_difference_and_claims_nothing() -> None:
    ok, text = shown(answers(unequal=3))
    assert not ok
    assert "1,497 equal" in text
    assert "rebuilt [(1, 2)], exchange [(1, 3)]" in text
    assert "Not every book could be proven equal" in text
    assert "All " not in text


def test_an_open_gap_is_said_to_be_open() -> None:
    given = answers()
    given.gaps[1] |= {"healed_by": None, "ts_to": None, "unknown_ms": None}
    ok, text = shown(given)
    assert not ok
    assert "not healed" in text
    assert "still" in text


def test_progress_without_a_terminal_is_a_few_plain_lines() -> None:
    file = io.StringIO()
    status = {"event": "status", "lines": 12_345, "gaps": 2, "streams": {"synced": 5, "up": 9}}
    with Progressing(Console(file=file, width=PLAIN_WIDTH, highlight=False), PLAN) as progressing:
        for tenth in range(120):
            progressing.watch(tenth / 10, status if tenth % 10 == 0 else {})
        progressing.watch(12.0, {"event": "connection lost", "problem": "cut"})
        progressing.watch(12.4, {"event": "subscribed", "connection": 2})
        progressing.watch(12.5, {"event": "writer failed", "level": "critical"})
    assert file.getvalue().splitlines() == [
        "     5 s  12,345 lines durable · 5 of 6 books live · 2 gaps so far",
        "    10 s  12,345 lines durable · 5 of 6 books live · 2 gaps so far",
        "    12 s  connection lost: cut",
        "    12 s  connected again, books asked anew",
        "    12 s  writer failed",
    ]
