"""What topic texts mean."""

import pytest

from replay.exchange.hub import Topic
from replay.exchange.synthetic.source import SyntheticSource
from replay.exchange.topic_names import (
    TopicRefused,
    feeds_by_prefix,
    refuse_spaces,
    resolve_topics,
)
from schemas.kucoin.profiles.kucoin_2019 import KUCOIN_2019
from schemas.kucoin.profiles.kucoin_classic import KUCOIN_CLASSIC

FEEDS = feeds_by_prefix(KUCOIN_2019)
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
    assert resolve_topics(SOURCE, FEEDS, text) == topics


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
    with pytest.raises(TopicRefused) as caught:
        resolve_topics(SOURCE, FEEDS, text)
    assert (caught.value.code, caught.value.text) == (404, f"topic {text} is not found")


def test_a_dialect_without_level_3_does_not_know_its_topic() -> None:
    feeds = feeds_by_prefix(KUCOIN_CLASSIC)
    assert resolve_topics(SOURCE, feeds, "/market/level2:AA-USDT") == {("level2", "AA-USDT")}
    assert resolve_topics(SOURCE, FEEDS, "/market/level3:AA-USDT") == {("level3", "AA-USDT")}
    with pytest.raises(TopicRefused):
        resolve_topics(SOURCE, feeds, "/market/level3:AA-USDT")


@pytest.mark.parametrize("text", ["/market/level2: AA-USDT", "/market/level2:AA-USDT,\tBB-ZZ"])
def test_spaces_are_refused_where_they_are(text: str) -> None:
    refuse_spaces("/market/level2:AA-USDT,BB-ZZ")
    with pytest.raises(TopicRefused) as caught:
        refuse_spaces(text)
    assert caught.value.code == 400
