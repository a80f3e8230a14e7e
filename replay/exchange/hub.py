"""Who subscribed to what: hands each push, formatted once, to the sessions that want it."""

from typing import Protocol

import orjson

from replay.exchange.source import Feed, LaterMessage, Push
from schemas.kucoin.control import MESSAGE
from schemas.kucoin.market import (
    L2Update,
    L3Event,
    Match,
    Ticker,
    format_l2_update,
    format_l3_event,
    format_match,
    format_ticker,
)
from schemas.kucoin.market_snapshot import format_market_snapshot

Topic = tuple[Feed, str]


class Subscriber(Protocol):
    """A connection, as the hub sees it."""

    def deliver(self, push: Push, frame: bytes) -> None:
        """Take a push and its frame; never blocks."""


def format_push(push: Push) -> bytes:
    """Format the frame of a push."""
    message = push.message
    if isinstance(message, L2Update):
        return format_l2_update(message)
    if isinstance(message, L3Event):
        return format_l3_event(message)
    if isinstance(message, Match):
        return format_match(message)
    if isinstance(message, Ticker):
        return format_ticker(message)
    if isinstance(message, LaterMessage):
        return orjson.dumps(
            {
                "type": MESSAGE,
                "topic": message.topic,
                "subject": message.subject,
                "data": message.data,
            }
        )
    return format_market_snapshot(message)


class Hub:
    """The subscriptions of all connections; the sink of the source."""

    def __init__(self) -> None:
        # A dict of None is a set that keeps order: subscribers are served in order of arrival.
        self._subscribers: dict[Topic, dict[Subscriber, None]] = {}
        self.messages = 0

    def subscribe(self, subscriber: Subscriber, topic: Topic) -> None:
        """Add a subscriber to a topic."""
        self._subscribers.setdefault(topic, {})[subscriber] = None

    def unsubscribe(self, subscriber: Subscriber, topic: Topic) -> None:
        """Remove a subscriber from a topic; nothing happens if it is not there."""
        subscribers = self._subscribers.get(topic)
        if subscribers is None:
            return
        subscribers.pop(subscriber, None)
        if not subscribers:
            del self._subscribers[topic]

    def topics(self, feed: Feed) -> list[str]:
        """Return the names of `feed` that anybody subscribed to."""
        return [name for wanted, name in self._subscribers if wanted == feed]

    def wants(self, feed: Feed, name: str) -> bool:
        """Tell whether anybody subscribed."""
        return (feed, name) in self._subscribers

    def publish(self, push: Push) -> None:
        """Hand one push to all its subscribers."""
        subscribers = self._subscribers.get((push.feed, push.name))
        if not subscribers:
            return
        frame = format_push(push)
        self.messages += 1
        # A copy, because a subscriber that cannot keep up leaves while being served.
        for subscriber in tuple(subscribers):
            subscriber.deliver(push, frame)
