"""What the exchange sends by the clock: tickers ten times a second, snapshots every two seconds."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from replay.exchange.hub import Hub
from replay.exchange.source import DayFigures, Push, Source
from schemas.kucoin.market import Ticker
from schemas.kucoin.market_snapshot import MarketSnapshot, NumberText
from schemas.kucoin.topics import ALL

TICKER_EVERY_NS = 100_000_000
TICKER_ALL_EVERY_NS = 1_000_000_000
SNAPSHOT_EVERY_NS = 2_000_000_000


def _figures(ticker: Ticker) -> Ticker:
    """Strip sequence and time, so that tickers compare by what they say."""
    return replace(ticker, sequence=0, ts_event=None)


class TickerPushes:
    """Push the tickers that changed since they were last pushed."""

    def __init__(self, source: Source, hub: Hub) -> None:
        self._source = source
        self._hub = hub
        self._last: dict[tuple[str, str], Ticker] = {}

    def push_symbols(self) -> None:
        """Push the changed tickers of all subscribed symbols."""
        for symbol in self._hub.topics("ticker"):
            if symbol != ALL and self._source.lists(symbol):
                self._push(symbol, symbol, "symbol")

    def push_all(self) -> None:
        """Push the changed tickers of all symbols to the topic that carries them all."""
        if self._hub.wants("ticker", ALL):
            for instrument in self._source.instruments():
                self._push(ALL, instrument.symbol, "all")

    def _push(self, name: str, symbol: str, channel: str) -> None:
        ticker = self._source.ticker(symbol)
        if self._last.get((name, symbol)) == _figures(ticker):
            return
        self._last[name, symbol] = _figures(ticker)
        message = replace(ticker, channel=channel)
        self._hub.publish(Push("ticker", name, ticker.sequence, ticker.sequence, message))


Snapshots = Callable[[Source, str, int], list[MarketSnapshot]]
"""Source, name of a symbol or market, now in ms → what the snapshot topic says about it."""


class SnapshotPushes:
    """Push the 24-hour figures of subscribed symbols and markets, in a dialect's words."""

    def __init__(self, source: Source, hub: Hub, snapshots: Snapshots) -> None:
        self._source = source
        self._hub = hub
        self._snapshots = snapshots

    def push(self) -> None:
        """Push all that are subscribed to."""
        now_ms = self._source.now() // 1_000_000
        for name in self._hub.topics("snapshot"):
            for message in self._snapshots(self._source, name, now_ms):
                sequence = message.sequence
                self._hub.publish(Push("snapshot", name, sequence, sequence, message))


def days_of(source: Source, name: str) -> list[DayFigures]:
    """Return the figures of a symbol, or of every symbol of a market; none where neither is listed.

    A name with a hyphen is a symbol's: markets are called by one currency.
    """
    if "-" in name:
        return [source.day(name)] if source.lists(name) else []
    days = [source.day(instrument.symbol) for instrument in source.instruments()]
    return [day for day in days if day.market == name]


def snapshot_entry(day: DayFigures, now_ms: int) -> dict[str, Any]:
    """Return a symbol's fields as the snapshot topic has them: numbers, not text."""
    return {
        "trading": True,
        "symbol": day.symbol,
        "buy": number_text(day.buy),
        "sell": number_text(day.sell),
        "sort": NumberText("100"),
        "volValue": number_text(day.vol_value),
        "baseCurrency": day.base_currency,
        "market": day.market,
        "quoteCurrency": day.quote_currency,
        "symbolCode": day.symbol,
        "datetime": NumberText(str(now_ms)),
        "high": number_text(day.high),
        "vol": number_text(day.vol),
        "low": number_text(day.low),
        "changePrice": number_text(day.change_price),
        "changeRate": number_text(day.change_rate),
        "lastTradedPrice": number_text(day.last),
        "board": NumberText("0"),
        "mark": NumberText("0"),
    }


def number_text(text: str | None) -> NumberText | None:
    """Write exact decimal text as a JSON number, small ones with an exponent as the venue does."""
    if text is None:
        return None
    sign = "-" if text.startswith("-") else ""
    whole, _, fraction = text.removeprefix("-").partition(".")
    significant = fraction.lstrip("0")
    zeros = len(fraction) - len(significant)
    if whole != "0" or not significant or zeros < 3:
        return NumberText(text)
    return NumberText(f"{sign}{significant[0]}.{significant[1:] or '0'}E-{zeros + 1}")
