"""A recorder that stands still for seconds: SIGSTOP, or a machine that has better things to do."""

from __future__ import annotations

import signal
import sqlite3
import time
from contextlib import closing
from pathlib import Path

from benchmarks.kills import count_loss, judge
from benchmarks.real_processes import Exchange, Watch, start_recorder, stop, write_config

SYMBOLS = ["BTC-USDT", "WIN-USDT"]
# The first one on a machine that has time for this; later ones where starting takes long.
CUTS_AT_S = (9.0, 17.0, 25.0, 33.0, 41.0)


def sleep_until(moment: float) -> None:
    """Sleep to a moment of the monotonic clock."""
    time.sleep(max(0.0, moment - time.monotonic()))


def gaps(archive: Path) -> list[tuple[str, int | None]]:
    """Return reason and end of every gap."""
    with closing(sqlite3.connect(archive / "catalog.db")) as catalog:
        return catalog.execute("SELECT reason, ts_to FROM gaps").fetchall()


def test_it_goes_on_where_it_stood_and_heals_what_the_exchange_cut(tmp_path: Path) -> None:
    folder = tmp_path / ("of_a_long_name_" * 8)  # longer than a socket's address may be
    folder.mkdir()
    archive = folder / "archive"
    exchange = Exchange(
        folder,
        *("--symbols", ",".join(SYMBOLS), "--rate", 400, "--seed", 9, "--no-limits"),
        *("--frame-log", folder / "frames.jsonl.zst", "--number-frames"),
        *("--truth", folder / "truth.jsonl.zst", "--truth-every", 100),
        *(word for cut_s in CUTS_AT_S for word in ("--fault", f"disconnect@{cut_s:g}s")),
    )
    began = time.monotonic()
    try:
        config = write_config(
            folder / "recorder.toml",
            archive,
            exchange.url,
            venue={"symbols": SYMBOLS, "streams": ["level2", "level3", "match"]},
            stitch={"first_update_timer_s": 0.2},
        )
        recorder = start_recorder(config, folder / "recorder.log")
        watch = Watch(archive)
        before = watch.until(lambda status: status["ready"], "books in step")
        # The exchange waits for it: nothing is lost, however late it is read.
        recorder.send_signal(signal.SIGSTOP)
        time.sleep(3.0)
        recorder.send_signal(signal.SIGCONT)
        after = watch.until(
            lambda status: status["writer"]["lines"] > before["writer"]["lines"] + 3_000,
            "what had come meanwhile",
        )
        if time.monotonic() < began + CUTS_AT_S[0]:
            assert after["ready"]
            assert [stream["gaps"] for stream in after["streams"]] == [0] * len(after["streams"])
            assert len(after["connections"]) == 1
        # The exchange cuts the connection of one that hears nothing of it.
        cut = next(began + s for s in CUTS_AT_S if time.monotonic() < began + s - 1.0)
        sleep_until(cut - 1.0)
        recorder.send_signal(signal.SIGSTOP)
        sleep_until(cut + 2.5)
        recorder.send_signal(signal.SIGCONT)
        watch.until(
            lambda status: all(stream["gaps"] for stream in status["streams"]), "a gap of each"
        )
        noticed = time.monotonic()
        # The states of streams are some moments old in an answer, which says how old.
        healed = watch.until(
            lambda status: (
                status["ready"] and time.monotonic() - status["streams_age_s"] > noticed + 0.1
            ),
            "books in step again",
        )
        assert {stream["gap"] for stream in healed["streams"]} == {None}
        assert sum(connection["open"] for connection in healed["connections"]) == 1
        assert len(healed["connections"]) >= 2
        watch.forget()
        assert stop(recorder) == 0
    finally:
        if recorder.poll() is None:
            recorder.kill()
            recorder.wait()
        exchange.stop()
    loss = count_loss(folder, [], watch)
    assert (loss.problems, loss.lost_acknowledged) == ([], 0)
    assert loss.acknowledged > 5_000
    assert judge(folder) == {}
    found = gaps(archive)
    assert {reason for reason, _ in found} == {"disconnected"}
    assert len(found) >= 3 * len(SYMBOLS)
    assert all(ts_to is not None for _, ts_to in found)
