"""Asking for the list: what is asked, and which answers are no list."""

from __future__ import annotations

import json

import pytest

from recorder.listing import ask_listing
from recorder.symbols import Selection
from recorder.transport.rest import RestReply
from schemas.kucoin.control import WireError
from schemas.kucoin.profiles import profile_named

CLASSIC = profile_named("kucoin-classic")


class Venue:
    """Answers from a table, and keeps what it was asked."""

    def __init__(self, symbols: list[dict[str, object]], tickers: list[dict[str, object]]) -> None:
        self.asked: list[str] = []
        self._data = {
            CLASSIC.symbols_path: symbols,
            CLASSIC.tickers_path: {"time": 1, "ticker": tickers},
        }

    async def ask(self, path: str) -> RestReply:
        self.asked.append(path)
        body = json.dumps({"code": "200000", "data": self._data[path]}).encode()
        return RestReply(path, 200, body)


def entry(symbol: str) -> dict[str, object]:
    base, quote = symbol.split("-")
    return {
        "symbol": symbol, "name": symbol, "baseCurrency": base, "quoteCurrency": quote,
        "baseIncrement": "0.1", "quoteIncrement": "0.1", "priceIncrement": "0.1",
        "enableTrading": True,
    }  # fmt: skip


async def test_tickers_are_asked_only_where_turnover_is_wanted() -> None:
    venue = Venue(
        [entry("A-USDT"), entry("B-USDT")],
        [
            {"symbol": "A-USDT", "last": "1", "volValue": "1"},
            {"symbol": "B-USDT", "last": "1", "volValue": "2"},
        ],
    )
    listing = await ask_listing(venue.ask, CLASSIC, Selection.parse(["all"]))
    assert listing.resolution.symbols == ("A-USDT", "B-USDT")
    assert [each.symbol for each in listing.instruments] == ["A-USDT", "B-USDT"]
    assert venue.asked == ["/api/v2/symbols"]
    listing = await ask_listing(venue.ask, CLASSIC, Selection.parse(["top:1"]))
    assert listing.resolution.symbols == ("B-USDT",)
    assert venue.asked[1:] == ["/api/v2/symbols", "/api/v1/market/allTickers"]
    kept = await ask_listing(venue.ask, CLASSIC, Selection.parse(["top:1"]), ["A-USDT"])
    assert kept.resolution.symbols == ("A-USDT",), "one rank behind, and recorded"


async def test_an_empty_list_is_an_exchange_in_trouble() -> None:
    with pytest.raises(WireError, match="symbols lists nothing"):
        await ask_listing(Venue([], []).ask, CLASSIC, Selection.parse(["all"]))
