"""The catalog's tables: SQLite takes them, Arrow mirrors them, the page explains them."""

from __future__ import annotations

import sqlite3

import pyarrow as pa
import pytest

from schemas.catalog import CATALOG_VERSION, DDL, TABLES, Table
from schemas.datasets import DATASETS
from tests.support.fields_page import COMMON, read_fields_page

TYPE_OF_KIND = {"INTEGER": "int64", "TEXT": "string", "REAL": "double", "TIME": "time"}
EACH = pytest.mark.parametrize("table", TABLES.values(), ids=TABLES)


@pytest.fixture
def database():
    connection = sqlite3.connect(":memory:")
    connection.executescript(DDL)
    yield connection
    connection.close()


@EACH
def test_sqlite_has_the_columns_and_the_key(table: Table, database: sqlite3.Connection) -> None:
    info = database.execute(f"PRAGMA table_info({table.name})").fetchall()
    assert tuple(row[1] for row in info) == table.names
    assert [row[2] for row in info] == [
        "INTEGER" if kind == "TIME" else kind for _, kind in table.columns
    ]
    key = sorted((row[5], row[1]) for row in info if row[5])
    assert tuple(name for _, name in key) == table.primary_key


@EACH
def test_each_index_is_there(table: Table, database: sqlite3.Connection) -> None:
    found = {
        tuple(column[2] for column in database.execute(f"PRAGMA index_info({row[1]})"))
        for row in database.execute(f"PRAGMA index_list({table.name})")
        if row[3] == "c"
    }
    assert found == set(table.indexes)


def test_the_ddl_runs_again_on_what_it_made(database: sqlite3.Connection) -> None:
    database.execute("INSERT INTO runs (run_id) VALUES ('one')")
    database.commit()
    database.executescript(DDL)
    assert database.execute("SELECT run_id FROM runs").fetchall() == [("one",)]
    assert database.execute("PRAGMA user_version").fetchone() == (CATALOG_VERSION,)


@EACH
def test_arrow_has_the_same_columns_in_the_same_order(table: Table) -> None:
    assert tuple(table.schema.names) == table.names
    times = {name for name, kind in table.columns if kind == "TIME"}
    assert {f.name for f in table.schema if f.type == pa.timestamp("ns")} == times
    assert all(name == "ts" or name.startswith("ts_") for name in times)


@EACH
def test_the_page_documents_each_column_once_in_order_and_truly(table: Table) -> None:
    documented = read_fields_page()[table.name]
    assert [(field.name, field.type) for field in documented] == [
        (name, TYPE_OF_KIND[kind]) for name, kind in table.columns
    ]
    never = {field.name for field in documented if field.null_when == "never"}
    assert set(table.primary_key) <= never


def test_the_page_documents_nothing_else() -> None:
    assert set(read_fields_page()) == {COMMON, *DATASETS, *TABLES}
