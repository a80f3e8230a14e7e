"""The snapshot topic: 24 h figures of a symbol or a whole market, as JSON numbers kept as text.

The document's two examples carry the list under a symbol's heading and the object under a
market's, so both shapes are taken from both topics.

Source: KuCoin API document of February 2019, "Symbol Snapshot" and "Market Snapshot",
read 2026-11-22.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

import orjson

from schemas.kucoin.control import WireError
from schemas.kucoin.market import SNAPSHOT
from schemas.kucoin.wire_time import parse_time
from schemas.timestamps import NS_PER_MS

_COLUMN_OF_FIELD = {
    "trading": "trading",
    "buy": "buy",
    "sell": "sell",
    "sort": "sort",
    "volValue": "vol_value",
    "baseCurrency": "base_currency",
    "market": "market",
    "quoteCurrency": "quote_currency",
    "symbolCode": "symbol_code",
    "high": "high",
    "vol": "vol",
    "low": "low",
    "changePrice": "change_price",
    "changeRate": "change_rate",
    "lastTradedPrice": "last_traded_price",
    "board": "board",
    "mark": "mark",
}


class NumberText(str):
    """A JSON number as the wire wrote it: -1.0e-5 stays "-1.0e-5"."""

    __slots__ = ()


@dataclass(slots=True)
class MarketSnapshot:
    """One push: a list of symbols' fields, each value text, bool, None or nested JSON."""

    channel: str
    sequence: int
    entries: list[dict[str, Any]]
    is_list: bool = field(default=False)


def parse_market_snapshot(frame_text: bytes | str) -> MarketSnapshot:
    """Parse a whole frame of the snapshot topic, numbers as `NumberText`.

    Raises
    ------
    WireError   when a field the rows need is missing
    """
    try:
        frame = json.loads(
            frame_text, parse_float=NumberText, parse_int=NumberText, parse_constant=_refuse
        )
        channel = frame["topic"].partition(":")[2]
        data = frame["data"]["data"]
        entries = data if isinstance(data, list) else [data]
        if not all(type(entry["symbol"]) is str for entry in entries):  # not NumberText
            raise WireError("market snapshot names no symbol", frame_text)
        return MarketSnapshot(
            channel, int(frame["data"]["sequence"]), entries, isinstance(data, list)
        )
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        if isinstance(error, WireError):
            raise
        raise WireError(f"market snapshot is malformed ({error!r})", frame_text) from None


def format_market_snapshot(snapshot: MarketSnapshot) -> bytes:
    """Format a frame of the snapshot topic; `NumberText` becomes a JSON number again."""
    return _dumps(
        {
            "data": {
                "sequence": str(snapshot.sequence),
                "data": snapshot.entries if snapshot.is_list else snapshot.entries[0],
            },
            "subject": "trade.snapshot",
            "topic": f"{SNAPSHOT}:{snapshot.channel}",
            "type": "message",
        }
    )


def row_of_entry(
    entry: dict[str, Any], unit_ns: int = NS_PER_MS
) -> tuple[str, int | None, dict[str, str | None]]:
    """Return symbol, ts_event (ns) and the text columns of one entry, `extra` among them."""
    columns: dict[str, str | None] = dict.fromkeys(_COLUMN_OF_FIELD.values())
    extra: dict[str, Any] = {}
    ts_event: int | None = None
    for name, value in entry.items():
        if name == "symbol":
            continue
        if name == "datetime" and isinstance(value, str) and value.isdecimal():
            ts_event = parse_time(str(value), unit_ns)
        elif name in _COLUMN_OF_FIELD and not isinstance(value, dict | list):
            columns[_COLUMN_OF_FIELD[name]] = _text(value)
        else:
            extra[name] = value
    columns["extra"] = _dumps(extra).decode() if extra else None
    return entry["symbol"], ts_event, columns


def _refuse(word: str) -> None:
    raise ValueError(f"{word} is not JSON")


def _text(value: object) -> str | None:
    if value is None:
        return None
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def _dumps(value: object) -> bytes:
    return orjson.dumps(value, default=_number, option=orjson.OPT_PASSTHROUGH_SUBCLASS)


def _number(value: object) -> orjson.Fragment:
    if isinstance(value, NumberText):
        return orjson.Fragment(str(value))
    raise TypeError(f"{type(value).__name__} is not JSON")
