"""Compacts a day of many small parts on one core, and tells seconds, memory, bytes and rows.

    python benchmarks/compaction.py                      20,000,000 rows of five symbols
    python benchmarks/compaction.py --rows 1000000

It writes a day with the recorder's own part writer, a part every 900 s a symbol and dataset, as a
recorder does (level-2 updates, level-3 events, trades, full books), compacts it in a process of
its own that may use one core, and prints one JSON object. It exits with 1 when rows or books are
not what they were, or when 20,000,000 rows would have taken more than 60 s.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run as a file, it finds its like

from benchmarks.counts import whole_number

RUN = "20261122T000000.000000Z-bench-1"
DATE, NEXT_DATE = "2026-11-22", "2026-11-23"
DAY = 1_795_305_600_000_000_000  # 2026-11-22T00:00:00Z
ROLL_NS = 900 * 1_000_000_000
ROLLS = 96
LEVELS = 500
KEYFRAME_EVERY = 50_000
SHARES = {"l2": 0.70, "l3": 0.15, "trades": 0.10}  # what is left are rows of full books
SECONDS_MOST, ROWS_MEANT = 60.0, 20_000_000


class Market:
    """Rows of one symbol, a roll at a time, that look like a market's to an encoder."""

    def __init__(self, symbol: str, seed: int) -> None:
        self.symbol = symbol
        self._rng = np.random.default_rng(seed)
        self._touch = 600_000
        self._ordinals = {"l2": 1, "l3": 1, "trades": 0}
        self._sequence = 1_545_896_000_000

    def rolls(self, roll: int, counts: dict[str, int]) -> list[Any]:
        """Return the rows of one roll, a PartRows a dataset."""
        from recorder.pipeline.output import Rows
        from recorder.storage.part_writer import PartRows

        since = DAY + roll * ROLL_NS
        made = []
        for stream, count in counts.items():
            known = since + np.sort(self._rng.integers(0, ROLL_NS, count))
            part = PartRows(DATE, since)
            columns = self._columns(stream, count, known)
            dataset = {"l2": "l2_updates", "l3": "l3_events"}.get(stream, stream)
            part.add(Rows(dataset, self.symbol, stream, columns, known))
            made.append(part)
        return made

    def _columns(self, stream: str, count: int, known: Any) -> dict[str, Any]:
        rng = self._rng
        first = self._ordinals[stream]
        self._ordinals[stream] += count
        sequence = self._sequence + np.cumsum(rng.integers(1, 3, count))
        self._sequence = int(sequence[-1])
        side = rng.integers(0, 2, count).astype(np.int8)
        distance = np.minimum(rng.geometric(0.03, count), LEVELS)
        walk = self._touch + np.cumsum(rng.integers(-1, 2, count) * (rng.random(count) < 0.05))
        self._touch = int(walk[-1])
        price = walk + np.where(side == 0, -distance, distance)
        size = (rng.lognormal(0, 2, count) * 10**6).astype(np.int64) + 1
        columns: dict[str, Any] = {
            "ts_recv": known,
            "ts_event": (known // 1_000_000 - 3) * 1_000_000,
            "held_ns": np.zeros(count, np.int64),
            "ordinal": np.arange(first, first + count),
            "sequence": sequence,
            "price_mantissa": price,
            "price_scale": np.full(count, 1, np.int8),
            "size_mantissa": size,
            "size_scale": np.full(count, 8, np.int8),
        }
        if stream == "l2":
            columns |= {"sequence_start": sequence, "sequence_end": sequence, "side": side}
            columns["is_last"] = np.ones(count, bool)
            return columns
        ids = [f"{n:024x}" for n in rng.integers(0, 2**62, count).tolist()]
        words = ["buy" if s == 0 else "sell" for s in side.tolist()]
        if stream == "trades":
            return columns | {
                "trade_id": ids, "aggressor_side": words, "maker_order_id": ids[::-1],
                "taker_order_id": ids, "source": ["match"] * count,
            }  # fmt: skip
        nothing = np.full(count, -1, np.int8)
        for name in ("old_size", "funds"):
            columns |= {f"{name}_mantissa": np.zeros(count, np.int64), f"{name}_scale": nothing}
        return columns | {
            "side": side, "kind": ["open", "done"] * (count // 2) + ["open"] * (count % 2),
            "aggressor_side": [None] * count, "order_id": ids, "taker_order_id": [None] * count,
            "trade_id": [None] * count, "remain_size_mantissa": size,
            "remain_size_scale": columns["size_scale"], "order_type": ["limit"] * count,
            "stop_type": [None] * count, "reason": [None] * count,
        }  # fmt: skip

    def books(self, roll: int, count: int) -> Any:
        """Return so many full books of a roll."""
        from recorder.pipeline.book_rows import full_book_rows
        from recorder.pipeline.output import FullBook
        from recorder.storage.part_writer import PartRows

        part = PartRows(DATE, DAY + roll * ROLL_NS)
        step = np.arange(LEVELS)
        for number in range(count):
            ts = DAY + roll * ROLL_NS + number
            ordinal = self._ordinals["l2"] - count + number
            book = {
                "side": np.repeat(np.array([0, 1], np.int8), LEVELS),
                "price_mantissa": np.concatenate([self._touch - step, self._touch + 1 + step]),
                "price_scale": np.full(2 * LEVELS, 1, np.int8),
                "size_mantissa": self._rng.integers(1, 10**9, 2 * LEVELS),
                "size_scale": np.full(2 * LEVELS, 8, np.int8),
            }
            entry = FullBook("keyframe", ordinal, ts, self._sequence)
            part.add(full_book_rows(self.symbol, "l2", book, entry, ts_recv=ts))
        return part


def build(folder: Path, rows: int, symbols: int) -> None:
    """Write the day."""
    from recorder.storage.archive_folder import ArchiveFolder
    from recorder.storage.part_writer import write_part
    from schemas.catalog import TABLES

    each = rows / symbols / ROLLS
    counts = {stream: max(2, int(each * share)) for stream, share in SHARES.items()}
    books = max(1, round((each - sum(counts.values())) / (2 * LEVELS)))
    markets = [Market(f"BENCH{number}-USDT", number) for number in range(symbols)]
    with ArchiveFolder(folder) as archive:
        for roll in range(ROLLS):
            written = [
                write_part(folder, RUN, part, DAY)
                for market in markets
                for part in [*market.rolls(roll, counts), market.books(roll, books)]
            ]
            with archive.catalog.transaction():
                archive.catalog.put_parts(
                    [part.row for part in written],
                    [book for part in written for book in part.full_books],
                )
        run = dict.fromkeys(TABLES["runs"].names)
        archive.catalog.put_run(
            run | {"run_id": RUN, "ts_start": DAY, "ts_stop": DAY + ROLLS * ROLL_NS,
                   "stop_reason": "stopped", "profile": "kucoin-2019"}
        )  # fmt: skip


def compact(folder: Path) -> dict[str, Any]:
    """Compact the day in this process, on one core, and tell what it took."""
    import pyarrow as pa

    from recorder.storage.archive_folder import ArchiveFolder
    from recorder.storage.compaction import plan, publish
    from recorder.storage.merging import merge

    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    pa.set_cpu_count(1)
    with ArchiveFolder(folder) as archive:
        before = archive.catalog.live_parts()
        imported = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        began, cpu = time.perf_counter(), time.process_time()
        slowest: dict[str, float] = {}
        for task in plan(archive.catalog, NEXT_DATE):
            started = time.perf_counter()
            parts = merge(folder, task)
            if not publish(folder, archive.catalog, task, parts, DAY):
                raise SystemExit(f"{task.name} was not published")
            dataset = task.parts[0]["dataset"]
            slowest[dataset] = slowest.get(dataset, 0.0) + time.perf_counter() - started
        seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
        after = archive.catalog.live_parts()
    rows = sum(part["rows"] for part in before)
    return {
        "rows": rows,
        "same_rows": rows == sum(part["rows"] for part in after),
        "parts_before": len(before),
        "parts_after": len(after),
        "bytes_before": sum(part["bytes"] for part in before),
        "bytes_after": sum(part["bytes"] for part in after),
        "seconds": round(seconds, 2),
        "cpu_seconds": round(cpu, 2),
        "rows_per_second": round(rows / seconds),
        "seconds_by_dataset": {name: round(value, 2) for name, value in slowest.items()},
        "rss_before_mb": round(imported / 1000),
        "rss_peak_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000),
    }


def main() -> int:
    """Run as a command."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--rows", type=whole_number, default=ROWS_MEANT)
    parser.add_argument("--symbols", type=whole_number, default=5)
    parser.add_argument("--compact", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.compact:
        print(json.dumps(compact(options.compact)))
        return 0
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "archive"
        began = time.perf_counter()
        build(folder, options.rows, options.symbols)
        print(f"written in {time.perf_counter() - began:.1f} s", file=sys.stderr)
        done = subprocess.run(
            [sys.executable, __file__, "--compact", str(folder)],
            check=True, capture_output=True, text=True,
        )  # fmt: skip
    print(done.stdout, end="")
    told = json.loads(done.stdout)
    quick = told["rows"] / told["seconds"] >= ROWS_MEANT / SECONDS_MOST
    return 0 if told["same_rows"] and quick else 1


if __name__ == "__main__":
    sys.exit(main())
