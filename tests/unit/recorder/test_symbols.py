"""Entries of `venue.symbols` against a small exchange."""

from __future__ import annotations

import pytest

from recorder.symbols import (
    BadSelection,
    Rename,
    Resolution,
    Selection,
    SymbolChanges,
    renames,
    symbol_changes,
)
from schemas.kucoin.rest import Instrument


def instrument(symbol: str, *, trading: bool = True, name: str = "") -> Instrument:
    base, quote = symbol.split("-")
    return Instrument(
        symbol, name or symbol, base, quote,
        "1", "1", "9", "9", "0.1", "0.1", "0.1", trading,
    )  # fmt: skip


LISTED = [
    instrument("ETH-BTC"),
    instrument("BTC-USDT"),
    instrument("ETH-USDT"),
    instrument("OLD-USDT", trading=False),
    instrument("KCS-ETH"),
    instrument("GALAX-USDT", name="GALA-USDT"),
    instrument("LONE-EUR"),
]
# 1 BTC = 100 USDT, 1 ETH = 10 USDT; turnover in USDT: ETH-BTC 300, BTC-USDT 200, ETH-USDT 50,
# KCS-ETH 250, GALAX-USDT 50 (vol × last), LONE-EUR cannot be valued.
TICKERS = [
    {"symbol": "ETH-BTC", "last": "0.1", "volValue": "3"},
    {"symbol": "BTC-USDT", "last": "100", "volValue": "200"},
    {"symbol": "ETH-USDT", "last": "10", "volValue": "50"},
    {"symbol": "OLD-USDT", "last": "1", "volValue": "9999999"},
    {"symbol": "KCS-ETH", "last": "2", "volValue": "25"},
    {"symbol": "GALAX-USDT", "last": "0.5", "vol": "100"},
    {"symbol": "LONE-EUR", "last": "1", "volValue": "1000000"},
]


def resolve(*entries: str) -> Resolution:
    return Selection.parse(entries).resolve(LISTED, TICKERS)


@pytest.mark.parametrize(
    ("entries", "symbols"),
    [
        (["ETH-USDT", "ETH-BTC"], "ETH-BTC ETH-USDT"),
        (["*-USDT"], "BTC-USDT ETH-USDT GALAX-USDT"),
        (["ETH-*"], "ETH-BTC ETH-USDT"),
        (["ET?-USDT", "?ONE-*"], "ETH-USDT LONE-EUR"),
        (["all"], "ETH-BTC BTC-USDT ETH-USDT KCS-ETH GALAX-USDT LONE-EUR"),
        (["OLD-USDT", "*-ETH"], "OLD-USDT KCS-ETH"),
        (["*-USDT", "BTC-USDT", "top:1:*-USDT"], "BTC-USDT ETH-USDT GALAX-USDT"),
        (["top:1"], "ETH-BTC"),
        (["top:3"], "ETH-BTC BTC-USDT KCS-ETH"),
        # 50 and 50: the tie is broken by name.
        (["top:2:*-USDT"], "BTC-USDT ETH-USDT"),
        (["top:5"], "ETH-BTC BTC-USDT ETH-USDT KCS-ETH GALAX-USDT"),
        (["top:100:*-BTC"], "ETH-BTC"),
    ],
)
def test_which_symbols_are_meant(entries: list[str], symbols: str) -> None:
    found = resolve(*entries)
    assert found.symbols == tuple(symbols.split())
    assert (found.unknown, found.unmatched) == ((), ())


def test_what_is_named_and_silent_missing_or_yet_to_come() -> None:
    found = resolve("OLD-USDT", "GONE-USDT", "GALA-USDT", "*-XYZ", "OLD-*", "top:3:*-XYZ")
    assert found == Resolution(
        symbols=("OLD-USDT",),
        not_trading=("OLD-USDT",),
        unknown=("GONE-USDT", "GALA-USDT"),
        unmatched=("*-XYZ", "OLD-*", "top:3:*-XYZ"),
    )


def test_brackets_and_points_stand_for_themselves() -> None:
    listed = [instrument("A.B-[X]"), instrument("AxB-X")]
    selection = Selection.parse(["A.B-*", "*-[X]"])
    assert selection.resolve(listed, []).symbols == ("A.B-[X]",)


def test_only_a_top_needs_tickers() -> None:
    assert not Selection.parse(["all", "BTC-*", "BTC-USDT"]).needs_tickers
    assert Selection.parse(["BTC-USDT", "top:2:BTC-*"]).needs_tickers
    assert Selection.parse(["all", "BTC-USDT"]).names == ("BTC-USDT",)


def test_without_usdt_turnover_is_compared_in_what_most_are_quoted_in() -> None:
    listed = [instrument("B-X"), instrument("C-X"), instrument("A-B")]
    tickers = [
        {"symbol": "B-X", "last": "4", "volValue": "10"},
        {"symbol": "C-X", "last": "1", "volValue": "11"},
        {"symbol": "A-B", "last": "1", "volValue": "3"},
    ]
    ranked = Selection.parse(["top:2"]).resolve(listed, tickers).symbols
    assert ranked == ("C-X", "A-B")


@pytest.mark.parametrize("odd", [None, "", "NaN", "Infinity", "1e999999", "many"])
def test_odd_figures_rank_last(odd: object) -> None:
    tickers = [{"symbol": "BTC-USDT", "last": odd, "volValue": odd, "vol": odd}, *TICKERS[2:]]
    found = Selection.parse(["top:1:*-USDT"]).resolve(LISTED, tickers)
    assert found.symbols == ("ETH-USDT",)


def test_neighbours_in_rank_do_not_take_turns() -> None:
    selection = Selection.parse(["top:2:*-USDT"])
    # Ranked BTC, ETH, GALAX: what is recorded stays while it is one rank behind, not two.
    assert selection.resolve(LISTED, TICKERS, ["BTC-USDT", "GALAX-USDT"]).symbols == (
        "BTC-USDT", "GALAX-USDT",
    )  # fmt: skip
    one = Selection.parse(["top:1:*-USDT"])
    assert one.resolve(LISTED, TICKERS, ["GALAX-USDT"]).symbols == ("BTC-USDT",)
    assert one.resolve(LISTED, TICKERS, ["ETH-USDT", "BTC-USDT"]).symbols == ("BTC-USDT",)


@pytest.mark.parametrize(
    ("entry", "says"),
    [
        ("", "no space, comma, colon or slash"),
        ("BTC USDT", "no space"),
        ("BTC/USDT", "write BTC-USDT"),
        ("a:b", "colon"),
        ("top:", "a number from 1 on"),
        ("top:0", "a number from 1 on"),
        ("top:-3", "a number from 1 on"),
        ("top:5:", "a number from 1 on"),
        ("TOP:5", "a number from 1 on"),
    ],
)
def test_entries_that_mean_nothing(entry: str, says: str) -> None:
    with pytest.raises(BadSelection, match="selects nothing") as caught:
        Selection.parse(["BTC-USDT", entry])
    assert caught.value.entry == entry
    assert says in str(caught.value)


def test_changes_and_renames() -> None:
    changes = symbol_changes(["A", "B", "C"], ["D", "C", "A"])
    assert changes == SymbolChanges(added=("D",), removed=("B",))
    assert changes
    assert not symbol_changes(["A", "B"], ["B", "A"])
    after = [instrument("BTC-USDT", name="XBT-USDT"), instrument("NEW-USDT", name="N")]
    assert renames(LISTED, after) == (Rename("BTC-USDT", "BTC-USDT", "XBT-USDT"),)
