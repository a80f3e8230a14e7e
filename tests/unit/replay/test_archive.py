"""An archive asked for books: known, unknown, outside, wrong."""

from __future__ import annotations

import sqlite3
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal

import pyarrow.parquet as pq
import pytest

from replay import Archive
from replay.errors import BadInput, BookUnknown, NotAnArchive, OutsideArchive, UnknownSymbol
from schemas.timestamps import format_iso
from tests.support.archive_builder import T0, S, publish_catalog
from tests.support.arrow_rows import rows_of
from tests.unit.replay.conftest import SYMBOL


def test_the_newest_book_when_nothing_is_asked(tape):
    book = tape.book(SYMBOL)
    assert book.sequence == 201
    assert book.bbo == (Decimal(10), Decimal(1), Decimal("12.125"), Decimal(3), True)


def test_a_row_held_back_counts_from_when_it_was_known(tape):
    assert tape.book(SYMBOL, T0 + S - 1).sequence == 100
    book = tape.book(SYMBOL, T0 + S)
    assert (book.sequence, book.ts_recv, book.ts_event) == (102, T0 + S, T0 + 7)


def test_a_book_from_a_keyframe_says_what_the_row_before_said(tape):
    before = tape.counters.rows_replayed
    book = tape.book(SYMBOL, T0 + 2 * S)
    assert (book.sequence, book.ts_recv, book.ts_event) == (103, T0 + 2 * S, None)
    assert tape.counters.rows_replayed - before == 2  # the slice after the keyframe, not before


def test_at_the_edges_of_a_gap_the_book_is_known_and_between_it_is_not(tape):
    assert tape.book(SYMBOL, T0 + 3 * S).sequence == 105
    assert tape.book(SYMBOL, T0 + 10 * S).sequence == 200
    assert tape.book(SYMBOL, sequence=105).sequence == 105
    assert tape.book(SYMBOL, sequence=200).sequence == 200
    for question in ({"at": T0 + 3 * S + 1}, {"at": T0 + 10 * S - 1}):
        with pytest.raises(BookUnknown) as caught:
            tape.book(SYMBOL, **question)
        assert caught.value.gap.reason == "sequence"
        assert "10:00:03" in caught.value.hint
        assert "10:00:10" in caught.value.hint
    for n in (106, 199):
        with pytest.raises(BookUnknown):
            tape.book(SYMBOL, sequence=n)


@pytest.mark.parametrize(
    "question", [{"at": T0 - 1}, {"at": T0 + 11 * S + 1}, {"sequence": 99}, {"sequence": 202}]
)
def test_outside_the_archive_the_range_is_said(tape, question):
    with pytest.raises(OutsideArchive) as caught:
        tape.book(SYMBOL, **question)
    assert "from 2026-11-22T10:00:00.000000000Z (sequence 100)" in caught.value.hint
    assert "to 2026-11-22T10:00:11.000000000Z (sequence 201)" in caught.value.hint


def test_an_unknown_symbol_names_the_near_ones(tape):
    with pytest.raises(UnknownSymbol) as caught:
        tape.book("BTC-USD")
    assert caught.value.hint == "it holds BTC-USDT"


@pytest.mark.parametrize(
    "question", [{"at": T0, "sequence": 100}, {"level": 4}, {"at": "2026-11-22T10:00:00"}]
)
def test_wrong_questions(tape, question):
    with pytest.raises(BadInput):
        tape.book(SYMBOL, **question)


def test_an_empty_range_and_one_outside(tape):
    with pytest.raises(BadInput):
        tape.bbo(SYMBOL, T0 + S, T0 + S)
    with pytest.raises(OutsideArchive):
        tape.bbo(SYMBOL, T0 + 12 * S, T0 + 13 * S)
    with pytest.raises(OutsideArchive):
        tape.bbo(SYMBOL, None, T0)


def test_levels_beyond_the_known_depth_are_marked(tape):
    book = tape.book(SYMBOL, T0 + 3 * S)
    assert book.asks.texts() == [("12", "3"), ("14", "1")]
    assert book.asks.known_mask.tolist() == [True, False]
    assert book.bids.known_mask.tolist() == [True, True, True]


def test_best_prices_begin_with_the_state_and_mark_the_unknown(tape):
    rows = rows_of(tape.bbo(SYMBOL, T0 + 2 * S + 1, T0 + 11 * S))
    assert [(r["ts_recv"] - T0, r["sequence"], r["best_ask"], r["valid"]) for r in rows] == [
        (2 * S + 1, 103, 12.0, True),
        (3 * S + 1, 106, None, False),
        (10 * S, 200, None, True),
    ]
    inside = rows_of(tape.bbo(SYMBOL, T0 + 5 * S, T0 + 6 * S))
    assert [(r["ts_recv"] - T0, r["sequence"], r["valid"]) for r in inside] == [(5 * S, 106, False)]


