"""Measures how long it takes to find what no number of a message shows, and what is got back.

    python benchmarks/unseen.py                           three kinds, about five minutes
    python benchmarks/unseen.py --kind corrupted --interval 60

- `silenced`: topics that are subscribed and fall silent while their connection stands, with the
  settings of a fresh configuration. Printed: seconds until the gap is detected.
- `corrupted`: every live book is changed in memory, audits come every `--interval` seconds.
  Printed: seconds until an audit finds it.
- `trades`: connections are cut and the recorder is stopped for a while, and what the exchange's
  history still has is filled in. Printed: the share of the trades missed that the archive has.

The recorder and the exchange are processes of their own, and the exchange writes down what it did.
It exits with 1 when a fault was not found or not healed, when no trade was got back or fewer than
the archive says, or when an archive does not hold.
"""

from __future__ import annotations

import argparse
import json
import re
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from statistics import median
from typing import Any

import duckdb

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run as a file, it finds its like

from benchmarks.counts import whole_number
from benchmarks.real_processes import (
    Exchange,
    Watch,
    read_lines,
    run,
    start_recorder,
    stop,
    write_config,
)

HERE = Path(__file__).resolve().parent
SYMBOLS = ("BTC-USDT", "ETH-BTC", "SHIB-BTC", "WIN-USDT")
STREAM_OF_TOPIC = {"level2": "l2", "level3": "l3"}
SILENT_FOR_S = 90
SILENT_FROM_S = 8.0
CORRUPT_AFTER_S = 3.0
# Cuts that come faster than connections settle are answered with longer and longer pauses.
CUT_EVERY_S = 12.0
OFF_S = 1.0
CUT, OFF = "connection_cut", "recorder_off"
# What the status pages say of streams may be as old as that, and a book takes a moment.
SETTLE_S = 3.0
# Of a slow machine: what is found at all is found long before.
PATIENCE_S = 240.0

Times = dict[tuple[str, str], int]


def gaps_begun(watch: Watch, reason: str) -> float:
    """Return how many gaps of a reason there were, by the recorder's metrics."""
    pattern = rf'^booktape_gaps_total{{[^}}]*reason="{reason}"[^}}]*}} ([0-9.e+]+)$'
    return sum(map(float, re.findall(pattern, watch.ask_text("/metrics") or "", re.MULTILINE)))


def record(
    folder: Path,
    exchange: Exchange,
    feeds: Sequence[str],
    scene: Callable[[Watch], None],
    *,
    prefix: Sequence[str] = (),
    **sections: Mapping[str, Any],
) -> Path:
    """Record an exchange while a scene plays, stop, and return the archive.

    Parameters
    ----------
    prefix : the words of a program that is the recorder, in place of its command
    """
    archive, log = folder / "archive", folder / "recorder.log"
    config = write_config(
        folder / "recorder.toml",
        archive,
        exchange.url,
        venue={"symbols": SYMBOLS, "streams": feeds},
        log={"level": "warning"},
        **sections,
    )
    if prefix:
        with log.open("ab") as file:
            recorder = subprocess.Popen([*prefix, "run", str(config)], stderr=file)
    else:
        recorder = start_recorder(config, log)
    watch = Watch(archive)
    try:
        watch.until(lambda status: status["ready"], "every book in step")
        scene(watch)
    finally:
        watch.forget()
        code = stop(recorder)
    if code:
        raise SystemExit(f"the recorder failed: {log.read_text()[-2_000:]}")
    return archive


def gap_rows(archive: Path, reason: str) -> list[tuple[str, str, int, int | None]]:
    """Return symbol, stream, ts_detected and ts_to of gaps of a reason, in order of detection."""
    with closing(sqlite3.connect(archive / "catalog.db")) as catalog:
        return catalog.execute(
            "SELECT symbol, stream, ts_detected, ts_to FROM gaps WHERE reason = ? "
            "ORDER BY ts_detected",
            (reason,),
        ).fetchall()


def found(struck: Times, archive: Path, reason: str) -> dict[str, Any]:
    """Say how long after each fault the first gap of its stream was detected, and if all healed."""
    rows = gap_rows(archive, reason)
    after_s = []
    for key, ts in struck.items():
        seen = [row[2] for row in rows if row[:2] == key and row[2] >= ts]
        if seen:
            after_s.append((min(seen) - ts) / 1e9)
    return {
        "faults": len(struck),
        "found": len(after_s),
        "found_after_s": spread(after_s),
        "not_healed": sum(row[3] is None for row in rows),
        "elsewhere": len({row[:2] for row in rows} - struck.keys()),
    }


