"""The catalog: a transaction is whole or nothing."""

from __future__ import annotations

import random
import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from recorder.errors import RecorderError
from recorder.pipeline.output import Gap, InstrumentSeen, InstrumentsListed, Interval
from recorder.storage.catalog_reader import CatalogReader
from recorder.storage.catalog_writer import CatalogWriter
from recorder.storage.room import is_disk_full
from schemas.catalog import CATALOG_VERSION, TABLES
from schemas.kucoin.rest import Instrument
from tests.support.archive_content import table_rows


@pytest.fixture
def catalog(tmp_path: Path) -> Any:
    """An empty catalog."""
    writer = CatalogWriter(tmp_path)
    yield writer
    writer.close()


def run_row(run_id: str, *, ts_stop: int | None = None, reason: str | None = None) -> dict:
    """Return a run."""
    row: dict[str, Any] = dict.fromkeys(TABLES["runs"].names)
    return {**row, "run_id": run_id, "ts_start": 1, "ts_stop": ts_stop, "stop_reason": reason}


def part_row(path: str, rows: int, replaced: int | None = None) -> dict:
    """Return a part."""
    row: dict[str, Any] = dict.fromkeys(TABLES["parts"].names)
    key = {"dataset": "trades", "symbol": "A-B", "stream": "trades", "run_id": "r1"}
    return {**row, **key, "path": path, "rows": rows, "ts_replaced": replaced}


def interval(first: int, last: int, ts_from: int, ts_to: int) -> Interval:
    """Return an interval of A-B l2 whose sequences are its ordinals and 100."""
    return Interval(
        "A-B", "l2", first, last, ts_from, ts_to, 100 + first, 100 + last, is_open=False
    )


def instrument(symbol: str, wire: str) -> Instrument:
    """Return metadata that says `wire`."""
    return Instrument(symbol, symbol, "A", "B", "", "", "", "", "0.1", "0.01", "0.001", True, wire)


def test_it_is_a_database_of_this_version_in_wal_mode(catalog: Any, tmp_path: Path) -> None:
    del catalog
    db = sqlite3.connect(tmp_path / "catalog.db")
    assert db.execute("PRAGMA user_version").fetchone() == (CATALOG_VERSION,)
    assert db.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    db.close()


def test_a_transaction_is_whole_or_nothing(catalog: Any, tmp_path: Path) -> None:
    def half_a_roll() -> None:
        with catalog.transaction():
            catalog.put_run(run_row("r1"))
            catalog.put_parts([{"path": "p"}], [])

    with pytest.raises(KeyError):
        half_a_roll()
    assert table_rows(tmp_path, "runs") == []
    with catalog.transaction():
        catalog.put_run(run_row("r1"))
        assert table_rows(tmp_path, "runs") == []  # no reader sees half of it
    assert [row["run_id"] for row in table_rows(tmp_path, "runs")] == ["r1"]


def test_a_transaction_without_room_says_so_and_the_next_one_is_taken(
    catalog: Any, tmp_path: Path
) -> None:
    # SQLite takes such a transaction back by itself: a second time is an error of another kind.
    (pages,) = catalog._db.execute("PRAGMA page_count").fetchone()
    catalog._db.execute(f"PRAGMA max_page_count = {pages}")

    def too_much() -> None:
        with catalog.transaction():
            for number in range(200):
                catalog.put_run(run_row(f"r{number}-{'x' * 4000}"))

    with pytest.raises(sqlite3.OperationalError) as caught:
        too_much()
    assert is_disk_full(caught.value)
    catalog._db.execute("PRAGMA max_page_count = 1000000")
    with catalog.transaction():
        catalog.put_run(run_row("r1"))
    assert [row["run_id"] for row in table_rows(tmp_path, "runs")] == ["r1"]


def test_replaced_parts_are_known_and_count_for_nothing(catalog: Any) -> None:
    catalog.put_parts([part_row("a", 3), part_row("b", 4, replaced=9), part_row("c", 5)], [])
    assert catalog.published_rows("r1") == {("trades", "A-B", "trades"): 8}
    assert catalog.part_paths() == {"a", "b", "c"}
    assert {part["path"] for part in catalog.parts_of_run("r1")} == {"a", "c"}


def test_a_ledger_entry_is_updated_in_its_place(catalog: Any, tmp_path: Path) -> None:
    entry = interval(0, 5, 10, 20)
    gap = Gap("A-B", "l2", 5, "sequence", 20, 21, 106)
    catalog.put_ledger("r1", [entry, gap])
    entry.ts_to, entry.ordinal_last = 30, 9
    gap.ts_to, gap.sequence_received, gap.healed_by = 40, 120, "snapshot"
    catalog.put_ledger("r1", [entry, gap])
    (covered,) = table_rows(tmp_path, "coverage")
    assert (covered["ts_to"], covered["ordinal_last"], covered["is_open"]) == (30, 9, 0)
    (lost,) = table_rows(tmp_path, "gaps")
    assert (lost["ts_to"], lost["sequence_received"], lost["healed_by"]) == (40, 120, "snapshot")


