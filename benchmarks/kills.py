"""Kills a recorder again and again at random moments and counts what was lost.

    python benchmarks/kills.py                        300 kills, some forty minutes
    python benchmarks/kills.py --kills 20 --seed 7

An exchange with faults on numbers every frame it sends and writes down the sum of each. This
script asks the recorder all the time how many frames it has acknowledged (`durable` in `/status`),
kills it with SIGKILL at a moment nobody announced, in its start and recovery as well, and starts it
again at once. At the end it reads the raw logs with its own eyes: of each connection exactly the
frames 1 to N are there, byte for byte as the exchange sent them, and N is not less than what was
acknowledged. Then `recorder verify`, `replay verify` against the exchange's own books, and a
rebuild from the raw logs whose rows must be those of the archive.

It prints one JSON object and exits with 1 when anything acknowledged was lost or anything differs.
"""

from __future__ import annotations

import argparse
import json
import random
import sqlite3
import subprocess
import sys
import tempfile
import time
import zlib
from base64 import b64decode
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import duckdb

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run as a file, it finds its like

from benchmarks.counts import positive, whole_number
from benchmarks.real_processes import (
    Exchange,
    Watch,
    quantile,
    raw_lines,
    raw_segments,
    read_lines,
    start_recorder,
    stop,
    words,
    write_config,
)

SYMBOLS = ("BTC-USDT", "ETH-BTC", "SHIB-BTC", "WIN-USDT")
FEEDS = ("level2", "level3", "match", "ticker", "snapshot")
FAULTS = (
    "drop=0.0002",
    "duplicate=0.001",
    "reorder=0.0001",
    "garbage=0.0001",
    "disconnect=0.00005",
    "stale=0.1",
)
ASK_EVERY_S = 0.01
# One kill in so many comes before anything is recorded: in the start, or in the recovery.
EARLY_SHARE = 0.15
EARLY_S = (0.05, 2.0)
LATER_S = (0.3, 4.0)
# And one in so many late enough for a checkpoint to stand behind it.
LATE_SHARE = 0.1
LATE_S = (10.0, 18.0)
# Parts are published all the time, so that kills meet that as well.
PARTS = {"roll_interval_s": 2, "rows_min": 1}
RECORDING_S = 60.0
DATASETS = (
    "l2_updates",
    "l3_events",
    "trades",
    "tickers",
    "market_snapshots",
    "book_snapshots",
)
# Rows of the same stream in the same order: file names and part bounds are no part of them.
LEDGER = {
    "gaps": "symbol, stream, run_id, ordinal_from, reason, ts_from, ts_to, ts_detected, "
    "sequence_expected, sequence_received, healed_by",
    "coverage": "symbol, stream, run_id, ordinal_first, ordinal_last, ts_from, ts_to, "
    "sequence_first, sequence_last, messages, rows",
}


@dataclass
class Kill:
    """One SIGKILL.

    Attributes
    ----------
    run_id : str          "" when it came before a run had a name
    ts : int              ns UTC, just before the signal
    recording_s : float or None   from the start of the process to the first frame acknowledged;
        None if it was killed before
    had_checkpoint : bool   the next start need not read all of its raw log
    """

    run_id: str
    ts: int
    recording_s: float | None
    had_checkpoint: bool


@dataclass
class Loss:
    """What the raw logs have of what was sent.

    Attributes
    ----------
    sent, kept : int           frames of all connections
    acknowledged : int         of these, counted in the last `durable` seen before the run ended
    lost_acknowledged : int    of these, not kept: must be 0
    windows_ms : list          of each kill, from the sending of the last frame kept to the kill;
        0 where nothing sent was lost
    lost_per_kill : list       frames sent and not kept; nobody had acknowledged them
    problems : list[str]       frames that are not what was sent, or not in their place
    """

    sent: int = 0
    kept: int = 0
    acknowledged: int = 0
    lost_acknowledged: int = 0
    connections: int = 0
    windows_ms: list[float] = field(default_factory=list)
    lost_per_kill: list[int] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


@contextmanager
def exchange_of(folder: Path, rate: float, seed: int) -> Iterator[Exchange]:
    """Run the exchange, which writes down what it sends and what its books are."""
    exchange = Exchange(
        folder,
        *("--symbols", ",".join(SYMBOLS), "--seed", seed, "--rate", rate, "--no-limits"),
        *("--frame-log", folder / "frames.jsonl.zst", "--number-frames"),
        *("--truth", folder / "truth.jsonl.zst", "--truth-every", 500),
        *("--fault-log", folder / "faults.jsonl.zst"),
        *(word for fault in FAULTS for word in ("--fault", fault)),
    )
    try:
        yield exchange
    finally:
        exchange.stop()


