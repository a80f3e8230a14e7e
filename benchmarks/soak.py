"""Records for half an hour, with a decoder that is three times too slow for five minutes of it.

    python benchmarks/soak.py                                 30 minutes at 10,000 frames/s
    python benchmarks/soak.py --minutes 3 --slow-minutes 0.5  a short one
    python benchmarks/soak.py --plot soak.svg

The frames come from `firehose.py`, which takes next to nothing of the machine; the recorder runs
under `slow_decoder.py`, which lets its writer do a third of what arrives while the slow minutes
last. Every second the memory of the recorder is read from /proc, and from its own metrics how many
durable lines wait to be decoded. Printed: memory before, in and after the slow minutes, the longest
wait, how long it took to catch up, and whether every frame sent is in the archive. It exits with 1
when a frame is missing, when memory has grown, or when the archive does not verify.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run as a file, it finds its like

from benchmarks.counts import positive
from benchmarks.firehose import names
from benchmarks.real_processes import (
    START_S,
    Watch,
    cpu_seconds,
    quantile,
    raw_lines,
    raw_segments,
    resident_bytes,
    run,
    stop,
    write_config,
)

HERE = Path(__file__).resolve().parent
SYMBOLS = 10
SAMPLE_EVERY_S = 1.0
SLOWER = 3.0
CATCH_UP_S = 900.0
MIB = 1 << 20
# Open parts fill and are published: memory is a saw, and its teeth are not all the same.
GROWTH_MAX = 1.15
GROWTH_MAX_BYTES = 48 * MIB
# What waits in memory for the decoder is bounded, whatever it lags behind.
SLOW_EXTRA_MAX_BYTES = 384 * MIB


@dataclass(frozen=True)
class Sample:
    """One look at the recorder.

    Attributes
    ----------
    at_s : float             since it was started
    rss_bytes : int
    lag_lines : int or None  durable, and not decoded; None while nobody said
    reads_raw_log : bool     it catches up from the raw log
    durable : int            frames acknowledged
    """

    at_s: float
    rss_bytes: int
    lag_lines: int | None
    reads_raw_log: bool
    durable: int


def metric(text: str, name: str) -> float | None:
    """Return the value of a metric without labels; None where there is none."""
    found = re.search(rf"^booktape_{name}(?:\{{[^}}]*\}})? ([-+0-9.e]+)$", text, re.MULTILINE)
    return float(found.group(1)) if found else None


class Soak:
    """The processes of one soak, and what was seen of them.

    Parameters
    ----------
    folder : Path
    rate : float            frames a second
    slow : tuple            from when and for how long the decoder is slow, seconds
    """

    def __init__(self, folder: Path, rate: float, slow: tuple[float, float]) -> None:
        self.archive = folder / "archive"
        self.samples: list[Sample] = []
        self.slow = slow
        self._log = folder / "recorder.log"
        port_file = folder / "port"
        self._hose = subprocess.Popen(
            [
                *(sys.executable, HERE / "firehose.py", "--rate", str(rate)),
                *("--symbols", str(SYMBOLS), "--port-file", port_file),
            ]
        )
        self._wait(port_file.exists, "the firehose listens")
        self._url = f"http://127.0.0.1:{port_file.read_text()}"
        config = write_config(
            folder / "recorder.toml",
            self.archive,
            self._url,
            venue={"symbols": names(SYMBOLS), "streams": ["level2"]},
            # Published sooner than usual, so that what open parts hold is soon at its level.
            parts={"roll_interval_s": 60},
            log={"level": "warning"},
        )
        with self._log.open("ab") as log:
            self._recorder = subprocess.Popen(
                [
                    *(sys.executable, HERE / "slow_decoder.py", *map(str, slow)),
                    *(str(rate / SLOWER), "run", config),
                ],
                stderr=log,
            )
        self._began = time.monotonic()
        self._watch = Watch(self.archive, timeout_s=10.0)

    def look(self) -> Sample:
        """Take a sample."""
        if self._recorder.poll() is not None:
            raise SystemExit(f"the recorder ended by itself: {self._log.read_text()[-2_000:]}")
        text = self._watch.ask_text("/metrics") or ""
        self._watch.note()
        lag = metric(text, "decode_lag_lines")
        sample = Sample(
            time.monotonic() - self._began,
            resident_bytes(self._recorder.pid),
            None if lag is None else int(lag),
            bool(metric(text, "decode_from_raw_log")),
            sum(self._watch.durable.values()),
        )
        self.samples.append(sample)
        return sample

    def sample_until(self, end: Callable[[Sample], bool], timeout_s: float) -> bool:
        """Sample until a sample is what is waited for; False when time ran out."""
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            asked = time.monotonic()
            if end(self.look()):
                return True
            time.sleep(max(0.0, asked + SAMPLE_EVERY_S - time.monotonic()))
        return False

    def stop_sending(self) -> dict[str, int]:
        """Have the firehose end; return how many frames it sent, and how many of them late."""
        with urllib.request.urlopen(f"{self._url}/stop-sending") as answer:
            said: dict[str, int] = json.loads(answer.read())
        return said

    def end(self) -> tuple[int, float]:
        """Stop both; return the recorder's exit code and its processor time, seconds."""
        self._watch.forget()
        used = cpu_seconds(self._recorder.pid) if self._recorder.poll() is None else 0.0
        try:
            return stop(self._recorder), used
        finally:
            stop(self._hose, signal.SIGINT)

    def _wait(self, condition: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + START_S
        while not condition():
            if time.monotonic() > deadline:
                raise SystemExit(f"never happened: {what}")
            time.sleep(0.02)


def measure(
    folder: Path, rate: float, seconds: float, slow: tuple[float, float]
) -> tuple[dict[str, Any], list[Sample]]:
    """Soak, and say what came of it."""
    soak = Soak(folder, rate, slow)
    try:
        soak.sample_until(lambda sample: sample.at_s >= seconds, seconds + 60)
        caught_up = soak.sample_until(lambda sample: not sample.lag_lines, CATCH_UP_S)
        said = soak.stop_sending()
        sent = said["sent"]
        soak.sample_until(lambda sample: sample.durable >= sent and not sample.lag_lines, 60.0)
    finally:
        code, cpu_s = soak.end()
    kept = count_frames(soak.archive)
    verified = run("recorder.cli", "verify", soak.archive)
    before, during, after = phases(soak.samples, slow)
    level = [s.at_s for s in soak.samples if s.at_s >= sum(slow) and (s.lag_lines or 0) < rate]
    return {
        "minutes": round(soak.samples[-1].at_s / 60, 1),
        "frames_per_s": round(sent / soak.samples[-1].at_s),
        "frames_sent": sent,
        "frames_late": said["late"],
        "frames_missing": sent - kept,
        "slow_from_s": slow[0],
        "slow_for_s": slow[1],
        "lag_lines_max": max((s.lag_lines or 0 for s in soak.samples), default=0),
        "read_raw_log": any(s.reads_raw_log for s in soak.samples),
        "caught_up": caught_up,
        "caught_up_after_s": round(level[0] - sum(slow), 1) if level else None,
        "rss_mib_before": _mib(before),
        "rss_mib_slow": _mib(during),
        "rss_mib_after": _mib(after),
        "recorder_exit": code,
        "recorder_cpu_share": round(cpu_s / soak.samples[-1].at_s, 2),
        "cores": os.cpu_count(),
        "verified": verified.returncode == 0,
        "said": "" if verified.returncode == 0 else verified.stdout[-500:],
    }, soak.samples


def phases(
    samples: Sequence[Sample], slow: tuple[float, float]
) -> tuple[list[int], list[int], list[int]]:
    """Return the memory of samples before, in and after the slow time; none while it starts."""
    start = min(30.0, slow[0] / 3)
    end = sum(slow)
    return (
        [s.rss_bytes for s in samples if start <= s.at_s < slow[0]],
        [s.rss_bytes for s in samples if slow[0] <= s.at_s < end],
        [s.rss_bytes for s in samples if s.at_s >= end],
    )


def _mib(values: Sequence[int]) -> dict[str, float] | None:
    if not values:
        return None
    return {
        "median": round(median(values) / MIB, 1),
        "p99": round(quantile(list(map(float, values)), 0.99) / MIB, 1),
        "max": round(max(values) / MIB, 1),
    }


def count_frames(archive: Path) -> int:
    """Count the update frames in the raw logs."""
    return sum(
        line["kind"] == "recv" and line["data"].startswith('{"type":"message"')
        for segments in raw_segments(archive).values()
        for line in raw_lines(segments)
    )


def is_flat(result: dict[str, Any]) -> bool:
    """Say whether memory after the slow time is what it was before, and bounded in between."""
    before, slow, after = (result[f"rss_mib_{when}"] for when in ("before", "slow", "after"))
    if before is None or slow is None or after is None:
        return False
    allowed = max(before["max"] * GROWTH_MAX, before["max"] + GROWTH_MAX_BYTES / MIB)
    bound = before["max"] + SLOW_EXTRA_MAX_BYTES / MIB
    return bool(after["p99"] <= allowed and slow["max"] <= bound and after["max"] <= bound)


def is_good(result: dict[str, Any]) -> bool:
    """Say whether nothing is missing, memory is flat, and the archive holds."""
    return bool(
        result["frames_missing"] == 0
        and result["recorder_exit"] == 0
        and result["caught_up"]
        and result["verified"]
        and is_flat(result)
    )


WIDTH, HEIGHT, MARGIN = 900, 360, 60


def plot(samples: Sequence[Sample], slow: tuple[float, float], title: str) -> str:
    """Draw memory and lag over time as SVG."""
    end_s = max(sample.at_s for sample in samples)
    rss_top = _round_up(max(sample.rss_bytes for sample in samples) / MIB)
    lag_top = _round_up(max(max(sample.lag_lines or 0 for sample in samples) / 1_000, 1))

    def x(at_s: float) -> float:
        return MARGIN + at_s / end_s * (WIDTH - 2 * MARGIN)

    def y(share: float) -> float:
        return HEIGHT - MARGIN - share * (HEIGHT - 2 * MARGIN)

    def line(values: Sequence[tuple[float, float]], color: str) -> str:
        points = " ".join(f"{x(at):.1f},{y(share):.1f}" for at, share in values)
        return f'<polyline points="{points}" fill="none" stroke="{color}" stroke-width="1.5"/>'

    def text(at_x: float, at_y: float, words: str, color: str, anchor: str = "middle") -> str:
        return f'<text x="{at_x:.0f}" y="{at_y:.0f}" fill="{color}" text-anchor="{anchor}">{words}</text>'  # noqa: E501

    memory, lag, grey = "#0b5cad", "#c2410c", "#555"
    left, right = x(slow[0]), x(min(sum(slow), end_s))
    pieces = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{HEIGHT}"',
        ' font-family="sans-serif" font-size="12">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
        f'<rect x="{left:.1f}" y="{y(1):.1f}" width="{right - left:.1f}"',
        f' height="{y(0) - y(1):.1f}" fill="#f3f4f6"/>',
        text((left + right) / 2, y(1) + 16, "decoder too slow", grey),
        text(WIDTH / 2, 24, title, "#111"),
        text(WIDTH / 2, HEIGHT - 14, "minutes", grey),
    ]
    for step in range(5):
        share = step / 4
        pieces += [
            f'<line x1="{x(0):.0f}" x2="{x(end_s):.0f}" y1="{y(share):.1f}"',
            f' y2="{y(share):.1f}" stroke="#ddd"/>',
            text(x(0) - 6, y(share) + 4, f"{rss_top * share:g}", memory, "end"),
            text(x(end_s) + 6, y(share) + 4, f"{lag_top * share:g}", lag, "start"),
            text(x(end_s * share), y(0) + 18, f"{end_s * share / 60:.1f}", grey),
        ]
    pieces += [
        text(12, y(1) - 10, "memory, MiB", memory, "start"),
        text(WIDTH - 12, y(1) - 10, "thousand lines behind", lag, "end"),
        line([(s.at_s, (s.lag_lines or 0) / 1_000 / lag_top) for s in samples], lag),
        line([(s.at_s, s.rss_bytes / MIB / rss_top) for s in samples], memory),
        "</svg>",
    ]
    return "\n".join(pieces) + "\n"


