"""Power is lost, and every sync matters: leave out any one of them, and something is gone.

The disk here is at its worst: what was not synced is forgotten, all of it, or comes back where it
was thought gone. Each call that syncs has a scenario, which holds, and does not without that call.
"""

from __future__ import annotations

import ast
import os
import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import zstandard

from recorder import recording
from recorder.errors import DiskFull, RecorderError
from recorder.raw_line import RawLine, decode_line, encode_line
from recorder.recording import Recording, RecordingSettings
from recorder.storage.archive_folder import ArchiveFolder
from recorder.storage.disk import Disk, use_disk
from recorder.storage.durable import make_folder, move_file, write_file
from recorder.storage.open_parts import RollRules
from recorder.storage.raw_log import SEGMENT_NS, RawLogWriter, list_segments, segment_content
from recorder.storage.replaced_files import remove_replaced
from tests.simulation.archive import Archive
from tests.simulation.disk import SimulatedDisk
from tests.simulation.inodes import Inode
from tests.simulation.loop import Crashed
from tests.simulation.rebuilt import rebuilt_equal
from tests.simulation.troubles import KILLED, POWER_LOSS
from tests.support.market_log import RUN, Story, market_log, split_batches

RECORDER = Path(recording.__file__).parent
SETTINGS = RecordingSettings(segment_bytes=6_000, rules=RollRules(rows_min=1))
LATER_RUN = "20261123T100000.000000Z-test-2"
SYNCS = {"sync", "sync_file", "sync_folder", "settle_file", "fsync", "fdatasync"}


class _Worst(random.Random):
    """Nothing that was not synced is left, and old content comes back."""

    def random(self) -> float:
        return 0.0

    def choice(self, seq: Sequence[Any]) -> Any:
        return seq[0]


class _Hasty(_Worst):
    """Names of files were written at once; all else is as bad."""

    def choice(self, seq: Sequence[Any]) -> Any:
        return "all" if "all" in seq else seq[0]


class _Bench:
    """An archive on such a disk, and what was acknowledged."""

    def __init__(self, disk: SimulatedDisk) -> None:
        self.disk = disk
        self.path = disk.root / "archive"
        self.acknowledged: list[RawLine] = []

    def open(self, run_id: str = RUN) -> Recording:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(recording, "new_run_id", lambda: run_id)
            return Recording.create(self.path, SETTINGS)

    def record(self, tape: Recording, batches: list[list[RawLine]]) -> None:
        for batch in batches:
            tape.commit(batch)
            self.acknowledged += batch

    def end(self, kind: str) -> None:
        """End the process, and let another use the disk."""
        self.disk.crash(kind)
        self.disk.start()

    def check(self) -> None:
        """Ask the archive for all that was promised, as it lies there and once recovered."""
        self._check_files()
        self.open(LATER_RUN).abandon()
        self._check_files()
        assert list(rebuilt_equal(Archive(self.disk, self.path))) == []

    def _check_files(self) -> None:
        archive = Archive(self.disk, self.path)
        assert self.disk.broken_promises == []
        assert [*archive.check_parts(), *archive.check_twin()] == []
        kept = archive.raw_lines.get(RUN, [])
        assert kept[: len(self.acknowledged)] == self.acknowledged


@cache
def _batches() -> list[list[RawLine]]:
    story = Story(11, steps=60, chance=0.02, symbols=("BTC-USDT",))
    batches = split_batches(market_log(story), random.Random(1), 20)
    return [[decode_line(encode_line(line).rstrip(b"\n")) for line in batch] for batch in batches]


# Scenarios


def _power_lost_behind_a_commit(bench: _Bench) -> None:
    tape = bench.open()
    bench.record(tape, _batches()[:9])
    bench.end(POWER_LOSS)
    bench.check()


def _power_lost_behind_parts(bench: _Bench) -> None:
    tape = bench.open()
    bench.record(tape, _batches()[:9])
    assert tape.roll(bench.acknowledged[-1].ts_recv, force=True)
    bench.end(POWER_LOSS)
    bench.check()


def _power_lost_behind_a_recovery(bench: _Bench) -> None:
    """Killed between a write and its sync: recovery sees lines that nothing keeps."""
    tape = bench.open()
    bench.record(tape, _batches()[:8])
    bench.disk.troubles.crash_at = bench.disk.steps + 2
    with pytest.raises(Crashed):
        tape.append(_batches()[8])
    bench.end(KILLED)
    bench.disk.troubles.crash_at = None
    bench.open(LATER_RUN).abandon()
    bench.end(POWER_LOSS)
    bench.check()


