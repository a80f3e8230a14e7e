"""Bars of trades."""

from __future__ import annotations

import random

import pytest

from replay import Archive
from replay.errors import BadInput, OutsideArchive, UnknownSymbol
from tests.support.archive_builder import RUN, T0, ArchiveBuilder, S
from tests.support.arrow_rows import rows_of
from tests.unit.replay.conftest import SYMBOL, trade

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


def test_an_average_stays_between_low_and_high(tmp_path):
    builder = ArchiveBuilder(tmp_path / "archive")
    rng = random.Random(3)
    builder.add(
        "trades",
        SYMBOL,
        [
            trade(T0 + at, at, 5999860, size, "sell") | {"size_scale": 7}
            for at, size in enumerate(rng.choices(range(1, 10**7), k=100))
        ],
    )
    builder.catalog(
        "coverage", symbol=SYMBOL, stream="trades", run_id=RUN, ordinal_first=0, ordinal_last=99,
        ts_from=T0, ts_to=T0 + 99, sequence_first=0, sequence_last=99, messages=100, rows=100,
        is_open=0,
    )  # fmt: skip
    builder.write()
    with Archive(builder.root) as tape:
        for every in (2, 3, 5, 7):
            for bar in rows_of(tape.bars(SYMBOL, T0, T0 + 100, every)):
                assert bar["low"] <= bar["vwap"] <= bar["high"]