def kill_once(
    config: Path, log: Path, watch: Watch, draw: random.Random, early_share: float
) -> Kill:
    """Start a recorder, and kill it at a moment drawn at random."""
    chance = draw.random()
    is_early, is_late = chance < early_share, chance >= 1 - LATE_SHARE
    wait_s = draw.uniform(*(EARLY_S if is_early else LATE_S if is_late else LATER_S))
    began = time.monotonic()
    process = start_recorder(config, log)
    kill_at = began + wait_s if is_early else began + RECORDING_S
    run_id, recording_s = "", None
    try:
        while time.monotonic() < kill_at:
            if process.poll() is not None:
                raise SystemExit(f"the recorder ended by itself, see {log}")
            asked = time.monotonic()
            status = watch.note()
            if status is not None and status["run_id"]:
                run_id = status["run_id"]
                if recording_s is None and watch.acknowledged(run_id) > 0:
                    recording_s = time.monotonic() - began
                    if not is_early:
                        kill_at = time.monotonic() + wait_s
            time.sleep(max(0.0, min(asked + ASK_EVERY_S, kill_at) - time.monotonic()))
    finally:
        ts = time.time_ns()
        process.kill()
        process.wait()
        watch.forget()
    if not is_early and recording_s is None:
        raise SystemExit(f"nothing was recorded within {RECORDING_S:.0f} s, see {log}")
    checkpoints = watch.archive.glob(f"checkpoints/{run_id}/*") if run_id else ()
    return Kill(run_id, ts, recording_s, any(checkpoints))


def kill_again_and_again(
    folder: Path, kills: int, rate: float, seed: int, early_share: float = EARLY_SHARE
) -> tuple[list[Kill], Watch, float]:
    """Kill as often as asked, then record a little longer and stop as one should.

    Returns
    -------
    tuple   the kills, what was acknowledged, and how long it all took, seconds
    """
    draw = random.Random(seed)
    archive, log = folder / "archive", folder / "recorder.log"
    watch = Watch(archive)
    done = []
    with exchange_of(folder, rate, seed) as exchange:
        config = write_config(
            folder / "recorder.toml",
            archive,
            exchange.url,
            venue={"symbols": SYMBOLS, "streams": FEEDS},
            stitch={"first_update_timer_s": 0.3},
            parts=PARTS,
            log={"level": "warning"},
        )
        began = time.monotonic()
        for number in range(kills):
            done.append(kill_once(config, log, watch, draw, early_share))
            if sys.stderr.isatty():
                print(f"\r{number + 1} of {kills} kills", end="", file=sys.stderr, flush=True)
        took_s = time.monotonic() - began
        process = start_recorder(config, log)
        watch.until(lambda status: status["ready"], "every book in step")
        time.sleep(1.0)
        watch.note()
        watch.forget()
        if stop(process):
            raise SystemExit(f"the last recorder failed, see {log}")
    return done, watch, took_s


@dataclass
class _Sent:
    """Frames of one connection, as the exchange sent them: sum and time of each."""

    sums: list[int] = field(default_factory=list)
    times: list[int] = field(default_factory=list)


def read_sent(path: Path) -> tuple[dict[str, _Sent], list[str]]:
    """Read the exchange's log of frames, by connectId; and what is wrong with its numbers."""
    sent: dict[str, _Sent] = {}
    problems = []
    for row in read_lines(path):
        frames = sent.setdefault(row["connection"], _Sent())
        if row["first"] != len(frames.sums) + 1:
            problems.append(f"the exchange's own log leaves out frames of {row['connection']}")
        frames.sums += row["crc32"]
        frames.times += [row["time"]] * len(row["crc32"])
    return sent, problems


