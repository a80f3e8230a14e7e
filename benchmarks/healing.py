"""Measures how long a book stays unknown after a dropped message, a cut, or a stale snapshot.

    python benchmarks/healing.py                      three kinds, about four minutes
    python benchmarks/healing.py --seconds 20 --kind drop

For each kind of fault a real exchange with only that fault runs beside a real recorder. Afterwards
the gaps of the archive are read: each says when it was detected and when a row made the stream
known again; the exchange's own log says when each fault was carried out. Both processes read the
same clock. Printed, per kind: faults, gaps, and milliseconds from fault to detection and from
detection to healing, as median, 99th percentile and maximum. It exits with 1 when a gap has
another reason than its fault explains, was not healed, or when the archive does not verify.
"""

from __future__ import annotations

import argparse
import json
import sqlite3
import sys
import tempfile
import time
from bisect import bisect_right
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run as a file, it finds its like

from benchmarks.counts import positive
from benchmarks.real_processes import (
    Exchange,
    Watch,
    quantile,
    read_lines,
    run,
    start_recorder,
    stop,
    write_config,
)

SYMBOLS = ("BTC-USDT", "ETH-BTC", "SHIB-BTC", "WIN-USDT")
FEEDS = ("level2", "level3")
TOPIC_OF_STREAM = {"l2": "level2", "l3": "level3"}
# A connection that stood for ten seconds was a good one, and the next is opened at once. Cuts that
# come faster would measure the growing pauses of one that keeps failing.
CUT_EVERY_S = 12.0
# A fault shows itself in what comes behind it; what is still open then shall heal before the end.
LINGER_S = 5.0
HEAL_S = 120.0
FIRST_FAULT_S = 4.0


@dataclass(frozen=True)
class Kind:
    """A kind of fault: what the exchange is told, and which reasons its gaps may have."""

    name: str
    title: str
    logged: str
    reasons: frozenset[str]

    def specs(self, seconds: float) -> list[str]:
        """Return the faults of a run of so many seconds, none in its last moments."""
        if self.name == "cut":
            count = max(1, int((seconds - FIRST_FAULT_S) / CUT_EVERY_S))
            return [f"disconnect@{FIRST_FAULT_S + n * CUT_EVERY_S:g}s" for n in range(count)]
        every_s = 0.15
        count = max(1, int((seconds - FIRST_FAULT_S) / every_s))
        drops = [
            f"drop@{(FIRST_FAULT_S + n * every_s) * 1000:.0f}ms"
            f":topic={FEEDS[n % 2]}:symbol={SYMBOLS[n // 2 % len(SYMBOLS)]}"
            for n in range(count)
        ]
        return [*drops, "stale=0.6:events=150"] if self.name == "stale" else drops


KINDS = (
    # In 2019 the last change before a drop may be what a snapshot is too old for: `bridge`.
    Kind("drop", "dropped message", "drop", frozenset({"sequence", "bridge"})),
    Kind("cut", "cut connection", "disconnect", frozenset({"disconnected"})),
    Kind("stale", "stale snapshot", "stale", frozenset({"sequence", "bridge"})),
)


@dataclass(frozen=True)
class GapTimes:
    """A gap of the archive; times in ns."""

    symbol: str
    stream: str
    reason: str
    ts_detected: int
    ts_to: int | None


def record(folder: Path, kind: Kind, seconds: float, rate: float, seed: int) -> Path:
    """Record an exchange with one kind of fault for some seconds; return the archive."""
    archive = folder / "archive"
    exchange = Exchange(
        folder,
        *("--symbols", ",".join(SYMBOLS), "--seed", seed, "--rate", rate, "--no-limits"),
        *("--fault-log", folder / "faults.jsonl"),
        *(word for spec in kind.specs(seconds) for word in ("--fault", spec)),
    )
    try:
        config = write_config(
            folder / "recorder.toml",
            archive,
            exchange.url,
            venue={"symbols": SYMBOLS, "streams": FEEDS},
            log={"level": "error"},
        )
        recorder = start_recorder(config, folder / "recorder.log")
        watch = Watch(archive)
        try:
            watch.until(lambda status: status["ready"], "every book in step")
            time.sleep(seconds)
            time.sleep(LINGER_S)
            watch.until(
                lambda status: all(stream["gap"] is None for stream in status["streams"]),
                "every gap healed",
                HEAL_S,
            )
        finally:
            watch.forget()
            code = stop(recorder)
        if code:
            raise SystemExit(f"the recorder failed: {folder / 'recorder.log'}")
    finally:
        exchange.stop()
    return archive


