"""Shows that SQL over rebuilt books is lazy and lean, at full size, in a minute or two.

    python benchmarks/lazy_sql.py                    20 parts of 1,000,000 level-2 updates
    python benchmarks/lazy_sql.py --parts 4 --rows-per-part 100000

It writes an archive with the recorder's own part writer (or takes an older one with --archive),
then asks each question in a process of its own, after a first small question has loaded and
compiled everything, and prints one JSON object a question: how many parts and rows the kernels
were called for, and how far the process grew above what it held before. It exits with 1 when
`LIMIT 10` touches more than 3 parts or `count(*)` adds more than 150 MB.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run as a file, it finds its like

from benchmarks.counts import whole_number

SYMBOL, RUN = "BENCH-USDT", "20261122T000000.000000Z-bench-1"
DAY = 1_795_305_600_000_000_000  # 2026-11-22T00:00:00Z
LEVELS = 100
KEYFRAME_EVERY = 50_000
PARTS_MOST, ADDED_MOST_MB = 3, 150
QUESTIONS = {
    "limit": f"SELECT * FROM bbo('{SYMBOL}') LIMIT 10",
    "count": f"SELECT count(*) AS n FROM bbo('{SYMBOL}')",
}


def build(folder: Path, parts: int, rows_per_part: int) -> None:
    """Write an archive: one symbol, one run of `parts` parts, a keyframe every 50,000 updates.

    Every second update, on average, changes the best bid or offer: far more than a market does.
    """
    from recorder.pipeline.book_rows import full_book_rows
    from recorder.pipeline.output import FullBook, Interval, Rows
    from recorder.storage.archive_folder import ArchiveFolder
    from recorder.storage.part_writer import PartRows, write_part
    from schemas.catalog import TABLES

    rng = np.random.default_rng(7)
    date, step = "2026-11-22", 1_000_000  # one update a millisecond
    # Row n: level n % LEVELS of a side, counted from the best.
    prices = np.array(
        [60_000_0 - at for at in range(LEVELS)] + [60_000_1 + at for at in range(LEVELS)]
    )
    sides = np.repeat(np.array([0, 1], np.int8), LEVELS)
    sizes = rng.integers(1, 10**9, 2 * LEVELS)
    book = {
        "side": sides,
        "price_mantissa": prices,
        "price_scale": np.full(2 * LEVELS, 1, np.int8),
        "size_scale": np.full(2 * LEVELS, 8, np.int8),
    }
    books = PartRows(date, DAY)

    def keep(origin: str, ordinal: int) -> None:
        entry = FullBook(origin, ordinal, DAY + ordinal * step, ordinal)
        whole = {**book, "size_mantissa": sizes.copy()}
        books.add(full_book_rows(SYMBOL, "l2", whole, entry, ts_recv=entry.ts))

    keep("rest", 0)
    with ArchiveFolder(folder) as archive:
        written = []
        for first in range(1, parts * rows_per_part + 1, rows_per_part):
            rows = PartRows(date, DAY)
            for at in range(first, first + rows_per_part, KEYFRAME_EVERY):
                stop = min(at + KEYFRAME_EVERY, first + rows_per_part)
                number = np.arange(at, stop)
                count = len(number)
                which = np.minimum(rng.geometric(0.5, count) - 1, LEVELS - 1)
                which += LEVELS * rng.integers(0, 2, count)
                size = rng.integers(1, 10**9, count)
                known = DAY + number * step
                columns = {
                    "ts_recv": known,
                    "ts_event": known - 500_000,
                    "held_ns": np.zeros(count, np.int64),
                    "ordinal": number,
                    "sequence": number,
                    "sequence_start": number,
                    "sequence_end": number,
                    "side": sides[which],
                    "price_mantissa": prices[which],
                    "price_scale": np.full(count, 1, np.int8),
                    "size_mantissa": size,
                    "size_scale": np.full(count, 8, np.int8),
                    "is_last": np.ones(count, bool),
                }
                rows.add(Rows("l2_updates", SYMBOL, "l2", columns, known))
                sizes[which] = size  # the last one of a level stays
                keep("keyframe", stop - 1)
            written.append(write_part(folder, RUN, rows, DAY))
        written.append(write_part(folder, RUN, books, DAY))
        last = parts * rows_per_part
        interval = Interval(
            SYMBOL, "l2", 0, last, DAY, DAY + last * step, 0, last, last, last, is_open=False
        )
        catalog = archive.catalog
        with catalog.transaction():
            run = dict.fromkeys(TABLES["runs"].names)
            catalog.put_run(
                run | {"run_id": RUN, "ts_start": DAY, "ts_stop": DAY + last * step,
                       "stop_reason": "stopped", "profile": "kucoin-2019"}
            )  # fmt: skip
            catalog.put_parts(
                [part.row for part in written],
                [entry for part in written for entry in part.full_books],
            )
            catalog.put_ledger(RUN, [interval])


def memory_kb(name: str) -> int:
    """Return a line of /proc/self/status: VmRSS now, VmHWM at its highest."""
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1])
    raise OSError(f"/proc/self/status has no {name}")


def ask(folder: Path, question: str) -> dict[str, object]:
    """Answer one question in this process and tell what it took."""
    from replay import Archive

    with Archive(folder) as tape:
        tape.sql(f"FROM bbo('{SYMBOL}', ts_to := {DAY + 1_000_000_000}) LIMIT 1")
    with Archive(folder) as tape:
        tape.sql("SELECT 1")
        before = memory_kb("VmRSS")
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # VmHWM starts anew
        started = time.perf_counter()
        rows = tape.sql(QUESTIONS[question]).to_pylist()
        seconds = time.perf_counter() - started
        peak = memory_kb("VmHWM")
        parts = [path for path in tape.parts_touched if path.startswith("l2_updates")]
        return {
            "question": QUESTIONS[question],
            "rows": len(rows),
            "first": rows[0].get("n", rows[0].get("sequence")),
            "parts_touched": len(parts),
            "slices_replayed": tape.counters.slices_replayed,
            "rows_replayed": tape.counters.rows_replayed,
            "memory_added_mb": round((peak - before) / 1000, 1),
            "seconds": round(seconds, 2),
        }


def in_a_process(folder: Path, question: str) -> dict[str, object]:
    """Answer one question in a process of its own."""
    done = subprocess.run(
        [sys.executable, __file__, "--archive", str(folder), "--ask", question],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    answer: dict[str, object] = json.loads(done.stdout)
    return answer


def main() -> int:
    """Run as a command."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--archive", type=Path, help="keep it here; taken as it is if it exists")
    parser.add_argument("--parts", type=whole_number, default=20)
    parser.add_argument("--rows-per-part", type=whole_number, default=1_000_000)
    parser.add_argument("--ask", choices=sorted(QUESTIONS), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.ask:
        print(json.dumps(ask(options.archive, options.ask)))
        return 0
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.archive or Path(scratch) / "archive"
        if not folder.exists():
            started = time.perf_counter()
            build(folder, options.parts, options.rows_per_part)
            print(
                f"{options.parts} parts of {options.rows_per_part} updates written in "
                f"{time.perf_counter() - started:.1f} s",
                file=sys.stderr,
            )
        limit, count = (in_a_process(folder, question) for question in ("limit", "count"))
    print(json.dumps(limit), json.dumps(count), sep="\n")
    lazy = int(str(limit["parts_touched"])) <= PARTS_MOST
    lean = float(str(count["memory_added_mb"])) <= ADDED_MOST_MB
    return 0 if lazy and lean else 1


if __name__ == "__main__":
    sys.exit(main())
