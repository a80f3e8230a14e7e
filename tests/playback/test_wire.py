"""Every message of the API document and of the real captures: parsed and formatted back, equal."""

from __future__ import annotations

import json
import re
from collections import Counter
from decimal import Decimal
from pathlib import Path
from typing import Any

from recorder.pipeline.output import InstrumentSeen
from recorder.pipeline.pipeline import Pipeline
from recorder.raw_line import RawLine
from schemas.kucoin.market import parse_ticker
from schemas.kucoin.profiles.kucoin_2019 import KUCOIN_2019
from schemas.kucoin.rest import (
    format_all_tickers,
    format_book,
    format_bullet,
    format_histories,
    format_instruments,
    format_level1,
    parse_all_tickers,
    parse_answer,
    parse_book,
    parse_bullet,
    parse_histories,
    parse_instruments,
)
from tests.support.accounting import account, play
from tests.support.judge import number
from tests.support.market_log import RUN, T0
from tests.support.pipeline_rows import Made
from tests.support.wire_round_trip import exact, reformat_frame


def _examples(document: str) -> list[str]:
    """Return the JSON blocks from the market data to the private channels' stop orders."""
    start, end = document.index("\n# 市场数据"), document.index("\n## 余额变更事件")
    blocks = re.findall(r"```json\n(.*?)```", document[start:end], re.DOTALL)
    # The document comments its JSON and leaves a comma before a closing brace.
    plain = [re.sub(r"(?m)(?:^|(?<=[\s,\]]))//.*$", "", block) for block in blocks]
    return [re.sub(r",(\s*})", r"\1", block).strip() for block in plain]


def _reformat_answer(data: Any) -> tuple[str, bytes | None]:
    """Tell what answer this is by its fields; format it again, None for one we never ask."""
    first = data[0] if isinstance(data, list) else data
    if "priceIncrement" in first:
        return "symbols", format_instruments(parse_instruments(data))
    if "bids" in first:
        return "book", format_book(parse_book(data))
    if isinstance(data, list) and "side" in first:
        return "histories", format_histories(parse_histories(data))
    if "bestAsk" in first:
        return "level1", format_level1(parse_ticker("ETH-BTC", data))
    if "ticker" in first:
        return "allTickers", format_all_tickers(*parse_all_tickers(data))
    if "instanceServers" in first:
        return "bullet", format_bullet(parse_bullet(data))
    return "other", None


def test_every_example_of_the_document_formats_back_to_equal_json(api_document: str) -> None:
    seen: Counter[str] = Counter()
    for text in _examples(api_document):
        expected = exact(text)
        if isinstance(expected, dict) and "type" in expected:
            name = f"{expected['type']} {expected.get('subject', '')}".strip()
            # Two deliberate differences: an id is sent back as text, privateChannel is always
            # stated; and the match example repeats trade id and sequence beside its data.
            if expected["type"] == "message":
                expected = {k: v for k, v in expected.items() if k not in {"id", "sn"}}
            else:
                expected["id"] = str(expected["id"])
            if expected["type"] == "subscribe":
                expected.setdefault("privateChannel", False)
            formatted = reformat_frame(text)
            assert formatted is not None, text
            assert exact(formatted) == expected
        else:
            data = expected["data"] if isinstance(expected, dict) and "code" in expected else None
            data = json.loads(text) if data is None else data
            if isinstance(data, int):  # the timestamp
                continue
            name, formatted = _reformat_answer(data)
            if formatted is not None:
                assert exact(formatted)["data"] == exact(json.dumps(data))
        seen[name] += 1
    assert seen == {
        "symbols": 1, "level1": 1, "allTickers": 1, "book": 3, "histories": 1, "bullet": 2,
        "other": 6,  # statistics, market list, candles, two of currencies, fiat prices
        "welcome": 1, "ping": 1, "pong": 1, "ack": 2, "subscribe": 6, "unsubscribe": 1,
        "message trade.ticker": 1, "message BTC-USDT": 1, "message trade.snapshot": 2,
        "message trade.l2update": 1, "message trade.l3match": 2, "message trade.l3open": 1,
        "message trade.l3received": 4,  # two of them stop and activate
        "message trade.l3done": 2, "message trade.l3change": 1,
    }  # fmt: skip


