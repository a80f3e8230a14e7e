"""Files go after their grace, entries after the files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from recorder.storage import replaced_files
from recorder.storage.archive_folder import ArchiveFolder
from recorder.storage.replaced_files import Unlinked, remove_empty, remove_replaced
from schemas.archive_layout import part_path
from schemas.catalog import TABLES
from tests.support.archive_content import table_rows

S = 1_000_000_000


@pytest.fixture
def folder(tmp_path: Path) -> Any:
    """An archive with a live part and three replaced at 10, 20 and 30 s."""
    with ArchiveFolder(tmp_path / "archive") as opened:
        rows = []
        for number, replaced in enumerate((None, 10, 20, 30)):
            path = part_path("trades", f"2026-11-2{number}", "A-B", number, number, "0" * 12)
            (opened.path / path).parent.mkdir(parents=True)
            (opened.path / path).write_bytes(b"rows")
            row = dict.fromkeys(TABLES["parts"].names) | {"path": path, "bytes": 4, "rows": 1}
            rows.append(row | {"ts_replaced": replaced and replaced * S})
        opened.catalog.put_parts(rows, [])
        yield opened


def _dates(archive: Path) -> list[str]:
    assert {p["path"] for p in table_rows(archive, "parts")} == {
        path.relative_to(archive).as_posix() for path in archive.glob("trades/*/*/*")
    }
    return sorted(path.name for path in (archive / "trades").iterdir())


def test_only_what_is_old_enough_goes_and_its_empty_folders_with_it(folder: Any) -> None:
    archive, catalog = folder.path, folder.catalog
    assert remove_replaced(archive, catalog, 14 * S, 5.0) == Unlinked(0, 0)
    assert len(_dates(archive)) == 4
    assert remove_replaced(archive, catalog, 25 * S, 5.0) == Unlinked(2, 8)
    assert _dates(archive) == ["date=2026-11-20", "date=2026-11-23"]
    assert remove_replaced(archive, catalog, 99 * S, 0.0) == Unlinked(1, 4)
    assert _dates(archive) == ["date=2026-11-20"]


def test_a_crash_in_between_is_made_good(folder: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    archive, catalog = folder.path, folder.catalog

    def die(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(replaced_files, "remove_empty", die)
    with pytest.raises(KeyboardInterrupt):
        remove_replaced(archive, catalog, 99 * S, 0.0)
    monkeypatch.undo()
    assert len(table_rows(archive, "parts")) == 4
    assert remove_replaced(archive, catalog, 99 * S, 0.0) == Unlinked(3, 12)
    assert _dates(archive)[0] == "date=2026-11-20"
    assert len(table_rows(archive, "parts")) == 1


def test_a_few_at_a_time_leave_the_rest_for_the_next_call(
    folder: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive, catalog = folder.path, folder.catalog
    published: list[bool] = []
    monkeypatch.setattr(
        catalog, "publish_parquet", lambda *, sparing=False: published.append(sparing)
    )
    assert remove_replaced(archive, catalog, 99 * S, 0.0, 2) == Unlinked(2, 8)
    assert _dates(archive) == ["date=2026-11-20", "date=2026-11-23"]
    assert remove_replaced(archive, catalog, 99 * S, 0.0, 2, twin_is_new=True) == Unlinked(1, 4)
    assert _dates(archive) == ["date=2026-11-20"]
    assert published == [False, True, True]  # in full before the first file goes, and once


def test_a_folder_with_something_in_it_stays(tmp_path: Path) -> None:
    (tmp_path / "a" / "b" / "c").mkdir(parents=True)
    (tmp_path / "a" / "file").write_bytes(b"")
    remove_empty(tmp_path / "a" / "b" / "c", tmp_path)
    assert sorted(p.name for p in (tmp_path / "a").iterdir()) == ["file"]
    remove_empty(tmp_path, tmp_path)
    assert tmp_path.is_dir()
