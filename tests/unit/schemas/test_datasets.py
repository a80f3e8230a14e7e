"""The datasets' schemas, and the page that explains them."""

from __future__ import annotations

import pyarrow as pa
import pytest

from schemas.datasets import (
    ASK,
    BID,
    DATASETS,
    MARKET_SNAPSHOT_TEXTS,
    SIDE_CODES,
    SIDES,
    STREAMS,
    Dataset,
)
from schemas.kucoin.market_snapshot import row_of_entry
from tests.support.fields_page import COMMON, read_fields_page

TYPE_WORDS = {
    "int64": pa.int64(),
    "int32": pa.int32(),
    "int8": pa.int8(),
    "bool": pa.bool_(),
    "string": pa.string(),
    "word": pa.dictionary(pa.int32(), pa.string()),
    "time": pa.timestamp("ns"),
}
EACH = pytest.mark.parametrize("dataset", DATASETS.values(), ids=DATASETS)


@EACH
def test_the_page_documents_each_column_once_in_order_and_truly(dataset: Dataset) -> None:
    page = read_fields_page()
    documented = [
        (field.name, TYPE_WORDS[field.type], field.null_when != "never")
        for field in page[COMMON] + page[dataset.name]
    ]
    assert [(name, kind) for name, kind, _ in documented] == [
        (field.name, field.type) for field in dataset.schema
    ]
    for (name, _, may_be_null), field in zip(documented, dataset.schema, strict=True):
        # "never in what the venue sends" is a NULL the schema allows.
        assert may_be_null == field.nullable, name


@EACH
def test_numbers_are_pairs_of_exact_integers(dataset: Dataset) -> None:
    names = dataset.schema.names
    for number in dataset.numbers:
        assert dataset.schema.field(f"{number}_mantissa").type == pa.int64()
        assert dataset.schema.field(f"{number}_scale").type == pa.int8()
        assert names.index(f"{number}_scale") == names.index(f"{number}_mantissa") + 1
    assert not any(pa.types.is_floating(field.type) for field in dataset.schema)
    assert sum(name.endswith("_scale") for name in names) == len(dataset.numbers)


@EACH
def test_every_dataset_knows_when_and_in_which_order(dataset: Dataset) -> None:
    common = ["ts_recv", "ts_event", "held_ns", "symbol", "run_id", "ordinal", "sequence"]
    assert dataset.schema.names[:7] == common
    assert dataset.schema.field("ts_recv").type == pa.timestamp("ns")
    assert [name for name in common if dataset.schema.field(name).nullable] == ["ts_event"]
    assert set(dataset.streams) <= set(STREAMS)


def test_every_stream_has_a_dataset() -> None:
    assert {stream for dataset in DATASETS.values() for stream in dataset.streams} == set(STREAMS)


def test_side_codes_are_the_places_of_the_words() -> None:
    assert SIDE_CODES == {word: SIDES.index(word) for word in SIDES} == {"bid": BID, "ask": ASK}


def test_a_market_snapshot_row_has_exactly_the_text_columns() -> None:
    symbol, ts_event, columns = row_of_entry({"symbol": "KCS-BTC"})
    assert (symbol, ts_event) == ("KCS-BTC", None)
    assert set(columns) == {*MARKET_SNAPSHOT_TEXTS, "extra"}
    assert set(columns.values()) == {None}
