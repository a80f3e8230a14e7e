"""Arrow tables as text for people and programs: terminal tables, CSV, JSON, Parquet."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from math import isfinite, isnan
from typing import Any, BinaryIO

import numpy as np
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
_PLAIN_MAX = 40
_UNIT_NS = {"s": 10**9, "ms": 10**6, "us": 10**3, "ns": 1}


def write(table: pa.Table, kind: str, into: BinaryIO) -> None:
    """Write a table in one of FORMATS; times as ISO text with nine digits and `Z`."""
    if kind == "parquet":
        pq.write_table(_storable(table), into, compression="zstd")
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
    names = distinct(table.column_names)
    return [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]


def distinct(names: list[str]) -> list[str]:
    """Return names that differ: of a join's two `price`, the second becomes `price_1`.

    JSON objects would lose one in silence, and few programs read Parquet that repeats a name.
    """
    found: list[str] = []
    for name in names:
        fresh, number = name, 0
        while fresh in found or (number and fresh in names):
            number += 1
            fresh = f"{name}_{number}"
        found.append(fresh)
    return found


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
    """Return Python values; times and spans as text, never through datetime."""
    kind = column.type
    if pa.types.is_timestamp(kind):
        try:
            stamps = column.cast(pa.timestamp("ns")).cast(pa.int64()).to_pylist()
        except pa.ArrowInvalid:  # a year that 64 bits of ns do not reach
            return [_scalar(scalar) for scalar in column]
        return [to_text(ts) for ts in stamps]
    if pa.types.is_nested(kind) or pa.types.is_interval(kind):
        return [_scalar(scalar) for scalar in column]
    return list(column.to_pylist())


def _scalar(scalar: pa.Scalar) -> Any:
    """Return one value, with the times inside it as text."""
    kind = scalar.type
    if not scalar.is_valid:
        return None
    if pa.types.is_timestamp(kind):
        if abs(scalar.value) == 2**63 - 1:  # DuckDB's own mark
            return "infinity" if scalar.value > 0 else "-infinity"
        ns = scalar.value * _UNIT_NS[kind.unit]
        if abs(ns) < 2**63:
            return to_text(ns)
        return str(scalar.cast(pa.string())).removesuffix("Z").replace(" ", "T") + "Z"
    if pa.types.is_interval(kind):
        months, days, ns = scalar.as_py()
        return _span(months, days, ns)
    if pa.types.is_struct(kind):
        return {name: _scalar(inner) for name, inner in scalar.items()}
    if pa.types.is_map(kind):
        return {str(_scalar(key)): _scalar(inner) for key, inner in _pairs(scalar)}
    if pa.types.is_nested(kind) and isinstance(scalar, pa.ListScalar | pa.FixedSizeListScalar):
        return [_scalar(inner) for inner in scalar.values or ()]
    return scalar.as_py()


def _pairs(scalar: pa.MapScalar) -> Iterator[tuple[pa.Scalar, pa.Scalar]]:
    return zip(scalar.values.field(0), scalar.values.field(1), strict=True)


def _span(months: int, days: int, ns: int) -> str:
    """Write an INTERVAL like SQL does: 1 month 2 days 00:00:15.058540000."""
    whole = [
        f"{count} {word}{'' if abs(count) == 1 else 's'}"
        for count, word in ((months, "month"), (days, "day"))
        if count
    ]
    seconds, fraction = divmod(abs(ns), 10**9)
    clock = f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}.{fraction:09}"
    return " ".join([*whole, ("-" if ns < 0 else "") + clock] if ns or not whole else whole)


def _storable(table: pa.Table) -> pa.Table:
    """Return columns that Parquet can hold: spans as text, under names that differ."""
    for at, column in enumerate(table.columns):
        if pa.types.is_interval(column.type):
            table = table.set_column(at, table.field(at).name, pa.array(_values(column)))
    return table.rename_columns(distinct(table.column_names))


def _plain(table: pa.Table) -> pa.Table:
    """Return columns that CSV can hold."""
    columns = []
    for at in range(table.num_columns):
        column = table.column(at)
        if pa.types.is_timestamp(column.type) or pa.types.is_interval(column.type):
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


def _cell(value: Any) -> str:
    """Return what people read: the shortest plain decimal, never 7.71e-06."""
    if value is None:
        return ""
    if isinstance(value, float) and isfinite(value):
        plain = np.format_float_positional(value, trim="-")
        return plain if len(plain) <= _PLAIN_MAX else str(value)
    return str(value)


def _drawn(table: pa.Table) -> str:
    shown = table.slice(0, TABLE_ROWS_MAX)
    drawn = Table(box=SIMPLE_HEAD, pad_edge=False)
    for field in table.schema:
        is_number = pa.types.is_floating(field.type) or pa.types.is_integer(field.type)
        drawn.add_column(field.name, justify="right" if is_number else "left", no_wrap=True)
    for row in rows(shown):
        drawn.add_row(*map(_cell, row.values()))
    # As wide as it needs to be: a cut number is worse than a long line.
    console = Console(width=10_000, highlight=False, color_system=None)
    with console.capture() as capture:
        console.print(drawn)
        if len(shown) < len(table):
            console.print(f"({len(table)} rows, the first {len(shown)} shown)")
    return "\n".join(line.rstrip() for line in capture.get().splitlines()) + "\n"