def test_every_frame_and_answer_of_the_capture_formats_back_to_equal_json(
    shared_captures: Path,
) -> None:
    seen: Counter[str] = Counter()
    with (shared_captures / "kucoin-2021-04-25" / "events.jsonl").open(encoding="utf-8") as lines:
        for line in lines:
            event = json.loads(line)
            text = event["data"]
            if event["kind"] == "frame":
                formatted = reformat_frame(text)
                if formatted is not None:
                    assert exact(formatted) == exact(text)
                name = json.loads(text).get("topic", "control:").partition(":")[0]
                seen[name if formatted is not None else "other"] += 1
                continue
            data = parse_answer(text)
            name, formatted = _reformat_answer(data)
            assert formatted is not None
            assert json.loads(formatted)["data"] == data
            seen[name] += 1
    assert seen == {
        "control": 14, "/market/ticker": 428, "/market/level2": 1204, "/market/match": 1,
        "symbols": 1, "book": 5, "other": 1,
    }  # fmt: skip


def test_the_messages_of_today_that_share_a_topic_format_back(shared_captures: Path) -> None:
    seen: Counter[str] = Counter()
    path = shared_captures / "kucoin-2024-examples.jsonl"
    for text in path.read_text(encoding="utf-8").splitlines():
        formatted = reformat_frame(text)
        expected = exact(text)
        if formatted is None:
            continue
        assert exact(formatted) == expected
        seen[expected["topic"].partition(":")[0]] += 1
    assert seen == {
        "/market/ticker": 2, "/market/snapshot": 2, "/market/level2": 1, "/market/match": 1,
    }  # fmt: skip


PATHS = {
    "symbols": KUCOIN_2019.symbols_path,
    "level1": "/api/v1/market/orderbook/level1",
    "allTickers": KUCOIN_2019.tickers_path,
    "histories": KUCOIN_2019.histories_path.partition("?")[0],
    "bullet": KUCOIN_2019.bullet_path,
    "other": "/api/v1/whatever",
}


def _play_answer(text: str, path: str, symbol: str) -> Made:
    """Play one answer as it would be asked for, in a capture."""
    made = Made(Pipeline())
    url = f"http://127.0.0.1:1{path}?symbol={symbol}"
    start = RawLine("run_start", T0, 0, 0, None, {"run_id": RUN, "profile": KUCOIN_2019.name})
    answer = RawLine("rest_answer", T0, 0, 0, text.encode(), {"url": url})
    made.take(made.pipeline.feed([start, answer]))
    assert made.incidents == []
    return made


def _lost_of_book(data: Any, text: str) -> list[Any]:
    """Return what of a book's answer is in no row."""
    stream = "l3" if len(data["bids"][0]) == 3 else "l2"
    source = KUCOIN_2019.book_source(stream, signed=False)
    assert source is not None
    made = _play_answer(text, source.path.partition("?")[0], "A-B")
    rows = made.rows("book_snapshots", "A-B", stream)
    told = {int(data["time"]) * 1_000_000} if "time" in data else {None}
    assert {row["sequence"] for row in rows} == {int(data["sequence"])}
    assert {row["ts_event"] for row in rows} == told
    assert set(data) <= {"sequence", "time", "bids", "asks"}
    kept = {(r["side"], r["order_id"], number(r, "price"), number(r, "size")) for r in rows}
    lost = []
    for side in ("bids", "asks"):
        for *order_id, price, size in data[side]:
            level = (side[:3], order_id[0] if order_id else None, Decimal(price), Decimal(size))
            if level not in kept:
                lost.append(level)
    return lost


def test_every_example_of_the_document_is_in_rows_or_counted_by_name(api_document: str) -> None:
    seen: Counter[str] = Counter()
    for text in _examples(api_document):
        frame = json.loads(text)
        if isinstance(frame, dict) and frame.get("type") == "message":
            assert account(KUCOIN_2019, text) == []
            seen["message"] += 1
        elif isinstance(frame, dict) and "type" in frame:
            made = play(KUCOIN_2019, text)
            assert made.batches == {}
            assert made.pipeline.counts[f"frame_{frame['type']}"] == 1
            seen["control"] += 1
        else:
            enveloped = isinstance(frame, dict) and "code" in frame
            data = frame["data"] if enveloped else frame
            answer = text if enveloped else json.dumps({"code": "200000", "data": data})
            name = "other" if isinstance(data, int) else _reformat_answer(data)[0]
            seen[name] += 1
            if name == "book":
                assert _lost_of_book(data, answer) == []
                continue
            made = _play_answer(answer, PATHS[name], "A-B")
            assert made.batches == {}
            if name == "symbols":
                seen_now = [i for i in made.instruments if isinstance(i, InstrumentSeen)]
                assert [json.loads(i.instrument.wire) for i in seen_now] == data
            else:
                assert made.pipeline.counts[f"answer {PATHS[name]}"] == 1
    assert seen == {
        "message": 15, "control": 12, "book": 3, "symbols": 1, "level1": 1, "allTickers": 1,
        "histories": 1, "bullet": 2, "other": 7,
    }  # fmt: skip