def spread(values: Sequence[float]) -> dict[str, float] | None:
    """Return the smallest, the median and the largest; None of nothing."""
    if not values:
        return None
    return {
        "min": round(min(values), 1),
        "median": round(median(values), 1),
        "max": round(max(values), 1),
    }


def holds(*arguments: object) -> str:
    """Have a command judge an archive; return what did not hold, "" for nothing."""
    done = run(*map(str, arguments))
    return "" if done.returncode == 0 else done.stdout[-500:]


def silenced(folder: Path, seed: int, _: int) -> dict[str, Any]:
    """Silence one topic of each symbol, and wait until each is found."""
    topics = {symbol: tuple(STREAM_OF_TOPIC)[n % 2] for n, symbol in enumerate(SYMBOLS)}
    exchange = Exchange(
        folder,
        *("--symbols", ",".join(SYMBOLS), "--seed", seed, "--no-limits"),
        *("--fault-log", folder / "faults.jsonl"),
        *(
            word
            for n, (symbol, topic) in enumerate(topics.items())
            for word in (
                "--fault",
                f"silence@{SILENT_FROM_S + n:g}s:topic={topic}:symbol={symbol}:for={SILENT_FOR_S}s",
            )
        ),
    )

    def scene(watch: Watch) -> None:
        watch.until(
            lambda _: gaps_begun(watch, "silent") >= len(SYMBOLS), "silences found", PATIENCE_S
        )
        time.sleep(SETTLE_S)
        watch.until(lambda status: status["ready"], "every book in step again", PATIENCE_S)

    try:
        archive = record(folder, exchange, tuple(STREAM_OF_TOPIC), scene)
    finally:
        exchange.stop()
    struck: Times = {}
    for row in read_lines(folder / "faults.jsonl"):
        if row["kind"] == "silence":
            struck.setdefault((row["symbol"], STREAM_OF_TOPIC[row["topic"]]), row["time"])
    return {**found(struck, archive, "silent"), "wrong": holds("recorder.cli", "verify", archive)}


def corrupted(folder: Path, seed: int, interval: int) -> dict[str, Any]:
    """Change every live book in memory, and wait until audits have found each."""
    told = folder / "corrupted.jsonl"
    books = len(SYMBOLS) * len(STREAM_OF_TOPIC)
    exchange = Exchange(folder, "--symbols", ",".join(SYMBOLS), "--seed", seed, "--no-limits")

    def scene(watch: Watch) -> None:
        watch.until(lambda _: gaps_begun(watch, "drift") >= books, "drift", interval + PATIENCE_S)
        time.sleep(SETTLE_S)
        watch.until(lambda status: status["ready"], "every book in step again", PATIENCE_S)

    prefix = [sys.executable, str(HERE / "corrupting_recorder.py"), str(CORRUPT_AFTER_S), str(told)]
    try:
        archive = record(
            folder,
            exchange,
            tuple(STREAM_OF_TOPIC),
            scene,
            prefix=prefix,
            audit={"interval_s": interval},
        )
    finally:
        exchange.stop()
    struck = {(row["symbol"], row["stream"]): row["time"] for row in read_lines(told)}
    # Of memory the raw log knows nothing: a rebuild has no such gap. Readers are content.
    wrong = holds("replay.cli", "verify", archive)
    return {**found(struck, archive, "drift"), "interval_s": interval, "wrong": wrong}


def trades(folder: Path, seed: int, _: int) -> dict[str, Any]:
    """Cut connections, stop and start the recorder, and compare with the engine's own trades."""
    cuts = 4
    exchange = Exchange(
        folder,
        *("--symbols", ",".join(SYMBOLS), "--seed", seed, "--rate", 60, "--no-limits"),
        *("--order-log", folder / "orders.jsonl"),
        *(
            word
            for n in range(cuts)
            for word in ("--fault", f"disconnect@{SILENT_FROM_S + n * CUT_EVERY_S:g}s")
        ),
    )
    began = time.monotonic()

    def until_cut(_: Watch) -> None:
        end = began + SILENT_FROM_S + cuts * CUT_EVERY_S
        time.sleep(max(0.0, end - time.monotonic()))

    try:
        record(folder, exchange, ("match",), until_cut)
        time.sleep(OFF_S)
        archive = record(folder, exchange, ("match",), lambda _: time.sleep(CUT_EVERY_S))
    finally:
        exchange.stop()
    told = filled_in(folder / "orders.jsonl", archive)
    return {**told, "wrong": holds("recorder.cli", "verify", archive)}


