"""The snapshot topic: both shapes, numbers as the text they were."""

from __future__ import annotations

import json

import pytest

from schemas.kucoin.control import WireError
from schemas.kucoin.market_snapshot import (
    NumberText,
    format_market_snapshot,
    parse_market_snapshot,
    row_of_entry,
)
from tests.support.wire_round_trip import exact

ENTRY = """{"trading":true,"symbol":"KCS-BTC","buy":0.00011,"sell":0.00012,"sort":100,
  "volValue":3.13851792584,"baseCurrency":"KCS","market":"BTC","quoteCurrency":"BTC",
  "symbolCode":"KCS-BTC","datetime":1548388122031,"high":0.00013,"vol":27514.34842,"low":0.0001,
  "changePrice":-1.0e-5,"changeRate":-0.0769,"lastTradedPrice":0.00012,"board":0,"mark":0}"""


def _frame(channel: str, data: str, sequence: str = '"1545896669291"') -> str:
    return (
        f'{{"data":{{"sequence":{sequence},"data":{data}}},"subject":"trade.snapshot",'
        f'"topic":"\\/market\\/snapshot:{channel}","type":"message"}}'
    )


@pytest.mark.parametrize(
    ("channel", "data"), [("BTC", f"[{ENTRY}]"), ("KCS-BTC", ENTRY), ("BTC", f"[{ENTRY},{ENTRY}]")]
)
def test_both_shapes_format_back_to_equal_json_digit_by_digit(channel: str, data: str) -> None:
    text = _frame(channel, data)
    formatted = format_market_snapshot(parse_market_snapshot(text))
    assert exact(formatted) == exact(text)
    assert b"-1.0e-5" in formatted


def test_a_list_stays_a_list_and_the_channel_is_that_of_the_topic() -> None:
    one = parse_market_snapshot(_frame("BTC", f"[{ENTRY}]"))
    other = parse_market_snapshot(_frame("KCS-BTC", ENTRY))
    assert (one.channel, one.is_list, one.sequence) == ("BTC", True, 1545896669291)
    assert (other.channel, other.is_list, other.entries) == ("KCS-BTC", False, one.entries)


def test_every_field_has_its_column_as_the_text_it_was() -> None:
    symbol, ts_event, columns = row_of_entry(parse_market_snapshot(_frame("BTC", ENTRY)).entries[0])
    assert (symbol, ts_event) == ("KCS-BTC", 1_548_388_122_031_000_000)
    assert columns == {
        "trading": "true", "buy": "0.00011", "sell": "0.00012", "sort": "100",
        "vol_value": "3.13851792584", "base_currency": "KCS", "market": "BTC",
        "quote_currency": "BTC", "symbol_code": "KCS-BTC", "high": "0.00013",
        "vol": "27514.34842", "low": "0.0001", "change_price": "-1.0e-5",
        "change_rate": "-0.0769", "last_traded_price": "0.00012", "board": "0", "mark": "0",
        "extra": None,
    }  # fmt: skip


def test_what_has_no_column_is_kept_as_json() -> None:
    _, ts_event, columns = row_of_entry(
        {
            "symbol": "X",
            "datetime": "soon",
            "high": {"24h": NumberText("1.50")},
            "open": NumberText("0.00000264500000000000"),
            "markets": ["BTC", NumberText("7")],
            "low": None,
            "trading": False,
        }
    )
    assert ts_event is None
    assert columns["trading"] == "false"
    assert columns["low"] is columns["high"] is None
    assert columns["extra"] == (
        '{"datetime":"soon","high":{"24h":1.50},"open":0.00000264500000000000,"markets":["BTC",7]}'
    )


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        '{"topic":"/market/snapshot:BTC"}',
        _frame("BTC", "7"),
        _frame("BTC", '{"buy":1}'),
        _frame("BTC", '[{"symbol":7}]'),
        _frame("BTC", ENTRY, sequence='"x"'),
        _frame("BTC", ENTRY, sequence="null"),
        _frame("BTC", '{"symbol":"X","buy":NaN}'),
        _frame("BTC", '{"symbol":"X","buy":-Infinity}'),
    ],
)
def test_a_malformed_push_is_an_error_with_its_payload(text: str) -> None:
    with pytest.raises(WireError, match="market snapshot") as caught:
        parse_market_snapshot(text)
    assert caught.value.payload == text[:200]


def test_only_json_is_formatted() -> None:
    snapshot = parse_market_snapshot(_frame("BTC", ENTRY))
    snapshot.entries[0]["buy"] = object()
    with pytest.raises(TypeError):
        format_market_snapshot(snapshot)


def test_number_text_is_json_only_by_our_formatter() -> None:
    assert json.dumps(NumberText("1.50")) == '"1.50"'