def test_level_3_queues(tape):
    book = tape.book(SYMBOL, T0 + 3 * S, level=3)
    assert [(o.order_id, o.level, o.position) for o in book.bids.orders] == [
        ("d", 1, 1), ("a", 2, 1), ("b", 3, 1),
    ]  # fmt: skip
    assert book.depth(1).to_json() == {
        "symbol": SYMBOL,
        "sequence": 105,
        "ts_event": None,
        "ts_recv": format_iso(T0 + 3 * S),
        "known_bid_from": None,
        "known_ask_to": None,
        "bids": [["10.5", "1", "d"]],
        "asks": [["12", "3", "e"]],
    }


def test_a_folder_that_is_no_archive(tmp_path):
    for path in (tmp_path, tmp_path / "none"):
        with pytest.raises(NotAnArchive) as caught:
            Archive(path)
        assert caught.value.path == str(path)


def test_without_the_database_the_published_catalog_is_read(builder):
    publish_catalog(builder.root)
    with Archive(builder.root) as tape:
        expected = tape.bbo(SYMBOL)
    (builder.root / "catalog.db").write_bytes(b"not a database, whatever its name says")
    with Archive(builder.root) as tape:
        assert tape.bbo(SYMBOL).equals(expected)
        assert tape.sql("SELECT count(*) AS n FROM gaps").to_pylist() == [{"n": 1}]


@pytest.mark.parametrize("published", [False, True])
def test_an_archive_of_the_first_catalog_version_is_read(builder, published):
    """It has no tables of jobs and removals: they are empty; nor all columns of audits."""
    if published:
        publish_catalog(builder.root)
        for name in ("jobs", "removals"):
            (builder.root / "catalog.parquet" / "1" / f"{name}.parquet").unlink()
        audits = builder.root / "catalog.parquet" / "1" / "audits.parquet"
        pq.write_table(pq.read_table(audits).drop_columns(["compared"]), audits)
        (builder.root / "catalog.db").unlink()
    else:
        with sqlite3.connect(builder.root / "catalog.db") as db:
            db.executescript(
                "DROP TABLE jobs; DROP TABLE removals; ALTER TABLE audits DROP COLUMN compared;"
                "PRAGMA user_version = 1"
            )
        db.close()
    with Archive(builder.root) as tape:
        assert tape.book(SYMBOL).sequence == 201
        for name in ("jobs", "removals"):
            assert tape.sql(f"SELECT count(*) AS n FROM {name}").to_pylist() == [{"n": 0}]
        (audit,) = tape.sql("SELECT result, compared FROM audits").to_pylist()
        assert audit == {"result": "equal", "compared": None}


def test_a_pinned_archive_does_not_see_what_comes_later(builder):
    with Archive(builder.root) as newest, Archive(builder.root, pin=True) as pinned:
        count = "SELECT count(*) AS n FROM instruments"
        assert newest.sql(count) == pinned.sql(count)
        snapshot = newest.snapshot
        assert newest.snapshot is snapshot, "read again only after a commit"
        db = sqlite3.connect(builder.root / "catalog.db")
        db.execute("INSERT INTO instruments (symbol, ts_from) VALUES ('ETH-BTC', 1)")
        db.commit()
        db.close()
        assert newest.sql(count).to_pylist() == [{"n": 1}]
        assert pinned.sql(count).to_pylist() == [{"n": 0}]
        assert newest.snapshot is not snapshot


def test_frames_at_the_very_edges_of_a_gap_are_known(tape):
    rows = rows_of(tape.depth(SYMBOL, T0 + 2 * S, T0 + 12 * S, every="1s", levels=1))
    valid = {(row["ts"] - T0) // S: row["valid"] for row in rows}
    assert valid == {2: True, 3: True, 10: True, 11: True} | dict.fromkeys(range(4, 10), False)
    assert {row["sequence"] for row in rows if row["ts"] == T0 + 3 * S} == {105}


def test_threads_may_share_an_archive(tape):
    def ask(at: int) -> tuple:
        return tape.book(SYMBOL, T0 + at % 4 * S).sequence, len(tape.sql(f"FROM bbo('{SYMBOL}')"))

    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(ask, range(24)))
    assert answers == [((100, 102, 103, 105)[at % 4], 6) for at in range(24)]
