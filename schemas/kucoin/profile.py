"""Profiles: what one dialect of one venue says, as data. One file a profile in `profiles/`."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass

import orjson


@dataclass(frozen=True, slots=True)
class Limits:
    """What the venue allows; each with its unit in the name."""

    connections_max: int
    connects_per_minute: int
    topics_per_connection: int
    topics_per_message: int
    uplink_messages_per_minute: int
    rest_requests_per_10s: int
    idle_disconnect_s: int


@dataclass(frozen=True, slots=True)
class Profile:
    """One dialect: endpoints, topics, continuity, units and limits.

    Attributes
    ----------
    topics : feed (level2, level3, match, snapshot, ticker) → topic prefix on the wire
    book_paths : stream (l2, l3) → REST path of its full book, with {symbol}
    other_book_paths : REST path of another full book → stream; never asked, but captures have it
    continuity : "strict" or "overlap"
    """

    name: str
    venue: str
    source: str
    valid_from: str
    rest_url: str
    bullet_path: str
    symbols_path: str
    timestamp_path: str
    histories_path: str
    book_paths: Mapping[str, str]
    other_book_paths: Mapping[str, str]
    topics: Mapping[str, str]
    continuity: str
    limits: Limits

    def stream_of_book(self, path: str) -> str | None:
        """Return the stream whose full book a REST path answers with, None for any other path."""
        for stream, own_path in self.book_paths.items():
            if path == own_path.partition("?")[0]:
                return stream
        return self.other_book_paths.get(path)

    @property
    def hash(self) -> str:
        """Sha256 of the profile's content: stored with every run, so rules can be told apart."""
        return hashlib.sha256(orjson.dumps(asdict(self), option=orjson.OPT_SORT_KEYS)).hexdigest()
