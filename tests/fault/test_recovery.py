"""Killed between any two steps: the next start makes the archive of an uninterrupted run."""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from recorder import recording
from recorder.raw_line import RawLine
from recorder.recording import Recording, RecordingSettings
from recorder.storage import catalog_writer
from recorder.storage.open_parts import RollRules
from recorder.storage.raw_log import list_segments, read_run
from recorder.verification import verify
from tests.support.archive_content import (
    archive_rows,
    assert_same_content,
    table_rows,
)
from tests.support.market_log import MIDNIGHT, RUN, T0, Story, market_log, split_batches

RULES = RollRules(rows_min=1, roll_interval_s=0.2, rows_max=150)
SETTINGS = RecordingSettings(segment_bytes=60_000, rules=RULES)
LATER_RUN = "20261123T100000.000000Z-test-2"


class Killed(BaseException):
    """The process is gone."""


class KillSwitch:
    """Count the steps that reach the disk; die before the one with a given number."""

    def __init__(self, patch: pytest.MonkeyPatch, dies_at: int = 0) -> None:
        self.steps = 0
        self.dies_at = dies_at
        real_rename = Path.rename
        connect = sqlite3.connect

        def fsync(descriptor: int) -> None:
            self.step()
            os.fstat(descriptor)

        def rename(path: Path, target: Path) -> Path:
            self.step()
            return real_rename(path, target)

        switch = self

        class Connection(sqlite3.Connection):
            def __del__(self) -> None:  # what a killed process leaves open, the kernel closes
                self.close()

            def execute(self, sql: str, *values: Any) -> sqlite3.Cursor:
                if sql == "COMMIT":
                    switch.step()
                cursor = super().execute(sql, *values)
                if sql == "COMMIT":
                    switch.step()
                return cursor

        patch.setattr(os, "fsync", fsync)
        patch.setattr(Path, "rename", rename)
        patch.setattr(sqlite3, "connect", lambda *a, **k: connect(*a, factory=Connection, **k))

    def step(self) -> None:
        """Count one step."""
        self.steps += 1
        if self.steps == self.dies_at:
            raise Killed


@cache
def _batches(start: int = MIDNIGHT - 400_000_000) -> list[list[RawLine]]:
    """Return a short story over midnight, with losses, a reconnect and a late book."""
    story = Story(11, steps=60, chance=0.02, symbols=("BTC-USDT",), start=start)
    return split_batches(market_log(story), random.Random(1), 20)


def _record(archive: Path, batches: list[list[RawLine]], rolls: bool = True) -> int:
    """Record until the end or the kill; return how many lines were acknowledged."""
    acknowledged = 0
    tape = None
    try:
        tape = Recording.create(archive, SETTINGS)
        for number, batch in enumerate(batches):
            tape.commit(batch)
            acknowledged += len(batch)
            if rolls and number % 12 == 11:
                tape.roll(batch[-1].ts_recv, force=True)
        tape.close()
    except Killed:
        if tape is not None:
            tape.abandon()  # the kernel would close its files, and no more
    return acknowledged


def _name_run(patch: pytest.MonkeyPatch, run_id: str) -> None:
    patch.setattr(recording, "new_run_id", lambda: run_id)


def _lines(archive: Path) -> list[RawLine]:
    segments = list_segments(archive).get(RUN, [])
    return [line for commit in read_run(segments) for line in commit]


@pytest.fixture(scope="module")
def steps(tmp_path_factory: pytest.TempPathFactory) -> int:
    """How often a whole run reaches the disk."""
    with pytest.MonkeyPatch.context() as patch:
        _name_run(patch, RUN)
        switch = KillSwitch(patch)
        _record(tmp_path_factory.mktemp("counted") / "archive", _batches())
        return switch.steps


POINTS = 36


