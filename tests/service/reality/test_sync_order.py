"""Under strace: nothing is told, named or entered before what it stands on is on disk."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from benchmarks.real_processes import Exchange, Watch, start_recorder, write_config
from tests.support.system_calls import (
    Call,
    Findings,
    check_order,
    read_calls,
    strace,
    why_no_strace,
    without,
)

pytestmark = pytest.mark.skipif(bool(why_no_strace()), reason=why_no_strace() or "traced")
SYMBOL = "BTC-USDT"
FSYNC_DELAY_US = 20_000


@pytest.fixture(scope="module")
def traced(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Call]]:
    """Record some seconds, publish parts by order, then stop: all of it under strace."""
    folder = tmp_path_factory.mktemp("traced")
    archive, trace = folder / "archive", folder / "trace"
    exchange = Exchange(folder, "--symbols", SYMBOL, "--rate", 300, "--no-limits")
    try:
        config = write_config(
            folder / "recorder.toml",
            archive,
            exchange.url,
            venue={"symbols": [SYMBOL], "streams": ["level2", "match"]},
            stitch={"first_update_timer_s": 0.1},
        )
        process = start_recorder(config, folder / "recorder.log", strace(trace, FSYNC_DELAY_US))
        try:
            watch = Watch(archive)
            watch.until(lambda status: status["ready"], "a book in step")
            for number in range(40):
                watch.note()
                if number == 20:
                    assert watch.ask("/job/roll", "POST") is not None
                time.sleep(0.02)
            watch.forget()
        finally:
            stop_traced(process)
    finally:
        exchange.stop()
    return archive, read_calls(trace)


def stop_traced(process: subprocess.Popen[bytes]) -> None:
    """Ask the program under strace to end: strace itself takes no such wish."""
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    for child in children:
        os.kill(int(child), signal.SIGTERM)
    assert process.wait(60) == 0


def judge(traced: tuple[Path, list[Call]], *missing: str, file: str = "") -> Findings:
    """Judge the run, or the same one as if it had left out some calls."""
    archive, calls = traced
    return check_order(without(calls, lambda c: c.name in missing and file in c.file), archive)


def test_everything_is_on_disk_before_something_else_says_so(
    traced: tuple[Path, list[Call]],
) -> None:
    found = judge(traced)
    assert found.problems == []
    assert found.commits >= 10
    assert found.answers >= 40
    assert found.acknowledged > 300
    assert found.parts >= 4, "some by order, some at the end"
    assert found.folders >= 6, "folders of parts and of the raw log were made, and synced in turn"


def test_each_fsync_that_is_missing_is_missed(traced: tuple[Path, list[Call]]) -> None:
    raw = judge(traced, "fsync", file=".jsonl.zst").problems
    assert any("told as durable" in problem for problem in raw)
    assert any("frames were not durable" in problem for problem in raw)
    part = judge(traced, "fsync", file=".parquet.unfinished").problems
    assert any("before its bytes were synced" in problem for problem in part)
    folder = judge(traced, "fsync", file="symbol=").problems
    assert any("before its folder was synced" in problem for problem in folder)
    date = judge(traced, "fsync", file=f"{traced[0]}/raw").problems
    assert any("told as durable" in problem for problem in date)
    catalog = judge(traced, "fdatasync", file="catalog.db-wal").problems
    assert any("was not synced" in problem for problem in catalog)
