"""The Parquet twin: always what the database says, and replaced at once."""

from __future__ import annotations

import errno
from contextlib import closing
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from recorder.storage import parquet_twin
from recorder.storage.catalog_writer import CatalogWriter
from schemas.catalog import TABLES
from tests.support.archive_content import table_rows
from tests.support.arrow_rows import rows_of


@pytest.fixture
def catalog(tmp_path: Path) -> Any:
    """An empty catalog."""
    with closing(CatalogWriter(tmp_path)) as writer:
        yield writer


def run_row(run_id: str, lines: int = 0) -> dict[str, Any]:
    """Return a run."""
    row: dict[str, Any] = dict.fromkeys(TABLES["runs"].names)
    return {**row, "run_id": run_id, "ts_start": 1, "lines": lines}


def twin(archive: Path, table: str) -> list[dict[str, Any]]:
    """Return a table of the current Parquet twin."""
    number = (archive / "catalog.parquet" / "CURRENT").read_text().strip()
    path = archive / "catalog.parquet" / number / f"{table}.parquet"
    assert pq.read_schema(path).equals(TABLES[table].schema)
    return rows_of(pq.read_table(path))


def test_the_twin_is_current_only_when_it_is_whole(
    catalog: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    catalog.put_run(run_row("r1"))
    catalog.publish_parquet()
    assert [row["run_id"] for row in twin(tmp_path, "runs")] == ["r1"]
    catalog.put_run(run_row("r2"))
    write_file = parquet_twin.write_file
    monkeypatch.setattr(parquet_twin, "write_file", _fail)
    with pytest.raises(OSError, match="disk"):
        catalog.publish_parquet()
    assert [row["run_id"] for row in twin(tmp_path, "runs")] == ["r1"]
    monkeypatch.setattr(parquet_twin, "write_file", write_file)
    catalog.publish_parquet()
    assert [row["run_id"] for row in twin(tmp_path, "runs")] == ["r1", "r2"]
    for table in TABLES:
        assert len(twin(tmp_path, table)) == len(table_rows(tmp_path, table))


def _fail(*_: object) -> None:
    raise OSError("disk")


def test_the_last_versions_of_the_twin_stay_for_readers(catalog: Any, tmp_path: Path) -> None:
    for _ in range(6):
        catalog.publish_parquet()
    folder = tmp_path / "catalog.parquet"
    assert sorted(p.name for p in folder.iterdir()) == ["4", "5", "6", "CURRENT"]
    assert (folder / "CURRENT").read_text() == "6\n"


def test_a_twin_that_took_long_is_left_for_a_later_transaction(
    catalog: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [100.0]
    monkeypatch.setattr(parquet_twin, "monotonic_s", lambda: clock[0])
    monkeypatch.setattr(
        parquet_twin, "write_file", _that_takes(2.0, clock, parquet_twin.write_file)
    )
    assert catalog.publish_parquet(sparing=True)
    catalog.put_run(run_row("r1"))
    clock[0] += 39.0
    assert not catalog.publish_parquet(sparing=True)
    assert twin(tmp_path, "runs") == []
    clock[0] += 2.0
    assert catalog.publish_parquet(sparing=True)
    assert [row["run_id"] for row in twin(tmp_path, "runs")] == ["r1"]
    assert catalog.publish_parquet(), "the end of a run is always told"


def _that_takes(seconds: float, clock: list[float], function: Any) -> Any:
    def slow(*words: Any) -> Any:
        clock[0] += seconds
        return function(*words)

    return slow


def test_each_version_is_what_the_database_says(catalog: Any, tmp_path: Path) -> None:
    assert catalog.publish_parquet()
    for lines in (1, 2, 2, 3):
        catalog.put_run(run_row("r1", lines))
        catalog.publish_parquet()
        assert [row["lines"] for row in twin(tmp_path, "runs")] == [lines]
        assert twin(tmp_path, "gaps") == []
    catalog.forget_run("r1")
    catalog.publish_parquet()
    assert twin(tmp_path, "runs") == []


def test_a_table_that_has_not_changed_is_not_encoded_again(
    catalog: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    catalog.put_run(run_row("r1"))
    catalog.publish_parquet()
    encoded: list[str] = []
    encode = parquet_twin._encode
    monkeypatch.setattr(
        parquet_twin,
        "_encode",
        lambda table, rows, file: (encoded.append(table.name), encode(table, rows, file)),
    )
    catalog.publish_parquet()
    assert encoded == []
    catalog.put_run(run_row("r2"))
    catalog.publish_parquet()
    assert encoded == ["runs"]
    assert [row["run_id"] for row in twin(tmp_path, "runs")] == ["r1", "r2"]


@pytest.mark.parametrize("held", [0, 2, 5])
def test_a_table_too_long_to_be_held_is_written_all_the_same(
    held: int, catalog: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parquet_twin, "_ROWS_REMEMBERED", held)
    for count in range(1, 5):
        catalog.put_run(run_row(f"r{count}"))
        catalog.publish_parquet()
        assert len(twin(tmp_path, "runs")) == count
    for count in range(4, 0, -1):
        catalog.forget_run(f"r{count}")
        catalog.publish_parquet()
        assert len(twin(tmp_path, "runs")) == count - 1


def test_only_a_table_of_many_rows_is_compressed(catalog: Any, tmp_path: Path) -> None:
    for count in range(1, 70):
        catalog.put_run(run_row(f"r{count:02d}"))
        catalog.publish_parquet()
        path = tmp_path / "catalog.parquet" / str(count) / "runs.parquet"
        column = pq.read_metadata(path).row_group(0).column(0)
        assert column.compression == ("UNCOMPRESSED" if count < 64 else "ZSTD")


def test_what_a_failed_try_has_written_goes_and_takes_no_place_of_a_version_that_is_read(
    catalog: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(2):
        catalog.publish_parquet()

    def fail(path: Path) -> None:
        if path.stem == "runs":
            raise OSError(errno.ENOSPC, "no room")
        publish(path)

    publish = parquet_twin.publish_file
    with monkeypatch.context() as patched:
        patched.setattr(parquet_twin, "publish_file", fail)
        for _ in range(5):
            with pytest.raises(OSError, match="no room"):
                catalog.publish_parquet()
    root = tmp_path / "catalog.parquet"
    assert sorted(path.name for path in root.iterdir()) == ["1", "2", "CURRENT"]
    catalog.publish_parquet()
    assert sorted(path.name for path in root.iterdir()) == ["1", "2", "3", "CURRENT"]
    assert twin(tmp_path, "runs") == []
