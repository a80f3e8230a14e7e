"""What differs between the exchange's dialects, as the server needs it."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

from replay.exchange.hub import Topic
from replay.exchange.quotas import Quota
from replay.exchange.routes_later import LaterRoutes
from replay.exchange.routes_rest import Handler, RestRoutes
from replay.exchange.source import DayFigures, Feed, Source
from schemas.kucoin.market_snapshot import MarketSnapshot
from schemas.kucoin.profile import Profile, Rate
from schemas.kucoin.rest import Instrument

Route = tuple[str, str, Handler]
"""Method, path, handler."""


def common_routes(rest: RestRoutes, later: LaterRoutes) -> list[Route]:
    """Return the paths that answer alike in every dialect."""
    return [
        ("POST", "/api/v1/bullet-public", rest.bullet_public),
        ("GET", "/api/v1/timestamp", rest.timestamp),
        ("GET", "/api/v1/status", later.status),
        ("GET", "/api/v1/my-ip", later.my_ip),
        ("GET", "/api/v1/symbols", rest.symbols),
        ("GET", "/api/v2/symbols", later.symbols),
        ("GET", "/api/v2/symbols/{symbol}", later.symbol),
        ("GET", "/api/v1/currencies", rest.currencies),
        ("GET", "/api/v1/currencies/{currency}", rest.currency),
        ("GET", "/api/v2/currencies/{currency}", later.currency),
        ("GET", "/api/v3/currencies", later.currencies),
        ("GET", "/api/v3/currencies/{currency}", later.currency),
        ("GET", "/api/v1/prices", rest.prices),
        ("GET", "/api/v1/markets", rest.markets),
        ("GET", "/api/v1/market/allTickers", rest.all_tickers),
        ("GET", "/api/v1/market/stats", rest.stats),
        ("GET", "/api/v1/market/histories", rest.histories),
        ("GET", "/api/v1/market/candles", rest.candles),
        ("GET", "/api/v1/market/orderbook/level1", rest.level1),
        ("GET", "/api/v1/market/orderbook/level2_20", rest.level2_part(20)),
        ("GET", "/api/v1/market/orderbook/level2_100", rest.level2_part(100)),
    ]


class Dialect(Protocol):
    """One dialect of the exchange, on the server's side.

    Attributes
    ----------
    profile : Profile
        Its topics, limits and endpoints.
    feeds : mapping
        The feed behind each topic prefix.
    uplinks : sequence of set of str
        Kinds of a client's messages; those of one set are counted together.
    ping_interval_ms : int
        How often clients are told to ping.
    """

    profile: Profile
    feeds: Mapping[str, Feed]
    uplinks: Sequence[frozenset[str]]
    ping_interval_ms: int

    def routes(self, rest: RestRoutes, later: LaterRoutes) -> Iterable[Route]:
        """Return every path the exchange answers."""

    def resolve(self, source: Source, text: str) -> set[Topic]:
        """Return the topics of a comma list.

        Raises
        ------
        TopicRefused
            With the code and the words of the exchange.
        """

    def quota(self, rate: Rate) -> Quota:
        """Return a pool of REST requests, counted as this dialect counts."""

    def pool(self, path: str) -> str:
        """Return the pool a request draws on: public, counted by address, or private, by key."""

    def snapshots(self, source: Source, name: str, now_ms: int) -> list[MarketSnapshot]:
        """Return the pushes of the snapshot topic for a symbol or a market."""

    def ticker_row(self, instrument: Instrument, day: DayFigures) -> Mapping[str, Any]:
        """Return a symbol's entry of `allTickers`."""
