"""Market messages of the classic dialects, parsed and formatted: level2, level3, match, ticker.

A parser takes the `data` object of a frame, already JSON; a formatter returns the whole frame.
Prices and sizes stay the text the wire has: the archive's scales are the pipeline's business.
Side words on the wire are buy and sell; a match names the taker's side.

Times are ns; `unit_ns` is the unit of the wire's `time` in that channel, which the profile says.
A time that is no count becomes `UNREADABLE_TIME`: a clock gone wrong costs no message. Whether a
time is plausible is for the reader of these messages to judge.

Source: KuCoin API document of February 2019, "Public Channels", and the specification of
kucoin-universal-sdk of November 2025; both read 2026-11-22.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from schemas.kucoin.control import WireError
from schemas.kucoin.wire_time import parse_time
from schemas.timestamps import NS_PER_MS

LEVEL2, LEVEL3, MATCH = "/market/level2", "/market/level3", "/market/match"
TICKER, SNAPSHOT = "/market/ticker", "/market/snapshot"

# Names in the `data` of each feed that have a place in the rows; a snapshot keeps any other, too.
FIELDS: Mapping[str, frozenset[str]] = {
    "level2": frozenset({"symbol", "sequenceStart", "sequenceEnd", "changes", "time"}),
    "level3": frozenset(
        {"symbol", "sequence", "type", "side", "time", "orderId", "price", "size", "newSize",
         "remainSize", "oldSize", "funds", "orderType", "stopType", "reason", "makerOrderId",
         "takerOrderId", "tradeId"}
    ),
    "match": frozenset(
        {"symbol", "sequence", "type", "side", "time", "price", "size", "makerOrderId",
         "takerOrderId", "tradeId"}
    ),
    "ticker": frozenset(
        {"sequence", "price", "size", "bestBid", "bestBidSize", "bestAsk", "bestAskSize", "time",
         "Time"}
    ),
}  # fmt: skip

Change = tuple[str, str, int]  # price, size, sequence


@dataclass(slots=True)
class L2Update:
    """Changes of one message, in the wire's order, which is not that of the sequences."""

    symbol: str
    sequence_start: int
    sequence_end: int
    asks: list[Change]
    bids: list[Change]
    ts_event: int | None = None


def parse_l2_update(data: dict[str, Any], unit_ns: int = NS_PER_MS) -> L2Update:
    """Parse the data of a `trade.l2update`; `size` is the level's new total, "0" removes it."""
    changes = data["changes"]
    return L2Update(
        data["symbol"],
        int(data["sequenceStart"]),
        int(data["sequenceEnd"]),
        [(price, size, int(sequence)) for price, size, sequence in changes["asks"] or ()],
        [(price, size, int(sequence)) for price, size, sequence in changes["bids"] or ()],
        parse_time(data.get("time"), unit_ns),
    )


def format_l2_update(update: L2Update, unit_ns: int = NS_PER_MS) -> bytes:
    """Format a level2 frame."""
    data: dict[str, Any] = {
        "sequenceStart": update.sequence_start,
        "symbol": update.symbol,
        "changes": {
            "asks": [(price, size, str(sequence)) for price, size, sequence in update.asks],
            "bids": [(price, size, str(sequence)) for price, size, sequence in update.bids],
        },
        "sequenceEnd": update.sequence_end,
    }
    if update.ts_event is not None:
        data["time"] = update.ts_event // unit_ns
    return _frame(f"{LEVEL2}:{update.symbol}", "trade.l2update", data)


@dataclass(slots=True)
class L3Event:
    """One event of the matching engine. `kind` is the wire's `data.type`; the subject is not used.

    For a match `order_id` is the maker's, `side` the taker's, as the wire says it.
    """

    kind: str
    symbol: str
    sequence: int
    side: str | None
    ts_event: int | None
    order_id: str | None = None
    price: str | None = None
    size: str | None = None
    remain_size: str | None = None
    old_size: str | None = None
    funds: str | None = None
    order_type: str | None = None
    stop_type: str | None = None
    reason: str | None = None
    taker_order_id: str | None = None
    trade_id: str | None = None


def parse_l3_event(data: dict[str, Any], unit_ns: int = 1) -> L3Event:
    """Parse the data of any level3 message, dispatching on `data.type`, never on the subject.

    Raises
    ------
    WireError   for a kind this dialect does not have
    """
    get = data.get
    kind = data["type"]
    ts_event = parse_time(get("time"), unit_ns)
    if kind == "match":
        return L3Event(
            kind,
            data["symbol"],
            int(data["sequence"]),
            get("side"),
            ts_event,
            data["makerOrderId"],
            data["price"],
            data["size"],
            taker_order_id=get("takerOrderId"),
            trade_id=get("tradeId"),
        )
    if kind not in {"received", "open", "done", "change", "stop", "activate"}:
        raise WireError(f"level3 kind {kind!r} is unknown", orjson.dumps(data))
    is_change = kind == "change"
    return L3Event(
        kind,
        data["symbol"],
        int(data["sequence"]),
        get("side"),
        ts_event,
        data["orderId"],
        get("price"),
        data["newSize"] if is_change else get("size"),
        get("remainSize"),
        get("oldSize"),
        get("funds"),
        get("orderType"),
        get("stopType"),
        get("reason"),
    )


