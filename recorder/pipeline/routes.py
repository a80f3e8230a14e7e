"""Which connection carries which stream: subscriptions sent, acknowledged, and seen to work.

A stream is up while at least one connection carries it. It counts as carried from the
acknowledgement, or from its first message, whichever comes first: a capture has no
acknowledgements that name a topic.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from schemas.kucoin.profile import Profile
from schemas.kucoin.topics import ALL, STREAM_OF_FEED, parse_topic

Key = tuple[str, str]  # symbol, stream

# Trades come by two topics. Beside the stream itself, the match topic is tracked under this name:
# a match seen on level 3 waits for its twin only while there can be one.
MATCH_TOPIC = "match"

_SYMBOL_BYTES_MAX = 80  # real ones have up to twenty


@dataclass(slots=True)
class Carriage:
    """The connections of the run, what each carries, and when each was last heard of."""

    carriers: dict[Key, set[int]] = field(default_factory=dict)
    last_heard: dict[int, int] = field(default_factory=dict)
    _asked: dict[tuple[int, str], tuple[bool, tuple[Key, ...]]] = field(default_factory=dict)

    def ask(self, connection: int, message_id: str, keys: Iterable[Key], *, on: bool) -> None:
        """Remember a subscription, or its end, until it is acknowledged."""
        self._asked[connection, message_id] = (on, tuple(keys))

    def acknowledged(self, connection: int, message_id: str) -> tuple[bool, tuple[Key, ...]]:
        """Return what an acknowledgement is about: on or off, and the streams."""
        return self._asked.pop((connection, message_id), (True, ()))

    def carry(self, connection: int, key: Key) -> bool:
        """Note that a connection carries a stream; True when nothing carried it before."""
        carriers = self.carriers.setdefault(key, set())
        first = not carriers
        carriers.add(connection)
        return first

    def release(self, connection: int, key: Key) -> bool:
        """Note that a connection no longer carries a stream; True when nothing does any more."""
        carriers = self.carriers.get(key, set())
        if connection not in carriers:
            return False
        carriers.discard(connection)
        return not carriers

    def ended(self, connection: int, keys: Iterable[Key]) -> list[Key]:
        """Return which streams of a topic that was taken off have no other on its connection.

        Trades come by two topics: they end with the second.
        """
        gone = set(keys)
        return [
            (symbol, stream)
            for symbol, stream in gone
            if stream != "trades"
            or not any(
                connection in self.carriers.get(twin, ())
                for twin in ((symbol, "l3"), (symbol, MATCH_TOPIC))
                if twin not in gone
            )
        ]

    def forget(self, connection: int) -> None:
        """Drop what is known of a connection that is gone and carries nothing any more."""
        self._asked = {key: asked for key, asked in self._asked.items() if key[0] != connection}
        self.last_heard.pop(connection, None)

    def forget_all(self) -> None:
        """Drop what is known of every connection, when none carries anything any more."""
        self._asked.clear()
        self.last_heard.clear()

    def hear(self, connection: int, ts: int) -> None:
        """Note that a connection was heard of; a wall clock that steps back changes nothing."""
        if ts > self.last_heard.get(connection, -1):
            self.last_heard[connection] = ts

    def on_connection(self, connection: int) -> list[Key]:
        """Return the streams a connection carries."""
        return [key for key, carriers in self.carriers.items() if connection in carriers]

    def heard(self, key: Key, default: int) -> int:
        """Return when a carrier of the stream was last heard of, ns."""
        times = [self.last_heard.get(c, default) for c in self.carriers.get(key, ())]
        return max(times, default=default)


def can_be_symbol(name: str) -> bool:
    """Say whether rows of a symbol can be kept: it names a folder, quoted at three for one."""
    return 0 < len(name.encode()) <= _SYMBOL_BYTES_MAX


def keys_of_topic(topic: str, profile: Profile) -> list[Key]:
    """Return the streams a subscription's topic names; `ticker:all` and markets name none.

    A stream nobody can name in advance is carried from its first message on.
    """
    prefix, symbols = parse_topic(topic)
    feeds = {wire: feed for feed, wire in profile.topics.items()}
    if prefix not in feeds:
        return []
    feed = feeds[prefix]
    streams = {"level3": ("l3", "trades"), "match": ("trades", MATCH_TOPIC)}.get(
        feed, (STREAM_OF_FEED[feed],)
    )
    return [
        (symbol, stream)
        for symbol in symbols
        if symbol != ALL and (feed != "snapshot" or "-" in symbol)
        for stream in streams
    ]
