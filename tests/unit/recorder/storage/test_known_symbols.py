"""Symbols an archive has seen listed."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from recorder.errors import CatalogDamaged
from recorder.storage.known_symbols import known_symbols


def test_no_archive_knows_no_symbols_and_none_comes_into_being(tmp_path: Path) -> None:
    assert known_symbols(tmp_path / "archive") == frozenset()
    assert list(tmp_path.iterdir()) == []


def test_every_symbol_with_a_history_is_known_once(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "catalog.db")) as db, db:
        db.execute("CREATE TABLE instruments (symbol TEXT, ts_from INTEGER)")
        db.executemany("INSERT INTO instruments VALUES (?, ?)", [("A-B", 1), ("A-B", 2), ("C", 1)])
    assert known_symbols(tmp_path) == {"A-B", "C"}


def test_a_catalog_that_is_none_is_told(tmp_path: Path) -> None:
    (tmp_path / "catalog.db").write_bytes(b"no database" * 1000)
    with pytest.raises(CatalogDamaged):
        known_symbols(tmp_path)