@pytest.mark.parametrize("point", range(POINTS))
def test_killed_between_any_two_steps(tmp_path: Path, steps: int, point: int) -> None:
    batches = _batches()
    assert steps > 4 * POINTS
    dies_at = 1 + (steps - 1) * point // (POINTS - 1)
    archive = tmp_path / "archive"
    with pytest.MonkeyPatch.context() as patch:
        _name_run(patch, RUN)
        KillSwitch(patch, dies_at)
        acknowledged = _record(archive, batches)
    everything = [line for batch in batches for line in batch]
    with pytest.MonkeyPatch.context() as patch:
        _name_run(patch, LATER_RUN)
        Recording.create(archive, SETTINGS).abandon()
    durable = _lines(archive)
    assert acknowledged <= len(durable)
    assert durable == everything[: len(durable)]
    if not durable:
        assert table_rows(archive, "runs") == []
        return
    with pytest.MonkeyPatch.context() as patch:
        _name_run(patch, RUN)
        _record(tmp_path / "expected", [durable], rolls=False)
    assert_same_content(archive, tmp_path / "expected")
    known = {part["path"] for part in table_rows(archive, "parts")}
    found = {p.relative_to(archive).as_posix() for p in archive.glob("*/date=*/symbol=*/*")}
    assert found == known