def _run(catalog: Any, run_id: str, entries: list, *, stop: int | None, reason: str = "") -> None:
    catalog.put_run(run_row(run_id, ts_stop=stop, reason=reason or None))
    catalog.put_ledger(run_id, entries)
    catalog.join_runs([("A-B", "l2")])


def test_runs_are_joined_by_exactly_one_gap(catalog: Any, tmp_path: Path) -> None:
    _run(catalog, "r1", [interval(0, 5, 10, 20)], stop=25, reason="stopped")
    lost = Gap("A-B", "l2", 3, "disconnected", 40, 41, 104)
    _run(catalog, "r2", [interval(0, 3, 30, 40), lost], stop=45, reason="crashed")
    _run(catalog, "r3", [interval(0, 9, 60, 70)], stop=None)
    expected = [
        ("r1", 5, "stopped", 20, 30, 25, 106, 100, "next_run"),
        ("r2", 3, "disconnected", 40, 60, 41, 104, 100, "next_run"),
    ]
    names = ("run_id", "ordinal_from", "reason", "ts_from", "ts_to", "ts_detected")
    names += ("sequence_expected", "sequence_received", "healed_by")
    for _ in range(2):  # and again changes nothing
        found = [tuple(gap[name] for name in names) for gap in table_rows(tmp_path, "gaps")]
        assert sorted(found) == expected
        catalog.join_runs([("A-B", "l2"), ("C-D", "l2")])


def _trades(entries: list) -> list:
    return [replace(entry, stream="trades") for entry in entries]


def _healed(archive: Path) -> list[tuple[Any, ...]]:
    names = ("run_id", "ts_from", "ts_to", "sequence_received", "healed_by")
    return sorted(tuple(gap[name] for name in names) for gap in table_rows(archive, "gaps"))


def test_trades_filled_in_between_runs_heal_the_gap_and_it_stays_healed(
    catalog: Any, tmp_path: Path
) -> None:
    key = ("A-B", "trades")

    def run(name: str, entries: list, stop: int | None) -> None:
        catalog.put_run(run_row(name, ts_stop=stop, reason="stopped" if stop else None))
        catalog.put_ledger(name, _trades(entries))
        catalog.join_runs([key])

    within = Gap("A-B", "trades", 3, "disconnected", 40, 41, None, 44, 110, "backfill")
    run("r1", [interval(0, 5, 10, 20)], 25)
    run("r2", [interval(0, 3, 30, 40), within, interval(4, 9, 44, 50)], 51)
    run("r3", [interval(0, 9, 60, 70)], None)
    catalog.heal_trades_before("r3", "A-B")
    healed = [
        ("r1", 20, 30, 100, "next_run"),
        ("r2", 40, 44, 110, "backfill"),
        ("r2", 50, 60, 100, "backfill"),
    ]
    for _ in range(2):
        catalog.join_runs([key])
        assert _healed(tmp_path) == healed
    # A run that turns out to lie between them: nobody has shown anything about its two sides.
    run("between", [interval(0, 2, 52, 54)], 55)
    assert _healed(tmp_path) == [
        ("between", 54, 60, 100, "next_run"),
        *healed[:2],
        ("r2", 50, 52, 100, "next_run"),
    ]


def test_a_gap_that_was_filled_in_goes_when_another_run_covers_its_place(
    catalog: Any, tmp_path: Path
) -> None:
    key = ("A-B", "trades")
    within = Gap("A-B", "trades", 3, "disconnected", 14, 15, None, 16, 110, "backfill")
    for name, entries, stop in (
        ("r1", [interval(0, 3, 10, 14), within, interval(4, 5, 16, 20)], 25),
        ("r2", [interval(0, 9, 60, 70)], 71),
    ):
        catalog.put_run(run_row(name, ts_stop=stop, reason="stopped"))
        catalog.put_ledger(name, _trades(entries))
        catalog.join_runs([key])
    catalog.heal_trades_before("r2", "A-B")
    catalog.put_run(run_row("both", ts_stop=81, reason="source"))
    catalog.put_ledger("both", _trades([interval(0, 9, 12, 80)]))
    catalog.join_runs([key])
    assert _healed(tmp_path) == [("r1", 14, 16, 110, "backfill")]


def test_a_run_that_goes_on_is_not_joined_to_a_later_one(catalog: Any, tmp_path: Path) -> None:
    _run(catalog, "r9", [interval(0, 9, 60, 70)], stop=80, reason="stopped")
    _run(catalog, "r1", [interval(0, 5, 10, 20)], stop=None)
    assert table_rows(tmp_path, "gaps") == []
    _run(catalog, "r1", [interval(6, 8, 25, 30)], stop=31, reason="source")
    (gap,) = table_rows(tmp_path, "gaps")
    assert (gap["run_id"], gap["ordinal_from"], gap["ts_from"], gap["ts_to"]) == ("r1", 8, 30, 60)