def count_loss(folder: Path, kills: Sequence[Kill], watch: Watch) -> Loss:
    """Compare the raw logs with what was sent and with what was acknowledged."""
    sent, problems = read_sent(folder / "frames.jsonl.zst")
    loss = Loss(sent=sum(len(frames.sums) for frames in sent.values()), problems=problems)
    killed = {kill.run_id: kill for kill in kills if kill.run_id}
    kept: dict[tuple[str, int], int] = {}
    for run_id, segments in raw_segments(folder / "archive").items():
        connections = _read_kept(run_id, segments, sent, loss)
        for number, (_, count) in connections.items():
            kept[run_id, number] = count
            loss.kept += count
            loss.connections += 1
        if run_id in killed:
            _note_window(killed[run_id], connections, sent, loss)
    for key, count in watch.durable.items():
        loss.acknowledged += count
        missing = max(0, count - kept.get(key, 0))
        if missing:
            loss.lost_acknowledged += missing
            loss.problems.append(
                f"run {key[0]} connection {key[1]}: {count} frames acknowledged, "
                f"{kept.get(key, 0)} kept"
            )
    return loss


def _read_kept(
    run_id: str, segments: Sequence[Path], sent: dict[str, _Sent], loss: Loss
) -> dict[int, tuple[str, int]]:
    """Return connectId and frames kept by connection of a run; note each that is not as sent."""
    connections: dict[int, tuple[str, int]] = {}
    for line in raw_lines(segments):
        if line["kind"] != "recv":
            continue
        number = line["connection"]
        data = line["data"].encode() if "data" in line else b64decode(line["data_b64"])
        connect_id, count = connections.get(number, ("", 0))
        said = _json(data)
        if not connect_id:
            connect_id = str(said.get("id", ""))
        connections[number] = (connect_id, count + 1)
        frames = sent.get(connect_id, _Sent())
        where = f"run {run_id} connection {number} frame {count + 1}"
        if count >= len(frames.sums) or zlib.crc32(data) != frames.sums[count]:
            loss.problems.append(f"{where} is not what was sent")
        elif said and said.get("frame") != count + 1:
            loss.problems.append(f"{where} says that it is {said.get('frame')}")
    return connections


def _json(data: bytes) -> dict[str, Any]:
    """Return the object a frame is; an empty one for garbage."""
    try:
        found = json.loads(data)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _note_window(
    kill: Kill, connections: dict[int, tuple[str, int]], sent: dict[str, _Sent], loss: Loss
) -> None:
    """Note what a kill cost: of the connection that was open, which is the last one."""
    if not connections:
        return
    connect_id, count = connections[max(connections)]
    frames = sent.get(connect_id)
    if frames is None or not count or count > len(frames.times):
        return  # noted as a problem already
    lost = max(0, sum(ts <= kill.ts for ts in frames.times) - count)
    loss.lost_per_kill.append(lost)
    loss.windows_ms.append((kill.ts - frames.times[count - 1]) / 1e6 if lost else 0.0)


def differing_rows(archive: Path, other: Path) -> dict[str, int]:
    """Return rows that only one of two archives has, by dataset or table; without those of none."""
    found = {}
    with duckdb.connect() as db:
        db.execute("SET preserve_insertion_order = false")
        for dataset in DATASETS:
            ours, theirs = (_live_parts(folder, dataset) for folder in (archive, other))
            if not ours or not theirs:
                if ours or theirs:
                    found[dataset] = -1
                continue
            tables = [
                f"(SELECT * FROM read_parquet({paths}, hive_partitioning = false))"
                for paths in (ours, theirs)
            ]
            found[dataset] = sum(
                int(db.execute(f"SELECT count(*) FROM ({one} EXCEPT ALL {two})").fetchall()[0][0])
                for one, two in (tables, tables[::-1])
            )
    for table, columns in LEDGER.items():
        rows = []
        for folder in (archive, other):
            with closing(sqlite3.connect(folder / "catalog.db")) as catalog:
                rows.append(set(catalog.execute(f"SELECT {columns} FROM {table}")))
        found[table] = len(rows[0] ^ rows[1])
    return {name: count for name, count in found.items() if count}


def _live_parts(archive: Path, dataset: str) -> list[str]:
    with closing(sqlite3.connect(archive / "catalog.db")) as catalog:
        rows = catalog.execute(
            "SELECT path FROM parts WHERE dataset = ? AND ts_replaced IS NULL ORDER BY path",
            (dataset,),
        )
        return [str(archive / path) for (path,) in rows]


def judge(folder: Path) -> dict[str, Any]:
    """Have the commands judge the archive; return what did not hold."""
    return judge_and_count(folder)[0]


