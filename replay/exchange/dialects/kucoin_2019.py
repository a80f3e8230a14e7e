"""The exchange as its document of February 2019 has it, with what today's clients ask for beside.

Paths and topics of later years are answered as well, since no client of 2019 is left. The full
books of 2021 stand behind a key there; here they want one only if the exchange knows any.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from replay.exchange.dialect import Route, common_routes
from replay.exchange.hub import Topic
from replay.exchange.periodic import days_of, snapshot_entry
from replay.exchange.quotas import Quota, SlidingQuota
from replay.exchange.routes_later import LaterRoutes
from replay.exchange.routes_rest import Handler, RestRoutes, stats_fields
from replay.exchange.source import DayFigures, Feed, Source
from replay.exchange.topic_names import feeds_by_prefix, resolve_topics
from schemas.kucoin.market_snapshot import MarketSnapshot
from schemas.kucoin.profile import PUBLIC, Profile, Rate
from schemas.kucoin.profiles.kucoin_2019 import KUCOIN_2019
from schemas.kucoin.rest import Instrument

_TICKER_FIELDS = ("buy", "sell", "changeRate", "changePrice", "high", "low", "vol", "last")


class Dialect2019:
    """One object a market, a list of objects where a market's symbols are told together."""

    profile: Profile = KUCOIN_2019
    feeds: Mapping[str, Feed] = feeds_by_prefix(KUCOIN_2019)
    # 120 of each a minute, as the document counts them; pings are free.
    uplinks: Sequence[frozenset[str]] = (frozenset({"subscribe"}), frozenset({"unsubscribe"}))
    ping_interval_ms = 50_000

    def routes(self, rest: RestRoutes, later: LaterRoutes) -> Iterable[Route]:
        """Return the document's paths, and the later ones."""
        book = "/market/orderbook"
        return [
            *common_routes(rest, later),
            ("GET", f"/api/v1{book}/level2", rest.level2_v1),
            ("GET", f"/api/v2{book}/level2", rest.level2_v2),
            ("GET", f"/api/v1{book}/level3", rest.level3),
            ("GET", f"/api/v3{book}/level2", _signed_if_keys(rest, rest.level2_v2)),
            ("GET", f"/api/v3{book}/level3", _signed_if_keys(rest, rest.level3)),
        ]

    def resolve(self, source: Source, text: str) -> set[Topic]:
        """Return the topics of a comma list, spaces and all."""
        return resolve_topics(source, self.feeds, text)

    def quota(self, rate: Rate) -> Quota:
        """Count requests in any window."""
        return SlidingQuota(rate)

    def pool(self, path: str) -> str:  # noqa: ARG002
        """Count everything by address: nothing needs a key."""
        return PUBLIC

    def snapshots(self, source: Source, name: str, now_ms: int) -> list[MarketSnapshot]:
        """Tell a symbol as an object, a market as a list."""
        days = days_of(source, name)
        if not days:
            return []
        entries = [snapshot_entry(day, now_ms) for day in days]
        sequence = max(day.sequence for day in days)
        return [MarketSnapshot(name, sequence, entries, is_list="-" not in name)]

    def ticker_row(self, instrument: Instrument, day: DayFigures) -> Mapping[str, Any]:
        """Tell the document's eight figures."""
        fields = stats_fields(day)
        return {
            "symbol": instrument.symbol,
            **{field: fields[field] for field in _TICKER_FIELDS},
        }


def _signed_if_keys(rest: RestRoutes, handler: Handler) -> Handler:
    return rest.signed(handler) if len(rest.keys) else handler