def test_an_instrument_is_in_force_until_the_next(catalog: Any, tmp_path: Path) -> None:
    for ts, wire in ((10, "a"), (20, "a"), (30, "b"), (20, "a"), (5, "c"), (30, "b")):
        catalog.put_instruments("r1", [InstrumentSeen(ts, instrument("A-B", wire))])
    rows = sorted(table_rows(tmp_path, "instruments"), key=lambda row: row["ts_from"])
    assert [(row["ts_from"], row["ts_to"], row["wire"]) for row in rows][-1] == (30, None, "b")
    assert [row["ts_from"] for row in rows[1:]] == [row["ts_to"] for row in rows[:-1]]
    assert (rows[0]["price_scale"], rows[0]["size_scale"], rows[0]["funds_scale"]) == (3, 1, 2)


def test_an_instrument_ends_when_it_is_listed_no_more_and_begins_again(
    catalog: Any, tmp_path: Path
) -> None:
    both, one = frozenset({"A-B", "C-D"}), frozenset({"A-B"})
    catalog.put_instruments(
        "r1",
        [
            InstrumentSeen(10, instrument("A-B", "a")),
            InstrumentSeen(10, instrument("C-D", "c")),
            InstrumentsListed(10, both),
            InstrumentsListed(20, one),
            InstrumentSeen(30, instrument("C-D", "c")),
            InstrumentsListed(30, both),
        ],
    )
    catalog.put_instruments("r2", [InstrumentsListed(40, both)])
    rows = sorted(table_rows(tmp_path, "instruments"), key=lambda r: (r["symbol"], r["ts_from"]))
    assert [(row["symbol"], row["ts_from"], row["ts_to"]) for row in rows] == [
        ("A-B", 10, None), ("C-D", 10, 20), ("C-D", 30, None),
    ]  # fmt: skip


def test_a_run_is_forgotten_in_every_table(catalog: Any, tmp_path: Path) -> None:
    for run_id in ("r1", "r2"):
        catalog.put_run(run_row(run_id))
        catalog.put_ledger(run_id, [interval(0, 5, 10, 20)])
        catalog.put_checkpoint(dict.fromkeys(TABLES["checkpoints"].names) | {"run_id": run_id})
    catalog.forget_run("r1")
    for table in ("runs", "coverage", "checkpoints"):
        assert [row["run_id"] for row in table_rows(tmp_path, table)] == ["r2"]
    catalog.end_run("r2", 99, "crashed")
    assert (table_rows(tmp_path, "runs")[0]["ts_stop"], catalog.checkpoint("r1")) == (99, None)


def _make_version_1(archive: Path) -> None:
    db = sqlite3.connect(archive / "catalog.db")
    db.executescript(
        "DROP TABLE removals; DROP TABLE jobs; ALTER TABLE audits DROP COLUMN compared;"
        "INSERT INTO audits VALUES ('A-B', 'l2', 'r1', 7, 8, 'equal', NULL);"
        "PRAGMA user_version=1;"
    )
    db.close()


def test_an_older_catalog_is_read_as_it_is_and_brought_up_to_date_by_a_writer(
    tmp_path: Path,
) -> None:
    with closing(CatalogWriter(tmp_path)) as writer:
        writer.put_run(run_row("r1"))
        writer.put_parts([part_row("a", 3)], [])
    _make_version_1(tmp_path)
    with closing(CatalogReader.open(tmp_path)) as reader:
        assert reader.published_rows("r1") == {("trades", "A-B", "trades"): 3}
        assert (reader.removed_segments(), reader.last_jobs()) == ({}, [])
    assert _version(tmp_path) == 1
    with closing(CatalogWriter(tmp_path)) as writer:
        assert writer.published_rows("r1") == {("trades", "A-B", "trades"): 3}
        assert writer.removed_rows("r1") == {}
    assert _version(tmp_path) == CATALOG_VERSION == 3
    assert [row["run_id"] for row in table_rows(tmp_path, "runs")] == ["r1"]
    assert table_rows(tmp_path, "jobs") == []
    (audit,) = table_rows(tmp_path, "audits")
    assert (audit["sequence"], audit["result"], audit["compared"]) == (8, "equal", None)


def _version(archive: Path) -> int:
    with closing(sqlite3.connect(archive / "catalog.db")) as db:
        return int(db.execute("PRAGMA user_version").fetchone()[0])


