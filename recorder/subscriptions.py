"""Which topics go on which connection, and in which messages. Pure.

A topic is one feed of one symbol. All feeds of a symbol stay on one connection where they fit, so
that a lost connection is felt by whole symbols rather than by half of many. A topic that stays
wanted never moves: moving it would be a gap.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from recorder.errors import ConfigError
from schemas.kucoin.profile import Profile
from schemas.kucoin.topics import format_topic

Topic = tuple[str, str]  # feed, symbol


@dataclass(frozen=True, slots=True)
class Wish:
    """One subscription message: one feed of some symbols."""

    feed: str
    symbols: tuple[str, ...]

    def topic(self, profile: Profile) -> str:
        """Return the topic as the wire has it."""
        return format_topic(profile.topics[self.feed], self.symbols)

    @property
    def topics(self) -> tuple[Topic, ...]:
        """The topics of the message, one a symbol."""
        return tuple((self.feed, symbol) for symbol in self.symbols)

    def within(self, topics: Collection[Topic]) -> Wish | None:
        """Return the part of the wish that is among some topics; None when nothing is."""
        symbols = tuple(symbol for feed, symbol in self.topics if (feed, symbol) in topics)
        return Wish(self.feed, symbols) if symbols else None

    def halves(self) -> tuple[Wish, ...]:
        """Split in two, to find the symbol that a refusal does not name; one symbol: nothing."""
        middle = len(self.symbols) // 2
        if middle == 0:
            return ()
        return Wish(self.feed, self.symbols[:middle]), Wish(self.feed, self.symbols[middle:])


def group_wishes(topics: Iterable[Topic], topics_per_message: int) -> tuple[Wish, ...]:
    """Put topics into as few messages as the limit allows, feed by feed in the order given."""
    by_feed: dict[str, list[str]] = {}
    for feed, symbol in topics:
        by_feed.setdefault(feed, []).append(symbol)
    return tuple(
        Wish(feed, tuple(symbols[first : first + topics_per_message]))
        for feed, symbols in by_feed.items()
        for first in range(0, len(symbols), topics_per_message)
    )


@dataclass(frozen=True, slots=True)
class Change:
    """What becomes different on one connection of the plan.

    Attributes
    ----------
    place : int             of the connection, from 1; never used again once it is empty
    added, removed : tuple  of topics
    """

    place: int
    added: tuple[Topic, ...]
    removed: tuple[Topic, ...]


class Plan:
    """Every topic that is wanted, and the connection it has.

    Parameters
    ----------
    profile : Profile
    topics_per_connection : int   wanted; the profile's limit caps it
    """

    def __init__(self, profile: Profile, topics_per_connection: int) -> None:
        self._profile = profile
        limits = profile.limits
        self._room = min(topics_per_connection, limits.topics_per_connection)
        # Where tokens end, one connection is kept free to take over from another.
        self._connections_max = limits.connections_max - (limits.token_life_s is not None)
        self._places: dict[int, tuple[Topic, ...]] = {}
        self._last_place = 0

    @property
    def places(self) -> Mapping[int, tuple[Topic, ...]]:
        """What each connection is to carry, in the order to ask for it; none is empty."""
        return self._places

    @property
    def topics(self) -> int:
        """How many topics are wanted."""
        return sum(len(topics) for topics in self._places.values())

    def change(self, symbols: Sequence[str], feeds: Sequence[str]) -> list[Change]:
        """Want these symbols with these feeds, and no others, from now on.

        Parameters
        ----------
        symbols : sequence of str   the most important first: they are asked for first
        feeds : sequence of str     as in the configuration

        Returns
        -------
        list[Change]   of every connection that changes, by place

        Raises
        ------
        ConfigError   when more is wanted than the venue's connections carry; nothing changes then
        """
        symbols, feeds = tuple(dict.fromkeys(symbols)), tuple(dict.fromkeys(feeds))
        wanted = {(feed, symbol) for symbol in symbols for feed in feeds}
        kept = {
            place: [topic for topic in topics if topic in wanted]
            for place, topics in self._places.items()
        }
        planned = {topic for topics in kept.values() for topic in topics}
        missing = [
            [(feed, symbol) for feed in feeds if (feed, symbol) not in planned]
            for symbol in symbols
        ]
        groups = [group for group in missing if group]
        packing = _Packing(kept, self._room, self._last_place)
        packing.add_whole(groups)
        if packing.used > self._connections_max:
            # Rather half a symbol here and half there than none.
            packing = _Packing(kept, self._room, self._last_place)
            packing.add_singly([topic for group in groups for topic in group])
        if packing.used > self._connections_max:
            raise self._too_many(len(symbols), len(feeds), packing.used)
        return self._settle(packing)

    def _settle(self, packing: _Packing) -> list[Change]:
        changes = []
        for place, topics in packing.places.items():
            before = self._places.get(place, ())
            added = tuple(packing.added.get(place, ()))
            stay = set(topics)
            removed = tuple(topic for topic in before if topic not in stay)
            if added or removed:
                changes.append(Change(place, added, removed))
        self._places = {place: tuple(topics) for place, topics in packing.places.items() if topics}
        self._last_place = packing.last_place
        return changes

    def _too_many(self, symbols: int, feeds: int, needed: int) -> ConfigError:
        limits = self._profile.limits
        spare = ", one of them to take over from others" if limits.token_life_s else ""
        return ConfigError(
            "venue.symbols",
            f"{symbols} symbols × {feeds} streams need {needed} connections of "
            f"{self._room} topics, and {self._profile.name} allows {limits.connections_max}{spare}",
            "record fewer symbols or streams, or raise venue.topics_per_connection "
            f"(the profile's limit is {limits.topics_per_connection})",
        )


class _Packing:
    """Topics being put where there is room; those that were there stay there."""

    def __init__(self, kept: Mapping[int, Sequence[Topic]], room: int, last_place: int) -> None:
        self.places = {place: list(topics) for place, topics in kept.items()}
        self.added: dict[int, list[Topic]] = {}
        self.last_place = last_place
        self._room = room
        self._homes = {
            symbol: place for place, topics in self.places.items() for _, symbol in topics
        }

    @property
    def used(self) -> int:
        """How many connections carry something."""
        return sum(bool(topics) for topics in self.places.values())

    def add_whole(self, groups: Iterable[Sequence[Topic]]) -> None:
        """Put all topics of a group on one connection, where its symbol is if they fit there."""
        for group in groups:
            if len(group) > self._room:
                self.add_singly(group)
                continue
            home = self._homes.get(group[0][1])
            if home is None or not self._fits(home, len(group)):
                home = self._first_with_room(len(group))
            self._put(home, group)

    def add_singly(self, topics: Iterable[Topic]) -> None:
        """Put each topic where there is room for one."""
        for topic in topics:
            self._put(self._first_with_room(1), [topic])

    def _fits(self, place: int, topics: int) -> bool:
        return len(self.places[place]) + topics <= self._room

    def _first_with_room(self, topics: int) -> int:
        for place in self.places:
            if self._fits(place, topics):
                return place
        self.last_place += 1
        self.places[self.last_place] = []
        return self.last_place

    def _put(self, place: int, topics: Sequence[Topic]) -> None:
        self.places[place].extend(topics)
        self.added.setdefault(place, []).extend(topics)


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
    plan = Plan(profile, topics_per_connection)
    plan.change(symbols, feeds)
    per_message = profile.limits.topics_per_message
    return [group_wishes(topics, per_message) for topics in plan.places.values()]
