"""How long a start takes after a crash: records a run, is killed, starts again.

    python benchmarks/restart.py                          1,000,000 frames of 8 symbols
    python benchmarks/restart.py --frames 10000000        what the promise speaks of
    python benchmarks/restart.py --symbols 1200 --levels 400 --frames 300000

A process of its own records through `Recording`, with the settings of a fresh configuration and no
network: level-2 messages and matches of every symbol, a group commit every so many frames. It
kills itself (SIGKILL) behind the last one. A fresh process then does what `recorder run` does at
its start, `Recording.create`, and tells where the time went. Printed is one JSON object. It exits
with 1 when a start takes longer than `--at-most`.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run as a file, it finds its like

from benchmarks.counts import positive, whole_number
from recorder import recovery
from recorder.pipeline.output import Command, RequestBook
from recorder.raw_line import RawLine
from recorder.recording import Recording, RecordingSettings
from recorder.run_writer import RunWriter
from recorder.storage.catalog_writer import CatalogWriter
from schemas.kucoin.market import L2Update, Match, format_l2_update, format_match
from schemas.kucoin.profiles.kucoin_2019 import KUCOIN_2019
from schemas.kucoin.rest import BookAnswer, format_book

T0 = int(datetime(2026, 11, 22, 10, tzinfo=UTC).timestamp()) * 1_000_000_000
FRAMES_A_COMMIT = 250  # a twentieth of a second at 5,000 a second
TOLD_EVERY_FRAMES = 1_000_000


class Market:
    """Books of level 2, one price a level, and a number for every change."""

    def __init__(self, symbols: int, levels: int) -> None:
        self.draw = random.Random(1)
        self.symbols = [f"S{number:04d}-USDT" for number in range(symbols)]
        self.sequences = dict.fromkeys(self.symbols, 1_000_000)
        self.levels = levels

    def frame(self) -> bytes:
        """Return the next message of some symbol; every tenth is a trade."""
        draw = self.draw
        symbol = self.symbols[int(len(self.symbols) * draw.random())]
        first = self.sequences[symbol] + 1
        if draw.random() < 0.1:
            # Of the change that level 2 told last.
            at = first - 1
            price, ids = f"{10_000 + at % 7}.5", (f"{at:024x}", f"{first:024x}")
            return format_match(Match(symbol, at, "buy", price, "0.25", *ids, f"t{at}", T0))
        count = 1 if draw.random() < 0.7 else 3
        self.sequences[symbol] = first + count - 1
        asks, bids = [], []
        for sequence in range(first, first + count):
            level = int(self.levels * draw.random() ** 2)
            size = f"0.{draw.randrange(1, 10**6):06d}"
            side, price = (bids, 10_000 - level) if draw.random() < 0.5 else (asks, 10_010 + level)
            side.append((f"{price}.1", size, sequence))
        return format_l2_update(L2Update(symbol, first, first + count - 1, asks, bids))

    def book(self, symbol: str) -> bytes:
        """Return the answer to a question for the whole book."""
        bids = [(f"{10_000 - level}.1", "1.5") for level in range(self.levels)]
        asks = [(f"{10_010 + level}.1", "1.5") for level in range(self.levels)]
        return format_book(BookAnswer(self.sequences[symbol], None, bids, asks))


def record(archive: Path, frames: int, symbols: int, levels: int, rate: int) -> None:
    """Record so many frames as fast as that goes, tell about it, and die."""
    tape = Recording.create(archive, RecordingSettings())
    market = Market(symbols, levels)
    ts = T0

    def line(kind: str, connection: int = 0, data: bytes | None = None, **fields: Any) -> RawLine:
        return RawLine(kind, ts, ts - T0, connection, data, fields)

    started = {"run_id": tape.run_id, "version": "", "profile": KUCOIN_2019.name}
    started |= {"profile_hash": KUCOIN_2019.hash, "symbols": market.symbols, "limits": {}}
    tape.commit([line("run_start", **started, feeds=["level2", "match"]), line("open", 1)])
    began = time.monotonic()
    asked: list[Command] = []
    path = KUCOIN_2019.book_source("l2", signed=False).path
    for done in range(0, frames, FRAMES_A_COMMIT):
        lines = []
        for command in asked:
            if isinstance(command, RequestBook):
                fields = {"symbol": command.symbol, "stream": "l2", "status": 200}
                fields["request_id"] = command.request_id
                fields["url"] = "http://127.0.0.1" + path.format(symbol=command.symbol)
                lines.append(line("rest_answer", data=market.book(command.symbol), **fields))
        for number in range(done, min(done + FRAMES_A_COMMIT, frames)):
            ts = T0 + number * 1_000_000_000 // rate
            lines.append(line("recv", 1, market.frame()))
        asked = tape.commit(lines)
        if (done + FRAMES_A_COMMIT) % TOLD_EVERY_FRAMES == 0:
            print(f"{done + FRAMES_A_COMMIT:,} frames", file=sys.stderr, flush=True)
    seconds = time.monotonic() - began
    told = {
        "frames": frames,
        "frames_a_second": round(frames / seconds),
        "checkpoints": tape.checkpoints.written,
        "last_checkpoint_s": round(tape.checkpoints.seconds, 3),
        "checkpoint_mib": round(_size(archive / "checkpoints"), 1),
        "raw_log_mib": round(_size(archive / "raw"), 1),
        "open_mib": round(tape.open_bytes / 2**20, 1),
    }
    print(json.dumps(told), flush=True)
    os.kill(os.getpid(), signal.SIGKILL)


def restart(archive: Path) -> None:
    """Start as `recorder run` does, and tell where the time went."""
    spent: dict[str, float] = {}

    def timed(owner: Any, name: str, label: str) -> None:
        real: Callable[..., Any] = getattr(owner, name)

        def measured(*values: Any, **words: Any) -> Any:
            began = time.monotonic()
            try:
                return real(*values, **words)
            finally:
                spent[label] = spent.get(label, 0.0) + time.monotonic() - began

        setattr(owner, name, measured)

    timed(recovery, "load_checkpoint", "checkpoint_s")
    timed(RunWriter, "process", "raw_tail_s")
    timed(RunWriter, "finish", "finish_s")
    timed(CatalogWriter, "publish_parquet", "of_these_catalog_twin_s")
    began = time.monotonic()
    tape = Recording.create(archive, RecordingSettings())
    total = time.monotonic() - began
    (run,) = tape.recovered
    tape.abandon()
    told = {
        "restart_s": round(total, 2),
        **{name: round(seconds, 2) for name, seconds in spent.items()},
        "lines_of_the_checkpoint": run.checkpoint_lines,
        "lines_run_again": run.lines,
        "bytes_cut": run.bytes_cut,
    }
    print(json.dumps(told), flush=True)


def _size(folder: Path) -> float:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 2**20


def _told_by(part: str, args: argparse.Namespace, archive: Path) -> dict[str, Any]:
    """Run a part of this in a process of its own and return what it told."""
    words = [sys.executable, __file__, "--part", part, "--folder", str(archive)]
    for name in ("frames", "symbols", "levels", "rate"):
        words += [f"--{name}", str(getattr(args, name))]
    began = time.monotonic()
    done = subprocess.run(words, stdout=subprocess.PIPE, check=False)
    seconds = time.monotonic() - began
    if done.returncode not in {0, -signal.SIGKILL}:
        raise SystemExit(f"{part} ended with {done.returncode}")
    told: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return told | ({"process_s": round(seconds, 2)} if part == "restart" else {})


def main() -> int:
    """Record, be killed, start again, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--frames", type=whole_number, default=1_000_000)
    parser.add_argument("--symbols", type=whole_number, default=8)
    parser.add_argument("--levels", type=whole_number, default=1_000, help="a side, of every book")
    parser.add_argument("--rate", type=whole_number, default=5_000, help="frames a second")
    parser.add_argument("--at-most", type=positive, default=5.0, help="seconds a start may take")
    parser.add_argument("--folder", type=Path, help="an empty folder to record into, kept")
    parser.add_argument("--part", choices=("record", "restart"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.part == "record":
        record(args.folder, args.frames, args.symbols, args.levels, args.rate)
    if args.part == "restart":
        restart(args.folder)
        return 0
    if args.folder is not None and args.folder.exists() and any(args.folder.iterdir()):
        parser.error(f"{args.folder} is not empty")
    with tempfile.TemporaryDirectory() as folder:
        archive = args.folder or Path(folder) / "archive"
        told = {"recorded": _told_by("record", args, archive)}
        told["restart"] = _told_by("restart", args, archive)
    print(json.dumps(told, indent=2))
    return 0 if told["restart"]["restart_s"] <= args.at_most else 1


if __name__ == "__main__":
    raise SystemExit(main())
