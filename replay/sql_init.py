"""Plain SQL that shows an archive to any DuckDB: views over explicit lists of parts, `book_at`."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa

from replay.catalog import READ_TABLES, Snapshot
from replay.sql.connection import DATE, definition, parts_listed, read_parts
from schemas.datasets import DATASETS

_PLAIN = (
    "as_double", "known_at", "l2_updates_all", "l2_updates", "l3_events", "trades", "tickers",
    "market_snapshots", "book_snapshots",
)  # fmt: skip

_SQL_TYPES = {
    "timestamp[ns]": "TIMESTAMP_NS",
    "int64": "BIGINT",
    "int32": "INTEGER",
    "int8": "TINYINT",
    "double": "DOUBLE",
    "bool": "BOOLEAN",
    "string": "VARCHAR",
    "date32[day]": "DATE",
}


def script(root: Path, snapshot: Snapshot) -> str:
    """Return statements that create the views, the catalog tables and an L2 `book_at`.

    What they list is the catalog at this moment; run it again for newer parts.
    """
    lines = [
        f"-- The archive at {root}, as its catalog stood when this was printed.",
        "-- Views and book_at need nothing but DuckDB 1.4 or newer.",
        "",
    ]
    for name, dataset in DATASETS.items():
        paths = parts_listed(root.absolute(), snapshot, name)
        schema = dataset.schema.append(pa.field(DATE, pa.date32()))
        columns = ", ".join(schema.names)
        select = f"SELECT {columns} FROM {read_parts(paths)}" if paths else _empty(schema)
        lines.append(f"CREATE OR REPLACE VIEW parts_of_{name} AS {select};")
    lines += [_catalog_table(name, snapshot.tables[name]) for name in READ_TABLES]
    lines += [definition(name).rstrip() for name in _PLAIN]
    lines.append(definition("plain_book_at").rstrip())
    return "\n".join(lines) + "\n"


def _literal(value: object) -> str:
    if value is None:
        return "NULL"
    if isinstance(value, int | float):
        return str(value)
    return "'" + str(value).replace("'", "''") + "'"


def _sql_type(kind: pa.DataType) -> str:
    return _SQL_TYPES[str(kind.value_type if pa.types.is_dictionary(kind) else kind)]


def _empty(schema: pa.Schema) -> str:
    columns = ", ".join(f"NULL::{_sql_type(field.type)} AS {field.name}" for field in schema)
    return f"SELECT {columns} WHERE false"


def _catalog_table(name: str, table: pa.Table) -> str:
    head = f"CREATE OR REPLACE VIEW {name} AS "
    if not len(table):
        return f"{head}{_empty(table.schema)};"
    columns = []
    for field in table.schema:
        column = table.column(field.name)
        is_time = pa.types.is_timestamp(field.type)
        values = (column.cast(pa.int64()) if is_time else column).to_pylist()
        columns.append([_literal(value) for value in values])
    rows = ",\n    ".join(f"({', '.join(row)})" for row in zip(*columns, strict=True))
    shown = ", ".join(
        f"make_timestamp_ns({field.name}::BIGINT) AS {field.name}"
        if pa.types.is_timestamp(field.type)
        else f"{field.name}::{_sql_type(field.type)} AS {field.name}"
        for field in table.schema
    )
    names = ", ".join(table.schema.names)
    return f"{head}SELECT {shown} FROM (VALUES\n    {rows}\n) AS listed({names});"
