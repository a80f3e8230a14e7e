"""A part holds exactly the pipeline's columns, in its dataset's schema."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recorder.pipeline.output import NO_SCALE, NO_TIME, Rows
from recorder.storage import part_writer
from recorder.storage.batch import table_of
from recorder.storage.part_writer import PartRows, join_rows, sha256_of, write_part, write_table
from schemas.datasets import DATASETS, SIDES
from schemas.timestamps import date_of
from tests.support.arrow_rows import rows_of
from tests.support.market_log import RUN, Story, market_log
from tests.support.pipeline_rows import Made, make


@pytest.fixture(scope="module")
def made() -> Made:
    """A story with every dataset in it."""
    return make([market_log(Story(2, steps=80, chance=0.01))])


def _gathered(batches: list[Rows]) -> PartRows:
    first = int(batches[0].known[0])
    rows = PartRows(date_of(first), first)
    for batch in batches:
        rows.add(batch)
    return rows


def _expected(batches: list[Rows], name: str) -> list[Any]:
    """Return a column as plain values, read from the pipeline's arrays by hand."""
    values = [v for batch in batches for v in list(batch.columns[name])]
    scale_name = name.removesuffix("_mantissa") + "_scale" if name.endswith("_mantissa") else name
    if scale_name.endswith("_scale"):
        scales = [v for batch in batches for v in list(batch.columns[scale_name])]
        return [None if s == NO_SCALE else int(v) for v, s in zip(values, scales, strict=True)]
    if name == "side":
        return [None if v < 0 else SIDES[v] for v in values]
    if name in {"ts_recv", "ts_event"}:
        return [None if v == NO_TIME else int(v) for v in values]
    return [v.item() if isinstance(v, np.generic) else v for v in values]


@pytest.mark.parametrize("dataset", DATASETS)
def test_every_column_of_a_part_is_the_pipelines(made: Made, tmp_path: Path, dataset: str) -> None:
    keys = [key for key in made.batches if key[0] == dataset]
    assert keys
    for number, key in enumerate(keys):
        batches = made.batches[key]
        part = write_part(tmp_path, RUN, _gathered(batches), 7)
        path = tmp_path / part.row["path"]
        assert pq.read_schema(path).remove_metadata().equals(DATASETS[dataset].schema)
        table = pq.read_table(path, partitioning=None)
        for field in table.schema:
            column = table[field.name]
            column = column.cast(pa.int64()) if pa.types.is_timestamp(field.type) else column
            constants = {"symbol": key[1], "run_id": RUN}
            n = table.num_rows
            wanted = (
                [constants[field.name]] * n
                if field.name in constants
                else _expected(batches, field.name)
            )
            assert column.to_pylist() == wanted, (key, field.name)
        row = part.row
        assert row["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest() == sha256_of(path)
        assert row["bytes"] == path.stat().st_size
        assert (row["dataset"], row["symbol"], row["stream"], row["run_id"]) == (*key, RUN)
        assert row["rows"] == sum(map(len, batches))
        assert (row["ts_first"], row["ts_last"]) == (batches[0].known[0], batches[-1].known[-1])
        sequences = table["sequence"].to_pylist()
        assert (row["sequence_first"], row["sequence_last"]) == (min(sequences), max(sequences))
        for book in part.full_books:
            rows = rows_of(table.slice(book["row_first"], book["rows"]))
            assert {(r["origin"], r["ordinal"], r["sequence"]) for r in rows} == {
                (book["origin"], book["ordinal"], book["sequence"])
            }
        assert sum(book["rows"] for book in part.full_books) in {0, row["rows"]}
        assert len(list(tmp_path.rglob("*.parquet"))) == number + 1
    assert not list(tmp_path.rglob("*.unfinished"))


@pytest.mark.parametrize("dataset", DATASETS)
def test_of_a_few_rows_only_texts_are_compressed(made: Made, tmp_path: Path, dataset: str) -> None:
    key = next(key for key in made.batches if key[0] == dataset)
    few = table_of(made.batches[key], RUN).slice(0, 1)
    for table in (few, pa.concat_tables([few] * 63), pa.concat_tables([few] * 64)):
        path = tmp_path / f"{table.num_rows}.parquet"
        write_table(table, path)
        assert pq.read_table(path, partitioning=None).equals(table.combine_chunks())
        group = pq.read_metadata(path).row_group(0)
        for index, field in enumerate(table.schema):
            column = group.column(index)
            is_compressed = table.num_rows >= 64 or field.type == pa.string()
            assert column.compression == ("ZSTD" if is_compressed else "UNCOMPRESSED"), field.name
            assert column.has_offset_index == (table.num_rows >= 64)


def test_many_small_batches_are_joined_and_nothing_changes(
    made: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(part_writer, "_BATCHES_JOINED", 4)
    for batches in made.batches.values():
        singles = [_row(batch, n) for batch in batches for n in range(len(batch))]
        if batches[0].full_book is not None:
            singles = batches
        rows = _gathered(singles)
        assert rows.rows == sum(map(len, batches))
        if batches[0].full_book is None:
            assert len(rows.batches) == len(singles) // 4 + len(singles) % 4
        else:
            assert rows.batches == singles
        assert table_of(rows.batches, RUN).equals(table_of(batches, RUN))
        assert np.array_equal(
            np.concatenate([batch.known for batch in rows.batches]),
            np.concatenate([batch.known for batch in batches]),
        )


def _row(batch: Rows, n: int) -> Rows:
    columns = {name: values[n : n + 1] for name, values in batch.columns.items()}
    return Rows(batch.dataset, batch.symbol, batch.stream, columns, batch.known[n : n + 1])


def test_the_memory_of_tiny_batches_is_not_made_little_of(made: Made) -> None:
    """An array costs a hundred bytes before it holds a number."""
    (batch,) = made.batches["l2_updates", "BTC-USDT", "l2"][:1]
    rows = _gathered([_row(batch, 0)] * 10)
    assert rows.bytes > 10 * 100 * len(batch.columns)
    joined = _gathered([_row(batch, 0)] * 64)
    assert len(joined.batches) == 1
    assert joined.bytes < rows.bytes
    assert len(join_rows([batch, batch])) == 2 * len(batch)


def test_a_file_that_reads_back_short_is_never_named(
    made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = _gathered(made.batches["tickers", "BTC-USDT", "tickers"])
    write = part_writer.write_table
    monkeypatch.setattr(part_writer, "write_table", lambda table, path: write(table.slice(1), path))
    with pytest.raises(OSError, match="reads back"):
        write_part(tmp_path, RUN, rows, 7)
    assert not list(tmp_path.rglob("*.parquet"))
