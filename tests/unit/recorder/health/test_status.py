"""What the pages say of given facts."""

from __future__ import annotations

import pytest

from recorder.health.status import (
    STARTING,
    DiskFacts,
    JobFacts,
    format_health,
    format_readiness,
    format_status,
)
from tests.support.health_facts import BTC, ETH, make_facts


def test_health_names_the_trouble() -> None:
    assert format_health("recording", "") == {"status": "ok", "phase": "recording"}
    assert format_health("recording", "a commit has hung") == {
        "status": "failing",
        "phase": "recording",
        "problem": "a commit has hung",
    }


def test_readiness_lists_symbols_with_reasons() -> None:
    assert format_readiness(make_facts()) == {
        "ready": False,
        "phase": "recording",
        "unready": [{"symbol": ETH, "reasons": {"l2": "gap (sequence), waiting for a book"}}],
    }
    assert format_readiness(make_facts(symbols=(BTC,)))["ready"] is True


def test_not_ready_before_it_records_or_when_nothing_is_written() -> None:
    starting = format_readiness(make_facts(symbols=(BTC,), phase=STARTING))
    assert starting == {"ready": False, "phase": STARTING, "unready": []}
    dead = format_readiness(make_facts(symbols=(BTC,), writer_alive=False, trouble="no disk"))
    assert (dead["ready"], dead["problem"]) == (False, "no disk")


def test_status_has_each_stream_with_lag_and_silence() -> None:
    status = format_status(make_facts())
    first, second = status["streams"]
    assert (first["symbol"], first["state"], first["sequence"], first["gaps"]) == (
        BTC, "synced", 7, 1,
    )  # fmt: skip
    assert (first["lag_s"], first["quiet_s"], first["ready"]) == (0.5, 0.5, True)
    assert (second["ready"], second["lag_s"], second["quiet_s"]) == (False, None, None)
    assert second["reason"] == "gap (sequence), waiting for a book"
    assert (status["symbols_recorded"], status["symbols_unsynced"]) == (2, 1)
    assert status["connections"] == [
        {"number": 1, "open": True, "topics": 2, "age_s": 60.0, "frames": 12, "durable": 10}
    ]
    assert status["uptime_s"] == 100.0


def test_a_symbol_nothing_is_known_of_is_listed_all_the_same() -> None:
    (new,) = format_status(make_facts(symbols=("NEW-USDT",), streams={}))["streams"]
    assert (new["symbol"], new["state"], new["reason"]) == (
        "NEW-USDT", "none", "not subscribed yet",
    )  # fmt: skip


def test_what_is_no_longer_recorded_comes_last() -> None:
    status = format_status(make_facts(symbols=(ETH,)))
    assert [(each["symbol"], each["wanted"]) for each in status["streams"]] == [
        (ETH, True), (BTC, False),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("written", "over_s", "runway_s"),
    [(1_000, 100.0, 500.0), (1_000, 59.0, None), (0, 100.0, None)],
)
def test_runway_is_told_once_the_pace_is_known(
    written: int, over_s: float, runway_s: float | None
) -> None:
    assert DiskFacts(5_000, 1, written, over_s).runway_s == runway_s


def test_jobs_say_when_and_how_it_went() -> None:
    ran = JobFacts("compaction", 5, 1.23456, "failed", "no room", ts_next=9)
    status = format_status(make_facts(jobs=(ran, JobFacts("roll"))))
    assert status["jobs"] == [
        {
            "name": "compaction", "running": False, "ts_start": 5, "duration_s": 1.235,
            "outcome": "failed", "detail": "no room", "ts_next": 9,
        },
        {
            "name": "roll", "running": False, "ts_start": None, "duration_s": 0.0,
            "outcome": "", "detail": "", "ts_next": None,
        },
    ]  # fmt: skip
