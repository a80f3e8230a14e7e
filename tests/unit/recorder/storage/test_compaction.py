"""What is compacted and what is left alone; the swap is one transaction."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from recorder.storage import compaction
from recorder.storage.archive_folder import ArchiveFolder
from recorder.storage.catalog_writer import CatalogWriter
from recorder.storage.merging import merge
from schemas.catalog import TABLES
from tests.support.archive_content import archive_ledger, archive_rows, table_rows
from tests.support.jobs_archive import (
    DAYS,
    NOW,
    days_archive,
    live_paths,
    part_files,
    run_compaction,
    run_removal,
)


def part(number: int, rows: int, **other: Any) -> dict[str, Any]:
    """Return a part of trades whose ordinals follow one another by number."""
    row: dict[str, Any] = dict.fromkeys(TABLES["parts"].names)
    row |= {"path": f"{number}", "rows": rows, "bytes": 10 * rows, "dataset": "trades"}
    row |= {"date": DAYS[0], "symbol": "A-B", "stream": "trades", "run_id": "r1"}
    row |= {"ordinal_first": 100 * number, "ts_first": number, "ordinal_last": 100 * number + 9}
    return {**row, **other}


@pytest.fixture
def catalog(tmp_path: Path) -> Any:
    """An empty catalog."""
    writer = CatalogWriter(tmp_path)
    yield writer
    writer.close()


def _planned(catalog: CatalogWriter, rows_max: int = 100) -> list[list[str]]:
    tasks = compaction.plan(catalog, DAYS[1], rows_max)
    return [[row["path"] for row in task.parts] for task in tasks]


def test_parts_of_a_closed_day_are_one_task_in_the_order_of_their_rows(catalog: Any) -> None:
    catalog.put_parts([part(3, 5), part(1, 5), part(2, 5)], [])
    (task,) = compaction.plan(catalog, DAYS[1])
    assert [row["path"] for row in task.parts] == ["1", "2", "3"]
    assert (task.rows, task.bytes) == (15, 150)
    assert task.name == f"trades {DAYS[0]} A-B trades r1"


@pytest.mark.parametrize(
    "other",
    [{"date": DAYS[1]}, {"symbol": "C-D"}, {"run_id": "r2"}, {"dataset": "tickers"},
     {"stream": "l2"}, {"ts_replaced": 7}],
)  # fmt: skip
def test_a_part_alone_in_its_unit_stays(catalog: Any, other: dict[str, Any]) -> None:
    catalog.put_parts([part(1, 5), part(2, 5, **other)], [])
    assert _planned(catalog) == []


def test_a_day_that_is_open_stays(catalog: Any) -> None:
    catalog.put_parts([part(1, 5, date=DAYS[1]), part(2, 5, date=DAYS[1])], [])
    assert _planned(catalog) == []
    assert len(compaction.plan(catalog, DAYS[2])) == 1


def test_full_parts_stay_and_late_rows_make_the_rest_due_again(catalog: Any) -> None:
    catalog.put_parts([part(1, 100), part(2, 100), part(3, 40)], [])
    assert _planned(catalog) == []
    catalog.put_parts([part(4, 1)], [])
    assert _planned(catalog) == [["3", "4"]]


def test_as_few_parts_as_can_be_stay(catalog: Any) -> None:
    catalog.put_parts([part(1, 60), part(2, 60)], [])
    assert _planned(catalog) == []
    catalog.put_parts([part(3, 30)], [])
    assert _planned(catalog) == [["1", "2", "3"]]


def test_the_oldest_day_comes_first(catalog: Any) -> None:
    late = {"date": DAYS[0], "dataset": "trades"}
    early = {"date": "2026-11-21", "dataset": "tickers", "stream": "tickers"}
    catalog.put_parts([part(n, 1, **late) for n in (1, 2)], [])
    catalog.put_parts([part(n, 1, **early) for n in (3, 4)], [])
    assert _planned(catalog) == [["3", "4"], ["1", "2"]]


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An archive of some days."""
    archive = tmp_path_factory.mktemp("recorded") / "archive"
    days_archive(archive)
    return archive


@pytest.fixture
def archive(recorded: Path, tmp_path: Path) -> Path:
    """A copy to change."""
    return Path(shutil.copytree(recorded, tmp_path / "archive"))


def test_nothing_changes_but_the_files(archive: Path) -> None:
    rows, ledger = archive_rows(archive), archive_ledger(archive)
    parts = table_rows(archive, "parts")
    with ArchiveFolder(archive) as folder:
        assert run_compaction(folder) > 10
        assert run_compaction(folder) == 0
    after = [p for p in table_rows(archive, "parts") if p["ts_replaced"] is None]
    units = {(p["dataset"], p["date"], p["symbol"], p["stream"], p["run_id"]) for p in parts}
    assert len(after) == len(units) < len(parts)
    found = archive_rows(archive)
    assert sorted(found) == sorted(rows)
    assert all(found[key].equals(table) for key, table in rows.items())
    assert archive_ledger(archive) == ledger
    for book in table_rows(archive, "full_books"):
        assert book["path"] in live_paths(archive)


def test_replaced_files_stay_for_the_grace_and_then_go(archive: Path) -> None:
    before = live_paths(archive)
    with ArchiveFolder(archive) as folder:
        run_compaction(folder)
        after = live_paths(archive)
        assert part_files(archive) == before | after
        assert run_removal(folder, NOW - 2) == 0
        assert run_removal(folder) == len(before - after)
        assert run_removal(folder) == 0
    assert part_files(archive) == after == folder_entries(archive)


def folder_entries(archive: Path) -> set[str]:
    """Return the paths the catalog knows."""
    return {p["path"] for p in table_rows(archive, "parts")}


def test_a_task_whose_parts_left_meanwhile_changes_nothing(archive: Path) -> None:
    with ArchiveFolder(archive) as folder:
        task = compaction.plan(folder.catalog, DAYS[-1])[0]
        parts = merge(archive, task)
        with folder.catalog.transaction():
            first = task.parts[0]
            names = set(TABLES["removals"].names) - {"ts_removed", "rule"}
            removal = {"rule": "a test", **{name: first[name] for name in names}}
            folder.catalog.remove_files([{**removal, "ts_removed": NOW}])
        files, live = part_files(archive), live_paths(archive)
        assert not compaction.publish(archive, folder.catalog, task, parts, NOW)
    assert part_files(archive) == files - {part.row["path"] for part in parts}
    assert live_paths(archive) == live
