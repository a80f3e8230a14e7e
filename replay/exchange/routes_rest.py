"""The REST side: bullet-public, books, tickers, trades, symbols.

Handlers of what the document of 2019 has; a dialect says at which paths they stand. Answers are
enveloped as it says.
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from aiohttp import web

from replay.exchange.api_keys import ApiKeys, ServedKey
from replay.exchange.candle_types import CANDLE_MINUTES
from replay.exchange.faults import FaultPlan
from replay.exchange.fiat_prices import dollar_prices
from replay.exchange.responses import BadParameter, json_response
from replay.exchange.source import DayFigures, Source
from replay.exchange.tokens import Tokens
from schemas.kucoin.rest import (
    BookAnswer,
    Bullet,
    Instrument,
    format_all_tickers,
    format_answer,
    format_book,
    format_bullet,
    format_histories,
    format_instruments,
    format_level1,
    format_timestamp,
)
from schemas.kucoin.venue_state import KeyInfo, format_key_info

NS_PER_MS = 1_000_000
CANDLES_MAX = 1_500
_SECONDS_DIGITS_MAX = 12

_WEBSOCKET_SCHEME = {"http": "ws", "https": "wss"}


Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
TickerRow = Callable[[Instrument, DayFigures], Mapping[str, Any]]


class RestRoutes:
    """Handlers of all REST paths.

    Parameters
    ----------
    source : Source
        Knows the answers.
    tokens : Tokens
        Issues what a websocket connects with.
    faults : FaultPlan
        May make a book older than now.
    keys : ApiKeys
        Who may ask for what is signed.
    ticker_row : callable
        Tells a symbol's entry of `allTickers` in the dialect's words.
    ping_interval_ms, ping_timeout_ms : int
        Told to clients by bullet-public.
    """

    def __init__(
        self,
        source: Source,
        tokens: Tokens,
        faults: FaultPlan,
        keys: ApiKeys,
        ticker_row: TickerRow,
        *,
        ping_interval_ms: int,
        ping_timeout_ms: int,
    ) -> None:
        self.keys = keys
        self._ticker_row = ticker_row
        self._source = source
        self._tokens = tokens
        self._faults = faults
        self._ping_interval_ms = ping_interval_ms
        self._ping_timeout_ms = ping_timeout_ms

    async def bullet_public(self, request: web.Request) -> web.Response:
        """Issue a token and say where to connect with it."""
        return json_response(
            format_bullet(
                Bullet(
                    self._tokens.issue(self._source.now()),
                    f"{_WEBSOCKET_SCHEME[request.scheme]}://{request.host}/endpoint",
                    self._ping_interval_ms,
                    self._ping_timeout_ms,
                )
            )
        )

    async def timestamp(self, _request: web.Request) -> web.Response:
        """Answer the server's clock, ms."""
        return json_response(format_timestamp(self._source.now()))

    async def symbols(self, request: web.Request) -> web.Response:
        """List the symbols, of one market if asked for."""
        return json_response(format_instruments(self.listed(request)))

    async def markets(self, _request: web.Request) -> web.Response:
        """List the markets."""
        return json_response(format_answer(list(self._source.markets())))

    async def currencies(self, _request: web.Request) -> web.Response:
        """List every currency traded here."""
        return json_response(format_answer(list(self.known_currencies().values())))

    async def currency(self, request: web.Request) -> web.Response:
        """Answer one currency."""
        return json_response(format_answer(self.known_currency(request)))

    async def prices(self, request: web.Request) -> web.Response:
        """Answer what currencies are worth in dollars: all, or those asked for."""
        base = request.query.get("base") or "USD"
        if base != "USD":
            raise BadParameter(f"base {base} is not quoted here, only USD")
        symbols = [instrument.symbol for instrument in self._source.instruments()]
        prices = dollar_prices(self._source.day(symbol) for symbol in symbols)
        wanted = request.query.get("currencies")
        if wanted:
            prices = {name: prices[name] for name in wanted.split(",") if name in prices}
        return json_response(format_answer(prices))

    async def level1(self, request: web.Request) -> web.Response:
        """Answer best bid and offer and the last trade."""
        ticker = self._source.ticker(self._symbol(request))
        ticker.ts_event = self._source.now()
        return json_response(format_level1(ticker))

    async def all_tickers(self, _request: web.Request) -> web.Response:
        """Answer the 24-hour figures of every symbol."""
        tickers = [
            dict(self._ticker_row(instrument, self._source.day(instrument.symbol)))
            for instrument in self._source.instruments()
        ]
        return json_response(format_all_tickers(self._source.now(), tickers))

    async def stats(self, request: web.Request) -> web.Response:
        """Answer the 24-hour figures of one symbol."""
        fields = stats_fields(self._source.day(self._symbol(request)))
        time = self._source.now() // NS_PER_MS
        return json_response(format_answer({**fields, "time": time}))

    async def histories(self, request: web.Request) -> web.Response:
        """Answer the last hundred trades."""
        return json_response(format_histories(list(self._source.histories(self._symbol(request)))))

    async def candles(self, request: web.Request) -> web.Response:
        """Answer candles, newest first, at most 1,500."""
        symbol = self._symbol(request)
        kind = request.query.get("type", "")
        if kind not in CANDLE_MINUTES:
            raise BadParameter(f"type must be one of {', '.join(CANDLE_MINUTES)}")
        now_s = self._source.now() // (1000 * NS_PER_MS)
        start = _seconds(request, "startAt", 0)
        # 0 is documented as the default of both: clients send it and mean that they do not ask.
        end = _seconds(request, "endAt", 0) or now_s + 1
        candles = self._source.candles(symbol, CANDLE_MINUTES[kind], start, end)
        return json_response(format_answer([candle.row() for candle in candles[:CANDLES_MAX]]))

    def level2_part(self, depth: int) -> Handler:
        """Return the handler of a book cut to `depth` levels a side."""

        async def level2(request: web.Request) -> web.StreamResponse:
            book = self._l2_book(request)
            book.bids, book.asks = book.bids[:depth], book.asks[:depth]
            return json_response(format_book(book))

        return level2

    async def level2_v1(self, request: web.Request) -> web.Response:
        """Answer the full level-2 book the old way: asks from high to low."""
        book = self._l2_book(request)
        book.asks.reverse()
        return json_response(format_book(book))

    async def level2_v2(self, request: web.Request) -> web.Response:
        """Answer the full level-2 book, best first on both sides."""
        return json_response(format_book(self._l2_book(request)))

    def signed(self, handler: Handler) -> Handler:
        """Return a handler that answers only who signed the request with a key that may read."""

        async def checked(request: web.Request) -> web.StreamResponse:
            await self.key_of(request)
            return await handler(request)

        return checked

    async def key_of(self, request: web.Request) -> ServedKey:
        """Return the key a request was signed with.

        Raises
        ------
        Unauthorized
            It was not, or not as it must be.
        """
        return self.keys.check(
            request.headers,
            request.method,
            request.raw_path,
            # Whatever it is: a body that is no text was signed by nobody.
            (await request.read()).decode(errors="replace"),
            self._source.now(),
        )

    async def api_key(self, request: web.Request) -> web.Response:
        """Tell the owner of a key what it may do."""
        key = await self.key_of(request)
        told = format_key_info(
            KeyInfo(key.permissions, key.version),
            uid=100_000_001,
            subName="",
            remark="reader",
            apiKey=key.key,
            ipWhitelist="",
            isMaster=True,
            createdAt=1_728_443_843_000,
        )
        return json_response(told)

    async def level3(self, request: web.Request) -> web.Response:
        """Answer every resting order, best first, in queue order."""
        return json_response(format_book(self._book(request, "level3", self._source.l3_book)))

    def _l2_book(self, request: web.Request) -> BookAnswer:
        return self._book(request, "level2", self._source.l2_book)

    def _book(
        self, request: web.Request, level: str, answer: Callable[[str, int], BookAnswer]
    ) -> BookAnswer:
        """Take a book from the source: as it is now, or older if a fault strikes."""
        symbol, now = self._symbol(request), self._source.now()
        fault = self._faults.draw("stale", level, symbol, now)
        if fault is None:
            return answer(symbol, 0)
        book = answer(symbol, fault.events)
        self._faults.write(
            "stale",
            now,
            topic=level,
            symbol=symbol,
            sequence_start=book.sequence,
            sequence_end=book.sequence,
        )
        return book

    def _symbol(self, request: web.Request) -> str:
        symbol = request.query.get("symbol")
        if not symbol:
            raise BadParameter("symbol is required")
        if not self._source.lists(symbol):
            raise BadParameter(f"symbol {symbol} does not exist")
        return symbol

    def listed(self, request: web.Request) -> list[Instrument]:
        """Return the instruments of the market asked for, or all."""
        instruments = list(self._source.instruments())
        market = request.query.get("market")
        if not market:
            return instruments
        return [made for made in instruments if self._source.day(made.symbol).market == market]

    def known_currency(self, request: web.Request) -> dict[str, Any]:
        """Return the currency named in the path.

        Raises
        ------
        BadParameter
            Nothing listed has it.
        """
        name = request.match_info["currency"]
        currency = self.known_currencies().get(name)
        if currency is None:
            raise BadParameter(f"currency {name} does not exist")
        return currency

    def known_currencies(self) -> dict[str, dict[str, Any]]:
        """Return every currency traded here, by name."""
        currencies: dict[str, dict[str, Any]] = {}
        for instrument in self._source.instruments():
            for name, digits in (
                (instrument.base_currency, instrument.size_scale),
                (instrument.quote_currency, instrument.funds_scale),
            ):
                known = currencies.get(name)
                currencies[name] = {
                    "currency": name,
                    "name": name,
                    "fullName": name,
                    "precision": max(digits, 0 if known is None else known["precision"]),
                    # Nothing is held here, so nothing can be moved in or out.
                    "withdrawalMinSize": "0",
                    "withdrawalMinFee": "0",
                    "isWithdrawEnabled": False,
                    "isDepositEnabled": False,
                }
        return currencies


def _seconds(request: web.Request, name: str, default: int) -> int:
    text = request.query.get(name)
    if text is None:
        return default
    if not (text.isascii() and text.isdigit() and len(text) <= _SECONDS_DIGITS_MAX):
        raise BadParameter(f"{name} must be a whole number of seconds")
    return int(text)


def stats_fields(day: DayFigures) -> dict[str, Any]:
    """Return the fields of `stats` but for its time."""
    return {
        "symbol": day.symbol,
        "high": day.high,
        "vol": day.vol,
        "last": day.last,
        "low": day.low,
        "buy": day.buy,
        "sell": day.sell,
        "changePrice": day.change_price,
        "changeRate": day.change_rate,
    }
