"""Market messages: the document's own examples, parsed, and formatted back to equal JSON."""

from __future__ import annotations

import pytest

from schemas.kucoin.control import WireError
from schemas.kucoin.market import (
    L2Update,
    L3Event,
    Match,
    Ticker,
    format_l3_event,
    format_match,
    format_ticker,
    parse_l2_update,
    parse_l3_event,
    parse_match,
    parse_ticker,
)
from schemas.timestamps import NS_PER_MS
from tests.support.wire_round_trip import exact, reformat_frame

LEVEL2 = """{"type":"message","topic":"/market/level2:BTC-USDT","subject":"trade.l2update",
  "data":{"sequenceStart":1545896669105,"sequenceEnd":1545896669106,"symbol":"BTC-USDT",
    "changes":{"asks":[["6","1","1545896669105"]],"bids":[["4","1","1545896669106"]]}}}"""

TICKER = """{"type":"message","topic":"/market/ticker:BTC-USDT","subject":"trade.ticker",
  "data":{"sequence":"1545896668986","bestAsk":"0.08","size":"0.011","bestBidSize":"0.036",
    "price":"0.08","bestAskSize":"0.18","bestBid":"0.049"}}"""

TICKER_ALL = TICKER.replace("ticker:BTC-USDT", "ticker:all").replace("trade.ticker", "BTC-USDT")

MATCH_DATA = """{"sequence":"1545896669145","symbol":"BTC-USDT","side":"buy",
    "size":"0.01022222000000000000","price":"0.08200000000000000000",
    "takerOrderId":"5c24c5d903aa6772d55b371e","time":"1545913818099033203","type":"match",
    "makerOrderId":"5c2187d003aa677bd09d5c93","tradeId":"5c24c5da03aa673885cd67aa"}"""

MATCH = f"""{{"id":"5c24c5da03aa673885cd67aa","type":"message","topic":"/market/match:BTC-USDT",
  "subject":"trade.l3match","sn":1545896669145,"data":{MATCH_DATA}}}"""


def _level3(subject: str, data: str) -> str:
    return (
        f'{{"type":"message","topic":"/market/level3:BTC-USDT","subject":"trade.l3{subject}",'
        f'"data":{{"symbol":"BTC-USDT",{data}}}}}'
    )


LEVEL3 = {
    "received": _level3(
        "received",
        '"sequence":"1545896669147","side":"sell","size":"1","orderId":"5c24c72503aa6772d55b378d",'
        '"price":"4.00000000000000000000","time":"1545914149935808589","type":"received",'
        '"orderType":"limit"',
    ),
    "received by funds": _level3(
        "received",
        '"sequence":"1545896669100","side":"sell","size":"1","orderId":"5c24c72503aa6772d55b178d",'
        '"time":"1545914149835808589","type":"received","orderType":"market","funds":"100"',
    ),
    "open": _level3(
        "open",
        '"sequence":"1545896669148","side":"sell","size":"1","orderId":"5c24c72503aa6772d55b378d",'
        '"price":"6.00000000000000000000","time":"1545914149935808632","type":"open",'
        '"remainSize":"1"',
    ),
    "done, filled": _level3(
        "done",
        '"sequence":"1545896669226","reason":"filled","side":"buy",'
        '"orderId":"5c24c96103aa6772d55b380b","time":"1545914730696727106","type":"done"',
    ),
    "done, canceled": _level3(
        "done",
        '"sequence":"1545896669227","reason":"canceled","side":"buy",'
        '"orderId":"5c24c96103aa6772d55b381b","time":"1545914730696797106","type":"done",'
        '"size":"1.12340000000000000000"',
    ),
    "match": _level3(
        "match",
        '"sequence":"1545896669291","side":"buy","size":"0.07600000000000000000",'
        '"price":"0.08300000000000000000","takerOrderId":"5c24ca2e03aa6772d55b38bf",'
        '"time":"1545914933083576866","type":"match","makerOrderId":"5c20492a03aa677bd099ce9d",'
        '"tradeId":"5c24ca3503aa673885cd67ef"',
    ),
    "change": _level3(
        "change",
        '"sequence":"1545896669656","side":"buy","orderId":"5c24caff03aa671aef3ca170",'
        '"price":"1.00000000000000000000","newSize":"0.15722222000000000000",'
        '"time":"1545915145402532254","type":"change","oldSize":"0.18622222000000000000"',
    ),
    "stop": _level3(
        "received",
        '"sequence":"1545738118241","side":"buy","orderId":"5c21e80303aa677bd09d7dff",'
        '"stopType":"entry","funds":"1.00000000000000000000","time":"1545743136994328401",'
        '"type":"stop"',
    ),
    "activate": _level3(
        "received",
        '"sequence":"1545738118241","side":"buy","orderId":"5c21e80303aa677bd09d7dff",'
        '"stopType":"entry","funds":"1.00000000000000000000","time":"1545743136994328401",'
        '"type":"activate"',
    ),
}


@pytest.mark.parametrize(
    "text", [LEVEL2, TICKER, TICKER_ALL, *LEVEL3.values()],
    ids=["level2", "ticker", "ticker:all", *LEVEL3],
)  # fmt: skip
def test_an_example_of_the_document_formats_back_to_equal_json(text: str) -> None:
    assert exact(reformat_frame(text)) == exact(text)


def test_the_match_example_formats_back_but_for_two_fields_beside_data() -> None:
    # `id` repeats the trade's id and `sn` its sequence; the real exchange sends neither.
    expected = exact(MATCH)
    assert (expected.pop("id"), expected.pop("sn")) == ("5c24c5da03aa673885cd67aa", 1545896669145)
    assert exact(reformat_frame(MATCH)) == expected


