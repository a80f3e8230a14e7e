"""Two tables with the same rows hash alike, however they are cut and encoded; others do not."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest

from recorder.storage.content_hash import ContentHash
from schemas.datasets import TEXT, TIME, WORD

SCHEMA = pa.schema(
    [("n", pa.int64()), ("scale", pa.int8()), ("flag", pa.bool_()), ("word", WORD),
     ("text", TEXT), ("ts", TIME)]
)  # fmt: skip
ROWS: list[dict[str, Any]] = [
    {"n": 1, "scale": 2, "flag": True, "word": "a", "text": "x", "ts": 5},
    {"n": None, "scale": None, "flag": None, "word": None, "text": None, "ts": None},
    {"n": 0, "scale": 0, "flag": False, "word": "b", "text": "", "ts": 0},
    {"n": -7, "scale": 2, "flag": True, "word": "a", "text": "ü", "ts": 9},
]


def _table(rows: list[dict[str, Any]]) -> pa.Table:
    return pa.Table.from_pylist(rows, SCHEMA)


def _digests(*tables: pa.Table) -> dict[str, str]:
    taken = ContentHash(SCHEMA)
    for table in tables:
        taken.update(table)
    return taken.digests()


def test_cuts_slices_and_dictionaries_do_not_matter() -> None:
    whole = _table(ROWS)
    expected = _digests(whole)
    for cut in range(len(ROWS) + 1):
        assert _digests(_table(ROWS[:cut]), _table(ROWS[cut:])) == expected
        assert _digests(whole.slice(0, cut), whole.slice(cut)) == expected
    other_dictionary = whole.set_column(
        3, "word", pa.DictionaryArray.from_arrays(pa.array([2, None, 1, 2]), ["z", "b", "a"])
    )
    assert _digests(other_dictionary) == expected


@pytest.mark.parametrize("column", SCHEMA.names)
@pytest.mark.parametrize("row", range(len(ROWS)))
def test_one_other_value_is_seen_in_its_column_alone(column: str, row: int) -> None:
    others = {"n": 8, "scale": 8, "flag": None, "word": "c", "text": "y", "ts": 8}
    if column == "flag" and row == 1:
        others["flag"] = False
    rows = [dict(entry) for entry in ROWS]
    rows[row][column] = others[column]
    expected, found = _digests(_table(ROWS)), _digests(_table(rows))
    assert [name for name in expected if expected[name] != found[name]] == [column]


@pytest.mark.parametrize("column", SCHEMA.names)
def test_null_is_not_zero_nor_empty(column: str) -> None:
    rows = [dict(entry) for entry in ROWS]
    rows[1][column] = {"word": "", "text": "", "flag": False}.get(column, 0)
    assert _digests(_table(rows))[column] != _digests(_table(ROWS))[column]


def test_texts_are_told_apart_by_where_they_end() -> None:
    left, right = (
        [{**ROWS[0], "text": text} for text in texts] for texts in (("ab", "c"), ("a", "bc"))
    )
    assert _digests(_table(left))["text"] != _digests(_table(right))["text"]


def test_order_matters() -> None:
    assert _digests(_table(ROWS[::-1]))["n"] != _digests(_table(ROWS))["n"]
