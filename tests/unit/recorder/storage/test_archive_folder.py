"""An archive opened for writing, or refused."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from recorder.errors import ArchiveLocked, ArchiveUnwritable, CatalogDamaged, DiskFull, NotAnArchive
from recorder.storage import archive_folder
from recorder.storage.archive_folder import ArchiveFolder


def test_one_process_at_a_time_and_the_next_after_it(tmp_path: Path) -> None:
    folder = ArchiveFolder(tmp_path / "a" / "b")
    with pytest.raises(ArchiveLocked, match="is being written by process"):
        ArchiveFolder(tmp_path / "a" / "b")
    folder.close()
    folder.close()
    with ArchiveFolder(tmp_path / "a" / "b", must_exist=True):
        pass


def test_what_must_exist_is_not_created(tmp_path: Path) -> None:
    with pytest.raises(NotAnArchive):
        ArchiveFolder(tmp_path / "none", must_exist=True)
    assert not (tmp_path / "none").exists()


def test_a_file_in_the_way(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ArchiveUnwritable, match="file/archive"):
        ArchiveFolder(tmp_path / "file" / "archive")


def test_a_catalog_that_is_no_database_is_damaged_not_unwritable(tmp_path: Path) -> None:
    (tmp_path / "catalog.db").write_bytes(b"no database " * 1000)
    for _ in range(2):  # the lock is free again after a refusal
        with pytest.raises(CatalogDamaged, match="rebuild"):
            ArchiveFolder(tmp_path)


def test_a_full_disk_is_no_fault_of_the_archives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: Path) -> None:
        db = sqlite3.connect(tmp_path / "small.db")
        try:
            db.executescript("PRAGMA max_page_count = 1; CREATE TABLE a (b); CREATE TABLE c (d);")
        finally:
            db.close()

    monkeypatch.setattr(archive_folder, "CatalogWriter", full)
    with pytest.raises(DiskFull, match=r"no room on the disk of .*archive for catalog\.db"):
        ArchiveFolder(tmp_path / "archive")


def test_leftovers_of_a_crash_are_removed_and_nothing_else(tmp_path: Path) -> None:
    folder = tmp_path / "l2_updates" / "date=2026-11-22" / "symbol=A-B"
    raw = tmp_path / "raw" / "2026-11-22"
    for where in (folder, raw):
        where.mkdir(parents=True)
        for name in ("1-2-abc.parquet", "1-2-abc.parquet.unfinished"):
            (where / name).write_bytes(b"")
    (tmp_path / "notes.txt.unfinished").write_text("mine")
    with ArchiveFolder(tmp_path) as archive:
        removed = archive.remove_unfinished()
    assert removed == [
        "l2_updates/date=2026-11-22/symbol=A-B/1-2-abc.parquet.unfinished",
        "raw/2026-11-22/1-2-abc.parquet.unfinished",
    ]
    assert (folder / "1-2-abc.parquet").exists()
    assert (tmp_path / "notes.txt.unfinished").exists()
