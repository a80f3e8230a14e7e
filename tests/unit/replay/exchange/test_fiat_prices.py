"""Dollars per currency."""

from replay.exchange.fiat_prices import dollar_prices
from replay.exchange.source import DayFigures


def day(symbol: str, last: str | None) -> DayFigures:
    base, quote = symbol.split("-")
    none = (None,) * 2
    return DayFigures(symbol, quote, base, quote, 1, *none, last, *none, "0", "0", *none)


def test_direct_and_through_one_other_currency_but_no_further() -> None:
    days = [
        day("SHIB-BTC", "0.0000000112345"),
        day("BTC-USDT", "60000.10"),
        day("PEPE-SHIB", "2"),
        day("NEW-USDT", None),
        day("WIN-USDT", "0.00007612"),
        day("WIN-BTC", "0.000000002"),
    ]
    assert dollar_prices(days) == {
        "USDT": "1",
        "BTC": "60000.1",
        "SHIB": "0.00067407112345",
        "WIN": "0.00007612",
    }


def test_nothing_traded_nothing_priced() -> None:
    assert dollar_prices([]) == {"USDT": "1"}
