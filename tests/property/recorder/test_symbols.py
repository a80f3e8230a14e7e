"""Selections against any exchange: nothing that does not trade, nothing twice, no flapping."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from recorder.symbols import Selection, symbol_changes
from schemas.kucoin.rest import Instrument

CURRENCIES = ("USDT", "BTC", "ETH", "A", "B", "C")


@st.composite
def exchanges(draw: st.DrawFn) -> tuple[list[Instrument], list[dict[str, str]]]:
    pairs = draw(
        st.lists(
            st.tuples(st.sampled_from(CURRENCIES), st.sampled_from(CURRENCIES)).filter(
                lambda pair: pair[0] != pair[1]
            ),
            unique=True,
            max_size=20,
        )
    )
    instruments = [
        Instrument(
            f"{base}-{quote}", f"{base}-{quote}", base, quote,
            "", "", "", "", "0.1", "0.1", "0.1", draw(st.booleans()),
        )
        for base, quote in pairs
    ]  # fmt: skip
    figures = st.sampled_from(["0", "0.001", "1", "7", "99999", ""])
    tickers = [
        {"symbol": each.symbol, "last": draw(figures), "volValue": draw(figures)}
        for each in instruments
        if draw(st.booleans())
    ]
    return instruments, tickers


PATTERNS = st.sampled_from(["*", "*-USDT", "?-*", "ETH-*", "*-XYZ"])


@given(exchanges(), st.integers(1, 12), PATTERNS, st.randoms(use_true_random=False))
def test_a_top_is_whole_and_stays_once_it_is_recorded(exchange, count, pattern, chance) -> None:
    instruments, tickers = exchange
    eligible = Selection.parse([pattern if pattern != "*" else "all"]).resolve(instruments, [])
    selection = Selection.parse([f"top:{count}:{pattern}"])
    found = selection.resolve(instruments, tickers).symbols
    assert set(found) <= set(eligible.symbols)
    assert len(found) == min(count, len(eligible.symbols))
    order = [each.symbol for each in instruments]
    assert list(found) == sorted(found, key=order.index)

    shuffled = tickers[:]
    chance.shuffle(shuffled)
    assert selection.resolve(instruments, shuffled).symbols == found

    # Whatever is recorded before: asked twice of the same exchange, nothing changes any more.
    before = chance.sample(order, chance.randint(0, len(order)))
    once = selection.resolve(instruments, tickers, before).symbols
    again = selection.resolve(instruments, tickers, once).symbols
    assert not symbol_changes(once, again)
    assert len(once) == len(found)


ENTRIES = st.sampled_from(["A-USDT", "B-A", "all", "*-BTC", "top:3"])


@given(exchanges(), st.lists(ENTRIES, min_size=1, unique=True))
def test_only_named_symbols_may_be_silent(exchange, entries) -> None:
    instruments, tickers = exchange
    trading = {each.symbol for each in instruments if each.enable_trading}
    listed = {each.symbol for each in instruments}
    found = Selection.parse(entries).resolve(instruments, tickers)
    assert len(set(found.symbols)) == len(found.symbols)
    assert set(found.not_trading) == set(found.symbols) - trading <= set(entries)
    assert set(found.unknown) == {name for name in ("A-USDT", "B-A") if name in entries} - listed
    if "all" in entries:
        assert trading <= set(found.symbols)
