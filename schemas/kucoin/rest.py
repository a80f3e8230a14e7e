"""REST answers of the classic dialects, parsed and formatted.

Every answer is an envelope `{"code": "200000", "data": …}`; anything else is an `ApiError`.

Source: KuCoin API document of February 2019, "Market Data" and "Websocket", and the specification
of kucoin-universal-sdk of November 2025; both read 2026-11-22.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import orjson

from schemas.fixed_point import scale_of
from schemas.kucoin.control import WireError
from schemas.kucoin.market import Ticker, ticker_fields
from schemas.kucoin.wire_time import parse_time
from schemas.timestamps import NS_PER_MS

SUCCESS = "200000"


class ApiError(WireError):
    """An answer whose code is not 200000.

    Attributes
    ----------
    code, message : str   as the exchange gave them
    """

    def __init__(self, code: str, message: str, payload: bytes | str) -> None:
        self.code = code
        self.message = message
        super().__init__(f"exchange answered code {code} {message!r}", payload)


def parse_answer(body: bytes | str) -> Any:
    """Return the `data` of a successful envelope.

    Raises
    ------
    ApiError    when the code is another than 200000
    WireError   when the body is no envelope
    """
    try:
        envelope = orjson.loads(body)
        code = str(envelope["code"])
    except (orjson.JSONDecodeError, KeyError, TypeError):
        raise WireError("answer is not a KuCoin envelope", body) from None
    if code != SUCCESS:
        raise ApiError(code, str(envelope.get("msg", "")), body)
    return envelope.get("data")


def format_answer(data: object) -> bytes:
    """Wrap data in a successful envelope."""
    return orjson.dumps({"code": SUCCESS, "data": data})


def format_api_error(code: str, message: str) -> bytes:
    """Format an envelope that says no."""
    return orjson.dumps({"code": code, "msg": message})


@dataclass(frozen=True, slots=True)
class Bullet:
    """A token to connect with, and where; intervals in ms."""

    token: str
    endpoint: str
    ping_interval_ms: int
    ping_timeout_ms: int


def parse_bullet(data: Any) -> Bullet:
    """Parse the data of bullet-public; the first server is taken.

    Raises
    ------
    WireError   when there is no server or a field is missing
    """
    try:
        server = data["instanceServers"][0]
        return Bullet(
            data["token"],
            server["endpoint"],
            int(server["pingInterval"]),
            int(server["pingTimeout"]),
        )
    except (KeyError, IndexError, TypeError, ValueError):
        raise WireError("bullet-public names no server", orjson.dumps(data)) from None


def format_bullet(bullet: Bullet) -> bytes:
    """Format the answer of bullet-public."""
    return format_answer(
        {
            "instanceServers": [
                {
                    "pingInterval": bullet.ping_interval_ms,
                    "endpoint": bullet.endpoint,
                    "protocol": "websocket",
                    "encrypt": bullet.endpoint.startswith("wss:"),
                    "pingTimeout": bullet.ping_timeout_ms,
                }
            ],
            "token": bullet.token,
        }
    )


@dataclass(frozen=True, slots=True)
class Instrument:
    """A symbol's metadata; increments as the text the exchange gave.

    Attributes
    ----------
    wire : str   the exchange's whole entry as JSON, with every field the document does not have
    """

    symbol: str
    name: str
    base_currency: str
    quote_currency: str
    base_min_size: str
    quote_min_size: str
    base_max_size: str
    quote_max_size: str
    base_increment: str
    quote_increment: str
    price_increment: str
    enable_trading: bool
    wire: str = ""

    @property
    def price_scale(self) -> int:
        """Digits after the point of a price."""
        return scale_of(self.price_increment)

    @property
    def size_scale(self) -> int:
        """Digits after the point of a size in base currency."""
        return scale_of(self.base_increment)

    @property
    def funds_scale(self) -> int:
        """Digits after the point of funds in quote currency."""
        return scale_of(self.quote_increment)


def parse_instruments(data: Any) -> list[Instrument]:
    """Parse the data of `symbols`, version 1 or 2, in the exchange's order.

    Raises
    ------
    WireError   when an entry lacks a field the archive needs
    """
    try:
        return [
            Instrument(
                entry["symbol"],
                entry.get("name", entry["symbol"]),
                entry["baseCurrency"],
                entry["quoteCurrency"],
                entry.get("baseMinSize") or "",
                entry.get("quoteMinSize") or "",
                entry.get("baseMaxSize") or "",
                entry.get("quoteMaxSize") or "",
                entry["baseIncrement"],
                entry["quoteIncrement"],
                entry["priceIncrement"],
                bool(entry["enableTrading"]),
                orjson.dumps(entry).decode(),
            )
            for entry in data
        ]
    except (KeyError, TypeError):
        raise WireError("symbols is malformed", orjson.dumps(data)) from None


def format_instruments(instruments: list[Instrument]) -> bytes:
    """Format the answer of `symbols`: each entry as it came, else with the document's fields."""
    return format_answer(
        [
            orjson.Fragment(instrument.wire) if instrument.wire else instrument_fields(instrument)
            for instrument in instruments
        ]
    )


def instrument_fields(instrument: Instrument) -> dict[str, Any]:
    """Return the wire's entry of version 1 of `symbols`."""
    return {
        "symbol": instrument.symbol,
        "name": instrument.name,
        "baseCurrency": instrument.base_currency,
        "quoteCurrency": instrument.quote_currency,
        "baseMinSize": instrument.base_min_size,
        "quoteMinSize": instrument.quote_min_size,
        "baseMaxSize": instrument.base_max_size,
        "quoteMaxSize": instrument.quote_max_size,
        "baseIncrement": instrument.base_increment,
        "quoteIncrement": instrument.quote_increment,
        "priceIncrement": instrument.price_increment,
        "enableTrading": instrument.enable_trading,
    }


