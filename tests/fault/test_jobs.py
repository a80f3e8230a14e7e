"""Jobs killed at any step: nothing is lost, nothing is there twice, and the next run finishes."""

from __future__ import annotations

import asyncio
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from recorder import archive_jobs
from recorder.logs import get_log
from recorder.rebuilding import rebuild
from recorder.storage.archive_folder import ArchiveFolder
from recorder.storage.raw_log import list_segments, segment_content
from recorder.storage.retention import RetentionRules
from recorder.verification import verify
from tests.support.archive_content import (
    archive_ledger,
    archive_rows,
    assert_same_content,
    table_rows,
)
from tests.support.jobs_archive import (
    DAYS,
    KEEP_TWO_DAYS,
    NEXT_RUN,
    NOW,
    SETTINGS,
    days_archive,
    days_log,
    live_paths,
    part_files,
    record,
    run_compaction,
    run_job,
    run_removal,
    run_repack,
    run_retention,
    start_recording,
)
from tests.support.kill_points import Killed, KillPoints
from tests.support.market_log import RUN, Story

JOBS = ("compaction", "retention", "repack", "backup")
POINTS = 7
REAL_KILLS = 4
ROOT = Path(__file__).parents[2]


class Prepared:
    """An archive, and what it is after each job."""

    def __init__(self, root: Path) -> None:
        self.archive = root / "archive"
        days_archive(self.archive, steps=60)
        self.rows, self.ledger = archive_rows(self.archive), archive_ledger(self.archive)
        self.steps: dict[str, int] = {}
        self.after: dict[str, tuple[Any, Any]] = {}
        for job in JOBS:
            done = Path(shutil.copytree(self.archive, root / job))
            with pytest.MonkeyPatch.context() as patch:
                points = KillPoints(patch)
                with ArchiveFolder(done) as folder:
                    run_job(folder, job)
                self.steps[job] = points.steps
            self.after[job] = archive_rows(done), _told(done)


def _told(archive: Path) -> dict[str, list[tuple]]:
    return {name: rows for name, rows in archive_ledger(archive).items() if name != "jobs"}


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    """Made once."""
    return Prepared(tmp_path_factory.mktemp("jobs"))


def _equal(left: dict, right: dict) -> bool:
    return sorted(left) == sorted(right) and all(left[k].equals(t) for k, t in right.items())


def _check(prepared: Prepared, archive: Path, job: str) -> None:
    """Start the recorder again, look, then let the job finish."""
    start_recording(archive, NEXT_RUN).abandon()
    known = {part["path"] for part in table_rows(archive, "parts")}
    assert part_files(archive) <= known
    assert live_paths(archive) <= part_files(archive)
    assert list(archive.glob("raw/*/*.unfinished")) == []
    rows, ledger = archive_rows(archive), _told(archive)
    before = (prepared.rows, {k: v for k, v in prepared.ledger.items() if k != "jobs"})
    states = [before, prepared.after[job]]
    assert any(_equal(rows, state[0]) and ledger == state[1] for state in states)
    assert verify(archive, with_books=False).problems == []
    for path in (archive / "catalog.backup").glob("*.db"):
        db = sqlite3.connect(path)
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        db.close()
    with ArchiveFolder(archive) as folder:
        run_job(folder, job)
        run_removal(folder)
    rows, ledger = prepared.after[job]
    assert _equal(archive_rows(archive), rows)
    assert _told(archive) == ledger
    assert part_files(archive) == {part["path"] for part in table_rows(archive, "parts")}
    assert part_files(archive) == live_paths(archive)
    if job != "backup":
        assert not (archive / "catalog.backup").exists()
    else:
        assert {p.suffix for p in (archive / "catalog.backup").iterdir()} == {".db"}


