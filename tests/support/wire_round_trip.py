"""Parse what the exchange sent and format it back, for comparison as exact JSON."""

from __future__ import annotations

import json
from typing import Any

from schemas.kucoin.control import format_control, parse_control
from schemas.kucoin.market import (
    LEVEL2,
    LEVEL3,
    MATCH,
    SNAPSHOT,
    TICKER,
    format_l2_update,
    format_l3_event,
    format_match,
    format_ticker,
    parse_l2_update,
    parse_l3_event,
    parse_match,
    parse_ticker,
)
from schemas.kucoin.market_snapshot import format_market_snapshot, parse_market_snapshot
from schemas.kucoin.topics import parse_topic


def exact(text: bytes | str) -> Any:
    """Load JSON with every number as its own text, so that nothing is compared as a float."""
    return json.loads(text, parse_float=lambda number: ("number", number))


def reformat_frame(text: str) -> bytes | None:
    """Parse a websocket frame and format it again; None for a topic the recorder has no use for."""
    frame = json.loads(text)
    if frame["type"] != "message":
        return format_control(parse_control(frame))
    prefix, names = parse_topic(frame["topic"])
    if prefix == LEVEL2:
        return format_l2_update(parse_l2_update(frame["data"]))
    if prefix == LEVEL3:
        return format_l3_event(parse_l3_event(frame["data"]))
    if prefix == MATCH:
        return format_match(parse_match(frame["data"]))
    if prefix == SNAPSHOT:
        return format_market_snapshot(parse_market_snapshot(text))
    if prefix == TICKER:
        is_all = names == ("all",)
        symbol = frame["subject"] if is_all else names[0]
        return format_ticker(parse_ticker(symbol, frame["data"], "all" if is_all else "symbol"))
    return None
