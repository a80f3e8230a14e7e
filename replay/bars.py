"""Bars of trades: open, high, low, close and volumes, with how much of each bar was covered."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from replay.book import Int64s
from replay.engine import Engine
from replay.errors import BadInput, OutsideArchive, UnknownSymbol
from replay.numbers import to_double
from replay.rows import Numbers, ints, timestamps
from schemas.timestamps import format_iso

BARS_SCHEMA = pa.schema(
    [
        ("ts", pa.timestamp("ns")),
        ("open", pa.float64()),
        ("high", pa.float64()),
        ("low", pa.float64()),
        ("close", pa.float64()),
        ("volume", pa.float64()),
        ("turnover", pa.float64()),
        ("trades", pa.int64()),
        ("buy_volume", pa.float64()),
        ("sell_volume", pa.float64()),
        ("vwap", pa.float64()),
        ("covered", pa.float64()),
    ]
)
BARS_MAX = 10_000_000

_COLUMNS = (
    "ordinal", "ts_recv", "held_ns", "sequence", "price_mantissa", "price_scale",
    "size_mantissa", "size_scale", "aggressor_side",
)  # fmt: skip

Doubles = npt.NDArray[np.float64]


def bars(engine: Engine, symbol: str, ts_from: int, ts_to: int, every_ns: int) -> pa.RecordBatch:
    """Return the bars that begin at multiples of `every_ns` and meet [ts_from, ts_to).

    Only trades known inside the range count. A bar without a trade is there only where some of
    it was covered; `covered` is the share of the bar inside the range in which trades were.

    Raises
    ------
    UnknownSymbol, OutsideArchive, BadInput
    """
    intervals = engine.snapshot.intervals.get((symbol, "trades"), [])
    if not intervals:
        known = sorted({name for name, kind in engine.snapshot.intervals if kind == "trades"})
        raise UnknownSymbol(symbol, tuple(known), "trades")
    if ts_to <= ts_from:
        raise BadInput("the range is empty: its end is not after its start", "swap the times")
    first, last = ts_from // every_ns, (ts_to - 1) // every_ns
    if last - first >= BARS_MAX:
        raise BadInput(f"{last - first + 1} bars are too many", "ask for longer bars or less time")
    if ts_to <= intervals[0].ts_from or ts_from > max(i.ts_to for i in intervals):
        raise OutsideArchive(
            symbol,
            "trades",
            f"the range from {format_iso(ts_from)} to {format_iso(ts_to)}",
            f"trades are known from {format_iso(intervals[0].ts_from)} "
            f"to {format_iso(max(i.ts_to for i in intervals))}",
        )
    count = last - first + 1
    edges: Int64s = (first + np.arange(count + 1, dtype=np.int64)) * every_ns
    starts, ends = np.maximum(edges[:-1], ts_from), np.minimum(edges[1:], ts_to)
    covered_ns = np.zeros(count, np.int64)
    for interval in intervals:
        # `ts_to` is the last instant known; the instant itself lasts one ns.
        overlap = np.minimum(ends, interval.ts_to + 1) - np.maximum(starts, interval.ts_from)
        covered_ns += np.maximum(overlap, 0)
    covered = np.minimum(covered_ns / (ends - starts), 1.0)
    return _bars(engine, symbol, (ts_from, ts_to), edges[:-1], every_ns, covered)


def _bars(
    engine: Engine,
    symbol: str,
    span: tuple[int, int],
    begins: Int64s,
    every_ns: int,
    covered: Doubles,
) -> pa.RecordBatch:
    known, price, size, buys, sells = _trades(engine, symbol, *span)
    bar = (known // every_ns) - int(begins[0]) // every_ns
    count = len(begins)
    turnover = price * size
    trades = np.bincount(bar, minlength=count)
    volume = np.bincount(bar, size, count)
    turned = np.bincount(bar, turnover, count)
    high, low = np.full(count, -np.inf), np.full(count, np.inf)
    np.maximum.at(high, bar, price)
    np.minimum.at(low, bar, price)
    at_open = np.searchsorted(bar, np.arange(count), "left")
    at_close = np.searchsorted(bar, np.arange(count), "right") - 1
    shown = np.flatnonzero((trades > 0) | (covered > 0))
    quiet = trades[shown] == 0
    with np.errstate(invalid="ignore", divide="ignore"):
        # Between low and high by nature; rounding alone could put it beyond.
        vwap = np.clip(turned[shown] / volume[shown], low[shown], high[shown])
    padded = np.append(price, 0.0)

    def doubles(values: Doubles) -> pa.Array:
        return pa.array(values, pa.float64(), mask=quiet)

    return pa.RecordBatch.from_arrays(
        [
            timestamps(begins[shown]),
            doubles(padded[at_open[shown]]),
            doubles(high[shown]),
            doubles(low[shown]),
            doubles(padded[at_close[shown]]),
            pa.array(volume[shown]),
            pa.array(turned[shown]),
            pa.array(trades[shown].astype(np.int64)),
            pa.array(np.bincount(bar, size * buys, count)[shown]),
            pa.array(np.bincount(bar, size * sells, count)[shown]),
            pa.array(vwap, mask=quiet | ~np.isfinite(vwap)),
            pa.array(covered[shown]),
        ],
        schema=BARS_SCHEMA,
    )


def _trades(
    engine: Engine, symbol: str, ts_from: int, ts_to: int
) -> tuple[Int64s, Doubles, Doubles, npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    """Return known time, price, size, is-buy, is-sell of trades in the range, in order of time."""
    tables = []
    for part in engine.snapshot.parts.get(("trades", symbol), []):
        if part.ts_first < ts_to and part.ts_last >= ts_from:
            span = (part.ordinal_first, part.ordinal_last)
            tables.append(engine.rows("trades", symbol, part.run_id, span, _COLUMNS))
    if not tables:
        nothing, never = np.zeros(0), np.zeros(0, np.bool_)
        return np.zeros(0, np.int64), nothing, nothing, never, never
    table = pa.concat_tables(tables).unify_dictionaries()
    known = ints(table, "ts_recv") + ints(table, "held_ns")
    order = np.lexsort((ints(table, "sequence"), known))
    inside = order[(known[order] >= ts_from) & (known[order] < ts_to)]
    table, known = table.take(pa.array(inside)), known[inside]
    aggressor = np.array(table.column("aggressor_side").cast(pa.string()).to_pylist(), object)
    return (
        known,
        _doubles(table, "price"),
        _doubles(table, "size"),
        np.asarray(aggressor == "buy", np.bool_),
        np.asarray(aggressor == "sell", np.bool_),
    )


def _doubles(table: pa.Table, name: str) -> Doubles:
    numbers = Numbers(ints(table, f"{name}_mantissa"), ints(table, f"{name}_scale").astype(np.int8))
    doubles = np.zeros(len(table))
    for scale in np.unique(numbers.scale).tolist():
        rows = numbers.scale == scale
        doubles[rows] = to_double(numbers.mantissa[rows], scale)
    return doubles
