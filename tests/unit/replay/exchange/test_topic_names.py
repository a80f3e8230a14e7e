"""What topic texts mean."""

import pytest

from replay.exchange.hub import Topic
from replay.exchange.synthetic.source import SyntheticSource
from replay.exchange.topic_names import resolve_topics

SOURCE = SyntheticSource(["AA-USDT", "BB-ZZ"])


@pytest.mark.parametrize(
    ("text", "topics"),
    [
        ("/market/level2:AA-USDT,BB-ZZ", {("level2", "AA-USDT"), ("level2", "BB-ZZ")}),
        ("/market/level2: AA-USDT , BB-ZZ", {("level2", "AA-USDT"), ("level2", "BB-ZZ")}),
        ("/market/match:,AA-USDT,,AA-USDT", {("match", "AA-USDT")}),
        ("/market/ticker:all", {("ticker", "all")}),
        ("/market/snapshot:USDT,ALTS", {("snapshot", "USDT"), ("snapshot", "ALTS")}),
        ("/spotMarket/level2Depth5:BB-ZZ", {("depth5", "BB-ZZ")}),
        ("/market/candles:BB-ZZ_12hour", {("candles", "BB-ZZ_12hour")}),
    ],
)
def test_understood(text: str, topics: set[Topic]) -> None:
    assert resolve_topics(SOURCE, text) == topics


@pytest.mark.parametrize(
    "text",
    [
        "",
        ":",
        "/market/level2",
        "/market/level2:",
        "/market/level2: ,",
        "/market/level2:AA-USDT,CC-DD",
        "/market/level2:all",
        "/market/level2:USDT",
        "/market/snapshot:all",
        "/market/candles:AA-USDT",
        "/market/candles:AA-USDT_1",
        "/account/balance",
        " /market/level2:AA-USDT",
    ],
)
def test_not_there(text: str) -> None:
    assert resolve_topics(SOURCE, text) is None
