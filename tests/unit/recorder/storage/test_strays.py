"""Parts the catalog does not name: removed only where their rows are somewhere else."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from recorder.storage import compaction
from recorder.storage.archive_folder import ArchiveFolder
from recorder.storage.backup import backup
from recorder.storage.merging import merge
from recorder.storage.raw_log import list_segments
from recorder.storage.retention import RetentionRules
from recorder.storage.strays import set_aside_paths, settle_strays
from recorder.verification import verify
from schemas.archive_layout import CATALOG_DB
from schemas.timestamps import date_of
from tests.support.archive_content import archive_ledger, archive_rows
from tests.support.jobs_archive import (
    NEXT_RUN,
    NOW,
    days_archive,
    days_log,
    live_paths,
    part_files,
    run_compaction,
    run_removal,
    run_retention,
    start_recording,
)
from tests.support.market_log import Story


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """Five days of one run that has ended."""
    path = tmp_path / "archive"
    days_archive(path, steps=60)
    return path


def _restore(archive: Path) -> None:
    """Put the oldest copy of the catalog in its place, as the runbook says."""
    for suffix in ("-wal", "-shm"):
        (archive / f"{CATALOG_DB}{suffix}").unlink(missing_ok=True)
    shutil.copy(min((archive / "catalog.backup").glob("*.db")), archive / CATALOG_DB)


def test_a_catalog_older_than_a_compaction_takes_the_merged_parts_in(archive: Path) -> None:
    rows, ledger = archive_rows(archive), archive_ledger(archive)
    with ArchiveFolder(archive) as folder:
        backup(archive, 2, NOW)
        run_compaction(folder)
        run_removal(folder)
    merged = part_files(archive)
    _restore(archive)
    start_recording(archive, NEXT_RUN).abandon()
    assert part_files(archive) == merged
    assert live_paths(archive) == merged
    left = archive_rows(archive)
    assert left.keys() == rows.keys()
    assert all(left[key].equals(table) for key, table in rows.items())
    assert archive_ledger(archive) == ledger
    assert verify(archive).problems == []


def test_a_merge_that_was_not_published_goes(archive: Path) -> None:
    before = part_files(archive)
    with ArchiveFolder(archive) as folder:
        for task in compaction.plan(folder.catalog, date_of(NOW)):
            merge(archive, task)
        assert len(part_files(archive)) > len(before)
        settled = settle_strays(archive, folder.catalog, NOW)
    assert settled.taken_in == settled.set_aside == []
    assert set(settled.removed).isdisjoint(before)
    assert part_files(archive) == before


def test_without_its_catalog_and_its_first_segment_nothing_is_lost(archive: Path) -> None:
    rows = part_files(archive)
    with ArchiveFolder(archive) as folder:
        run_retention(folder, RetentionRules(raw_days=2))
    (archive / CATALOG_DB).unlink()
    start_recording(archive, NEXT_RUN).abandon()
    assert part_files(archive) == set()
    assert set_aside_paths(archive) == sorted(f"set_aside/{path}" for path in rows)
    (problem,) = verify(archive, with_books=False).problems
    assert f"{len(rows)} parts lie in set_aside/" in problem


def test_without_its_catalog_a_whole_raw_log_makes_everything_again(archive: Path) -> None:
    rows = archive_rows(archive)
    (archive / CATALOG_DB).unlink()
    start_recording(archive, NEXT_RUN).abandon()
    left = archive_rows(archive)
    assert all(left[key].equals(table) for key, table in rows.items())
    assert part_files(archive) == live_paths(archive)
    assert set_aside_paths(archive) == []


def test_what_is_no_part_is_set_aside(archive: Path) -> None:
    path = next(iter(sorted(part_files(archive))))
    for name in ("notes.txt", "1-2-0123456789ab.parquet"):
        (archive / path).with_name(name).write_bytes(b"mine")
    with ArchiveFolder(archive) as folder:
        settled = settle_strays(archive, folder.catalog, NOW)
        again = settle_strays(archive, folder.catalog, NOW)
    assert sorted(Path(path).name for path in settled.set_aside) == [
        "1-2-0123456789ab.parquet",
        "notes.txt",
    ]
    assert again.set_aside == []


def test_a_restored_run_that_was_open_then_ends_where_its_catalog_knows_it(tmp_path: Path) -> None:
    archive = tmp_path / "archive"
    lines = days_log(Story(8, steps=60))
    half = len(lines) // 2
    tape = start_recording(archive)
    for at in range(0, half, 30):
        tape.commit(lines[at : min(at + 30, half)])
    tape.roll(lines[half].ts_recv, force=True)
    known = live_paths(archive)
    backup(archive, 2, NOW)
    for at in range(half, len(lines), 30):
        tape.commit(lines[at : at + 30])
    tape.close()
    later = part_files(archive) - known
    with ArchiveFolder(archive) as folder:
        run_retention(folder, RetentionRules(raw_days=2))
    assert all(segments[0].number > 1 for segments in list_segments(archive).values())
    _restore(archive)
    start_recording(archive, NEXT_RUN).abandon()
    assert live_paths(archive) == part_files(archive) == known
    assert {path.removeprefix("set_aside/") for path in set_aside_paths(archive)} == later
    with ArchiveFolder(archive) as folder:
        (run,) = folder.catalog.runs().values()
        assert run["stop_reason"] == "crashed"
