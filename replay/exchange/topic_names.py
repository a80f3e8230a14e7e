"""What a subscription's topic text means here: which feeds, of which symbols."""

from collections.abc import Mapping

from replay.exchange.candle_types import CANDLE_MINUTES
from replay.exchange.hub import Topic
from replay.exchange.source import FEEDS, LATER_FEEDS, Feed, Source
from schemas.kucoin.profile import Profile
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

NOT_UNDERSTOOD, NOT_FOUND = 400, 404


class TopicRefused(Exception):
    """A topic that cannot be subscribed to; code and text are the exchange's."""

    def __init__(self, code: int, text: str) -> None:
        self.code = code
        self.text = text
        super().__init__(f"{code}: {text}")


def feeds_by_prefix(profile: Profile) -> dict[str, Feed]:
    """Return the feed behind each prefix a dialect has, those of later years among them."""
    documented: dict[str, Feed] = {
        profile.topics[feed]: feed for feed in FEEDS if feed in profile.topics
    }
    return documented | {prefix: feed for feed, prefix in PREFIX_OF_LATER_FEED.items()}


def resolve_topics(source: Source, feeds: Mapping[str, Feed], text: str) -> set[Topic]:
    """Return the topics of a comma list; one name that is not listed refuses the whole list.

    Spaces around a name mean nothing: the exchange took them for years, and clients wrote them.

    Raises
    ------
    TopicRefused
        Any of it is not there.
    """
    prefix, written = parse_topic(text)
    feed = feeds.get(prefix)
    names = {name.strip() for name in written}
    if feed is None or not names:
        raise _not_found(text)
    others = _other_names(source, feed)
    for name in names:
        symbol = name
        if feed == "candles":
            symbol, _, kind = name.rpartition("_")
            if kind not in CANDLE_MINUTES:
                raise _not_found(text)
        if not source.lists(symbol) and name not in others:
            raise _not_found(text)
    return {(feed, name) for name in names}


def refuse_spaces(text: str) -> None:
    """Refuse a list with a space in it, as the exchange has done since February 2026.

    Raises
    ------
    TopicRefused
        There is one.
    """
    if any(letter.isspace() for letter in text):
        raise TopicRefused(NOT_UNDERSTOOD, f"topic {text} is invalid: spaces are not allowed")


def _not_found(text: str) -> TopicRefused:
    return TopicRefused(NOT_FOUND, f"topic {text} is not found")


def _other_names(source: Source, feed: Feed) -> set[str]:
    """Return what a feed carries besides single symbols."""
    if feed == "ticker":
        return {ALL}
    return set(source.markets()) if feed == "snapshot" else set()
