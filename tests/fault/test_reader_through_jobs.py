"""A reader in another process asks on and on while jobs run and are killed: its rows stay true."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from recorder.storage.archive_folder import ArchiveFolder
from recorder.storage.replaced_files import remove_replaced
from recorder.verification import verify
from tests.support.jobs_archive import (
    DAYS,
    NEXT_RUN,
    NOW,
    days_archive,
    part_files,
    run_compaction,
    run_removal,
    run_retention,
    start_recording,
)

ROOT = Path(__file__).parents[2]
GRACE_S = 3.0

READER = """
import json, sys
from pathlib import Path
from replay import Archive

views = ["l2_updates_all", "l3_events", "trades", "tickers", "market_snapshots", "book_snapshots"]
question = " UNION ALL ".join(
    f"SELECT '{view}' AS view, count(*)::BIGINT AS n, sum(ordinal)::BIGINT AS s, "
    f"min(ordinal) AS a, max(ordinal) AS b, "
    f"count(DISTINCT date_trunc('day', ts_recv))::BIGINT AS days FROM {view}"
    for view in views
)
stop = Path(sys.argv[2])
with Archive(sys.argv[1]) as tape:
    while True:
        last = stop.exists()
        rows = sorted(map(list, (row.values() for row in tape.sql(question).to_pylist())))
        print(json.dumps(rows), flush=True)
        if last:
            break
"""


class Reader:
    """The process, and what it was told."""

    def __init__(self, archive: Path, folder: Path) -> None:
        self._stop = folder / "stop"
        self._told = folder / "told"
        with self._told.open("wb") as told:
            self._process = subprocess.Popen(
                [sys.executable, "-c", READER, archive, self._stop],
                cwd=ROOT, stdout=told, stderr=subprocess.PIPE,
            )  # fmt: skip

    def answers(self) -> list[Any]:
        """Return what it was told so far."""
        lines = self._told.read_bytes().split(b"\n")[:-1]
        return [json.loads(line) for line in lines]

    def wait_for_more(self, count: int = 3) -> list[Any]:
        """Return all answers once there are so many more of them."""
        wanted = len(self.answers()) + count
        deadline = time.monotonic() + 60
        while len(self.answers()) < wanted:
            assert self._process.poll() is None, self._failure()
            assert time.monotonic() < deadline
            time.sleep(0.05)
        return self.answers()

    def finish(self) -> list[Any]:
        """Let it ask once more and end."""
        self._stop.touch()
        assert self._process.wait(60) == 0, self._failure()
        assert self._process.stderr is not None
        self._process.stderr.close()
        return self.answers()

    def kill(self) -> None:
        """End it, whatever became of the test."""
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()
            assert self._process.stderr is not None
            self._process.stderr.close()

    def _failure(self) -> str:
        assert self._process.stderr is not None
        return self._process.stderr.read().decode()


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """Five days of one run."""
    days_archive(tmp_path / "archive", steps=80)
    return tmp_path / "archive"


@pytest.fixture
def reader(archive: Path, tmp_path: Path) -> Any:
    """A reader that has begun to ask."""
    found = Reader(archive, tmp_path)
    try:
        found.wait_for_more(1)
        yield found
    finally:
        found.kill()


def _kill_job(archive: Path, job: str, dies_at: int) -> None:
    """Run a job and kill it at a step; the recorder starts again and finishes nothing by itself."""
    command = [sys.executable, "-m", "tests.support.kill_points", archive, job, str(dies_at)]
    assert subprocess.run(command, cwd=ROOT, check=False).returncode == -signal.SIGKILL
    start_recording(archive, NEXT_RUN).abandon()


def test_compaction_is_invisible(archive: Path, reader: Reader) -> None:
    began = time.monotonic_ns()

    def now() -> int:
        return NOW + time.monotonic_ns() - began

    (truth,) = {json.dumps(answer) for answer in reader.wait_for_more()}
    before = part_files(archive)
    for dies_at in (2, 9, 26):
        _kill_job(archive, "swap", dies_at)
        reader.wait_for_more(1)
    with ArchiveFolder(archive) as folder:
        assert run_compaction(folder, now()) > 5
        reader.wait_for_more()
        assert part_files(archive) > before
        while folder.catalog.replaced_parts(now()):
            remove_replaced(archive, folder.catalog, now(), GRACE_S)
            reader.wait_for_more(1)
    answers = reader.finish()
    assert {json.dumps(answer) for answer in answers} == {truth}
    assert len(answers) > 10
    assert len(part_files(archive)) < len(before)
    assert verify(archive, with_books=False).problems == []


def test_retention_takes_whole_days_at_once(archive: Path, reader: Reader, tmp_path: Path) -> None:
    before = reader.wait_for_more()[-1]
    clean = Path(shutil.copytree(archive, tmp_path / "clean"))
    after = before
    for dies_at in range(2, 9):  # before its commit nothing has happened, behind it everything has
        assert after == before
        _kill_job(archive, "retain", dies_at)
        after = reader.wait_for_more()[-1]
        if after != before:
            break
    assert dies_at > 2
    assert after != before
    with ArchiveFolder(archive) as folder:
        assert run_retention(folder).removals == ()
        time.sleep(GRACE_S / 3)
        assert run_removal(folder) > 5
    answers = reader.finish()
    seen = [json.dumps(answer) for answer in answers]
    states = [json.dumps(before), json.dumps(after)]
    assert seen == sorted(seen, key=states.index)
    assert set(seen) == set(states)
    days_before, days_after = ({row[0]: row[5] for row in state} for state in (before, after))
    assert days_before["book_snapshots"] == len(DAYS)
    assert days_after["book_snapshots"] == 2
    assert all(days_after[view] <= 2 for view in days_after)
    with ArchiveFolder(clean) as folder:
        run_retention(folder)
    other = Reader(clean, _folder(tmp_path / "other"))
    try:
        assert other.finish()[-1] == after
    finally:
        other.kill()
    assert verify(archive, with_books=False).problems == []


def _folder(path: Path) -> Path:
    path.mkdir()
    return path
