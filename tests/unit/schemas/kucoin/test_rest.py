"""REST answers: the document's own examples, parsed, and formatted back to equal JSON."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from schemas.kucoin.control import WireError
from schemas.kucoin.market import parse_ticker
from schemas.kucoin.rest import (
    ApiError,
    BookAnswer,
    Bullet,
    HistoryTrade,
    format_all_tickers,
    format_answer,
    format_api_error,
    format_book,
    format_bullet,
    format_histories,
    format_instruments,
    format_level1,
    format_timestamp,
    instrument_fields_v2,
    parse_all_tickers,
    parse_answer,
    parse_book,
    parse_bullet,
    parse_histories,
    parse_instruments,
    parse_timestamp,
)

MS = 1_000_000

INSTRUMENT = {
    "symbol": "BTC-USDT", "name": "BTC-USDT", "baseCurrency": "BTC", "quoteCurrency": "USDT",
    "baseMinSize": "0.00000001", "quoteMinSize": "0.01", "baseMaxSize": "10000",
    "quoteMaxSize": "100000", "baseIncrement": "0.00000001", "quoteIncrement": "0.01",
    "priceIncrement": "0.00000001", "enableTrading": True,
}  # fmt: skip

LEVEL2 = {
    "sequence": "3262786978", "time": 1550653727731,
    "bids": [["6500.12", "0.45054140"], ["6500.11", "0.45054140"]],
    "asks": [["6500.16", "0.57753524"], ["6500.15", "0.57753524"]],
}  # fmt: skip

LEVEL3 = {
    "sequence": "1545896707028", "time": 1550653727731,
    "bids": [["5c2477e503aa671a745c4057", "6", "0.9"], ["5c2477e103aa671a745c4054", "5", "0.9"]],
    "asks": [["5c24736703aa671a745c401e", "200", "1"], ["5c2475c903aa671a745c4033", "201", "1"]],
}  # fmt: skip

HISTORIES = [
    {"sequence": "1545896668571", "price": "0.07", "size": "0.004", "side": "buy",
     "time": 1545904567062140823},
    {"sequence": "1545896668578", "price": "0.054", "size": "0.066", "side": "buy",
     "time": 1545904581619888405},
]  # fmt: skip

LEVEL1 = {
    "sequence": "1550467636704", "bestAsk": "0.03715004", "size": "0.17", "price": "0.03715005",
    "bestBidSize": "3.803", "bestBid": "0.03710768", "bestAskSize": "1.788", "time": 1550653727731,
}  # fmt: skip

ALL_TICKERS = {
    "time": 1550653727731,
    "ticker": [
        {"symbol": "LOOM-BTC", "buy": "0.00001191", "sell": "0.00001206", "changeRate": "0.057",
         "changePrice": "0.00000065", "high": "0.0000123", "low": "0.00001109",
         "vol": "45161.5073", "last": "0.00001204"},
    ],
}  # fmt: skip

BULLET = {
    "instanceServers": [
        {"pingInterval": 50000, "endpoint": "wss://push1-v2.kucoin.net/endpoint",
         "protocol": "websocket", "encrypt": True, "pingTimeout": 10000}
    ],
    "token": "vYNlCtbz4XNJ1QncwWilJnBtmmfe4geLQDUA62kKJsDChc6I4bRDQc73JfIrlFaV",
}  # fmt: skip

ROUND_TRIPS = {
    "symbols": ([INSTRUMENT], lambda data: format_instruments(parse_instruments(data))),
    "level2": (LEVEL2, lambda data: format_book(parse_book(data))),
    "level3": (LEVEL3, lambda data: format_book(parse_book(data))),
    "histories": (HISTORIES, lambda data: format_histories(parse_histories(data))),
    "level1": (LEVEL1, lambda data: format_level1(parse_ticker("ETH-BTC", data))),
    "allTickers": (ALL_TICKERS, lambda data: format_all_tickers(*parse_all_tickers(data))),
    "bullet-public": (BULLET, lambda data: format_bullet(parse_bullet(data))),
    "timestamp": (1546837113087, lambda data: format_timestamp(parse_timestamp(data))),
}


@pytest.mark.parametrize(("data", "again"), ROUND_TRIPS.values(), ids=ROUND_TRIPS)
def test_an_example_of_the_document_formats_back_to_equal_json(data: Any, again: Any) -> None:
    assert json.loads(again(data)) == {"code": "200000", "data": data}
    assert parse_answer(again(data)) == data


def test_the_envelope_is_opened_whatever_else_it_says() -> None:
    body = b'{"code":"200000","msg":"success","data":1546837113087}'
    assert parse_timestamp(parse_answer(body)) == 1546837113087 * MS
    assert parse_answer(format_answer(None)) is None


def test_an_answer_that_says_no_carries_code_and_message() -> None:
    with pytest.raises(ApiError) as caught:
        parse_answer(format_api_error("429000", "Too Many Requests"))
    assert (caught.value.code, caught.value.message) == ("429000", "Too Many Requests")
    assert str(caught.value).startswith("exchange answered code 429000 'Too Many Requests': ")


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b"7", b"null", b'{"data":1}', b"\xff"])
def test_what_is_no_envelope_is_refused(body: bytes) -> None:
    with pytest.raises(WireError, match="answer is not a KuCoin envelope"):
        parse_answer(body)


def test_a_bullet_tells_where_to_connect_and_how_often_to_ping() -> None:
    assert parse_bullet(BULLET) == Bullet(
        BULLET["token"], "wss://push1-v2.kucoin.net/endpoint", 50_000, 10_000
    )
    plain = json.loads(format_bullet(Bullet("t", "ws://127.0.0.1:1/endpoint", 50_000, 10_000)))
    assert plain["data"]["instanceServers"][0]["encrypt"] is False


def test_an_instrument_knows_its_scales_and_keeps_the_whole_entry() -> None:
    entry = {**INSTRUMENT, "priceIncrement": "0.1", "feeCurrency": "USDT"}
    (instrument,) = parse_instruments([entry])
    assert (instrument.price_scale, instrument.size_scale, instrument.funds_scale) == (1, 8, 2)
    assert json.loads(instrument.wire) == entry
    assert instrument.enable_trading is True


# An entry of version 2, as the exchange has it today; some fields are often null.
INSTRUMENT_V2 = {
    **INSTRUMENT, "feeCurrency": "USDT", "market": "USDS", "priceLimitRate": "0.1",
    "minFunds": "0.1", "isMarginEnabled": True, "feeCategory": 1, "makerFeeCoefficient": "1.00",
    "takerFeeCoefficient": "1.00", "st": False, "callauctionIsEnabled": False,
    "callauctionPriceFloor": None, "callauctionPriceCeiling": None,
    "callauctionFirstStageStartTime": None, "callauctionSecondStageStartTime": None,
    "callauctionThirdStageStartTime": None, "tradingStartTime": 1729756800000,
}  # fmt: skip


def test_an_entry_of_version_2_formats_back_whole() -> None:
    entries = [INSTRUMENT_V2, {**INSTRUMENT_V2, "symbol": "NEW-USDT", "baseMaxSize": None}]
    instruments = parse_instruments(entries)
    assert json.loads(format_instruments(instruments))["data"] == entries
    assert instruments[1].base_max_size == ""


def test_our_own_entry_of_version_2_has_every_field_of_the_exchange_s() -> None:
    (instrument,) = parse_instruments([INSTRUMENT])
    entry = instrument_fields_v2(instrument, "USDS")
    assert entry.keys() == INSTRUMENT_V2.keys()
    (again,) = parse_instruments([entry])
    assert replace(again, wire="") == replace(instrument, wire="")


def test_tickers_of_all_symbols_keep_fields_the_document_does_not_have() -> None:
    ticker = {"symbol": "BTC-USDT", "symbolName": "BTC-USDT", "vol": "2227.6", "volValue": "147.9",
              "averagePrice": None}  # fmt: skip
    ts, tickers = parse_all_tickers({"time": 1729757723612, "ticker": [ticker]})
    assert (ts, tickers) == (1_729_757_723_612_000_000, [ticker])
    assert json.loads(format_all_tickers(ts, tickers))["data"]["ticker"] == [ticker]


def test_a_book_keeps_the_rows_in_the_order_they_came() -> None:
    assert parse_book(LEVEL2) == BookAnswer(
        3262786978,
        1_550_653_727_731_000_000,
        [("6500.12", "0.45054140"), ("6500.11", "0.45054140")],
        [("6500.16", "0.57753524"), ("6500.15", "0.57753524")],
    )


def test_the_book_of_a_new_instrument_has_null_sides() -> None:
    data = {"sequence": "-1", "bids": None, "asks": None}
    assert parse_book(data) == BookAnswer(-1, None, [], [])


def test_a_history_trade_has_its_time_in_ns() -> None:
    first = parse_histories(HISTORIES)[0]
    assert first == HistoryTrade(1545896668571, "0.07", "0.004", "buy", 1545904567062140823)


@pytest.mark.parametrize(
    ("parse", "data", "problem"),
    [
        (parse_bullet, {"token": "t", "instanceServers": []}, "bullet-public names no server"),
        (parse_bullet, {"instanceServers": BULLET["instanceServers"]}, "bullet-public names no"),
        (parse_bullet, None, "bullet-public names no server"),
        (parse_instruments, [{"symbol": "X"}], "symbols is malformed"),
        (parse_instruments, None, "symbols is malformed"),
        (parse_book, None, "order book is malformed"),
        (parse_book, {"bids": [], "asks": []}, "order book is malformed"),
        (parse_book, {"sequence": None, "bids": [], "asks": []}, "order book is malformed"),
        (parse_book, {"sequence": "1", "bids": [["1"]], "asks": []}, "order book is malformed"),
        (parse_book, {"sequence": "1", "bids": ["12"], "asks": []}, "order book is malformed"),
        (parse_book, {"sequence": "1", "bids": [], "asks": [[0.1, 2]]}, "order book is malformed"),
        (parse_book, {"sequence": "1", "bids": [], "asks": 7}, "order book is malformed"),
        (parse_histories, [{"sequence": "1"}], "histories is malformed"),
        (parse_timestamp, "soon", "timestamp is malformed"),
        (parse_timestamp, None, "timestamp is malformed"),
        (parse_all_tickers, {"time": 1}, "allTickers is malformed"),
        (parse_all_tickers, None, "allTickers is malformed"),
        (parse_all_tickers, {"time": 1, "ticker": [{"vol": "1"}]}, "allTickers is malformed"),
    ],
)
def test_a_malformed_answer_is_named(parse: Any, data: Any, problem: str) -> None:
    with pytest.raises(WireError, match=problem):
        parse(data)
