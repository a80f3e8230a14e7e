"""A copy of the catalog is whole, and only so many are kept."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from recorder.storage import backup as module
from recorder.storage.backup import backup
from recorder.storage.catalog_writer import CatalogWriter
from schemas.catalog import TABLES

TS = 1_795_341_600_123_456_789  # 2026-11-22T10:00:00.123456789Z


def _tables(path: Path) -> dict[str, list[tuple]]:
    db = sqlite3.connect(path)
    rows = {name: db.execute(f"SELECT * FROM {name}").fetchall() for name in TABLES}
    db.close()
    return rows


def _put_run(catalog: CatalogWriter, name: str) -> None:
    catalog.put_run(dict.fromkeys(TABLES["runs"].names) | {"run_id": name})


@pytest.fixture
def catalog(tmp_path: Path):
    """A catalog with a run, open."""
    writer = CatalogWriter(tmp_path)
    _put_run(writer, "r1")
    yield writer
    writer.close()


def test_it_is_the_catalog_as_one_file(catalog: CatalogWriter, tmp_path: Path) -> None:
    done = backup(tmp_path, 3, TS)
    assert done.path == tmp_path / "catalog.backup" / "20261122T100000.123456Z.db"
    assert (done.bytes, done.removed) == (done.path.stat().st_size, 0)
    assert [p.name for p in done.path.parent.iterdir()] == [done.path.name]
    assert _tables(done.path) == _tables(tmp_path / "catalog.db")
    assert _tables(done.path)["runs"][0][0] == "r1"
    assert [p.name for p in done.path.parent.iterdir()] == [done.path.name]
    _put_run(catalog, "r2")
    assert len(_tables(done.path)["runs"]) == 1


def test_a_transaction_under_way_is_not_in_it_and_not_in_its_way(
    catalog: CatalogWriter, tmp_path: Path
) -> None:
    with catalog.transaction():
        _put_run(catalog, "r2")
        done = backup(tmp_path, 3, TS)
    assert [row[0] for row in _tables(done.path)["runs"]] == ["r1"]
    assert len(_tables(tmp_path / "catalog.db")["runs"]) == 2


@pytest.mark.parametrize("keep", [0, 1, 3])
def test_the_newest_stay(catalog: CatalogWriter, tmp_path: Path, keep: int) -> None:
    done = [backup(tmp_path, keep, TS + n * 10**9) for n in range(5)]
    stay = max(1, keep)
    assert sorted((tmp_path / "catalog.backup").iterdir()) == [d.path for d in done[-stay:]]
    assert sum(d.removed for d in done) == 5 - stay


def test_a_copy_that_does_not_hold_gets_no_name_and_costs_no_other(
    catalog: CatalogWriter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = backup(tmp_path, 1, TS)
    real = module._copy

    def spoilt(source: Path, target: Path) -> None:
        real(source, target)
        content = bytearray(target.read_bytes())
        content[4096:8192] = bytes(4096)
        target.write_bytes(content)
        real(target, target.with_name(f"{target.name}-journal"))

    monkeypatch.setattr(module, "_copy", spoilt)
    with pytest.raises(sqlite3.DatabaseError):
        backup(tmp_path, 1, TS + 10**9)
    assert [p.name for p in (tmp_path / "catalog.backup").iterdir()] == [first.path.name]


def test_what_a_crash_left_is_swept(catalog: CatalogWriter, tmp_path: Path) -> None:
    folder = tmp_path / "catalog.backup"
    folder.mkdir()
    for name in (
        "20261121T000000.000000Z.db.unfinished",
        "20261121T000000.000000Z.db.unfinished-journal",
    ):
        (folder / name).write_bytes(b"half")
    done = backup(tmp_path, 3, TS)
    assert list(folder.iterdir()) == [done.path]
