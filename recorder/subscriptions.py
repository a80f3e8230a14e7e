"""Which topics go on which connection, and in which messages. Pure.

A topic is one feed of one symbol. All feeds of a symbol stay on one connection where they fit, so
that a lost connection is felt by whole symbols rather than by half of many.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from recorder.errors import ConfigError
from schemas.kucoin.profile import Profile
from schemas.kucoin.topics import format_topic


@dataclass(frozen=True, slots=True)
class Wish:
    """One subscription message: one feed of some symbols."""

    feed: str
    symbols: tuple[str, ...]

    def topic(self, profile: Profile) -> str:
        """Return the topic as the wire has it."""
        return format_topic(profile.topics[self.feed], self.symbols)

    def halves(self) -> tuple[Wish, ...]:
        """Split in two, to find the symbol that a refusal does not name; one symbol: nothing."""
        middle = len(self.symbols) // 2
        if middle == 0:
            return ()
        return Wish(self.feed, self.symbols[:middle]), Wish(self.feed, self.symbols[middle:])


def plan_connections(
    symbols: Sequence[str], feeds: Sequence[str], profile: Profile, topics_per_connection: int
) -> list[tuple[Wish, ...]]:
    """Share symbols among as few connections as the limits allow.

    Returns
    -------
    list of one tuple of `Wish` a connection, in the order of the symbols given

    Raises
    ------
    ConfigError   when more is wanted than the profile's connections can carry
    """
    limits = profile.limits
    room = min(topics_per_connection, limits.topics_per_connection)
    groups: list[list[tuple[str, str]]] = []
    if len(feeds) <= room:
        per_connection = room // len(feeds)
        groups.extend(
            [(feed, symbol) for feed in feeds for symbol in symbols[first : first + per_connection]]
            for first in range(0, len(symbols), per_connection)
        )
    else:
        # A symbol's feeds do not fit on one connection: fill them one topic after the other.
        topics = [(feed, symbol) for symbol in symbols for feed in feeds]
        groups.extend(topics[first : first + room] for first in range(0, len(topics), room))
    if len(groups) > limits.connections_max:
        raise ConfigError(
            "venue.symbols",
            f"{len(symbols)} symbols × {len(feeds)} streams need {len(groups)} connections of "
            f"{room} topics, and {profile.name} allows {limits.connections_max}",
            "record fewer symbols or streams, or raise venue.topics_per_connection "
            f"(the profile's limit is {limits.topics_per_connection})",
        )
    return [_wishes(group, feeds, limits.topics_per_message) for group in groups]


def _wishes(
    topics: list[tuple[str, str]], feeds: Sequence[str], per_message: int
) -> tuple[Wish, ...]:
    wishes: list[Wish] = []
    for feed in feeds:
        symbols = [symbol for topic_feed, symbol in topics if topic_feed == feed]
        wishes.extend(
            Wish(feed, tuple(symbols[first : first + per_message]))
            for first in range(0, len(symbols), per_message)
        )
    return tuple(wishes)