def _power_lost_behind_a_failed_sync(bench: _Bench) -> None:
    """The disk refuses a sync, and the next process reads what will never be on the disk."""
    tape = bench.open()
    bench.record(tape, _batches()[:8])
    bench.disk.troubles.eio_at = bench.disk.steps + 2
    with pytest.raises(OSError, match="I/O error"):
        tape.append(_batches()[8])
    bench.end(KILLED)
    bench.open(LATER_RUN).abandon()
    bench.end(POWER_LOSS)
    bench.check()


def _power_lost_behind_a_cut(bench: _Bench) -> None:
    """Half a frame, cut off by the recovery, must not come back: the segment is closed."""
    tape = bench.open()
    bench.record(tape, _batches()[:3])
    bench.disk.troubles.capacity = bench.disk.used + 40
    bench.disk.troubles.crash_at = bench.disk.steps + 2
    with pytest.raises(Crashed):
        tape.append(_batches()[3])
    bench.end(KILLED)
    bench.disk.troubles.capacity = bench.disk.troubles.crash_at = None
    bench.open(LATER_RUN).abandon()
    bench.end(POWER_LOSS)
    for segment in list_segments(bench.path)[RUN]:
        assert b"".join(segment_content(segment.path))
    bench.check()


def _power_lost_behind_a_full_disk(bench: _Bench) -> None:
    """Half a frame for which there was no room, and room again an hour later."""
    make_folder(bench.path)
    log = RawLogWriter(bench.path, RUN, 1 << 20)
    log.append(_batches()[0])
    bench.disk.troubles.capacity = bench.disk.used + 40
    with pytest.raises(DiskFull):
        log.append(_batches()[1])
    bench.disk.troubles.capacity = None
    later = [replace(line, ts_recv=line.ts_recv + SEGMENT_NS) for line in _batches()[1]]
    log.append(later)
    bench.acknowledged += [*_batches()[0], *later]
    bench.end(POWER_LOSS)
    bench.check()


def _power_lost_behind_a_removal(bench: _Bench) -> None:
    """Files go when the catalog has let go of them; it must not want them back."""
    tape = bench.open()
    bench.record(tape, _batches())
    tape.close()
    with ArchiveFolder(bench.path) as folder:
        part = folder.catalog.live_parts()[0]
        with folder.catalog.transaction():
            assert folder.catalog.swap_parts([part["path"]], [], [], 1)
        assert remove_replaced(bench.path, folder.catalog, 2, 0.0).files == 1
        bench.disk.crash(POWER_LOSS)
    bench.disk.start()
    archive = Archive(bench.disk, bench.path)
    assert [*archive.check_parts(), *archive.check_twin()] == []


def _power_lost_behind_a_first_commit(bench: _Bench) -> None:
    """The catalog is kept by its own name, whatever else is in the folder."""
    with ArchiveFolder(bench.path) as folder:
        job = {"name": "compact", "ts_start": 1, "ts_stop": 2, "outcome": "ok", "detail": ""}
        with folder.catalog.transaction():
            folder.catalog.put_job(job)
        bench.disk.crash(POWER_LOSS)
    bench.disk.start()
    assert bench.disk.broken_promises == []
    assert len(Archive(bench.disk, bench.path).table("jobs")) == 1


def _power_lost_behind_a_move(bench: _Bench) -> None:
    """What is set aside may be the only copy, and lies at one of two places whatever happens."""
    path, target = bench.path / "trades" / "stray", bench.path / "set_aside" / "stray"
    make_folder(path.parent)
    write_file(path, b"rows")
    move_file(path, target)
    # Luck has it that the old name is gone from the disk before the new one is on it.
    bench.disk.sync_folder(path.parent)
    bench.end(POWER_LOSS)
    assert bench.disk.read(target) == b"rows"