def filled_in(order_log: Path, archive: Path) -> dict[str, Any]:
    """Compare the trades of an archive with those of the engine, between its first and last."""
    true: dict[str, set[int]] = {symbol: set() for symbol in SYMBOLS}
    for event in read_lines(order_log):
        if event["kind"] == "match":
            true[event["symbol"]].add(event["sequence"])
    with closing(sqlite3.connect(archive / "catalog.db")) as catalog:
        paths = [
            str(archive / path)
            for (path,) in catalog.execute(
                "SELECT path FROM parts WHERE dataset = 'trades' AND ts_replaced IS NULL"
            )
        ]
        gaps = catalog.execute(
            "SELECT count(*), coalesce(sum(healed_by = 'backfill'), 0) FROM gaps "
            "WHERE stream = 'trades'"
        ).fetchone()
    with duckdb.connect() as db:
        rows = db.execute(
            "SELECT symbol, sequence, source, run_id "
            "FROM read_parquet(?, hive_partitioning = false)",
            [paths],
        ).fetchall()
    first_run = min(row[3] for row in rows)
    missed, back, made_up = {CUT: 0, OFF: 0}, {CUT: 0, OFF: 0}, 0
    for symbol in SYMBOLS:
        told = [row for row in rows if row[0] == symbol]
        heard = {number for _, number, source, _ in told if source != "backfill"}
        later = {number for _, number, source, _ in told if source == "backfill"}
        before = max(row[1] for row in told if row[3] == first_run)
        after = min(row[1] for row in told if row[3] != first_run and row[2] != "backfill")
        for number in true[symbol]:
            if min(heard) <= number <= max(heard) and number not in heard:
                hole = OFF if before < number < after else CUT
                missed[hole] += 1
                back[hole] += number in later
        made_up += len((heard | later) - true[symbol])
    return {
        "holes": gaps[0],
        "holes_proven_whole_again": gaps[1],
        **{
            hole: {
                "missed": missed[hole],
                "filled_in": back[hole],
                "share": share(back, missed, hole),
            }
            for hole in (CUT, OFF)
        },
        "missed": sum(missed.values()),
        "made_up": made_up,
        "twice": len(rows) - len({row[:2] for row in rows}),
    }


def share(part: Mapping[str, int], whole: Mapping[str, int], key: str) -> float | None:
    """Return a share, None of nothing."""
    return round(part[key] / whole[key], 4) if whole[key] else None


KINDS = {"silenced": silenced, "corrupted": corrupted, "trades": trades}


def is_good(result: Mapping[str, Any]) -> bool:
    """Say whether all was found and healed, nothing was made up, and the archive holds."""
    if result["wrong"]:
        return False
    if "missed" in result:
        back = sum(result[hole]["filled_in"] for hole in (CUT, OFF))
        # Where every hole is said to be whole again, none of its trades may be missing.
        is_lie = back != result["missed"] and result["holes"] == result["holes_proven_whole_again"]
        return bool(back and not is_lie and not result["made_up"] and not result["twice"])
    all_found = result["found"] == result["faults"] > 0
    return bool(all_found and not result["not_healed"] and not result["elsewhere"])


def main() -> int:
    """Measure each kind and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--kind", choices=list(KINDS), action="append")
    parser.add_argument("--seed", type=whole_number, default=1)
    parser.add_argument("--interval", type=whole_number, default=30, help="s between audits")
    args = parser.parse_args()
    results = {}
    for name, measure in KINDS.items():
        if args.kind is None or name in args.kind:
            with tempfile.TemporaryDirectory(prefix=f"unseen-{name}-") as folder:
                results[name] = measure(Path(folder), args.seed, args.interval)
    print(json.dumps(results, indent=2))
    return 0 if all(map(is_good, results.values())) else 1


if __name__ == "__main__":
    sys.exit(main())
