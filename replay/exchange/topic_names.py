"""What a subscription's topic text means here: which feeds, of which symbols."""

from replay.exchange.candle_types import CANDLE_MINUTES
from replay.exchange.hub import Topic
from replay.exchange.source import FEEDS, LATER_FEEDS, Feed, Source
from schemas.kucoin.profiles.kucoin_2019 import KUCOIN_2019
from schemas.kucoin.topics import ALL, parse_topic

PREFIX_OF_LATER_FEED = dict(
    zip(
        LATER_FEEDS,
        (
            "/spotMarket/level1",
            "/spotMarket/level2Depth5",
            "/spotMarket/level2Depth50",
            "/market/candles",
        ),
        strict=True,
    )
)
"""Topics of later years; candles are named by symbol and length, as in ``BTC-USDT_1min``."""

_FEED_OF_PREFIX: dict[str, Feed] = {KUCOIN_2019.topics[feed]: feed for feed in FEEDS} | {
    prefix: feed for feed, prefix in PREFIX_OF_LATER_FEED.items()
}


def resolve_topics(source: Source, text: str) -> set[Topic] | None:
    """Return the topics of a comma list; None if any of it is not there.

    Spaces around a name mean nothing: the exchange took them for years, and clients wrote them.
    """
    prefix, written = parse_topic(text)
    feed = _FEED_OF_PREFIX.get(prefix)
    names = {name.strip() for name in written}
    if feed is None or not names:
        return None
    symbols = {instrument.symbol for instrument in source.instruments()}
    if feed == "candles":
        pairs = [name.rpartition("_") for name in names]
        if any(symbol not in symbols or kind not in CANDLE_MINUTES for symbol, _, kind in pairs):
            return None
    elif not names <= symbols | _other_names(source, feed):
        return None
    return {(feed, name) for name in names}


def _other_names(source: Source, feed: Feed) -> set[str]:
    """Return what a feed carries besides single symbols."""
    if feed == "ticker":
        return {ALL}
    return set(source.markets()) if feed == "snapshot" else set()
