"""Every message of today's public spot topics: each field is in a row, or the line is named.

The examples are the official SDK's own. What has a feed here becomes rows, with every leaf of it;
what has none stays whole in the raw log and is counted under its topic.
"""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from schemas.kucoin.profiles.kucoin_classic import KUCOIN_CLASSIC
from tests.support.accounting import account, feed_of, play
from tests.support.wire_round_trip import exact, reformat_frame

# Topics the recorder keeps raw, and why nothing is lost by it.
KEPT_RAW = {
    "/callauction/callauctionData": "an auction before trading opens: no book yet",
    "/market/candles": "bars of trades that are recorded one by one",
    "/spotMarket/level1": "the touch, which the book has at every change",
    "/spotMarket/level2Depth5": "the top of a book that is recorded whole",
    "/spotMarket/level2Depth50": "the top of a book that is recorded whole",
}


@pytest.fixture(scope="session")
def examples(shared_captures: Path) -> list[str]:
    """Lines of the examples; skips where the captures are missing."""
    path = shared_captures / "kucoin-2024-examples.jsonl"
    return path.read_text(encoding="utf-8").splitlines()


def test_each_line_becomes_rows_with_every_field_or_is_counted_by_name(examples: list[str]) -> None:
    seen: Counter[str] = Counter()
    for text in examples:
        frame = exact(text)
        prefix = frame["topic"].partition(":")[0]
        seen[prefix] += 1
        if feed_of(KUCOIN_CLASSIC, frame) is not None:
            assert exact(reformat_frame(text)) == frame
            assert account(KUCOIN_CLASSIC, text) == []
            continue
        assert prefix in KEPT_RAW
        made = play(KUCOIN_CLASSIC, text)
        assert made.batches == {}
        assert made.pipeline.counts[f"topic {prefix}"] == 1
    assert sum(seen.values()) == len(examples) == 12
    assert seen.keys() >= {*KEPT_RAW, *KUCOIN_CLASSIC.topics.values()}


def test_a_field_that_no_row_has_is_noticed(examples: list[str]) -> None:
    noticed = 0
    for text in examples:
        frame = json.loads(text)
        if feed_of(KUCOIN_CLASSIC, frame) in {None, "snapshot"}:  # `extra` keeps whatever comes
            continue
        frame["data"]["unheardOf"] = "7"
        assert account(KUCOIN_CLASSIC, json.dumps(frame)) == ["unheardOf"]
        noticed += 1
    assert noticed == 4


def test_today_s_times_are_read_in_the_unit_of_their_channel(examples: list[str]) -> None:
    told: dict[str, int] = {}
    for text in examples:
        frame: dict[str, Any] = json.loads(text)
        feed = feed_of(KUCOIN_CLASSIC, frame)
        if feed is not None:
            for (dataset, symbol, stream), _ in play(KUCOIN_CLASSIC, text).batches.items():
                if dataset == "book_snapshots":
                    continue
                rows = play(KUCOIN_CLASSIC, text).rows(dataset, symbol, stream)
                told[frame["topic"] + " " + frame["subject"]] = rows[0]["ts_event"]
    assert told == {
        "/market/ticker:all BTC-USDT": 1_729_757_723_612_000_000,
        "/market/ticker:BTC-USDT trade.ticker": 1_704_873_323_416_000_000,  # under the key Time
        "/market/snapshot:BTC trade.snapshot": 1_729_785_948_008_000_000,
        "/market/snapshot:BTC-USDT trade.snapshot": 1_729_758_286_011_000_000,
        "/market/level2:BTC-USDT trade.l2update": 1_729_816_425_625_000_000,
        "/market/match:BTC-USDT trade.l3match": 1_729_843_222_921_000_000,
    }