Scenario = Callable[[_Bench], None]
# By where the call is: file, function, and what is called there.
SCENARIOS: dict[tuple[str, str, str], Scenario] = {
    ("durable.py", "make_folder", "sync_folder"): _power_lost_behind_a_commit,
    ("durable.py", "publish_file", "sync_file"): _power_lost_behind_parts,
    ("durable.py", "publish_file", "sync_folder"): _power_lost_behind_parts,
    ("durable.py", "move_file", "sync_folder"): _power_lost_behind_a_move,
    ("raw_log.py", "append", "sync"): _power_lost_behind_a_commit,
    ("raw_log.py", "append", "cut"): _power_lost_behind_a_full_disk,
    ("raw_log.py", "_open_segment", "sync_folder"): _power_lost_behind_a_commit,
    ("raw_log.py", "cut_torn_tail", "settle_file"): _power_lost_behind_a_recovery,
    ("catalog_writer.py", "__init__", "sync_folder"): _power_lost_behind_a_first_commit,
    ("catalog_writer.py", "__init__", "PRAGMA synchronous=FULL"): _power_lost_behind_a_removal,
}
HASTY = {_power_lost_behind_a_removal}


def _calls_that_sync() -> dict[tuple[str, str, str], list[int]]:
    """Find every call in the recorder that makes something durable: its lines by where it is.

    The real disk's own are the matter of its unit test.
    """
    found: dict[tuple[str, str, str], list[int]] = {}
    for path in sorted(RECORDER.rglob("*.py")):
        if path.name == "disk.py" or "pipeline" in path.parts:
            continue
        for function in ast.walk(ast.parse(path.read_text())):
            if not isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
                continue
            for node in ast.walk(function):
                name = ""
                if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                    called = node.func.attr
                    if called in SYNCS or (called == "cut" and path.parent.name == "storage"):
                        name = called
                elif isinstance(node, ast.Constant) and "synchronous" in str(node.value):
                    name = str(node.value) if str(node.value).startswith("PRAGMA") else ""
                if name:
                    found.setdefault((path.name, function.name, name), []).append(node.lineno)
    return found


def _play(scenario: Scenario, skipped: str = "") -> SimulatedDisk:
    disk = SimulatedDisk(_Hasty() if scenario in HASTY else _Worst(), lambda _: None)
    disk.skipped_site = skipped
    with use_disk(disk):
        try:
            scenario(_Bench(disk))
        finally:
            disk.close()
    return disk


def test_each_call_that_syncs_has_a_scenario() -> None:
    calls = _calls_that_sync()
    assert calls.keys() == SCENARIOS.keys()
    assert all(len(lines) == 1 for lines in calls.values())


@pytest.mark.parametrize("site", SCENARIOS, ids="-".join)
def test_without_the_sync_something_is_lost(site: tuple[str, str, str]) -> None:
    scenario = SCENARIOS[site]
    (line,) = _calls_that_sync()[site]
    place = f"{site[0]}:{line}"
    assert _play(scenario).sync_sites[place]
    with pytest.raises((AssertionError, OSError, RecorderError)):
        _play(scenario, place)


def test_what_a_recovery_cuts_off_is_gone_for_good() -> None:
    (line,) = _calls_that_sync()["raw_log.py", "cut_torn_tail", "settle_file"]
    _play(_power_lost_behind_a_cut)
    with pytest.raises((AssertionError, OSError, RecorderError)):
        _play(_power_lost_behind_a_cut, f"raw_log.py:{line}")


def test_what_a_failed_sync_left_behind_is_written_again(monkeypatch: pytest.MonkeyPatch) -> None:
    _play(_power_lost_behind_a_failed_sync)
    monkeypatch.setattr(Inode, "write_again", lambda _, start: start)
    with pytest.raises((AssertionError, zstandard.ZstdError)):
        _play(_power_lost_behind_a_failed_sync)


def test_the_real_disk_asks_the_kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[tuple[int, int]] = []
    real = os.fsync

    def fsync(descriptor: int) -> None:
        real(descriptor)
        stat = os.fstat(descriptor)
        synced.append((stat.st_ino, stat.st_size))

    monkeypatch.setattr(os, "fsync", fsync)
    disk, path = Disk(), tmp_path / "a"

    def last(of: Path) -> bool:
        stat = of.stat()
        return synced != [] and synced.pop() == (stat.st_ino, stat.st_size) and not synced

    file = disk.append_to(path)
    file.write(b"0123456789")
    file.sync()
    assert last(path)
    file.cut(8)
    assert last(path)
    file.close()
    disk.settle_file(path, 2, 4)
    assert last(path)
    disk.sync_file(path)
    assert last(path)
    disk.sync_folder(tmp_path)
    assert last(tmp_path)
