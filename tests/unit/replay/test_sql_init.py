"""Plain SQL for a DuckDB without this program."""

from __future__ import annotations

import duckdb
import pytest

from replay.sql_init import script
from tests.support.archive_builder import T0, ArchiveBuilder, S
from tests.unit.replay.conftest import SYMBOL

from replay import Archive  # isort: skip


def test_plain_duckdb_sees_the_rows_and_rebuilds_the_same_book(tape):
    with duckdb.connect() as plain:
        plain.execute(script(tape.path, tape.snapshot))
        for view in ("l2_updates", "l2_updates_all", "l3_events", "trades", "gaps", "coverage"):
            count = f"SELECT count(*) AS n FROM {view}"
            assert plain.sql(count).fetchall() == [(tape.sql(count).to_pylist()[0]["n"],)]
        for seconds in (0, 1, 2, 3, 10, 11):
            call = f"book_at('{SYMBOL}', make_timestamp_ns({T0 + seconds * S}))"
            columns = "side, level, price, size, sequence, known"
            found = plain.sql(f"SELECT {columns} FROM {call}").fetchall()
            expected = tape.sql(f"SELECT {columns} FROM {call}").to_pylist()
            assert found == [tuple(row.values()) for row in expected]
        inside = f"book_at('{SYMBOL}', make_timestamp_ns({T0 + 5 * S}))"
        assert plain.sql(f"FROM {inside}").fetchall() == []


@pytest.mark.parametrize("quoted", ["a'b"])
def test_an_empty_archive_and_a_quote_in_its_path(tmp_path, quoted):
    builder = ArchiveBuilder(tmp_path / quoted)
    builder.write()
    with Archive(builder.root) as tape, duckdb.connect() as plain:
        plain.execute(script(tape.path, tape.snapshot))
        assert plain.sql("SELECT count(*) FROM trades").fetchall() == [(0,)]