def _round_up(value: float) -> float:
    """Return the next of 1, 2, 4, 8, 10, 20, … at or above a value."""
    step = 1.0
    while True:
        for factor in (1, 2, 4, 8):
            if step * factor >= value:
                return step * factor
        step *= 10


def main() -> int:
    """Measure, print and draw."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--minutes", type=positive, default=30.0)
    parser.add_argument("--slow-minutes", type=positive, default=5.0)
    parser.add_argument("--frames", type=positive, default=10_000.0, help="frames a second")
    parser.add_argument("--plot", type=Path, help="where to draw memory and lag, an SVG")
    parser.add_argument("--keep", type=Path, help="an empty folder for everything, kept")
    args = parser.parse_args()
    if args.keep is not None and args.keep.exists() and any(args.keep.iterdir()):
        parser.error(f"{args.keep} is not empty")
    if args.plot is not None and not args.plot.absolute().parent.is_dir():
        parser.error(f"no folder for {args.plot}")  # not to be found out in half an hour
    if args.slow_minutes > args.minutes / 2:
        parser.error("--slow-minutes must be half of --minutes at most: it begins at a third")
    seconds = args.minutes * 60
    slow = (seconds / 3, args.slow_minutes * 60)
    with tempfile.TemporaryDirectory(prefix="soak-") as temporary:
        folder = args.keep or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        result, samples = measure(folder, args.frames, seconds, slow)
    print(json.dumps(result, indent=2))
    if args.plot is not None:
        title = f"{args.frames:,.0f} frames/s for {args.minutes:g} minutes"
        args.plot.write_text(plot(samples, slow, title))
    return 0 if is_good(result) else 1


if __name__ == "__main__":
    sys.exit(main())
