"""Tables as text: what people see, and what programs read."""

from __future__ import annotations

import io
import json

import pyarrow.parquet as pq
import pytest

from replay.output import distinct, write

AT = "TIMESTAMP_NS '2026-11-22 10:00:00.123456789'"


def written(tape, query: str, kind: str) -> bytes:
    into = io.BytesIO()
    write(tape.sql(query), kind, into)
    return into.getvalue()


@pytest.mark.parametrize(
    ("expression", "text"),
    [
        ("7.71e-06::DOUBLE", "0.00000771"),
        ("60000.1::DOUBLE", "60000.1"),
        ("(0.1::DOUBLE + 0.2::DOUBLE)", "0.30000000000000004"),
        ("100::DOUBLE", "100"),
        ("1e300::DOUBLE", "1e+300"),
        ("'-infinity'::DOUBLE", "-inf"),
        ("NULL::DOUBLE", ""),
    ],
)
def test_people_see_plain_decimals(tape, expression, text):
    drawn = written(tape, f"SELECT {expression} AS x", "table").decode().splitlines()
    assert [line.strip() for line in drawn if line.strip()][2:] == ([text] if text else [])


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        (AT, "2026-11-22T10:00:00.123456789Z"),
        (f"[{AT}, NULL]", ["2026-11-22T10:00:00.123456789Z", None]),
        (f"{{'a': {AT}}}", {"a": "2026-11-22T10:00:00.123456789Z"}),
        (f"MAP {{'a': {AT}}}", {"a": "2026-11-22T10:00:00.123456789Z"}),
        ("TIMESTAMP '1500-01-01'", "1500-01-01T00:00:00.000000Z"),
        ("'infinity'::TIMESTAMP", "infinity"),
        ("'-infinity'::TIMESTAMPTZ", "-infinity"),
        (f"{AT} - TIMESTAMP_NS '2026-11-22 09:59:00'", "00:01:00.123457000"),
        ("INTERVAL '-1 month 2 days'", "-1 month 2 days"),
        ("INTERVAL '-1500 milliseconds'", "-00:00:01.500000000"),
        ("INTERVAL 0 SECOND", "00:00:00.000000000"),
        ("9007199254740993::BIGINT", 9007199254740993),
        ("0.10::DECIMAL(5, 2)", "0.10"),
        ("[0.10::DECIMAL(5, 2)]", ["0.10"]),
    ],
)
def test_json_and_csv_keep_times_spans_and_numbers(tape, expression, value):
    query = f"SELECT {expression} AS x"
    assert json.loads(written(tape, query, "json")) == [{"x": value}]
    if isinstance(value, str):
        assert written(tape, query, "csv").decode().splitlines()[1].strip('"') == value


def test_parquet_takes_spans_and_names_that_repeat(tape):
    query = f"SELECT {AT} - {AT} AS x, a.price, b.price FROM trades a, trades b LIMIT 1"
    found = pq.read_table(io.BytesIO(written(tape, query, "parquet")))
    assert found.column_names == ["x", "price", "price_1"]
    assert found.column("x").to_pylist() == ["00:00:00.000000000"]


def test_no_column_of_a_join_is_lost_in_json(tape):
    query = "SELECT 1 AS price, 2 AS price, 3 AS price_1, 4 AS price"
    assert json.loads(written(tape, query, "json")) == [
        {"price": 1, "price_2": 2, "price_1": 3, "price_3": 4}
    ]
    assert distinct(["a", "b"]) == ["a", "b"]
