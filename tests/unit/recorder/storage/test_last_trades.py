"""The last trade an archive has of each symbol."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from recorder.storage.catalog_reader import CatalogReader
from recorder.storage.last_trades import LastTrades, last_trades
from schemas.catalog import DDL


def read(archive: Path, profile: str) -> LastTrades:
    """Read an archive's catalog."""
    with closing(CatalogReader.open(archive)) as catalog:
        return last_trades(catalog, profile)


def test_the_last_trade_is_the_highest_of_the_run_that_ends_last(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "catalog.db")) as db, db:
        db.executescript(DDL)
        db.executemany(
            "INSERT INTO runs (run_id, profile) VALUES (?, ?)",
            [("1", "kucoin-2019"), ("2", "kucoin-2019"), ("3", "kucoin-classic")],
        )
        db.executemany(
            "INSERT INTO coverage (symbol, stream, run_id, ordinal_first, ts_from, ts_to, "
            "sequence_last) VALUES (?, ?, ?, 0, ?, ?, ?)",
            [
                ("A-B", "trades", "1", 1, 5, 900),  # numbers began anew since
                ("A-B", "trades", "2", 6, 7, 40),
                ("A-B", "trades", "2", 7, 8, 31),  # all of them older ones, filled in
                ("A-B", "trades", "2", 8, 9, None),  # none was told in it
                ("A-B", "l3", "2", 6, 9, 77),
                ("C-D", "trades", "1", 1, 5, 50),
                ("C-D", "trades", "3", 6, 7, 60),  # of another dialect
                ("E-F", "trades", "1", 1, 5, None),
            ],
        )
    assert read(tmp_path, "kucoin-2019") == LastTrades({"A-B": 40}, [])
    assert read(tmp_path, "kucoin-classic") == LastTrades({"C-D": 60}, [])


@pytest.mark.parametrize(
    ("feeds", "l3_sequence", "unproven"),
    [
        ('["match"]', None, []),
        ('["level3"]', 39, []),
        ('["level3", "match"]', 40, []),
        ('["level3", "match"]', 39, ["A-B"]),
        ('["level3", "match"]', None, ["A-B"]),
    ],
)
def test_what_only_level_3_would_have_told_may_be_missing_where_it_was_behind(
    tmp_path: Path, feeds: str, l3_sequence: int | None, unproven: list[str]
) -> None:
    with closing(sqlite3.connect(tmp_path / "catalog.db")) as db, db:
        db.executescript(DDL)
        db.execute(
            "INSERT INTO runs (run_id, profile, streams) VALUES ('1', 'kucoin-2019', ?)", (feeds,)
        )
        db.executemany(
            "INSERT INTO coverage (symbol, stream, run_id, ordinal_first, ts_from, ts_to, "
            "sequence_last) VALUES ('A-B', ?, '1', 0, ?, ?, ?)",
            [("trades", 1, 5, 40), ("l3", 1, 3, l3_sequence), ("l3", 3, 4, 7)],
        )
    assert read(tmp_path, "kucoin-2019") == LastTrades({"A-B": 40}, unproven)