_SUBJECTS = {"stop": "trade.l3received", "activate": "trade.l3received"}


def format_l3_event(event: L3Event, unit_ns: int = 1) -> bytes:
    """Format a level3 frame; fields that are None are left out."""
    size_name = "newSize" if event.kind == "change" else "size"
    order_id_name = "makerOrderId" if event.kind == "match" else "orderId"
    data = {
        "sequence": str(event.sequence),
        "symbol": event.symbol,
        "side": event.side,
        size_name: event.size,
        order_id_name: event.order_id,
        "takerOrderId": event.taker_order_id,
        "tradeId": event.trade_id,
        "price": event.price,
        "remainSize": event.remain_size,
        "oldSize": event.old_size,
        "funds": event.funds,
        "orderType": event.order_type,
        "stopType": event.stop_type,
        "reason": event.reason,
        "time": None if event.ts_event is None else str(event.ts_event // unit_ns),
        "type": event.kind,
    }
    subject = _SUBJECTS.get(event.kind, f"trade.l3{event.kind}")
    return _frame(
        f"{LEVEL3}:{event.symbol}", subject, {k: v for k, v in data.items() if v is not None}
    )


@dataclass(slots=True)
class Match:
    """One trade of the match topic; `side` is the taker's: buy or sell."""

    symbol: str
    sequence: int
    side: str
    price: str
    size: str
    maker_order_id: str | None
    taker_order_id: str | None
    trade_id: str | None
    ts_event: int | None


def parse_match(data: dict[str, Any], unit_ns: int = 1) -> Match:
    """Parse the data of a `trade.l3match` from the match topic."""
    return Match(
        data["symbol"],
        int(data["sequence"]),
        data["side"],
        data["price"],
        data["size"],
        data.get("makerOrderId"),
        data.get("takerOrderId"),
        data.get("tradeId"),
        parse_time(data.get("time"), unit_ns),
    )


def format_match(match: Match, unit_ns: int = 1) -> bytes:
    """Format a frame of the match topic."""
    data = {
        "sequence": str(match.sequence),
        "symbol": match.symbol,
        "side": match.side,
        "size": match.size,
        "price": match.price,
        "takerOrderId": match.taker_order_id,
        "time": None if match.ts_event is None else str(match.ts_event // unit_ns),
        "type": "match",
        "makerOrderId": match.maker_order_id,
        "tradeId": match.trade_id,
    }
    return _frame(
        f"{MATCH}:{match.symbol}",
        "trade.l3match",
        {k: v for k, v in data.items() if v is not None},
    )


@dataclass(slots=True)
class Ticker:
    """Best bid and offer with the last trade at a sequence; NULL where a side is empty."""

    symbol: str
    sequence: int
    price: str | None
    size: str | None
    best_bid: str | None
    best_bid_size: str | None
    best_ask: str | None
    best_ask_size: str | None
    ts_event: int | None = None
    channel: str = "symbol"
    time_name: str = "time"


def parse_ticker(
    symbol: str, data: dict[str, Any], channel: str = "symbol", unit_ns: int = NS_PER_MS
) -> Ticker:
    """Parse the data of a ticker push; its symbol stands in the topic, or in `all`'s subject.

    Its time has been seen under the key `Time`, too; `time_name` says under which it came.
    """
    time_name = "Time" if "Time" in data and "time" not in data else "time"
    return Ticker(
        symbol,
        int(data["sequence"]),
        data.get("price"),
        data.get("size"),
        data.get("bestBid"),
        data.get("bestBidSize"),
        data.get("bestAsk"),
        data.get("bestAskSize"),
        parse_time(data.get(time_name), unit_ns),
        channel,
        time_name,
    )


def ticker_fields(ticker: Ticker, unit_ns: int = NS_PER_MS) -> dict[str, Any]:
    """Return the wire's `data` object of a ticker, as websocket and REST level1 both have it."""
    data: dict[str, Any] = {
        "sequence": str(ticker.sequence),
        "bestAsk": ticker.best_ask,
        "size": ticker.size,
        "bestBidSize": ticker.best_bid_size,
        "price": ticker.price,
        "bestAskSize": ticker.best_ask_size,
        "bestBid": ticker.best_bid,
    }
    if ticker.ts_event is not None:
        data[ticker.time_name] = ticker.ts_event // unit_ns
    return data


def format_ticker(ticker: Ticker, unit_ns: int = NS_PER_MS) -> bytes:
    """Format a ticker frame, of the symbol's own topic or of `ticker:all`."""
    fields = ticker_fields(ticker, unit_ns)
    if ticker.channel == "all":
        return _frame(f"{TICKER}:all", ticker.symbol, fields)
    return _frame(f"{TICKER}:{ticker.symbol}", "trade.ticker", fields)


def _frame(topic: str, subject: str, data: dict[str, Any]) -> bytes:
    return orjson.dumps({"data": data, "subject": subject, "topic": topic, "type": "message"})
