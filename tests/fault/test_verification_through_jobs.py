"""`recorder verify` while the jobs work: what they take away meanwhile is no problem, and told."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from recorder import verification
from recorder.storage.archive_folder import ArchiveFolder
from recorder.storage.raw_log import list_segments
from recorder.storage.retention import RetentionRules
from recorder.verification import verify
from tests.support.jobs_archive import (
    NOW,
    days_archive,
    days_log,
    live_paths,
    run_compaction,
    run_removal,
    run_retention,
    start_recording,
)
from tests.support.market_log import Story


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five days of one run."""
    archive = tmp_path_factory.mktemp("recorded") / "archive"
    days_archive(archive, steps=60)
    return archive


def _compact(folder: ArchiveFolder) -> None:
    run_compaction(folder)
    run_removal(folder)


def _retain(folder: ArchiveFolder) -> None:
    run_retention(folder)
    run_removal(folder)


def _drop_raw_log(folder: ArchiveFolder) -> None:
    run_retention(folder, RetentionRules(raw_days=2))


def _before_first(
    patch: pytest.MonkeyPatch, step: str, act: Callable[[], None], done: list[str]
) -> None:
    """Let something happen right before a step of the verification is taken first."""
    real = getattr(verification, step)

    def stepping(*values: Any, **words: Any) -> Any:
        if not done:
            done.append(step)
            act()
        return real(*values, **words)

    patch.setattr(verification, step, stepping)


@pytest.mark.parametrize("step", ["_check_file", "_check_ledger", "replay_run", "_compare_streams"])
@pytest.mark.parametrize("job", [_compact, _retain, _drop_raw_log])
def test_a_job_in_the_middle_of_it_is_no_problem(
    recorded: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    job: Callable[[ArchiveFolder], None],
    step: str,
) -> None:
    archive = Path(shutil.copytree(recorded, tmp_path / "archive"))
    before = live_paths(archive)
    done: list[str] = []

    def act() -> None:
        with ArchiveFolder(archive) as folder:
            job(folder)

    _before_first(monkeypatch, step, act, done)
    report = verify(archive, with_books=False)
    assert done == [step]
    assert report.problems == []
    left = len(before - live_paths(archive))
    told = [f"{left} parts left the archive" in line for line in report.not_comparable]
    if job is _drop_raw_log:
        assert left == 0
        assert any("removed by retention" in line for line in report.not_comparable) == (
            step != "_compare_streams"
        )
    else:
        assert left > 20
        assert told == [True]


def test_a_part_that_goes_and_is_in_force_is_a_problem(
    recorded: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = Path(shutil.copytree(recorded, tmp_path / "archive"))
    path = min(live_paths(archive))
    _before_first(monkeypatch, "_compare_streams", (archive / path).unlink, [])
    report = verify(archive, with_books=False)
    assert report.problems == [f"part {path} is not what the raw log says: it is missing now"]
    assert report.not_comparable == []


def test_a_segment_that_goes_and_nobody_removed_is_a_problem(
    recorded: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = Path(shutil.copytree(recorded, tmp_path / "archive"))
    ((first, *_),) = list_segments(archive).values()
    _before_first(monkeypatch, "replay_run", first.path.unlink, [])
    report = verify(archive, with_books=False)
    (problem,) = report.problems
    assert first.path.name in problem
    assert "nobody removed it" in problem


def test_a_recording_that_goes_on_opens_segments_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = tmp_path / "archive"
    lines = [line for line in days_log(Story(8, steps=60)) if line.ts_recv < NOW]
    half = len(lines) // 2
    tape = start_recording(archive)
    for at in range(0, half, 30):
        tape.commit(lines[at : min(at + 30, half)])
    tape.roll(lines[half].ts_recv, force=True)
    segments = len(list(archive.glob("raw/*/*")))

    def record_on() -> None:
        for at in range(half, len(lines), 30):
            tape.commit(lines[at : at + 30])
        tape.roll(lines[-1].ts_recv, force=True)

    _before_first(monkeypatch, "_check_ledger", record_on, [])
    report = verify(archive, with_books=False)
    tape.abandon()
    assert len(list(archive.glob("raw/*/*"))) > segments
    assert report.problems == []
