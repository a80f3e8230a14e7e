"""One recorded session, asked everything: verify, rebuild, restart, truth, views."""

from __future__ import annotations

import json
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import duckdb
import polars as pl
import pyarrow as pa
import pyarrow.dataset as pa_dataset
import pyarrow.parquet as pq
import pytest

from replay import Archive
from schemas.datasets import DATASETS
from tests.support.recorded_market import RecordedMarket, record_market

SYMBOLS = ["BTC-USDT", "SHIB-BTC"]
FAULTS = [
    "drop@2s:topic=level2:count=1",
    "drop@3s:topic=match:count=2",
    "duplicate=0.01",
    "disconnect@5s",
    "garbage@4s",
    "stale=0.3",
]


@pytest.fixture(scope="module")
def market(tmp_path_factory: pytest.TempPathFactory) -> RecordedMarket:
    return record_market(
        tmp_path_factory.mktemp("market"),
        symbols=SYMBOLS,
        seconds=9,
        rate=300,
        faults=FAULTS,
        seed=5,
        truth_every=50,
    )


def run(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", *words], capture_output=True, text=True, check=False, timeout=100
    )


def rows_of(archive: Path) -> dict[str, pa.Table]:
    """Return every dataset's rows, all columns, in (symbol, stream, run_id, ordinal) order."""
    with sqlite3.connect(f"file:{archive / 'catalog.db'}?mode=ro", uri=True) as db:
        parts = db.execute(
            "SELECT dataset, path FROM parts ORDER BY symbol, stream, run_id, ordinal_first, "
            "ordinal_last"
        ).fetchall()
    db.close()
    tables: dict[str, list[pa.Table]] = {name: [] for name in DATASETS}
    for dataset, path in parts:
        table = pq.read_table(archive / path, partitioning=None)
        plain = [
            pa.field(f.name, pa.string() if pa.types.is_dictionary(f.type) else f.type)
            for f in table.schema
        ]
        tables[dataset].append(table.cast(pa.schema(plain)).replace_schema_metadata(None))
    return {
        name: pa.concat_tables(found).combine_chunks() for name, found in tables.items() if found
    }


def test_live_equals_rebuilt_however_it_is_rolled(market: RecordedMarket, tmp_path: Path) -> None:
    live = rows_of(market.archive)
    assert set(live) == set(DATASETS), "every dataset was recorded"
    for name, options in (("every second", ["--roll-interval-s", "1"]), ("in one", [])):
        into = tmp_path / name
        done = run("recorder.cli", "rebuild", str(market.archive), "--into", str(into), *options)
        assert done.returncode == 0, done.stderr
        rebuilt = rows_of(into)
        for dataset, table in live.items():
            assert table.equals(rebuilt[dataset]), (name, dataset)
    parts = [
        len(list((archive / "l2_updates").rglob("*.parquet")))
        for archive in (tmp_path / "every second", tmp_path / "in one")
    ]
    assert parts[0] > 3 * parts[1], "the second archive was rolled more often"


def test_verify_holds(market: RecordedMarket) -> None:
    done = run("recorder.cli", "verify", str(market.archive), "--json")
    report = json.loads(done.stdout)
    assert done.returncode == 0, report["problems"]
    assert report["holds"]
    assert report["rows"] > 5_000
    assert report["books"] is not None


def test_every_trade_is_there_once_though_the_match_topic_lost_two(market: RecordedMarket) -> None:
    dropped = [
        json.loads(line)
        for line in market.fault_log.read_text().splitlines()
        if '"drop"' in line and '"match"' in line
    ]
    assert len(dropped) == 2
    with Archive(market.archive) as tape:
        for fault in dropped:
            found = tape.sql(
                "SELECT source FROM trades WHERE symbol = $symbol AND sequence = $sequence",
                symbol=fault["symbol"],
                sequence=fault["sequence_start"],
            )
            assert found["source"].to_pylist() == ["level3"]
        total, distinct = (
            tape.sql("SELECT count(*) AS n, count(DISTINCT (symbol, sequence)) AS d FROM trades")
            .to_pylist()[0]
            .values()
        )
        assert total == distinct > 100


def test_a_restart_continues_and_the_time_off_is_one_gap(
    market: RecordedMarket, tmp_path: Path
) -> None:
    again = record_market(
        tmp_path, symbols=SYMBOLS, seconds=3, rate=100, seed=6, archive_from=market.archive
    )
    with Archive(again.archive) as tape:
        assert tape.sql("SELECT count(*) AS n FROM runs")["n"].to_pylist() == [2]
        gaps = tape.sql(
            "SELECT symbol, stream, count(*) AS n FROM gaps WHERE reason = 'stopped' "
            "AND healed_by = 'next_run' GROUP BY ALL ORDER BY ALL"
        ).to_pylist()
    streams = ["l2", "l3", "market_snapshots", "tickers", "trades"]
    assert gaps == [
        {"symbol": symbol, "stream": stream, "n": 1} for symbol in SYMBOLS for stream in streams
    ]


def test_truth_file_agrees(market: RecordedMarket) -> None:
    done = run("replay.cli", "verify", str(market.archive), "--truth", str(market.truth), "--json")
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("dataset", DATASETS)
def test_three_engines_read_a_part_and_the_folder_as_users_type_it(
    market: RecordedMarket, dataset: str
) -> None:
    folder = market.archive / dataset
    parts = sorted(folder.rglob("*.parquet"))
    rows = [pq.read_metadata(part).num_rows for part in parts]
    assert {part.parent.name for part in parts} == {f"symbol={symbol}" for symbol in SYMBOLS}
    for source, count in ((parts[0], rows[0]), (folder, sum(rows))):
        arrow = pq.read_table(source)
        assert arrow.num_rows == count
        assert arrow.schema.field("ts_recv").type == pa.timestamp("ns")
        assert arrow.schema.field("symbol").type == pa.dictionary(pa.int32(), pa.string())
        assert pa_dataset.dataset(source).to_table().num_rows == count
        frame = pl.read_parquet(source)
        assert (frame.height, frame.schema["ts_recv"]) == (count, pl.Datetime("ns"))
        assert frame.schema["ordinal"] == pl.Int64
        files = source if source.is_file() else source / "**" / "*.parquet"
        with duckdb.connect() as connection:
            found = connection.sql(
                "SELECT typeof(ts_recv), typeof(symbol), typeof(ordinal), count(*) "
                f"FROM '{files}' GROUP BY ALL"
            ).fetchall()
        assert found == [("TIMESTAMP_NS", "VARCHAR", "BIGINT", count)]
    hive = pa_dataset.HivePartitioning.discover(infer_dictionary=True)
    assert pa_dataset.dataset(folder, partitioning=hive).to_table().num_rows == sum(rows)


def test_a_part_with_one_flipped_bit_is_named(market: RecordedMarket, tmp_path: Path) -> None:
    archive = tmp_path / "archive"
    shutil.copytree(market.archive, archive)
    part = sorted((archive / "l3_events").rglob("*.parquet"))[0]
    content = bytearray(part.read_bytes())
    content[len(content) // 2] ^= 1
    part.write_bytes(content)
    done = run("recorder.cli", "verify", str(archive))
    assert done.returncode == 1
    assert part.relative_to(archive).as_posix() in done.stdout
