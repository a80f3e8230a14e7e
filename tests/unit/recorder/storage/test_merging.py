"""Merged parts hold the rows of the old ones, or there are none."""

from __future__ import annotations

import pickle
import shutil
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recorder.storage import compaction, durable, merging
from recorder.storage.archive_folder import ArchiveFolder
from recorder.storage.compaction import CompactionTask
from recorder.storage.merging import CompactionRefused, merge
from recorder.storage.part_writer import ROW_GROUP_ROWS, sha256_of
from schemas.datasets import DATASETS
from tests.support.archive_content import plain
from tests.support.jobs_archive import NOW, date_of, days_archive, part_files


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


def _tasks(archive: Path, rows_max: int = compaction.ROWS_MAX) -> list[CompactionTask]:
    with ArchiveFolder(archive) as folder:
        return compaction.plan(folder.catalog, date_of(NOW), rows_max)


def _task(archive: Path, dataset: str, rows_max: int = compaction.ROWS_MAX) -> CompactionTask:
    tasks = [t for t in _tasks(archive, rows_max) if t.parts[0]["dataset"] == dataset]
    return max(tasks, key=lambda task: len(task.parts))


def _rows(archive: Path, paths: list[str]) -> pa.Table:
    return pa.concat_tables(
        [plain(pq.read_table(archive / path, partitioning=None)) for path in paths]
    ).combine_chunks()


def test_every_unit_reads_back_and_is_described_truly(archive: Path) -> None:
    seen = set()
    for task in _tasks(archive):
        (part,) = pickle.loads(pickle.dumps(merge(archive, pickle.loads(pickle.dumps(task)))))
        row, path = part.row, archive / part.row["path"]
        dataset = row["dataset"]
        seen.add(dataset)
        assert pq.read_schema(path).remove_metadata().equals(DATASETS[dataset].schema)
        rows = _rows(archive, [row["path"]])
        assert rows.equals(_rows(archive, [old["path"] for old in task.parts]))
        known = rows["ts_recv"].cast(pa.int64()).to_numpy() + rows["held_ns"].to_numpy()
        assert (row["ts_first"], row["ts_last"]) == (known[0], known[-1])
        for name in ("ordinal", "sequence"):
            values = rows[name].to_numpy()
            assert (row[f"{name}_first"], row[f"{name}_last"]) == (values.min(), values.max())
        assert (row["rows"], row["bytes"]) == (len(rows), path.stat().st_size)
        assert row["sha256"] == sha256_of(path)
        assert path.name.endswith(f"{row['sha256'][:12]}.parquet")
        assert [row[n] for n in ("date", "symbol", "stream", "run_id", "ts_replaced")] == [
            *(task.parts[0][n] for n in ("date", "symbol", "stream", "run_id")), None,
        ]  # fmt: skip
    assert seen >= {"l2_updates", "l3_events", "book_snapshots", "trades"}


@pytest.mark.parametrize("dataset", ["l2_updates", "l3_events", "trades", "book_snapshots"])
def test_a_part_is_cut_at_its_most_rows_and_never_inside_a_full_book(
    archive: Path, dataset: str
) -> None:
    most = 1300 if dataset == "book_snapshots" else 7
    task = replace(_task(archive, dataset), rows_max=most)
    parts = merge(archive, task)
    assert len(parts) > 1
    rows = _rows(archive, [part.row["path"] for part in parts])
    assert rows.equals(_rows(archive, [old["path"] for old in task.parts]))
    if dataset != "book_snapshots":
        assert [part.row["rows"] for part in parts[:-1]] == [most] * (len(parts) - 1)
    books = [book for part in parts for book in part.full_books]
    assert len(books) == len(task.full_books)
    for part in parts:
        assert part.row["rows"] <= most or len(part.full_books) == 1
        for book in part.full_books:
            assert book["path"] == part.row["path"]
            found = _rows(archive, [book["path"]]).slice(book["row_first"], book["rows"])
            assert len(found) == book["rows"]
            assert set(found["ordinal"].to_pylist()) == {book["ordinal"]}
            assert set(found["sequence"].to_pylist()) == {book["sequence"]}
            assert set(found["origin"].to_pylist()) == {book["origin"]}


