"""A file system that fills up under a recorder: loud, unharmed, and on again by itself."""

from __future__ import annotations

import sqlite3
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import duckdb

from benchmarks.kills import count_loss, judge
from benchmarks.real_processes import (
    Exchange,
    Watch,
    raw_lines,
    raw_segments,
    start_recorder,
    stop,
    write_config,
)
from tests.support.small_file_system import Ballast, small_file_system

SYMBOLS = ["BTC-USDT", "WIN-USDT"]
BOOKS = {"l2": "l2_updates", "l3": "l3_events"}
DISK_MIB, PARTS_STOP_MIB, RESERVE_MIB = 128, 40, 4
FULL = "disk_full"


def stage(watch: Watch) -> str:
    """Return how the recorder judges its disk, by its own metrics."""
    for line in (watch.ask_text("/metrics") or "").splitlines():
        if line.startswith("booktape_disk_stage{") and float(line.rpartition(" ")[2]) == 1:
            return line.partition('stage="')[2].partition('"')[0]
    return ""


def until_stage(watch: Watch, wanted: str) -> dict[str, Any]:
    """Wait until the disk is judged so; return the status behind it."""
    return watch.until(lambda _: stage(watch) == wanted, f"the disk is {wanted}")


def record_on_a_disk_that_fills(folder: Path, disk: Path, exchange: Exchange) -> Watch:
    """Record; fill the disk in two steps; empty it; record on; stop."""
    archive, ballast = disk / "archive", Ballast(disk)
    config = write_config(
        folder / "recorder.toml",
        archive,
        exchange.url,
        venue={"symbols": SYMBOLS, "streams": ["level2", "level3", "match"]},
        stitch={"first_update_timer_s": 0.2},
        disk={"reserve_mib": RESERVE_MIB, "parts_stop_mib": PARTS_STOP_MIB, "resume_mib": 8},
    )
    log = folder / "recorder.log"
    recorder, watch = start_recorder(config, log), Watch(archive)
    try:
        watch.until(lambda status: status["ready"], "books in step")
        assert stage(watch) == "ok"
        time.sleep(1.0)
        # Parts are held back: what enters is kept all the same.
        ballast.leave(PARTS_STOP_MIB / 2)
        held = until_stage(watch, "parts_held")
        more = watch.until(
            lambda status: status["writer"]["lines"] > held["writer"]["lines"] + 300,
            "frames are recorded on",
        )
        assert more["ready"]
        assert not list(archive.glob("l2_updates/**/*.parquet"))
        # Nothing is left: it says so, lets go of the exchange, and waits.
        ballast.leave(0)
        full = until_stage(watch, "full")
        assert not full["ready"]
        full = watch.until(
            lambda status: not any(each["open"] for each in status["connections"]),
            "every socket is closed",
        )
        time.sleep(1.0)
        later = watch.note()
        assert later is not None
        assert later["writer"]["lines"] == full["writer"]["lines"], "nothing is recorded"
        assert "disk" in log.read_text(), "the log says what is the matter"
        assert recorder.poll() is None
        # Room again: nobody has to do anything.
        ballast.drop()
        watch.until(
            lambda status: status["ready"] and any(c["open"] for c in status["connections"]),
            "books in step again",
        )
        # Parts wait a little longer, lest they come and go with every file of somebody else.
        until_stage(watch, "ok")
        watch.note()
        watch.forget()
        assert stop(recorder) == 0, log.read_text()
    finally:
        if recorder.poll() is None:
            recorder.kill()
            recorder.wait()
        watch.forget()
    return watch


def test_a_disk_that_fills_up_costs_what_did_not_fit_and_nothing_else(tmp_path: Path) -> None:
    with small_file_system(tmp_path / "disk", DISK_MIB) as disk:
        exchange = Exchange(
            tmp_path,
            *("--symbols", ",".join(SYMBOLS), "--rate", 250, "--seed", 5, "--no-limits"),
            *("--frame-log", tmp_path / "frames.jsonl.zst", "--number-frames"),
            *("--truth", tmp_path / "truth.jsonl.zst", "--truth-every", 50),
        )
        try:
            watch = record_on_a_disk_that_fills(tmp_path, disk, exchange)
        finally:
            exchange.stop()
        archive = tmp_path / "archive"
        archive.symlink_to(disk / "archive")
        loss = count_loss(tmp_path, [], watch)
        assert (loss.problems, loss.lost_acknowledged) == ([], 0)
        assert loss.acknowledged > 2_000
        assert loss.connections == 2
        assert judge(tmp_path) == {}
        assert_the_gaps_cover_exactly_the_hole(archive)


def assert_the_gaps_cover_exactly_the_hole(archive: Path) -> None:
    """Check each book's one gap: from what was heard last, to the first book afterwards."""
    [segments] = raw_segments(archive).values()
    lines = list(raw_lines(segments))
    decisions = {line.get("what"): n for n, line in enumerate(lines) if line["kind"] == "decision"}
    paused, resumed = decisions["paused"], decisions["resumed"]
    assert lines[paused]["reason"] == FULL
    heard = max(line["ts_recv"] for line in lines[:paused] if line["kind"] == "recv")
    assert not any(line["kind"] == "recv" for line in lines[paused:resumed])
    with closing(sqlite3.connect(archive / "catalog.db")) as catalog:
        gaps = catalog.execute(
            "SELECT symbol, stream, reason, ts_from, ts_to, ts_detected, ordinal_from FROM gaps "
            "WHERE stream IN ('l2', 'l3') ORDER BY symbol, stream"
        ).fetchall()
        parts = catalog.execute("SELECT dataset, path FROM parts WHERE ts_replaced IS NULL")
        paths: dict[str, list[str]] = {}
        for dataset, path in parts.fetchall():
            paths.setdefault(dataset, []).append(str(archive / path))
    assert [gap[:3] for gap in gaps] == [(s, b, FULL) for s in SYMBOLS for b in BOOKS]
    with duckdb.connect() as db:
        for symbol, stream, _, ts_from, ts_to, ts_detected, ordinal in gaps:
            known = "epoch_ns(ts_recv) + held_ns"
            [(before, after, inside, last)] = db.execute(
                f"SELECT max({known}) FILTER (ordinal <= {ordinal}), "
                f"min({known}) FILTER (ordinal > {ordinal}), "
                f"count(*) FILTER ({known} > {ts_from} AND {known} < {ts_to}), "
                f"max(ordinal) FILTER (ordinal <= {ordinal}) "
                "FROM read_parquet($paths, hive_partitioning = false) WHERE symbol = $symbol",
                {"paths": paths[BOOKS[stream]], "symbol": symbol},
            ).fetchall()
            [(book,)] = db.execute(
                f"SELECT min({known}) FROM read_parquet($paths, hive_partitioning = false) "
                f"WHERE symbol = $symbol AND book = $book AND origin = 'rest' "
                f"AND {known} > {ts_from}",
                {"paths": paths["book_snapshots"], "symbol": symbol, "book": stream},
            ).fetchall()
            where = f"{symbol} {stream}"
            assert before <= ts_from <= heard, f"{where}: begins behind the last row kept"
            assert ts_detected == lines[paused]["ts_recv"], where
            assert ts_to == book, f"{where}: ends with the first book behind it"
            assert after >= ts_to, where
            assert inside == 0, f"{where}: rows inside the gap"
            assert last is not None
            assert ts_detected < ts_to