def test_killed_while_recovering(tmp_path: Path, steps: int) -> None:
    batches = _batches()
    archive = tmp_path / "archive"
    with pytest.MonkeyPatch.context() as patch:
        _name_run(patch, RUN)
        KillSwitch(patch, steps // 2)
        _record(archive, batches)
    durable = _lines(archive)
    for dies_at in (1, 3, 6, 10):
        with pytest.MonkeyPatch.context() as patch:
            KillSwitch(patch, dies_at)
            with pytest.raises(Killed):
                Recording.create(archive, SETTINGS)
    Recording.create(archive, SETTINGS).abandon()
    with pytest.MonkeyPatch.context() as patch:
        _name_run(patch, RUN)
        _record(tmp_path / "expected", [durable], rolls=False)
    assert_same_content(archive, tmp_path / "expected")


def test_a_crash_behind_the_commit_leaves_no_stale_twin(tmp_path: Path) -> None:
    """The Parquet twin of the catalog is caught up by the next start."""
    archive = tmp_path / "archive"
    with pytest.MonkeyPatch.context() as patch:
        _name_run(patch, RUN)
        patch.setattr(catalog_writer.CatalogWriter, "publish_parquet", _die)
        _record(archive, _batches(), rolls=False)
    assert not (archive / "catalog.parquet").exists()
    Recording.create(archive, SETTINGS).abandon()
    number = (archive / "catalog.parquet" / "CURRENT").read_text().strip()
    runs = pq.read_table(archive / "catalog.parquet" / number / "runs.parquet")
    assert runs["run_id"].to_pylist() == [RUN]


def _die(*_: object, **__: object) -> None:
    raise Killed


def test_a_damaged_frame_ends_its_run_and_recording_goes_on(tmp_path: Path) -> None:
    batches = _batches(T0)
    archive = tmp_path / "archive"
    with pytest.MonkeyPatch.context() as patch:
        _name_run(patch, RUN)
        tape = Recording.create(archive, RecordingSettings(rules=RollRules()))
        sizes = []
        for batch in batches:
            tape.commit(batch)
            sizes.append(tape.raw_bytes)
        tape.abandon()
    segment = list_segments(archive)[RUN][0]
    spoilt = bytearray(segment.path.read_bytes())
    spoilt[sizes[9] + 8] ^= 1
    segment.path.write_bytes(spoilt)
    with pytest.MonkeyPatch.context() as patch:
        _name_run(patch, LATER_RUN)
        tape = Recording.create(archive, SETTINGS)
        (recovered,) = tape.recovered
        tape.abandon()
    assert f"damaged at byte {sizes[9]}" in recovered.damage
    assert segment.path.read_bytes() == spoilt
    with pytest.MonkeyPatch.context() as patch:
        _name_run(patch, RUN)
        _record(tmp_path / "expected", batches[:10], rolls=False)
    assert_same_content(archive, tmp_path / "expected")


def test_damage_before_what_is_published_takes_nothing_away(tmp_path: Path) -> None:
    batches = _batches(T0)
    archive = tmp_path / "archive"
    with pytest.MonkeyPatch.context() as patch:
        _name_run(patch, RUN)
        tape = Recording.create(archive, RecordingSettings(rules=RollRules()))
        for batch in batches[:20]:
            tape.commit(batch)
        tape.roll(0, force=True)
        tape.abandon()
    before = archive_rows(archive)
    segment = list_segments(archive)[RUN][0]
    spoilt = bytearray(segment.path.read_bytes())
    spoilt[len(spoilt) // 3] ^= 1
    segment.path.write_bytes(spoilt)
    Recording.create(archive, SETTINGS).abandon()
    after = archive_rows(archive)
    assert sorted(after) == sorted(before)
    assert all(after[key].equals(table) for key, table in before.items())
    (run,) = table_rows(archive, "runs")
    assert (run["stop_reason"], run["ts_stop"]) == ("crashed", batches[19][-1].ts_recv)


RECORD_AS_FAST_AS_IT_CAN = """
import sys
from pathlib import Path
from recorder.raw_line import RawLine
from recorder.recording import Recording, RecordingSettings
from recorder.storage.open_parts import RollRules
from tests.support.market_log import T0, l2_frame, whole_l2_book, PROFILE

archive, first, start = Path(sys.argv[1]), int(sys.argv[2]), T0 + int(sys.argv[3])
rules = RollRules(rows_min=1, roll_interval_s=0.05)
tape = Recording.create(archive, RecordingSettings(200_000, rules))
fields = {"run_id": tape.run_id, "profile": PROFILE.name, "symbols": ["A-B"], "feeds": ["level2"]}
tape.commit([RawLine("run_start", start, 0, fields=fields), RawLine("open", start, 0, 1)])
url = "http://127.0.0.1:1" + PROFILE.book_source("l2", signed=False).path.format(symbol="A-B")
book = whole_l2_book(first, [("1", "1")], [("2", "1")])
sequence, ts = first, start
while True:
    lines = []
    for _ in range(7):
        sequence, ts = sequence + 1, ts + 1_000_000
        frame = l2_frame("A-B", sequence, sequence, bids=[("1", str(sequence), sequence)])
        lines.append(RawLine("recv", ts, 0, 1, frame))
        if sequence == first + 1:
            lines.append(RawLine("rest_answer", ts, 0, data=book, fields={"url": url}))
    tape.commit(lines)
    print(tape.durable[1], sequence, ts - T0, flush=True)
"""


def test_every_acknowledged_frame_survives_kill_minus_9(tmp_path: Path) -> None:
    archive = tmp_path / "archive"
    draw = random.Random(4)
    first, elapsed = 1000, 0
    told = []
    for _ in range(3):
        process = subprocess.Popen(
            [sys.executable, "-c", RECORD_AS_FAST_AS_IT_CAN, archive, str(first), str(elapsed)],
            stdout=subprocess.PIPE,
            cwd=Path(__file__).parents[2],
        )
        assert process.stdout is not None
        wanted = draw.randint(60, 160)
        last = b""
        for _, line in zip(range(wanted), process.stdout, strict=False):
            last = line
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        # What it told between our reading and its end was acknowledged, too.
        rest = process.stdout.read().split(b"\n")
        process.stdout.close()
        last = rest[-2] if len(rest) > 1 and len(rest[-2].split()) == 3 else last
        count, sequence, elapsed = map(int, last.split())
        told.append((first, count, sequence))
        first, elapsed = sequence + 5000, elapsed + 60_000_000_000
    Recording.create(archive, SETTINGS).abandon()
    runs = sorted(table_rows(archive, "runs"), key=lambda run: run["ts_start"])
    assert [run["stop_reason"] for run in runs] == ["crashed"] * 3
    rows = archive_rows(archive)
    for run, (begin, count, sequence) in zip(runs, told, strict=True):
        found = rows["l2_updates", "A-B", "l2", run["run_id"]]["sequence"].to_pylist()
        assert found == list(range(begin + 1, begin + 1 + len(found)))
        assert found[-1] >= sequence
        assert run["frames"] >= count
    gaps = sorted(table_rows(archive, "gaps"), key=lambda gap: gap["ts_from"])
    assert [(gap["reason"], gap["healed_by"]) for gap in gaps] == [("crashed", "next_run")] * 2
    report = verify(archive, with_books=False)
    assert report.problems == []
    assert report.lines == sum(run["lines"] for run in runs)