def read_gaps(archive: Path) -> list[GapTimes]:
    """Read the gaps of the books."""
    with closing(sqlite3.connect(archive / "catalog.db")) as catalog:
        rows = catalog.execute(
            "SELECT symbol, stream, reason, ts_detected, ts_to FROM gaps "
            "WHERE stream IN ('l2', 'l3') ORDER BY ts_detected"
        )
        return [GapTimes(*row) for row in rows]


def read_faults(path: Path, kind: str) -> dict[tuple[str, str] | None, list[int]]:
    """Return when faults were carried out, by (symbol, topic); None of those that strike all."""
    times: dict[tuple[str, str] | None, list[int]] = {}
    for row in read_lines(path):
        if row["kind"] == kind:
            key = (row["symbol"], row["topic"]) if row.get("symbol") else None
            times.setdefault(key, []).append(row["time"])
    return times


def measure(folder: Path, kind: Kind, seconds: float, rate: float, seed: int) -> dict[str, Any]:
    """Record with a kind of fault, and say how long it took to see and to heal it."""
    archive = record(folder, kind, seconds, rate, seed)
    gaps = read_gaps(archive)
    faults = read_faults(folder / "faults.jsonl", kind.logged)
    struck, detect_ms, heal_ms = 0, [], []
    for gap in gaps:
        key = (gap.symbol, TOPIC_OF_STREAM[gap.stream])
        times = faults.get(key, []) if key in faults else faults.get(None, [])
        if kind.name == "stale":
            # Of these the fault comes while the gap is open: the answer that should have healed it.
            if gap.ts_to is None or not any(gap.ts_detected <= ts < gap.ts_to for ts in times):
                continue
        else:
            before = bisect_right(times, gap.ts_detected)
            if before:
                detect_ms.append((gap.ts_detected - times[before - 1]) / 1e6)
        struck += 1
        if gap.ts_to is not None:
            heal_ms.append((gap.ts_to - gap.ts_detected) / 1e6)
    verified = run("recorder.cli", "verify", archive)
    return {
        "fault": kind.title,
        "faults": sum(map(len, faults.values())),
        "gaps": struck,
        "detect_ms": spread(detect_ms),
        "heal_ms": spread(heal_ms),
        "not_healed": sum(gap.ts_to is None for gap in gaps),
        "unexplained": sorted({gap.reason for gap in gaps} - kind.reasons),
        "verified": verified.returncode == 0,
        "said": "" if verified.returncode == 0 else verified.stdout[-500:],
    }


def spread(values: Sequence[float]) -> dict[str, float] | None:
    """Return median, 99th percentile and maximum; None of nothing."""
    if not values:
        return None
    return {
        "median": round(median(values), 1),
        "p99": round(quantile(values, 0.99), 1),
        "max": round(max(values), 1),
    }


def is_good(result: dict[str, Any]) -> bool:
    """Say whether every gap was healed and explained, and the archive holds."""
    return (
        result["gaps"] > 0
        and not result["not_healed"]
        and not result["unexplained"]
        and result["verified"]
    )


def table(results: Sequence[dict[str, Any]]) -> str:
    """Return the results as a Markdown table."""
    lines = [
        "| fault | faults | gaps | seen after, ms | healed after, ms: median, p99, max |",
        "|---|---|---|---|---|",
    ]
    for result in results:
        seen, healed = (
            "–" if of is None else f"{of['median']:g}, {of['p99']:g}, {of['max']:g}"
            for of in (result["detect_ms"], result["heal_ms"])
        )
        lines.append(
            f"| {result['fault']} | {result['faults']} | {result['gaps']} | {seen} | {healed} |"
        )
    return "\n".join(lines)


def main() -> int:
    """Measure each kind and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seconds", type=positive, default=60.0, help="of each kind")
    parser.add_argument("--kind", choices=[kind.name for kind in KINDS], action="append")
    parser.add_argument(
        "--rate", type=positive, default=200.0, help="engine events a second, symbol"
    )
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    args = parser.parse_args()
    results = []
    for kind in KINDS:
        if args.kind is None or kind.name in args.kind:
            with tempfile.TemporaryDirectory(prefix=f"healing-{kind.name}-") as folder:
                results.append(measure(Path(folder), kind, args.seconds, args.rate, args.seed))
    print(json.dumps(results, indent=2) if args.json else table(results))
    bad = [result for result in results if not is_good(result)]
    for result in bad:
        print(f"not as it should be: {json.dumps(result)}", file=sys.stderr)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
