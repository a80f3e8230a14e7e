"""Arrow tables as text for people and programs: terminal tables, CSV, JSON, Parquet."""

from __future__ import annotations

from decimal import Decimal
from math import isnan
from typing import Any, BinaryIO

import orjson
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from replay.times import to_text

FORMATS = ("table", "csv", "json", "parquet")
TABLE_ROWS_MAX = 1000
"""Rows a terminal is shown; the other formats write all."""


def write(table: pa.Table, kind: str, into: BinaryIO) -> None:
    """Write a table in one of FORMATS; times as ISO text with nine digits and `Z`."""
    if kind == "parquet":
        pq.write_table(table, into, compression="zstd")
    elif kind == "csv":
        pa_csv.write_csv(_plain(table), into)
    elif kind == "json":
        into.write(orjson.dumps(rows(table), option=orjson.OPT_APPEND_NEWLINE))
    else:
        into.write(_drawn(table).encode())


def rows(table: pa.Table) -> list[dict[str, Any]]:
    """Return JSON-ready rows: integers as integers, DECIMAL and times as text."""
    columns = [
        [_json(value) for value in _values(table.column(at))] for at in range(table.num_columns)
    ]
    names = table.column_names
    return [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]


def _json(value: Any) -> Any:
    if isinstance(value, Decimal):
        whole = value == value.to_integral_value() and value.as_tuple().exponent == 0
        return int(value) if whole and abs(value) < 2**63 else f"{value:f}"
    if isinstance(value, float) and isnan(value):
        return None
    if isinstance(value, dict):
        return {str(name): _json(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_json(inner) for inner in value]
    if isinstance(value, bool | int | float | str) or value is None:
        return value
    return str(value)


def _values(column: pa.ChunkedArray) -> list[Any]:
    """Return Python values; times of any precision as text, never through datetime."""
    kind = column.type
    if pa.types.is_timestamp(kind):
        stamps = column.cast(pa.timestamp("ns", kind.tz)).cast(pa.int64()).to_pylist()
        return [to_text(ts) for ts in stamps]
    if pa.types.is_nested(kind):
        return _nested(column)
    return list(column.to_pylist())


def _nested(column: pa.ChunkedArray) -> list[Any]:
    try:
        return list(column.to_pylist())
    except ValueError:  # ns that datetime cannot hold: their text instead
        return [None if not scalar.is_valid else str(scalar) for scalar in column]


def _plain(table: pa.Table) -> pa.Table:
    """Return columns that CSV can hold."""
    columns = []
    for at in range(table.num_columns):
        column = table.column(at)
        if pa.types.is_timestamp(column.type):
            columns.append(pa.array(_values(column), pa.string()))
        elif pa.types.is_nested(column.type):
            texts = [
                None if value is None else orjson.dumps(_json(value)).decode()
                for value in _values(column)
            ]
            columns.append(pa.array(texts, pa.string()))
        elif pa.types.is_dictionary(column.type):
            columns.append(column.cast(column.type.value_type))
        else:
            columns.append(column)
    return pa.table(columns, names=table.column_names)


def _drawn(table: pa.Table) -> str:
    shown = table.slice(0, TABLE_ROWS_MAX)
    drawn = Table(box=SIMPLE_HEAD, pad_edge=False)
    for field in table.schema:
        is_number = pa.types.is_floating(field.type) or pa.types.is_integer(field.type)
        drawn.add_column(field.name, justify="right" if is_number else "left", no_wrap=True)
    for row in rows(shown):
        drawn.add_row(*("" if value is None else str(value) for value in row.values()))
    # As wide as it needs to be: a cut number is worse than a long line.
    console = Console(width=10_000, highlight=False, color_system=None)
    with console.capture() as capture:
        console.print(drawn)
        if len(shown) < len(table):
            console.print(f"({len(table)} rows, the first {len(shown)} shown)")
    return "\n".join(line.rstrip() for line in capture.get().splitlines()) + "\n"
