"""The exchange's classic spot API as it is today: no level 3, whole books only with a key."""

from collections.abc import Iterable, Mapping, Sequence
from decimal import ROUND_HALF_EVEN, Context, Decimal
from typing import Any

from replay.exchange.dialect import Route, common_routes
from replay.exchange.hub import Topic
from replay.exchange.periodic import days_of, number_text, snapshot_entry
from replay.exchange.quotas import Quota, WindowQuota
from replay.exchange.routes_later import LaterRoutes
from replay.exchange.routes_rest import RestRoutes, stats_fields
from replay.exchange.source import DayFigures, Feed, Source, WindowFigures
from replay.exchange.topic_names import feeds_by_prefix, refuse_spaces, resolve_topics
from schemas.kucoin.market_snapshot import MarketSnapshot, NumberText
from schemas.kucoin.profile import PRIVATE, PUBLIC, Profile, Rate
from schemas.kucoin.profiles.kucoin_classic import KUCOIN_CLASSIC
from schemas.kucoin.rest import Instrument

_BOOKS = tuple(source for source in KUCOIN_CLASSIC.books if source.signed)
_SIGNED_PATHS = {source.path.partition("?")[0] for source in _BOOKS} | {KUCOIN_CLASSIC.key_path}

_FEE_RATE = "0.001"
_WINDOWS = (("marketChange1h", 60), ("marketChange24h", 1_440), ("marketChange4h", 240))
_ENOUGH = Context(prec=20, rounding=ROUND_HALF_EVEN)


class DialectClassic:
    """One object a message, quotas in weight, signed requests."""

    profile: Profile = KUCOIN_CLASSIC
    feeds: Mapping[str, Feed] = feeds_by_prefix(KUCOIN_CLASSIC)
    # A hundred messages in ten seconds, whatever they say.
    uplinks: Sequence[frozenset[str]] = (frozenset({"subscribe", "unsubscribe", "ping"}),)
    # Since the end of 2022, with the new websocket address.
    ping_interval_ms = 18_000

    def routes(self, rest: RestRoutes, later: LaterRoutes) -> Iterable[Route]:
        """Return what is public, and the two answers that are signed."""
        assert self.profile.key_path is not None, "this dialect has keys"
        return [
            *common_routes(rest, later),
            *(
                ("GET", source.path.partition("?")[0], rest.signed(rest.level2_v2))
                for source in _BOOKS
            ),
            ("GET", self.profile.key_path, rest.api_key),
        ]

    def resolve(self, source: Source, text: str) -> set[Topic]:
        """Return the topics of a comma list without spaces."""
        refuse_spaces(text)
        return resolve_topics(source, self.feeds, text)

    def quota(self, rate: Rate) -> Quota:
        """Count weight in windows that begin with the first request."""
        return WindowQuota(rate)

    def pool(self, path: str) -> str:
        """Count what is signed by key, everything else by address."""
        return PRIVATE if path in _SIGNED_PATHS else PUBLIC

    def snapshots(self, source: Source, name: str, now_ms: int) -> list[MarketSnapshot]:
        """Tell each symbol in a message of its own, also those of a market."""
        of_market = "-" not in name
        return [
            MarketSnapshot(
                name,
                now_ms if of_market else day.sequence,
                [_entry(source, day, now_ms)],
                is_list=False,
            )
            for day in days_of(source, name)
        ]

    def ticker_row(self, instrument: Instrument, day: DayFigures) -> Mapping[str, Any]:
        """Tell the figures of 24 hours with sizes, turnover and fees."""
        fields = stats_fields(day)
        return {
            "symbol": instrument.symbol,
            "symbolName": instrument.name,
            "buy": fields["buy"],
            "bestBidSize": day.bid_size,
            "sell": fields["sell"],
            "bestAskSize": day.ask_size,
            "changeRate": fields["changeRate"],
            "changePrice": fields["changePrice"],
            "high": fields["high"],
            "low": fields["low"],
            "vol": fields["vol"],
            "volValue": day.vol_value,
            "last": fields["last"],
            "averagePrice": _average(day),
            "takerFeeRate": _FEE_RATE,
            "makerFeeRate": _FEE_RATE,
            "takerCoefficient": "1",
            "makerCoefficient": "1",
        }


def _entry(source: Source, day: DayFigures, now_ms: int) -> dict[str, Any]:
    """Return a symbol's fields as the snapshot topic has them today."""
    windows = {name: source.window(day.symbol, minutes) for name, minutes in _WINDOWS}
    whole = windows["marketChange24h"]
    return {
        **snapshot_entry(day, now_ms),
        "askSize": number_text(day.ask_size),
        "averagePrice": number_text(_average(day)),
        "bidSize": number_text(day.bid_size),
        "close": number_text(whole.close),
        "makerCoefficient": NumberText("1.000000"),
        "makerFeeRate": NumberText(_FEE_RATE),
        "marginTrade": False,
        **{name: _window_entry(window) for name, window in windows.items()},
        "markets": [day.market],
        "open": number_text(whole.open),
        "siteTypes": ["global"],
        "takerCoefficient": NumberText("1.000000"),
        "takerFeeRate": NumberText(_FEE_RATE),
    }


def _window_entry(window: WindowFigures) -> dict[str, Any]:
    return {
        "changePrice": number_text(window.change_price),
        "changeRate": number_text(window.change_rate),
        "high": number_text(window.high),
        "low": number_text(window.low),
        "open": number_text(window.open),
        "vol": number_text(window.vol),
        "volValue": number_text(window.vol_value),
    }


def _average(day: DayFigures) -> str | None:
    """Return what a unit cost on average, rounded: a figure to look at."""
    volume = Decimal(day.vol)
    if not volume:
        return None
    text = f"{_ENOUGH.divide(Decimal(day.vol_value), volume):f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
