"""Bars of trades."""

from __future__ import annotations

import pytest

from replay.errors import BadInput, OutsideArchive, UnknownSymbol
from tests.support.archive_builder import T0, S
from tests.support.arrow_rows import rows_of
from tests.unit.replay.conftest import SYMBOL

MINUTE = 60 * S


def test_bars_hold_what_was_traded_and_how_much_was_covered(tape):
    rows = rows_of(tape.bars(SYMBOL, T0, T0 + 3 * MINUTE, "1m"))
    assert [row.pop("ts") for row in rows] == [T0, T0 + MINUTE]
    assert rows == [
        {"open": 11.0, "high": 11.0, "low": 11.0, "close": 11.0, "volume": 1.5, "turnover": 16.5,
         "trades": 1, "buy_volume": 1.5, "sell_volume": 0.0, "vwap": 11.0, "covered": 1.0},
        {"open": 12.0, "high": 12.0, "low": 11.5, "close": 11.5, "volume": 1.5, "turnover": 17.5,
         "trades": 2, "buy_volume": 0.0, "sell_volume": 1.5, "vwap": 17.5 / 1.5,
         "covered": (30 * S + 1) / MINUTE},
    ]  # fmt: skip


def test_empty_bars_stand_only_where_covered(tape):
    rows = rows_of(tape.bars(SYMBOL, T0 + 30 * S, T0 + 2 * MINUTE, "10s"))
    assert [(row["ts"] - T0) // S for row in rows] == [30, 40, 50, 60, 70, 80, 90]
    empty = rows[0]
    assert (empty["open"], empty["vwap"], empty["volume"], empty["trades"]) == (None, None, 0.0, 0)
    assert [row["covered"] for row in rows] == [1.0] * 6 + [1 / (10 * S)]


def test_a_cut_bar_counts_trades_inside_the_range_only(tape):
    rows = rows_of(tape.bars(SYMBOL, T0 + 2 * S, T0 + 62 * S, "1h"))
    assert [(row["ts"], row["trades"], row["close"]) for row in rows] == [(T0, 1, 12.0)]


def test_refusals(tape):
    with pytest.raises(UnknownSymbol):
        tape.bars("ETH-BTC", T0, T0 + S, "1s")
    with pytest.raises(OutsideArchive):
        tape.bars(SYMBOL, T0 - 2 * S, T0 - S, "1s")
    with pytest.raises(BadInput):
        tape.bars(SYMBOL, T0 + S, T0, "1s")
    with pytest.raises(BadInput):
        tape.bars(SYMBOL, T0, T0 + 90 * S, 1)
