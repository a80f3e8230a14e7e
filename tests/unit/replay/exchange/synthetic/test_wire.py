"""Engine words to wire words, held against the document's examples field by field."""

import orjson
import pytest

from replay.exchange.synthetic import wire
from replay.exchange.synthetic.instruments import Instrument
from replay.exchange.synthetic.orders import EngineEvent
from schemas.kucoin.market import format_l3_event, format_match

TOY = Instrument("BTC-USDT", 2, 8, 2, 1000, 100)

RECEIVED = EngineEvent(7, 99, "received", "ask", "o1", 400, 10**8, order_type="limit")
BY_FUNDS = EngineEvent(
    8, 99, "received", "bid", "o2", None, None, order_type="market", funds=100 * 10**10
)
OPEN = EngineEvent(9, 99, "open", "ask", "o1", 600, 10**8, 600, 10**8, size_before=2 * 10**8)
FILLED = EngineEvent(10, 99, "done", "bid", "o3", 600, None, reason="filled")
CANCELED = EngineEvent(11, 99, "done", "bid", "o3", 600, 112_340_000, 600, 0, reason="canceled")
MATCH = EngineEvent(
    12, 99, "match", "ask", "m", 830, 7_600_000, 830, 0, taker_order_id="t", trade_id="d"
)
CHANGE = EngineEvent(13, 99, "change", "bid", "o4", 100, 15_722_222, size_before=18_622_222)

HEAD = {"symbol": "BTC-USDT", "time": "99"}


@pytest.mark.parametrize(
    ("event", "subject", "data"),
    [
        (
            RECEIVED,
            "trade.l3received",
            {
                "sequence": "7",
                "side": "sell",
                "size": "1",
                "orderId": "o1",
                "price": "4",
                "type": "received",
                "orderType": "limit",
            },
        ),
        (
            BY_FUNDS,
            "trade.l3received",
            {
                "sequence": "8",
                "side": "buy",
                "orderId": "o2",
                "type": "received",
                "orderType": "market",
                "funds": "100",
            },
        ),
        (
            OPEN,
            "trade.l3open",
            {
                "sequence": "9",
                "side": "sell",
                "size": "2",
                "orderId": "o1",
                "price": "6",
                "type": "open",
                "remainSize": "1",
            },
        ),
        (
            FILLED,
            "trade.l3done",
            {
                "sequence": "10",
                "reason": "filled",
                "side": "buy",
                "orderId": "o3",
                "type": "done",
            },
        ),
        (
            CANCELED,
            "trade.l3done",
            {
                "sequence": "11",
                "reason": "canceled",
                "side": "buy",
                "orderId": "o3",
                "type": "done",
                "size": "1.1234",
            },
        ),
        (
            MATCH,
            "trade.l3match",
            {
                "sequence": "12",
                "side": "buy",
                "size": "0.076",
                "price": "8.3",
                "takerOrderId": "t",
                "makerOrderId": "m",
                "tradeId": "d",
                "type": "match",
            },
        ),
        (
            CHANGE,
            "trade.l3change",
            {
                "sequence": "13",
                "side": "buy",
                "orderId": "o4",
                "price": "1",
                "newSize": "0.15722222",
                "oldSize": "0.18622222",
                "type": "change",
            },
        ),
    ],
)
def test_level3_has_the_documents_fields(
    event: EngineEvent, subject: str, data: dict[str, str]
) -> None:
    assert orjson.loads(format_l3_event(wire.l3_event(TOY, event))) == {
        "type": "message",
        "topic": "/market/level3:BTC-USDT",
        "subject": subject,
        "data": {**HEAD, **data},
    }


def test_match_topic_names_the_takers_side() -> None:
    frame = orjson.loads(format_match(wire.match(TOY, MATCH)))
    assert frame["topic"] == "/market/match:BTC-USDT"
    assert frame["data"]["side"] == "buy"
    assert frame["data"]["makerOrderId"] == "m"


def test_round_half_up() -> None:
    assert [wire.round_half_up(n, 4) for n in (-6, -2, -1, 0, 1, 2, 6)] == [-1, 0, 0, 0, 0, 1, 2]