@pytest.mark.parametrize("job", JOBS)
@pytest.mark.parametrize("point", range(POINTS))
def test_killed_between_any_two_steps(
    prepared: Prepared, tmp_path: Path, job: str, point: int
) -> None:
    archive = Path(shutil.copytree(prepared.archive, tmp_path / "archive"))
    steps = prepared.steps[job]
    # Steps come in rounds, one a file: every second point is moved to another place in its round.
    dies_at = min(steps, 1 + (steps - 1) * point // (POINTS - 1) + point % 4)
    with pytest.MonkeyPatch.context() as patch:
        KillPoints(patch, dies_at)
        with pytest.raises(Killed), ArchiveFolder(archive) as folder:
            run_job(folder, job)
    _check(prepared, archive, job)


@pytest.mark.parametrize("job", JOBS)
def test_killed_with_signal_9(prepared: Prepared, tmp_path: Path, job: str) -> None:
    archive = Path(shutil.copytree(prepared.archive, tmp_path / "archive"))
    for kill in range(1, REAL_KILLS + 1):  # one after the other on the same archive
        dies_at = max(1, prepared.steps[job] * kill // (REAL_KILLS + 1))
        command = [sys.executable, "-m", "tests.support.kill_points", archive, job, str(dies_at)]
        done = subprocess.run(command, cwd=ROOT, check=False)
        assert done.returncode in {0, -signal.SIGKILL}
        if kill == 1:
            assert done.returncode == -signal.SIGKILL
    _check(prepared, archive, job)


def test_the_disk_is_full_in_the_middle(
    prepared: Prepared, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for job in ("compaction", "repack"):
        archive = Path(shutil.copytree(prepared.archive, tmp_path / job))
        real, left = Path.rename, [3]

        def rename(path: Path, target: Path, real: Any = real, left: Any = left) -> Path:
            left[0] -= 1
            if left[0] < 0:
                raise OSError(28, "No space left on device", str(path))
            renamed: Path = real(path, target)
            return renamed

        monkeypatch.setattr(Path, "rename", rename)
        with pytest.raises(OSError, match="No space"), ArchiveFolder(archive) as folder:
            run_job(folder, job)
        monkeypatch.undo()
        assert part_files(archive) == {part["path"] for part in table_rows(archive, "parts")}
        _check(prepared, archive, job)


def _crashed_between_jobs(archive: Path, lines: list, keep_days: int) -> None:
    """Record four days, run every job on them, record on, and crash."""
    tape = start_recording(archive)
    fourth = next(n for n, line in enumerate(lines) if line.ts_recv > NOW - 36 * 3600 * 10**9)
    for at in range(0, fourth, 30):
        tape.commit(lines[at : min(at + 30, fourth)])
    tape.roll(lines[fourth].ts_recv, force=True)
    rules = replace(KEEP_TWO_DAYS, days=dict.fromkeys(KEEP_TWO_DAYS.days, keep_days), raw_days=1)
    assert run_compaction(tape.archive, NOW) > 10
    assert run_retention(tape.archive, rules).removals != ()
    assert run_compaction(tape.archive, NOW) == 0
    assert run_removal(tape.archive) > 20
    assert run_repack(tape.archive) > 3
    for at in range(fourth, len(lines), 30):
        tape.commit(lines[at : at + 30])
    tape.abandon()


@pytest.mark.parametrize("chance", [0.0, 0.02])
def test_recovery_writes_nothing_again_that_was_compacted_or_removed(
    tmp_path: Path, chance: float
) -> None:
    lines = days_log(Story(8, steps=120, chance=chance, stops=False))
    archive = tmp_path / "archive"
    _crashed_between_jobs(archive, lines, keep_days=3)
    assert verify(archive, with_books=False).problems == []
    removed = table_rows(archive, "removals")
    assert {row["date"] for row in removed} == set(DAYS[:2])
    start_recording(archive, NEXT_RUN).abandon()  # recovers
    assert table_rows(archive, "removals") == removed
    # The same without a crash: recorded whole, then the jobs.
    expected = tmp_path / "expected"
    record(expected, lines, ends=False)
    start_recording(expected, NEXT_RUN).abandon()
    with ArchiveFolder(expected) as folder:
        rules = replace(KEEP_TWO_DAYS, days=dict.fromkeys(KEEP_TWO_DAYS.days, 3))
        run_retention(folder, rules)
        run_removal(folder)
    rows = archive_rows(archive)
    assert _equal(rows, archive_rows(expected))
    ours, theirs = _told(archive), _told(expected)
    for name in ("coverage", "gaps", "full_books", "runs", "instruments"):
        assert ours[name] == theirs[name], name
    report = verify(archive, with_books=chance == 0.0)
    assert (report.problems, report.not_comparable) == ([], [])
    assert report.books is None or report.books["ok"]
    # What came after the compaction makes its day due again.
    with ArchiveFolder(archive) as folder:
        assert run_compaction(folder) > 0
        run_removal(folder)
    assert _equal(archive_rows(archive), rows)
    assert verify(archive, with_books=False).problems == []


def test_a_crash_while_a_segment_is_swapped_costs_no_frame(
    prepared: Prepared, tmp_path: Path
) -> None:
    archive = Path(shutil.copytree(prepared.archive, tmp_path / "archive"))
    content = _log(archive)
    steps = prepared.steps["repack"]
    for dies_at in range(1, steps + 1, 2):
        with pytest.MonkeyPatch.context() as patch:
            KillPoints(patch, dies_at)
            with pytest.raises(Killed), ArchiveFolder(archive) as folder:
                run_job(folder, "repack")
            assert _log(archive) == content
        shutil.rmtree(archive / "raw")
        shutil.copytree(prepared.archive / "raw", archive / "raw")


def _log(archive: Path) -> bytes:
    return b"".join(
        content
        for segment in list_segments(archive)[RUN]
        for content in segment_content(segment.path)
    )


def test_an_archive_after_every_job_is_rebuilt_from_its_raw_log(
    prepared: Prepared, tmp_path: Path
) -> None:
    archive = Path(shutil.copytree(prepared.archive, tmp_path / "archive"))
    with ArchiveFolder(archive) as folder:
        run_compaction(folder)
        run_repack(folder)
        run_retention(folder)
        run_removal(folder)
    done = rebuild(archive, tmp_path / "rebuilt", SETTINGS.rules)
    assert done.damage == []
    assert_same_content(tmp_path / "rebuilt", prepared.archive)


def test_what_is_left_of_a_raw_log_is_told_and_not_taken_for_a_run(
    prepared: Prepared, tmp_path: Path
) -> None:
    archive = Path(shutil.copytree(prepared.archive, tmp_path / "archive"))
    before = len(list_segments(archive)[RUN])
    with ArchiveFolder(archive) as folder:
        run_retention(folder, RetentionRules(raw_days=2))
    left = list_segments(archive)[RUN]
    done = rebuild(archive, tmp_path / "rebuilt", SETTINGS.rules)
    (told,) = done.damage
    assert f"{before - len(left)} segments before it are gone" in told
    assert table_rows(tmp_path / "rebuilt", "parts") == []
    segment = left[1].path
    spoilt = bytearray(segment.read_bytes())
    spoilt[len(spoilt) // 2] ^= 1
    segment.write_bytes(spoilt)
    (problem,) = verify(archive, with_books=False).problems
    assert str(segment) in problem


def test_unlinking_many_files_lets_the_writer_record_in_between(
    prepared: Prepared, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = Path(shutil.copytree(prepared.archive, tmp_path / "archive"))
    monkeypatch.setattr(archive_jobs, "FILES_AT_ONCE", 7)
    monkeypatch.setattr(archive_jobs, "wall_ns", lambda: NOW + 10**9)
    left: list[int] = []
    with ArchiveFolder(archive) as folder:
        run_compaction(folder)

        async def in_writer(work: Callable[[], Any]) -> Any:
            left.append(len(part_files(archive)))
            return work()

        rules = archive_jobs.TendingRules(reader_grace_s=0.0)
        jobs = archive_jobs.ArchiveJobs(folder, lambda: rules, in_writer, get_log("test")).jobs()
        (compaction,) = (job for job in jobs if job.name == "compaction")
        asyncio.run(compaction.work())
    assert part_files(archive) == live_paths(archive)
    assert len(left) > 4
    assert all(before - after == 7 for before, after in pairwise(left))