def test_a_level2_message_keeps_the_order_of_the_wire() -> None:
    # The changes of the document's worked example: sequences unsorted, as numbers and as texts.
    update = parse_l2_update(
        {
            "sequenceStart": 15,
            "sequenceEnd": "18",
            "symbol": "BTC-USDT",
            "changes": {
                "asks": [["3988.62", "8", 15], ["3988.61", "0", 18], ["3988.59", "3", 16]],
                "bids": [["3988.50", "44", "17"]],
            },
        }
    )
    assert update == L2Update(
        "BTC-USDT",
        15,
        18,
        [("3988.62", "8", 15), ("3988.61", "0", 18), ("3988.59", "3", 16)],
        [("3988.50", "44", 17)],
    )


def test_a_level2_message_may_have_null_sides_and_a_time_in_ms() -> None:
    data = {"sequenceStart": 1, "sequenceEnd": 1, "symbol": "X", "time": 1729816425625,
            "changes": {"asks": None, "bids": []}}  # fmt: skip
    assert parse_l2_update(data) == L2Update("X", 1, 1, [], [], 1_729_816_425_625_000_000)


@pytest.mark.parametrize(
    "change",
    [["1", "2"], ["1", "2", "x"], ["1", "2", 3, 4], None],
    ids=["short", "x", "long", "no"],
)
def test_a_misshapen_level2_change_is_refused(change: object) -> None:
    data = {"sequenceStart": 1, "sequenceEnd": 1, "symbol": "X", "changes": {"asks": [change]}}
    with pytest.raises((ValueError, TypeError, KeyError)):
        parse_l2_update(data)


def test_a_match_says_who_made_and_who_took() -> None:
    assert parse_match(exact(MATCH_DATA)) == Match(
        symbol="BTC-USDT",
        sequence=1545896669145,
        side="buy",
        price="0.08200000000000000000",
        size="0.01022222000000000000",
        maker_order_id="5c2187d003aa677bd09d5c93",
        taker_order_id="5c24c5d903aa6772d55b371e",
        trade_id="5c24c5da03aa673885cd67aa",
        ts_event=1545913818099033203,
    )


def test_a_level3_event_is_told_by_its_type_not_by_its_subject() -> None:
    # stop and activate come under the subject of a received order.
    kinds = {name: parse_l3_event(exact(text)["data"]).kind for name, text in LEVEL3.items()}
    assert kinds["stop"] == "stop"
    assert kinds["activate"] == "activate"
    assert kinds["done, filled"] == kinds["done, canceled"] == "done"


def test_the_size_of_a_change_is_the_new_one() -> None:
    assert parse_l3_event(exact(LEVEL3["change"])["data"]) == L3Event(
        kind="change",
        symbol="BTC-USDT",
        sequence=1545896669656,
        side="buy",
        ts_event=1545915145402532254,
        order_id="5c24caff03aa671aef3ca170",
        price="1.00000000000000000000",
        size="0.15722222000000000000",
        old_size="0.18622222000000000000",
    )


def test_a_hidden_open_keeps_its_empty_price() -> None:
    data = {"type": "open", "symbol": "X", "sequence": 7, "orderId": "a", "price": "", "size": "0"}
    event = parse_l3_event(data)
    assert (event.price, event.size, event.remain_size, event.side) == ("", "0", None, None)
    assert exact(format_l3_event(event))["data"] == {**data, "sequence": "7"}


def test_an_unknown_level3_kind_is_an_error_with_its_payload() -> None:
    with pytest.raises(WireError, match="level3 kind 'update' is unknown") as caught:
        parse_l3_event({"type": "update", "symbol": "X", "sequence": "1"})
    assert '"update"' in caught.value.payload


@pytest.mark.parametrize("missing", ["sequence", "symbol", "makerOrderId", "price", "size"])
def test_a_match_event_without_a_needed_field_is_refused(missing: str) -> None:
    data = exact(LEVEL3["match"])["data"]
    del data[missing]
    with pytest.raises(KeyError, match=missing):
        parse_l3_event(data)


def test_a_ticker_of_an_empty_side_has_none_there() -> None:
    ticker = parse_ticker("X", {"sequence": "5", "price": "1", "size": "2", "bestBid": None})
    assert ticker == Ticker("X", 5, "1", "2", None, None, None, None)


@pytest.mark.parametrize("name", ["time", "Time"])
def test_a_ticker_time_is_ms_under_either_spelling(name: str) -> None:
    ticker = parse_ticker("X", {"sequence": "5", name: 1550653727731}, "all")
    assert (ticker.ts_event, ticker.channel) == (1_550_653_727_731_000_000, "all")
    assert exact(format_ticker(ticker))["data"][name] == 1550653727731


def test_the_unit_of_a_time_is_the_channel_s_in_both_directions() -> None:
    data = {"sequence": "7", "symbol": "X", "side": "buy", "size": "1", "price": "2",
            "type": "match", "time": "1729843222921"}  # fmt: skip
    match = parse_match(data, NS_PER_MS)
    assert match.ts_event == 1_729_843_222_921_000_000
    assert exact(format_match(match, NS_PER_MS))["data"] == data


@pytest.mark.parametrize("time", ["soon", 1.5, [], -3])
def test_a_time_that_is_none_costs_no_message(time: object) -> None:
    data = {"sequenceStart": 1, "sequenceEnd": 1, "symbol": "X", "time": time,
            "changes": {"asks": [], "bids": []}}  # fmt: skip
    told = parse_l2_update(data).ts_event
    assert told is not None
    assert told < 0
