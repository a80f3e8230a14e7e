"""A small archive that the tests of this folder ask."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from replay import Archive
from tests.support.archive_builder import T0, ArchiveBuilder, S

SYMBOL = "BTC-USDT"


def tell(root: Path) -> ArchiveBuilder:
    """One symbol, both books agreeing, a gap in level 2, trades, tickers, an audit."""
    builder = ArchiveBuilder(root)
    l2 = builder.book(SYMBOL)
    l2.snapshot(T0, 100, [("10", "1"), ("9", "2")], [("11", "1.5")], known=("8", "13"))
    l2.message(T0 + S, [("bid", "10.5", "1"), ("ask", "11", "0")], held=5, ts_event=T0 + 7)
    l2.message(T0 + 2 * S, [("ask", "12", "3")]).keyframe()
    l2.audit(T0 + 2 * S, 103, [("10.5", "1"), ("10", "1"), ("9", "2")], [("12", "3")])
    l2.message(T0 + 3 * S, [(None, "0", "0")]).message(T0 + 3 * S, [("ask", "14", "1")]).lose()
    l2.snapshot(T0 + 10 * S, 200, [("10", "1")], [])
    l2.message(T0 + 11 * S, [("ask", "12.125", "3")]).still_open()
    l3 = builder.book(SYMBOL, "l3")
    l3.snapshot(T0, 100, [("a", "10", "1"), ("b", "9", "2")], [("c", "11", "1.5")])
    l3.event(T0 + S, "open", "d", side="bid", price="10.5", remain="1")
    l3.event(T0 + S, "match", "c", side="ask", price="11", size="1.5")
    l3.event(T0 + 2 * S, "open", "e", side="ask", price="12", remain="3").keyframe()
    l3.event(T0 + 3 * S, "received", "f", side="ask", price="14", size="1")
    l3.event(T0 + 3 * S, "open", "f", side="ask", price="14", remain="1")
    builder.add(
        "trades",
        SYMBOL,
        [
            trade(T0 + S, 102, 1100, 15000, "buy"),
            trade(T0 + 61 * S, 150, 1200, 5000, "sell"),
            trade(T0 + 62 * S, 151, 1150, 10000, "sell"),
        ],
    )
    builder.catalog(
        "coverage", symbol=SYMBOL, stream="trades", run_id="20261122T100000.000000Z-test-1",
        ordinal_first=0, ordinal_last=2, ts_from=T0, ts_to=T0 + 90 * S, sequence_first=102,
        sequence_last=151, messages=3, rows=3, is_open=0,
    )  # fmt: skip
    builder.catalog(
        "audits", symbol=SYMBOL, stream="l2", run_id="20261122T100000.000000Z-test-1",
        ts=T0 + 2 * S, sequence=103, result="equal",
    )  # fmt: skip
    builder.write()
    return builder


def trade(ts: int, sequence: int, price: int, size: int, aggressor: str) -> dict:
    return {
        "ts_recv": ts,
        "sequence": sequence,
        "price_mantissa": price,
        "price_scale": 2,
        "size_mantissa": size,
        "size_scale": 4,
        "aggressor_side": aggressor,
        "source": "match",
    }


@pytest.fixture
def builder(tmp_path: Path) -> ArchiveBuilder:
    return tell(tmp_path / "archive")


@pytest.fixture
def tape(builder: ArchiveBuilder) -> Iterator[Archive]:
    with Archive(builder.root) as opened:
        yield opened
