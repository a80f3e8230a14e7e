"""Profiles: what one dialect of one venue says, as data. One file a profile in `profiles/`."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass

import orjson

from schemas.timestamps import UNITS_NS

PUBLIC, PRIVATE = "public", "private"


@dataclass(frozen=True, slots=True)
class Rate:
    """So many actions, or so much weight, in any window of so many seconds."""

    count: int
    window_s: float


@dataclass(frozen=True, slots=True)
class Limits:
    """What the venue allows.

    Attributes
    ----------
    connections_max : int          websockets open at once from one address
    connects : Rate                new websockets
    topics_per_connection : int
    topics_per_message : int
    uplink_messages : Rate         messages we send, on all websockets together
    rest : Mapping[str, Rate]      weight of requests by pool: `public` an address, `private` a key
    rest_weights : Mapping[str, int]   weight of a path; 1 for any other
    idle_disconnect_s : int        a websocket that sends no ping for so long is cut
    token_life_s : int | None      age at which a websocket and its token end; None: not stated
    states_budget : bool           answers say what is left of a pool, and when it is whole again
    """

    connections_max: int
    connects: Rate
    topics_per_connection: int
    topics_per_message: int
    uplink_messages: Rate
    rest: Mapping[str, Rate]
    rest_weights: Mapping[str, int]
    idle_disconnect_s: int
    token_life_s: int | None
    states_budget: bool = False

    def weight(self, path: str) -> int:
        """Return what one request of a path costs; a query behind it makes no difference."""
        return self.rest_weights.get(path.partition("?")[0], 1)


@dataclass(frozen=True, slots=True)
class BookSource:
    """A REST path that answers with a book.

    Attributes
    ----------
    stream : str         l2 or l3
    path : str           with {symbol}
    depth : int | None   levels a side at most; None: the whole book
    signed : bool        needs an API key
    """

    stream: str
    path: str
    depth: int | None = None
    signed: bool = False


@dataclass(frozen=True, slots=True)
class Profile:
    """One dialect: endpoints, topics, continuity, units and limits.

    Attributes
    ----------
    valid_from : str       first day it was spoken
    status_path, key_path : str | None   state of the exchange; permissions of the key in use
    books : tuple          sources of full books, the best one of a stream first
    captured_books : tuple never asked, but captures have their answers
    captured_symbols_paths : tuple   likewise, of the list of symbols
    topics : feed (level2, level3, match, snapshot, ticker) → topic prefix on the wire
    continuity : "strict" or "overlap"
    time_units : feed → unit of its `time`: ms or ns
    trade_sequences : "book" (the number space of the book) or "trade" (trade ids, with holes)
    key_version : str      KC-API-KEY-VERSION of keys made today
    """

    name: str
    venue: str
    source: str
    valid_from: str
    rest_url: str
    bullet_path: str
    symbols_path: str
    tickers_path: str
    timestamp_path: str
    histories_path: str
    status_path: str | None
    key_path: str | None
    books: tuple[BookSource, ...]
    captured_books: tuple[BookSource, ...]
    captured_symbols_paths: tuple[str, ...]
    topics: Mapping[str, str]
    continuity: str
    time_units: Mapping[str, str]
    trade_sequences: str
    key_version: str
    limits: Limits

    @property
    def feeds(self) -> tuple[str, ...]:
        """What can be subscribed to in this dialect, in the order of the configuration's words."""
        return tuple(self.topics)

    def unit_ns(self, feed: str) -> int:
        """Return the unit of a feed's `time`, ns."""
        return UNITS_NS[self.time_units[feed]]

    def book_source(self, stream: str, *, signed: bool) -> BookSource | None:
        """Return where to ask for a full book of a stream, with or without a key."""
        for source in self.books:
            if source.stream == stream and (signed or not source.signed):
                return source
        return None

    def source_of_path(self, path: str) -> BookSource | None:
        """Return the source whose answer a REST path has, None for any path without a book."""
        for source in (*self.books, *self.captured_books):
            if path == source.path.partition("?")[0]:
                return source
        return None

    def lists_symbols(self, path: str) -> bool:
        """Say whether the answer of a REST path is a list of symbols, of any version."""
        return path in {self.symbols_path, *self.captured_symbols_paths}

    @property
    def hash(self) -> str:
        """Sha256 of the profile's content: stored with every run, so rules can be told apart."""
        return hashlib.sha256(orjson.dumps(asdict(self), option=orjson.OPT_SORT_KEYS)).hexdigest()
