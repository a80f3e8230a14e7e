"""What is printed of silenced topics, corrupted books and missed trades is counted rightly."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from benchmarks import unseen

BTC, ETH = "BTC-USDT", "ETH-BTC"


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """Return an archive that has a catalog and nothing in it."""
    folder = tmp_path / "archive"
    folder.mkdir()
    with closing(sqlite3.connect(folder / "catalog.db")) as catalog:
        catalog.execute("CREATE TABLE parts (dataset, path, ts_replaced)")
        catalog.execute("CREATE TABLE gaps (symbol, stream, reason, ts_detected, ts_to, healed_by)")
        catalog.commit()
    return folder


def insert(archive: Path, table: str, *rows: tuple[object, ...]) -> None:
    with closing(sqlite3.connect(archive / "catalog.db")) as catalog:
        for row in rows:
            catalog.execute(f"INSERT INTO {table} VALUES ({', '.join('?' * len(row))})", row)
        catalog.commit()


def test_found_counts_from_each_fault_to_its_first_gap(archive: Path) -> None:
    second = 1_000_000_000
    insert(
        archive,
        "gaps",
        (BTC, "l2", "silent", 9 * second, 10 * second, "snapshot"),  # before its fault
        (BTC, "l2", "silent", 40 * second, 41 * second, "snapshot"),
        (BTC, "l2", "silent", 50 * second, None, None),
        (ETH, "l2", "sequence", 45 * second, 46 * second, "snapshot"),
        (ETH, "l3", "silent", 47 * second, 48 * second, "snapshot"),
    )
    struck = {(BTC, "l2"): 10 * second, (ETH, "l2"): 10 * second}
    assert unseen.found(struck, archive, "silent") == {
        "faults": 2,
        "found": 1,
        "found_after_s": {"min": 30.0, "median": 30.0, "max": 30.0},
        "not_healed": 1,
        "elsewhere": 1,
    }


def test_missed_trades_are_told_by_what_lost_them(
    archive: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unseen, "SYMBOLS", (BTC,))
    orders = archive.parent / "orders.jsonl"
    events = [{"kind": "match", "symbol": BTC, "sequence": n} for n in range(1, 21)]
    orders.write_text("".join(json.dumps(event) + "\n" for event in events))
    heard = [(n, "match", "run-1") for n in (2, 3, 7)] + [(n, "match", "run-2") for n in (14, 15)]
    # Of 4, 5, 6 two came back; of those between the runs, 8 to 13, one; 99 nobody ever traded.
    back = [(4, "backfill", "run-1"), (6, "backfill", "run-1"), (13, "backfill", "run-2")]
    rows = [*heard, *back, (99, "backfill", "run-2"), (15, "match", "run-2")]
    columns = {"symbol": [BTC] * len(rows)}
    for at, name in enumerate(("sequence", "source", "run_id")):
        columns[name] = [row[at] for row in rows]
    pq.write_table(pa.table(columns), archive / "one.parquet")
    insert(archive, "parts", ("trades", "one.parquet", None))
    insert(archive, "gaps", (BTC, "trades", "disconnected", 1, 2, "backfill"))
    told = unseen.filled_in(orders, archive)
    assert told == {
        "holes": 1,
        "holes_proven_whole_again": 1,
        "connection_cut": {"missed": 3, "filled_in": 2, "share": 0.6667},
        "recorder_off": {"missed": 6, "filled_in": 1, "share": 0.1667},
        "missed": 9,
        "made_up": 1,
        "twice": 1,
    }


def test_a_run_is_good_when_all_was_found_and_nothing_invented() -> None:
    silenced = {"faults": 2, "found": 2, "not_healed": 0, "elsewhere": 0, "wrong": ""}
    assert unseen.is_good(silenced)
    for bad in ({"found": 1}, {"not_healed": 1}, {"elsewhere": 1}, {"wrong": "no"}):
        assert not unseen.is_good({**silenced, **bad})
    holes = {"connection_cut": {"filled_in": 6}, "recorder_off": {"filled_in": 3}}
    trades = {"missed": 9, "made_up": 0, "twice": 0, "wrong": "", **holes}
    trades |= {"holes": 2, "holes_proven_whole_again": 2}
    assert unseen.is_good(trades)
    for bad in ({"missed": 0}, {"made_up": 1}, {"twice": 1}, {"wrong": "no"}):
        assert not unseen.is_good({**trades, **bad})
    assert not unseen.is_good({**trades, "missed": 10}), "a hole is said to be whole and is not"
    assert unseen.is_good({**trades, "missed": 10, "holes_proven_whole_again": 1})
    nothing = {hole: {"filled_in": 0} for hole in holes}
    assert not unseen.is_good({**trades, **nothing, "holes_proven_whole_again": 0})