def test_row_groups_are_filled(archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(merging, "ROW_GROUP_ROWS", 64)
    assert ROW_GROUP_ROWS == 64 * 1024
    (part,) = merge(archive, _task(archive, "book_snapshots"))
    metadata = pq.read_metadata(archive / part.row["path"])
    sizes = [metadata.row_group(at).num_rows for at in range(metadata.num_row_groups)]
    assert set(sizes[:-1]) == {64}
    assert 0 < sizes[-1] <= 64


def test_it_runs_in_a_spawned_process(archive: Path) -> None:
    task = _task(archive, "trades")
    broken = replace(task, parts=(task.parts[0], *task.parts))
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        (part,) = pool.submit(merge, archive, task).result()
        with pytest.raises(CompactionRefused, match="not in the order"):
            pool.submit(merge, archive, broken).result()
    rows = _rows(archive, [part.row["path"]])
    assert rows.equals(_rows(archive, [old["path"] for old in task.parts]))


def _refused(archive: Path, task: CompactionTask) -> CompactionRefused:
    files = part_files(archive)
    with pytest.raises(CompactionRefused) as raised:
        merge(archive, task)
    assert part_files(archive) == files
    sent = pickle.loads(pickle.dumps(raised.value))
    assert (str(sent), sent.path) == (str(raised.value), raised.value.path)
    return raised.value


def test_a_part_that_is_not_the_published_one_is_refused(archive: Path) -> None:
    task = _task(archive, "trades")
    path = archive / task.parts[1]["path"]
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    assert "not the file that was published" in str(_refused(archive, task))
    path.unlink()
    error = _refused(archive, task)
    assert error.path == task.parts[1]["path"]
    assert "missing" in str(error)


def test_rows_that_lack_or_repeat_ordinals_are_refused(archive: Path) -> None:
    task = _task(archive, "l2_updates")
    lacking = replace(task, parts=(task.parts[0], *task.parts[2:]))
    lost = task.parts[1]["rows"]
    assert f"lacks {lost} rows" in str(_refused(archive, lacking))
    doubled = replace(task, parts=(task.parts[0], *task.parts))
    assert "not in the order" in str(_refused(archive, doubled))
    shorter = replace(task, parts=(*task.parts[:-1], {**task.parts[-1], "rows": 0}))
    assert "the catalog says" in str(_refused(archive, shorter))


def test_what_does_not_read_back_is_refused(archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    task = _task(archive, "trades")
    real = merging.open_writer

    class Forger:
        def __init__(self, path: Path, schema: pa.Schema) -> None:
            self._writer = real(path, schema)

        def write_table(self, table: pa.Table, **words: object) -> None:
            index = table.schema.get_field_index("price_mantissa")
            values = [value and value + 1 for value in table["price_mantissa"].to_pylist()]
            forged = table.set_column(
                index, table.schema.field(index), pa.array(values, pa.int64())
            )
            self._writer.write_table(forged, **words)

        def close(self) -> None:
            self._writer.close()

    monkeypatch.setattr(merging, "open_writer", Forger)
    assert "column price_mantissa did not read back" in str(_refused(archive, task))


def test_a_full_disk_leaves_nothing_behind(archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = part_files(archive)
    task = replace(_task(archive, "trades"), rows_max=7)
    named = []

    def full(path: Path) -> None:
        if named:
            raise OSError(28, "No space left")
        named.append(path)
        durable.publish_file(path)

    monkeypatch.setattr(merging, "publish_file", full)
    with pytest.raises(OSError, match="No space"):
        merge(archive, task)
    assert part_files(archive) == files
