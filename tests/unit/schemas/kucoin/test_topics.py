"""Topic names."""

from __future__ import annotations

import pytest

from schemas.datasets import STREAMS
from schemas.kucoin.profiles.kucoin_2019 import KUCOIN_2019
from schemas.kucoin.topics import FEEDS, STREAM_OF_FEED, format_topic, parse_topic


def test_a_topic_lists_its_symbols_without_a_space() -> None:
    topic = format_topic("/market/level2", ["BTC-USDT", "ETH-BTC"])
    assert topic == "/market/level2:BTC-USDT,ETH-BTC"
    assert parse_topic(topic) == ("/market/level2", ("BTC-USDT", "ETH-BTC"))


@pytest.mark.parametrize("topic", ["/market/level2", "/market/level2:", "/market/level2:,"])
def test_a_topic_without_symbols_has_none(topic: str) -> None:
    assert parse_topic(topic) == ("/market/level2", ())


def test_each_feed_has_its_stream_and_its_topic() -> None:
    assert set(STREAM_OF_FEED.values()) == set(STREAMS)
    assert set(KUCOIN_2019.topics) == set(FEEDS)
