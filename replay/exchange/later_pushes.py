"""What the exchange pushes by the clock since 2020: shallow books, best bid and offer, candles.

Today's clients subscribe to these; they show the same engine as the topics of 2019.
"""

from typing import Any

from replay.exchange.candle_types import CANDLE_MINUTES
from replay.exchange.hub import Hub
from replay.exchange.source import LATER_FEEDS, LaterFeed, LaterMessage, Push, Source
from replay.exchange.topic_names import PREFIX_OF_LATER_FEED

LATER_EVERY_NS = 100_000_000
_NS_PER_MS, _NS_PER_S = 1_000_000, 1_000_000_000
_LEVELS: dict[LaterFeed, int] = {"level1": 1, "depth5": 5, "depth50": 50}


class LaterPushes:
    """Push what changed since it was last pushed, ten times a second."""

    def __init__(self, source: Source, hub: Hub) -> None:
        self._source = source
        self._hub = hub
        self._last: dict[tuple[LaterFeed, str], Any] = {}

    def push(self) -> None:
        """Push all that are subscribed to."""
        for feed in LATER_FEEDS:
            for name in self._hub.topics(feed):
                if feed == "candles":
                    self._push_candle(name)
                elif self._source.lists(name):
                    self._push_book(feed, name)

    def _push_book(self, feed: LaterFeed, symbol: str) -> None:
        book, depth = self._source.l2_book(symbol), _LEVELS[feed]
        asks, bids = book.asks[:depth], book.bids[:depth]
        if self._is_news(feed, symbol, (asks, bids)):
            time_ms = self._source.now() // _NS_PER_MS
            if feed == "level1":
                best = {"asks": asks[0] if asks else [], "bids": bids[0] if bids else []}
                self._publish(feed, symbol, "level1", {**best, "timestamp": time_ms})
            else:
                data = {"asks": asks, "bids": bids, "timestamp": time_ms}
                self._publish(feed, symbol, "level2", data)

    def _push_candle(self, name: str) -> None:
        symbol, _, kind = name.rpartition("_")
        if not self._source.lists(symbol):
            return
        now = self._source.now()
        start = now // _NS_PER_S - CANDLE_MINUTES[kind] * 60
        candles = self._source.candles(symbol, CANDLE_MINUTES[kind], start, now // _NS_PER_S + 1)
        if candles and self._is_news("candles", name, candles[0]):
            data = {"symbol": symbol, "candles": candles[0].row(), "time": now}
            self._publish("candles", name, "trade.candles.update", data)

    def _is_news(self, feed: LaterFeed, name: str, content: Any) -> bool:
        if self._last.get((feed, name)) == content:
            return False
        self._last[feed, name] = content
        return True

    def _publish(self, feed: LaterFeed, name: str, subject: str, data: dict[str, Any]) -> None:
        message = LaterMessage(f"{PREFIX_OF_LATER_FEED[feed]}:{name}", subject, data)
        self._hub.publish(Push(feed, name, 0, 0, message))