def instrument_fields_v2(instrument: Instrument, market: str) -> dict[str, Any]:
    """Return the wire's entry of version 2 of `symbols`, for a plain spot symbol of a market."""
    return {
        **instrument_fields(instrument),
        "feeCurrency": instrument.quote_currency,
        "market": market,
        "priceLimitRate": "0.1",
        "minFunds": instrument.quote_min_size,
        "isMarginEnabled": False,
        "feeCategory": 1,
        "makerFeeCoefficient": "1.00",
        "takerFeeCoefficient": "1.00",
        "st": False,
        "callauctionIsEnabled": False,
        "callauctionPriceFloor": None,
        "callauctionPriceCeiling": None,
        "callauctionFirstStageStartTime": None,
        "callauctionSecondStageStartTime": None,
        "callauctionThirdStageStartTime": None,
        "tradingStartTime": None,
    }


@dataclass(slots=True)
class BookAnswer:
    """A book at one sequence; rows are (price, size), at level 3 (order_id, price, size)."""

    sequence: int
    ts_event: int | None
    bids: list[tuple[str, ...]]
    asks: list[tuple[str, ...]]


def parse_book(data: Any) -> BookAnswer:
    """Parse the data of any order-book endpoint; a side may be null on a new instrument.

    Raises
    ------
    WireError   when sequence or rows are missing or misshapen
    """
    try:
        return BookAnswer(
            int(data["sequence"]),
            parse_time(data.get("time"), NS_PER_MS),
            _parse_rows(data["bids"]),
            _parse_rows(data["asks"]),
        )
    except (KeyError, TypeError, ValueError, AttributeError):
        raise WireError("order book is malformed", orjson.dumps(data)) from None


def _parse_rows(rows: Any) -> list[tuple[str, ...]]:
    parsed: list[tuple[str, ...]] = []
    for row in rows or ():
        # A bare text would split into letters, and a number was a float the moment it was JSON.
        if not isinstance(row, list) or len(row) < 2 or not all(type(v) is str for v in row):
            raise ValueError("row is not a list of texts")
        parsed.append(tuple(row))
    return parsed


def format_book(book: BookAnswer) -> bytes:
    """Format the answer of an order-book endpoint, rows in the order given."""
    data: dict[str, Any] = {"sequence": str(book.sequence)}
    if book.ts_event is not None:
        data["time"] = book.ts_event // NS_PER_MS
    return format_answer({**data, "bids": book.bids, "asks": book.asks})


@dataclass(slots=True)
class HistoryTrade:
    """One of the last trades; `side` is the taker's. REST gives neither trade nor order ids."""

    sequence: int
    price: str
    size: str
    side: str
    ts_event: int | None


def parse_histories(data: Any) -> list[HistoryTrade]:
    """Parse the data of `histories`, in whatever order it comes; its times are ns.

    Raises
    ------
    WireError   when an entry lacks a field
    """
    try:
        return [
            HistoryTrade(
                int(entry["sequence"]),
                entry["price"],
                entry["size"],
                entry["side"],
                parse_time(entry["time"], 1),
            )
            for entry in data
        ]
    except (KeyError, TypeError, ValueError):
        raise WireError("histories is malformed", orjson.dumps(data)) from None


def format_histories(trades: list[HistoryTrade]) -> bytes:
    """Format the answer of `histories`."""
    return format_answer(
        [
            {
                "sequence": str(trade.sequence),
                "price": trade.price,
                "size": trade.size,
                "side": trade.side,
                "time": trade.ts_event,
            }
            for trade in trades
        ]
    )


def format_level1(ticker: Ticker) -> bytes:
    """Format the answer of `level1`: the ticker's fields."""
    return format_answer(ticker_fields(ticker))


def parse_timestamp(data: Any) -> int:
    """Parse the data of `timestamp` to ns.

    Raises
    ------
    WireError   when it is no count of ms
    """
    try:
        return int(data) * NS_PER_MS
    except (TypeError, ValueError):
        raise WireError("timestamp is malformed", orjson.dumps(data)) from None


def format_timestamp(ts: int) -> bytes:
    """Format the answer of `timestamp`, ms."""
    return format_answer(ts // NS_PER_MS)


def format_all_tickers(ts: int, tickers: list[dict[str, Any]]) -> bytes:
    """Format the answer of `allTickers`; each ticker has the wire's fields as text."""
    return format_answer({"time": ts // NS_PER_MS, "ticker": tickers})


def parse_all_tickers(data: Any) -> tuple[int, list[dict[str, Any]]]:
    """Parse the data of `allTickers` to (ns, tickers), each with all the fields it came with.

    `vol` is the volume of 24 hours in base currency; today's exchange adds `volValue`, in quote
    currency, and many more. A field without a value is null.

    Raises
    ------
    WireError   when time or list is missing, or a ticker names no symbol
    """
    try:
        tickers = list(data["ticker"])
        if not all(type(ticker["symbol"]) is str for ticker in tickers):
            raise TypeError("a ticker without a symbol")
        return int(data["time"]) * NS_PER_MS, tickers
    except (KeyError, TypeError, ValueError):
        raise WireError("allTickers is malformed", orjson.dumps(data)) from None
