"""Play one message through the real pipeline, and find every leaf of it in the rows it became.

Nothing is taken on trust: a leaf counts as kept when a column of a row has its very value, an
entry of `extra` its very text, or when it is one of the few named as structure, each of which
must say what the rows already say.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import orjson

from recorder.pipeline.output import RequestBook
from recorder.pipeline.pipeline import Pipeline
from recorder.raw_line import RawLine
from schemas.datasets import DATASETS
from schemas.kucoin.market_snapshot import NumberText
from schemas.kucoin.profile import Profile
from schemas.kucoin.rest import BookAnswer, format_book
from schemas.kucoin.topics import parse_topic
from tests.support.judge import number
from tests.support.market_log import RUN, T0
from tests.support.pipeline_rows import Made

DATASET_OF_FEED = {
    "level2": "l2_updates",
    "level3": "l3_events",
    "match": "trades",
    "ticker": "tickers",
    "snapshot": "market_snapshots",
}

# Wire field → the columns it may stand in.
NUMBERS = {
    "price": "price", "size": "size", "newSize": "size", "remainSize": "remain_size",
    "oldSize": "old_size", "funds": "funds", "bestBid": "best_bid", "bestBidSize": "best_bid_size",
    "bestAsk": "best_ask", "bestAskSize": "best_ask_size",
}  # fmt: skip
TEXTS = {
    "symbol": "symbol", "tradeId": "trade_id", "takerOrderId": "taker_order_id",
    "orderType": "order_type", "stopType": "stop_type", "reason": "reason",
}  # fmt: skip
SEQUENCES = {
    "sequenceStart": "sequence_start",
    "sequenceEnd": "sequence_end",
    "sequence": "sequence",
}
TIMES = {"time", "Time", "datetime"}
SIDE_OF_ORDER = {"buy": "bid", "sell": "ask"}

# Beside `data`: what says where the message goes. `id` and `sn` stand in one example only.
STRUCTURE = {"type", "topic", "subject", "id", "sn"}


def play(profile: Profile, text: str) -> Made:
    """Play one frame, synced where it belongs to a book."""
    made = Made(Pipeline())

    def line(kind: str, data: bytes | None = None, **fields: Any) -> None:
        raw = RawLine(kind, T0 + len(made.batches), 0, 1, data, fields)
        made.take(made.pipeline.feed([raw]))

    line("run_start", run_id=RUN, profile=profile.name)
    line("open")
    line("recv", text.encode())
    for command in list(made.commands):
        if isinstance(command, RequestBook):
            data = json.loads(text)["data"]
            before = int(data.get("sequenceStart") or data["sequence"]) - 1
            source = profile.book_source(command.stream, signed=True)
            assert source is not None
            fields = {"symbol": command.symbol, "stream": command.stream, "request_id": 1}
            url = "http://127.0.0.1:1" + source.path.format(symbol=command.symbol)
            line("rest_answer", format_book(BookAnswer(before, None, [], [])), url=url, **fields)
    return made


def feed_of(profile: Profile, frame: dict[str, Any]) -> str | None:
    """Return the feed a message belongs to, None for a topic the recorder has no use for."""
    prefix = parse_topic(frame["topic"])[0]
    return next((feed for feed, topic in profile.topics.items() if topic == prefix), None)


def account(profile: Profile, text: str) -> list[str]:
    """Return the leaves of a message that no row has, by path; empty when all are kept."""
    frame = json.loads(text, parse_float=NumberText, parse_int=NumberText)
    feed = feed_of(profile, frame)
    assert feed is not None
    made = play(profile, text)
    assert made.incidents == []
    dataset = DATASET_OF_FEED[feed]
    keys = [key for key in made.batches if key[0] == dataset]
    assert {key[0] for key in made.batches} <= {dataset, "book_snapshots", "trades"}
    rows = [row for _, symbol, stream in keys for row in made.rows(dataset, symbol, stream)]
    assert rows, "the message left no row"
    assert set(rows[0]) == set(DATASETS[dataset].schema.names)
    _check_structure(frame, rows)
    lost = []
    for path, leaf in leaves(frame["data"]):
        if not _is_kept(path, leaf, rows, profile.unit_ns(feed)):
            lost.append(".".join(path))
    return lost


def leaves(value: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Return every value that holds no other; the changes of a book are leaves as a whole."""
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from leaves(inner, (*path, name))
    elif isinstance(value, list) and path[:1] == ("changes",):
        for change in value:
            yield path, change
    elif isinstance(value, list) and value and isinstance(value[0], dict):
        for entry in value:
            yield from leaves(entry, path)
    else:
        yield path, value


def _check_structure(frame: dict[str, Any], rows: list[dict[str, Any]]) -> None:
    """Hold what stands beside `data` to what the rows say."""
    assert set(frame) - {"data"} <= STRUCTURE
    assert frame["type"] == "message"
    (name,) = parse_topic(frame["topic"])[1]
    for row in rows:
        # The topic's name is the row's symbol, or its channel; `all` names its symbol as subject.
        told = {row["symbol"], row.get("channel")}
        assert name in told
        assert frame["subject"].startswith("trade.") or frame["subject"] in told
        if "sn" in frame:
            assert int(frame["sn"]) == row["sequence"]
            assert frame["id"] == row["trade_id"]


def _is_kept(path: tuple[str, ...], leaf: Any, rows: list[dict[str, Any]], unit_ns: int) -> bool:
    name = path[-1]
    if path[0] == "changes":
        side = {"asks": "ask", "bids": "bid"}[name]
        price, size, sequence = leaf
        found = (side, Decimal(price), Decimal(size), int(sequence))
        return any(
            (r["side"], number(r, "price"), number(r, "size"), r["sequence"]) == found for r in rows
        )
    if path[0] == "data":  # of the snapshot topic
        return any(_stands_in_snapshot(path[1:], leaf, row, unit_ns) for row in rows)
    return any(_stands_in(name, leaf, row, unit_ns) for row in rows)


def _stands_in(name: str, leaf: Any, row: dict[str, Any], unit_ns: int) -> bool:
    if name in NUMBERS:
        value = number(row, NUMBERS[name])
        return value == Decimal(leaf) if leaf else value is None
    if name in SEQUENCES:
        return row[SEQUENCES[name]] == int(leaf)
    if name in TIMES:
        return row["ts_event"] == int(leaf) * unit_ns
    if name in TEXTS:
        return row[TEXTS[name]] == leaf
    if name in {"orderId", "makerOrderId"}:
        return leaf == (row["order_id"] if "order_id" in row else row["maker_order_id"])
    if name == "side":
        if "aggressor_side" in row and row["aggressor_side"] is not None:
            return row["aggressor_side"] == leaf
        return row["side"] == SIDE_OF_ORDER[leaf]
    if name == "type":
        return leaf == row.get("kind", "match")
    return False


def _stands_in_snapshot(
    path: tuple[str, ...], leaf: Any, row: dict[str, Any], unit_ns: int
) -> bool:
    name = path[0]
    if name in TIMES:
        return row["ts_event"] == int(leaf) * unit_ns
    column = "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name)
    if column in row:
        if isinstance(leaf, bool):
            return row[column] == str(leaf).lower()
        return row[column] == leaf
    found = json.loads(row["extra"] or "{}", parse_float=NumberText, parse_int=NumberText)
    for step in path:
        if not isinstance(found, dict) or step not in found:
            return False
        found = found[step]
    return orjson.dumps(found) == orjson.dumps(leaf) and type(found) is type(leaf)