def judge_and_count(folder: Path) -> tuple[dict[str, Any], int]:
    """Have the commands judge the archive.

    Returns
    -------
    tuple   what did not hold, and how many books were equal to the exchange's own
    """
    archive, rebuilt = folder / "archive", folder / "rebuilt"
    wrong: dict[str, Any] = {}
    # Side by side: each is one process, and none of them writes to the archive.
    commands = {
        "recorder verify": words("recorder.cli", "verify", archive, "--json"),
        "replay verify --truth": words(
            "replay.cli", "verify", archive, "--truth", folder / "truth.jsonl.zst", "--json"
        ),
        "recorder rebuild": words("recorder.cli", "rebuild", archive, "--into", rebuilt),
    }
    running = {
        name: subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        for name, command in commands.items()
    }
    equal = 0
    for name, process in running.items():
        said, _ = process.communicate()
        if process.returncode:
            wrong[name] = said[-2_000:]
        elif "--truth" in name:
            equal = sum(count["equal"] for count in json.loads(said)["truth"])
    if "recorder rebuild" not in wrong:
        differing = differing_rows(archive, rebuilt)
        if differing:
            wrong["rows of archive and rebuild that differ"] = differing
    return wrong, equal


def facts(folder: Path) -> dict[str, Any]:
    """Return what the archive and the exchange's logs say of the session."""
    with closing(sqlite3.connect(folder / "archive" / "catalog.db")) as catalog:
        gaps = catalog.execute("SELECT reason, count(*) FROM gaps GROUP BY 1 ORDER BY 1").fetchall()
        runs = catalog.execute("SELECT count(*) FROM runs").fetchall()[0][0]
        rows = catalog.execute("SELECT sum(rows) FROM parts WHERE ts_replaced IS NULL").fetchall()
    faults: dict[str, int] = {}
    for row in read_lines(folder / "faults.jsonl.zst"):
        faults[row["kind"]] = faults.get(row["kind"], 0) + 1
    return {"runs": runs, "rows": rows[0][0], "gaps": dict(gaps), "faults": faults}


def measure(
    folder: Path, kills: int, rate: float, seed: int, early_share: float = EARLY_SHARE
) -> dict[str, Any]:
    """Do all of it in a folder; return what is printed."""
    done, watch, took_s = kill_again_and_again(folder, kills, rate, seed, early_share)
    loss = count_loss(folder, done, watch)
    starts = [kill.recording_s for kill in done if kill.recording_s is not None]
    recorded_s = took_s - sum(starts)
    wrong, equal = judge_and_count(folder)
    return {
        "kills": len(done),
        "kills_before_recording": len(done) - len(starts),
        "kills_behind_a_checkpoint": sum(kill.had_checkpoint for kill in done),
        "frames_sent": loss.sent,
        "frames_sent_per_s_connected": round(loss.sent / recorded_s) if recorded_s > 0 else None,
        "frames_acknowledged": loss.acknowledged,
        "frames_kept": loss.kept,
        "lost_after_acknowledgement": loss.lost_acknowledged,
        "connections": loss.connections,
        "loss_window_ms": _spread(loss.windows_ms),
        "frames_lost_per_kill": _spread([float(count) for count in loss.lost_per_kill]),
        "start_to_recording_s": _spread(starts, 2),
        "books_equal_to_the_exchange": equal,
        **facts(folder),
        "problems": loss.problems[:10],
        "wrong": wrong,
    }


def _spread(values: Sequence[float], digits: int = 1) -> dict[str, float] | None:
    if not values:
        return None
    return {
        "median": round(median(values), digits),
        "p99": round(quantile(values, 0.99), digits),
        "max": round(max(values), digits),
    }


def is_good(result: dict[str, Any]) -> bool:
    """Say whether something was acknowledged and nothing of it lost, and all the judges hold."""
    is_shown = result["frames_acknowledged"] and result["books_equal_to_the_exchange"]
    is_wrong = result["lost_after_acknowledgement"] or result["problems"] or result["wrong"]
    return bool(is_shown and not is_wrong)


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--kills", type=whole_number, default=300)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--rate", type=positive, default=350.0, help="engine events a second, symbol"
    )
    parser.add_argument("--keep", type=Path, help="an empty folder for everything, kept")
    args = parser.parse_args()
    if args.keep is not None and args.keep.exists() and any(args.keep.iterdir()):
        parser.error(f"{args.keep} is not empty")
    with tempfile.TemporaryDirectory(prefix="kills-") as temporary:
        folder = args.keep or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        result = measure(folder, args.kills, args.rate, args.seed)
    print(json.dumps(result, indent=2))
    return 0 if is_good(result) else 1


if __name__ == "__main__":
    sys.exit(main())
