"""SQL over an archive: views, macros, errors, and how much of it is replayed."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path

import duckdb
import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.dataset as pa_dataset
import pyarrow.parquet as pq
import pytest

from replay import Archive
from replay.errors import (
    BadInput,
    BadTime,
    BookUnknown,
    OutsideArchive,
    PartDamaged,
    QueryError,
    SnapshotExpired,
    UnknownSymbol,
)
from replay.sql.connection import DEFINITIONS
from replay.tasks import GRID_TASKS, depth_tasks
from schemas.datasets import DATASETS
from tests.support.archive_builder import T0, ArchiveBuilder, S
from tests.unit.replay.conftest import SYMBOL, tell, trade

LAZY_SQL = Path(__file__).parents[4] / "benchmarks" / "lazy_sql.py"
AT = "TIMESTAMP '2026-11-22 10:00:0{}'"

COLUMNS = {
    f"book_at('{SYMBOL}', {AT.format(1)})": "side level price size price_mantissa price_scale "
    "size_mantissa size_scale sequence known",
    f"book_at_sequence('{SYMBOL}', 103)": "side level price size price_mantissa price_scale "
    "size_mantissa size_scale sequence known",
    f"l3_book_at('{SYMBOL}', {AT.format(1)})": "side level position price size order_id",
    f"bbo('{SYMBOL}')": "symbol ts_event ts_recv sequence best_bid best_bid_size best_ask "
    "best_ask_size valid crossed",
    f"depth('{SYMBOL}', {AT.format(1)}, {AT.format(3)})": "ts sequence side level price size valid",
    f"bars('{SYMBOL}', {AT.format(0)}, {AT.format(9)}, '1s')": "ts open high low close volume "
    "turnover trades buy_volume sell_volume vwap covered",
    "coverage()": "symbol stream date seconds_covered seconds_unknown messages rows gaps "
    "gaps_by_reason trades_proven audits_equal audits_unequal",
}


@pytest.mark.parametrize("call", COLUMNS)
def test_macros_have_their_columns(tape, call):
    assert tape.sql(f"FROM {call}").column_names == COLUMNS[call].split()


def test_defaults_can_be_named(tape):
    whole = tape.sql(f"FROM book_at('{SYMBOL}', {AT.format(2)})")
    assert whole.column("known").to_pylist() == [True, True, True, False, True, False]
    assert whole.column("price").to_pylist() == [10.5, 10.0, 9.0, None, 12.0, None]
    assert len(tape.sql(f"FROM book_at('{SYMBOL}', {AT.format(2)}, depth := 1)")) == 2
    ranged = tape.sql(f"FROM bbo('{SYMBOL}', ts_from := {AT.format(1)}, ts_to := {AT.format(3)})")
    assert ranged.column("sequence").to_pylist() == [102, 103]
    frames = f"depth('{SYMBOL}', {AT.format(1)}, {AT.format(3)}, every := '500ms', levels := 1)"
    assert len(tape.sql(f"SELECT DISTINCT ts FROM {frames}")) == 4
    seconds = (
        f"depth('{SYMBOL}', {AT.format(1)}, {AT.format(3)}, every := INTERVAL 500 MILLISECOND)"
    )
    assert len(tape.sql(f"SELECT DISTINCT ts FROM {seconds}")) == 4


@pytest.mark.parametrize(
    "moment",
    ["'2026-11-22T10:00:02Z'", "'2026-11-22T18:00:02+08:00'", "TIMESTAMP '2026-11-22 10:00:02'",
     "TIMESTAMPTZ '2026-11-22 10:00:02+00'", str(T0 + 2 * S),
     "(SELECT max(ts_recv) FROM tickers) + INTERVAL 2 SECOND"],
)  # fmt: skip
def test_moments_of_every_sql_type(builder, moment):
    row = {"ts_recv": T0, "sequence": 1, "channel": "ticker"}
    extra = ArchiveBuilder(builder.root.parent / "other", streams=builder.streams)
    extra.runs = builder.runs
    extra.add("tickers", SYMBOL, [row])
    extra.write()
    with Archive(extra.root) as tape:
        found = tape.sql(f"SELECT DISTINCT sequence FROM book_at('{SYMBOL}', {moment})")
        assert found.to_pylist() == [{"sequence": 103}]


def test_every_view_is_there_without_any_part(tmp_path):
    with Archive(ArchiveBuilder(tmp_path / "empty").write()) as tape:
        for name in (*DATASETS, "l2_updates_all", "runs", "parts", "gaps", "coverage",
                     "instruments", "audits", "full_books"):  # fmt: skip
            assert tape.sql(f"SELECT count(*) AS n FROM {name}").to_pylist() == [{"n": 0}]
        assert len(tape.sql("FROM coverage()")) == 0
        with pytest.raises(UnknownSymbol):
            tape.sql("FROM bbo('BTC-USDT')")


def test_price_0_rows_are_hidden_unless_asked_for(tape):
    assert tape.sql("SELECT count(*) n FROM l2_updates").to_pylist() == [{"n": 5}]
    assert tape.sql("SELECT count(*) n FROM l2_updates_all").to_pylist() == [{"n": 6}]


def test_doubles_of_views_are_correctly_rounded(tmp_path):
    rng = random.Random(9)
    pairs = [
        (rng.randrange(1, 2**63) >> rng.randrange(62), rng.randrange(0, 39)) for _ in range(400)
    ]
    pairs += [(2**53, 0), (2**53 - 1, 22), (2**53 + 1, 22), (1, 23)]
    builder = ArchiveBuilder(tmp_path / "numbers")
    builder.add(
        "trades",
        SYMBOL,
        [
            trade(T0, 1, mantissa, mantissa, "buy") | {"price_scale": scale, "size_scale": scale}
            for mantissa, scale in pairs
        ],
    )
    builder.write()
    expected = [float(Decimal(mantissa).scaleb(-scale)) for mantissa, scale in pairs]
    with Archive(builder.root) as tape:
        found = tape.sql("SELECT price, size FROM trades ORDER BY ordinal")
        assert found.column("price").to_pylist() == expected
        assert found.column("size").to_pylist() == expected


def test_tickers_join_the_best_prices_by_sequence(builder, tmp_path):
    def ticker(sequence: int, bid: int, bid_size: int) -> dict:
        return {
            "ts_recv": T0, "sequence": sequence, "channel": "ticker",
            "best_bid_mantissa": bid, "best_bid_scale": 2,
            "best_bid_size_mantissa": bid_size, "best_bid_size_scale": 0,
        }  # fmt: skip

    pushes = [
        (99, 1, 1),
        (100, 1000, 1),
        (101, 1000, 1),
        (102, 1050, 1),
        (150, 1, 1),
        (201, 1000, 1),
    ]
    more = ArchiveBuilder(tmp_path / "more", streams=builder.streams, runs=builder.runs)
    more.add("tickers", SYMBOL, [ticker(*push) for push in pushes])
    more.write()
    with Archive(more.root) as tape:
        found = tape.sql(
            f"""
            SELECT t.sequence, t.best_bid = b.best_bid AND t.best_bid_size = b.best_bid_size AS same
            FROM tickers t ASOF JOIN bbo('{SYMBOL}') b
                ON t.symbol = b.symbol AND t.sequence >= b.sequence
            WHERE b.valid ORDER BY 1
            """
        ).to_pylist()
    # At 102 the ask has left the known depth: the best prices are not known.
    assert found == [{"sequence": n, "same": True} for n in (100, 101, 201)]


@pytest.mark.parametrize(
    ("query", "kind", "word"),
    [
        ("SELEC 1", QueryError, "near"),
        ("FROM l2_update", QueryError, "views: l2_updates"),
        ("SELECT nothing FROM trades", QueryError, "nothing"),
        ("FROM bbo('BTC-USD')", UnknownSymbol, "BTC-USDT"),
        ("FROM bbo(NULL)", BadInput, "NULL"),
        (f"FROM book_at('{SYMBOL}', '2026-11-22 10:00:00')", BadTime, "append Z"),
        (f"FROM book_at('{SYMBOL}', {AT.format(5)})", BookUnknown, "sequence"),
        (f"FROM book_at_sequence('{SYMBOL}', 150)", BookUnknown, "sequence 150"),
        (f"FROM book_at('{SYMBOL}', TIMESTAMP '2027-01-01')", OutsideArchive, "2026-11-22"),
        (f"FROM depth('{SYMBOL}', {AT.format(1)}, {AT.format(3)}, every := 'x')", BadTime, "1s"),
        (f"FROM depth('{SYMBOL}', {AT.format(1)}, {AT.format(3)}, levels := 0)", BadInput, "0"),
    ],
)
def test_what_is_wrong_is_said_in_our_words(tape, query, kind, word):
    with pytest.raises(kind, match=word) as caught:
        tape.sql(query)
    assert caught.value.hint
    assert tape.sql("SELECT 1 AS one").to_pylist() == [{"one": 1}], "the next statement works"


def test_values_can_be_bound(tape):
    found = tape.sql("SELECT $a::BIGINT + 1 AS b, $s AS s", a=41, s="it's")
    assert found.to_pylist() == [{"b": 42, "s": "it's"}]


def test_times_can_be_bound_and_compared(tape):
    moment = datetime(2026, 11, 22, 18, 0, 1, tzinfo=timezone(timedelta(hours=8)))
    for value in (moment, np.datetime64(T0 + S, "ns")):
        found = tape.sql("SELECT count(*) AS n FROM trades WHERE ts_recv > $query", query=value)
        assert found.to_pylist() == [{"n": 2}]
        book = tape.sql("SELECT DISTINCT sequence FROM book_at($symbol, $at)",
                        symbol=SYMBOL, at=value)  # fmt: skip
        assert book.to_pylist() == [{"sequence": 102}]
    with pytest.raises(BadTime, match="time zone"):
        tape.sql("SELECT $at", at=datetime(2026, 11, 22))  # noqa: DTZ001


@pytest.fixture(scope="module")
def many_slices(tmp_path_factory):
    builder = ArchiveBuilder(tmp_path_factory.mktemp("many") / "archive", rows_per_part=100)
    stream = builder.book(SYMBOL).snapshot(T0, 0, [("1", "1")], [("9", "1")])
    for at in range(1, 2001):
        stream.message(T0 + at * S, [("bid", "1", str(at))])
        if at % 50 == 0:
            stream.keyframe()
    builder.write()
    with Archive(builder.root) as tape:
        yield tape


@pytest.mark.parametrize(
    "query",
    [
        f"FROM bbo('{SYMBOL}') LIMIT 10",
        f"FROM bbo('{SYMBOL}') WHERE valid LIMIT 10",
        f"FROM bbo('{SYMBOL}', ts_from := TIMESTAMP '2026-11-22 10:20:00') LIMIT 10",
        f"FROM depth('{SYMBOL}', {T0}, {T0 + 1800 * S}) LIMIT 10",
    ],
)
def test_a_limit_replays_no_more_than_it_needs(many_slices, query):
    before = many_slices.counters.slices_replayed
    assert len(many_slices.sql(query)) == 10
    assert many_slices.counters.slices_replayed - before <= 3, "of 41 slices in 20 parts"


def test_all_of_it_is_each_slice_once_and_in_order(many_slices):
    before = many_slices.counters.slices_replayed
    found = many_slices.sql(f"SELECT sequence FROM bbo('{SYMBOL}')")
    assert many_slices.counters.slices_replayed - before == 41
    # Size 1 at sequence 1 is what the snapshot had: no change.
    assert found.column("sequence").to_pylist() == [0, *range(2, 2001), 2001]


def test_files_the_catalog_does_not_list_are_not_seen(builder):
    part = next((builder.root / "trades").rglob("*.parquet"))
    part.with_name("0-0-stray.parquet").write_bytes(part.read_bytes())
    with Archive(builder.root) as tape:
        assert tape.sql("SELECT count(*) n FROM trades").to_pylist() == [{"n": 3}]


def test_each_definition_is_in_a_file_of_its_name():
    from replay.sql.connection import definition

    for name in DEFINITIONS:
        text = definition(name)
        assert f" {name} AS" in text or f" {name}(" in text


@pytest.mark.parametrize("dataset", ["l2_updates", "l3_events", "trades", "book_snapshots"])
def test_a_lone_part_and_the_folder_are_read_by_three_engines(builder, dataset):
    folder = builder.root / dataset
    part = next(folder.rglob("*.parquet"))
    schema = DATASETS[dataset].schema
    rows = sum(pq.read_metadata(path).num_rows for path in folder.rglob("*.parquet"))

    assert pq.read_schema(part).equals(schema)
    partitioning = pa_dataset.partitioning(flavor="hive", schema=pa.schema([("date", pa.string())]))
    whole = pa_dataset.dataset(folder, schema=schema, partitioning=partitioning).to_table()
    assert (whole.schema.names, len(whole)) == (schema.names, rows)

    with duckdb.connect() as connection:
        for source in (str(part), f"{folder}/*/*/*.parquet"):
            found = connection.sql(
                f"SELECT * FROM read_parquet('{source}', hive_partitioning = false)"
            )
            types = dict(zip(found.columns, map(str, found.types), strict=True))
            assert types["ts_recv"] == "TIMESTAMP_NS"
            assert (types["price_mantissa"], types["price_scale"]) == ("BIGINT", "TINYINT")
            assert (types["symbol"], types["side" if "side" in types else "symbol"]) == (
                "VARCHAR", "VARCHAR",
            )  # fmt: skip

    for source in (part, f"{folder}/**/*.parquet"):
        frame = pl.read_parquet(source, hive_partitioning=False)
        assert frame.schema["ts_recv"] == pl.Datetime("ns")
        assert (frame.schema["price_mantissa"], frame.schema["price_scale"]) == (pl.Int64, pl.Int8)
        assert frame["symbol"].cast(pl.String).unique().to_list() == [SYMBOL]


def test_a_symbol_reads_its_own_files_alone_however_it_is_spelt(tmp_path):
    symbols = ("BTC-USDT", "A/B C%", "1INCH-ÜSD", "NULL")
    builder = ArchiveBuilder(tmp_path / "env=prod" / "archive")
    for symbol in symbols:
        builder.add("trades", symbol, [trade(T0, 1, 100, 1, "buy")])
    builder.write()
    with Archive(builder.root) as tape:
        found = tape.sql("SELECT symbol FROM trades ORDER BY symbol").column("symbol").to_pylist()
        assert found == sorted(symbols)
        for symbol in symbols:
            plan = f"EXPLAIN ANALYZE SELECT max(price) FROM trades WHERE symbol = '{symbol}'"
            assert "Scanning Files: 1/4" in tape.sql(plan).column(1).to_pylist()[0]
            count = "SELECT count(*) AS n FROM trades WHERE symbol = $symbol"
            assert tape.sql(count, symbol=symbol).to_pylist() == [{"n": 1}]


@pytest.mark.parametrize(
    ("where", "files", "rows"),
    [
        ("date = '2026-11-23'", "1/3", 1),
        ("date >= DATE '2026-11-23'", "2/3", 2),
        ("date BETWEEN '2026-11-22' AND '2026-11-23' AND symbol = 'BTC-USDT'", "2/3", 2),
        # The day is that of the known time: held back over midnight, a row is the next day's.
        ("date = '2026-11-24' AND ts_recv < '2026-11-24'", "1/3", 1),
    ],
)
def test_a_day_reads_its_own_files_alone(tmp_path, where, files, rows):
    builder = ArchiveBuilder(tmp_path / "archive", rows_per_part=1)
    day = 86_400 * S
    held = trade(T0 + 2 * day - 10 * 3600 * S - 1, 3, 100, 1, "buy") | {"held_ns": 5}
    builder.add(
        "trades",
        "BTC-USDT",
        [trade(T0, 1, 100, 1, "buy"), trade(T0 + day, 2, 100, 1, "buy"), held],
    )
    builder.write()
    with Archive(builder.root) as tape:
        plan = tape.sql(f"EXPLAIN ANALYZE SELECT max(price) FROM trades WHERE {where}")
        assert f"Scanning Files: {files}" in plan.column(1).to_pylist()[0]
        counted = tape.sql(f"SELECT count(*) AS n FROM trades WHERE {where}").to_pylist()
        assert counted == [{"n": rows}]
        days = tape.sql("SELECT DISTINCT date::VARCHAR AS d FROM trades ORDER BY 1").to_pylist()
        assert [row["d"] for row in days] == ["2026-11-22", "2026-11-23", "2026-11-24"]
        assert tape.sql("SELECT date FROM l3_events").num_rows == 0


def test_an_archive_never_closed_is_silent_at_exit(builder):
    program = (
        "import gc, sys, weakref\n"
        "from replay import Archive\n"
        "def ask():\n"
        "    tape = Archive(sys.argv[1])\n"
        f"    tape.sql(\"FROM bbo('{SYMBOL}')\")\n"
        "    return weakref.ref(tape)\n"
        "gone = ask()\n"
        "gc.collect()\n"
        "assert gone() is None\n"
        "tape = Archive(sys.argv[1])\n"
        "try:\n"
        "    tape.sql(\"FROM bbo('nothing')\")\n"
        "except ValueError:\n"
        "    pass\n"
        "except Exception as error:\n"
        "    print(type(error).__name__)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(builder.root)],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (0, "UnknownSymbol\n", "")


def test_a_grid_of_any_size_is_cut_into_few_tasks(many_slices):
    engine = many_slices.engine()
    fine = depth_tasks(engine, SYMBOL, T0 - 9 * S, T0 + 2100 * S, 211_000_000, 10)
    whole = depth_tasks(engine, SYMBOL, T0 - 9 * S, T0 + 2100 * S, 1_000_000, 10)
    assert len(fine) == 42, "one a slice with points, one before the first, one after the last"
    assert len(whole) <= 42 + GRID_TASKS
    with pytest.raises(BadInput, match="longer spacing"):
        many_slices.sql(f"FROM depth('{SYMBOL}', {T0}, {T0 + 1800 * S}, every := 1) LIMIT 2")


def test_a_grid_finer_than_its_tasks_is_whole_and_in_order(many_slices, monkeypatch):
    monkeypatch.setattr("replay.tasks.FRAMES_MAX", 1)
    monkeypatch.setattr("replay.tasks.GRID_TASKS", 3)
    monkeypatch.setattr("replay.engine.CELLS_MAX", 7)
    query = (
        f"FROM depth('{SYMBOL}', {T0 - S}, {T0 + 2003 * S}, every := '500ms', levels := 50) "
        "WHERE side = 'bid' OR side IS NULL"
    )
    found = many_slices.sql(f"SELECT epoch_ns(ts) AS ts, sequence {query}").to_pylist()
    assert [row["ts"] for row in found] == [T0 - S + at * S // 2 for at in range(4008)]
    assert [row["sequence"] for row in found] == [
        None if not 0 <= at <= 4000 else at // 2 for at in range(-2, 4006)
    ]


def _gone(part):
    part.unlink()


def _torn(part):
    part.write_bytes(part.read_bytes()[:-9])


@pytest.mark.parametrize(("hurt", "kind"), [(_gone, SnapshotExpired), (_torn, PartDamaged)])
@pytest.mark.parametrize("which", [0, -1])
def test_a_lost_part_is_named_and_costs_no_other_dataset(tmp_path, hurt, kind, which):
    archive = tell(tmp_path / "it's here")
    archive.add("trades", "ZZ-USDT", [trade(T0, 1, 1, 1, "buy")])
    second = ArchiveBuilder(tmp_path / "two", streams=archive.streams, plain=archive.plain)
    second.write()
    part = sorted((second.root / "trades").rglob("*.parquet"))[which]
    whole = part.read_bytes()
    hurt(part)
    with Archive(second.root) as tape:
        for query in (
            "SELECT sum(price) AS n FROM trades",
            "SELECT count(*) AS n FROM trades",
            "SELECT symbol FROM trades LIMIT 1",
        ):
            if hurt is _gone or which == 0 or "sum" in query:
                with pytest.raises(kind, match=part.name):
                    tape.sql(query)
        assert tape.sql("SELECT count(*) AS n FROM l2_updates").to_pylist() == [{"n": 5}]
        assert len(tape.sql(f"FROM bbo('{SYMBOL}')")) > 0
        part.write_bytes(whole)
        assert tape.sql("SELECT count(*) AS n FROM trades").to_pylist() == [{"n": 4}]


def test_a_limit_opens_few_parts_and_a_count_holds_little():
    done = subprocess.run(
        [sys.executable, str(LAZY_SQL), "--parts", "8", "--rows-per-part", "60000"],
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    limit, count = map(json.loads, done.stdout.splitlines())
    assert (limit["rows"], limit["parts_touched"]) == (10, 1)
    assert limit["rows_replayed"] <= 3 * 50_000
    assert (count["parts_touched"], count["rows_replayed"]) == (8, 480_000)
    assert 0.45 < count["first"] / 480_000 < 0.55, "every second update changes the best"
    assert count["memory_added_mb"] <= 150
