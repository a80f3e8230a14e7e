"""Rows read out of parts: only what is needed, and errors that name the part."""

from __future__ import annotations

import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from replay import Archive
from replay.errors import PartDamaged, SnapshotExpired
from replay.parts import PartReader
from replay.rows import L2_COLUMNS
from tests.support.archive_builder import RUN, T0, ArchiveBuilder, S
from tests.unit.replay.conftest import SYMBOL


@pytest.fixture
def long(tmp_path: Path) -> ArchiveBuilder:
    builder = ArchiveBuilder(tmp_path / "long", rows_per_part=100, row_group=10)
    stream = builder.book(SYMBOL).snapshot(T0, 0, [("1", "1")], [("2", "1")])
    for at in range(1, 301):
        stream.message(T0 + at * S, [("bid", "1", str(at))])
        if at % 50 == 0:
            stream.keyframe()
    builder.write()
    return builder


def test_only_the_row_groups_that_meet_the_range_are_read(long, monkeypatch):
    read: list[list[int]] = []
    true_read = pq.ParquetFile.read_row_groups

    def counted(self, groups, **kwargs):
        read.append(list(groups))
        return true_read(self, groups, **kwargs)

    monkeypatch.setattr(pq.ParquetFile, "read_row_groups", counted)
    with Archive(long.root) as tape:
        reader = PartReader(long.root)
        rows = reader.rows(tape.snapshot, "l2_updates", SYMBOL, RUN, (95, 112), L2_COLUMNS)
        assert rows.column("ordinal").to_pylist() == list(range(95, 113))
        assert read == [[9], [0, 1]]
        read.clear()
        assert tape.book(SYMBOL, sequence=275).bids.texts() == [("1", "275")]
        groups_of_rows = [groups for groups in read if len(groups) > 1]
        assert sum(map(len, groups_of_rows)) <= 6, "from the keyframe at 250 on"


def test_seeking_equals_replaying_from_the_start(long):
    with Archive(long.root) as tape:
        for n in (0, 1, 49, 50, 51, 99, 100, 149, 250, 251, 300):
            book = tape.book(SYMBOL, sequence=n)
            assert (book.sequence, book.bids.texts()) == (n, [("1", str(n or 1))])


def test_a_part_that_went_away_is_an_expired_snapshot(builder):
    with Archive(builder.root) as tape:
        shutil.rmtree(builder.root / "l2_updates")
        with pytest.raises(SnapshotExpired) as caught:
            tape.book(SYMBOL)
        assert caught.value.retryable
        assert caught.value.path.startswith("l2_updates/date=2026-11-22/symbol=BTC-USDT/")
        with pytest.raises(SnapshotExpired):
            tape.sql("SELECT count(*) FROM l2_updates WHERE price > 0")
        with pytest.raises(SnapshotExpired):
            tape.sql(f"FROM bbo('{SYMBOL}')")


@pytest.mark.parametrize("damage", [b"", b"PAR1 nothing of the kind PAR1"])
def test_a_damaged_part_is_named(builder, damage):
    part = next((builder.root / "l2_updates").rglob("*.parquet"))
    part.write_bytes(damage)
    with Archive(builder.root) as tape, pytest.raises(PartDamaged) as caught:
        tape.book(SYMBOL)
    assert caught.value.path.endswith(part.name)


def test_rows_missing_inside_covered_time_are_damage(builder):
    part = next((builder.root / "l2_updates").rglob("*.parquet"))
    pq.write_table(pq.read_table(part, partitioning=None).slice(0, 3), part)
    with Archive(builder.root) as tape, pytest.raises(PartDamaged, match="not"):
        tape.book(SYMBOL, T0 + 3 * S)