def test_a_newer_catalog_is_not_touched(tmp_path: Path) -> None:
    CatalogWriter(tmp_path).close()
    with closing(sqlite3.connect(tmp_path / "catalog.db")) as db:
        db.execute("PRAGMA user_version=4")
    with pytest.raises(RecorderError, match="has version 4, this program writes 3"):
        CatalogWriter(tmp_path)
    assert _version(tmp_path) == 4


def _job(name: str, ts: int, outcome: str = "ok") -> dict[str, Any]:
    return {
        "name": name, "ts_start": ts, "ts_stop": ts + 1, "outcome": outcome, "detail": f"{ts}",
    }  # fmt: skip


def test_the_last_run_of_each_job_is_told_and_old_ones_go(catalog: Any, tmp_path: Path) -> None:
    assert catalog.last_jobs() == []
    for ts in range(1, 521):
        catalog.put_job(_job("repack", ts, "nothing"))
    catalog.put_job(_job("backup", 7, "failed"))
    assert catalog.last_jobs() == [_job("backup", 7, "failed"), _job("repack", 520, "nothing")]
    kept = sorted(
        row["ts_start"] for row in table_rows(tmp_path, "jobs") if row["name"] == "repack"
    )
    assert kept == list(range(21, 521))


def _removal(path: str, dataset: str, rows: int | None, **other: Any) -> dict[str, Any]:
    row = {"path": path, "dataset": dataset, "date": "2026-11-22", "rows": rows, "bytes": 9}
    key = {"symbol": "A-B", "stream": "trades", "run_id": "r1", "rule": "a test", "ts_removed": 50}
    return {**row, **key, **other}


def test_removed_parts_leave_force_and_their_rows_still_count_as_published(
    catalog: Any, tmp_path: Path
) -> None:
    catalog.put_parts([part_row("a", 3), part_row("b", 4)], [])
    catalog.remove_files(
        [_removal("a", "trades", 3), _removal("raw/x", "raw", None, symbol=None, stream=None)]
    )
    assert catalog.published_rows("r1") == {("trades", "A-B", "trades"): 7}
    assert catalog.removed_rows("r1") == {("trades", "A-B", "trades"): 3}
    assert catalog.removed_segments() == {"r1": {"raw/x"}}
    catalog.remove_files([_removal("a", "trades", 3), _removal("c", "trades", 5)])
    assert catalog.removed_rows("r1") == {("trades", "A-B", "trades"): 3}
    assert [part["path"] for part in catalog.live_parts()] == ["b"]
    assert [part["path"] for part in catalog.replaced_parts(50)] == ["a"]
    assert catalog.replaced_parts(49) == []
    catalog.forget_parts(["a"])
    assert catalog.published_rows("r1") == {("trades", "A-B", "trades"): 7}
    assert catalog.paths_of_run("r1") == ["b"]
    assert len(table_rows(tmp_path, "removals")) == 2


def test_parts_are_swapped_only_while_all_of_them_are_in_force(catalog: Any) -> None:
    catalog.put_parts([part_row("a", 3), part_row("b", 4, replaced=9)], [])
    assert not catalog.swap_parts(["a", "b"], [part_row("c", 7)], [], 20)
    assert catalog.part_paths() == {"a", "b"}
    assert catalog.swap_parts(["a"], [part_row("c", 3)], [], 20)
    (live,) = catalog.live_parts()
    assert (live["path"], live["ts_published"], live["ts_replaced"]) == ("c", 20, None)
    assert [part["path"] for part in catalog.replaced_parts(20)] == ["a", "b"]


_AT_ONCE = {
    "a": [interval(0, 5, 10, 20)],
    "b": [interval(0, 5, 15, 30), Gap("A-B", "l2", 5, "disconnected", 30, 31, 106)],
    "inside-b": [interval(0, 5, 18, 22)],
    "c": [interval(0, 9, 60, 70)],
    "inside-c": [interval(0, 2, 62, 64), Gap("A-B", "l2", 2, "sequence", 64, 65, 103)],
    "d": [interval(0, 9, 90, 95)],
}


@pytest.mark.parametrize("seed", range(12))
def test_runs_at_once_are_joined_alike_in_whatever_order_they_come(
    tmp_path: Path, seed: int
) -> None:
    names = sorted(_AT_ONCE)
    random.Random(seed).shuffle(names)
    with closing(CatalogWriter(tmp_path)) as catalog:
        for name in names:
            entries = [replace(entry) for entry in _AT_ONCE[name]]
            _run(catalog, name, entries, stop=entries[0].ts_to + 1, reason="source")
    gaps = [
        (gap["ts_from"], gap["ts_to"], gap["run_id"], gap["reason"])
        for gap in table_rows(tmp_path, "gaps")
    ]
    assert sorted(gaps, key=repr) == [
        (30, 60, "b", "disconnected"),
        (64, None, "inside-c", "sequence"),
        (70, 90, "c", "source"),
    ]
