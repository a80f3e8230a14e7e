"""What is known of each symbol, stream and UTC day, and what is not."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import orjson
import pyarrow as pa

from replay.catalog import Interval
from replay.engine import Engine
from replay.errors import Gap, UnknownSymbol
from replay.rows import ints
from schemas.datasets import BOOK_STREAMS
from schemas.timestamps import NS_PER_DAY, NS_PER_S, date_of, day_start

COVERAGE_SCHEMA = pa.schema(
    [
        ("symbol", pa.string()),
        ("stream", pa.string()),
        ("date", pa.string()),
        ("seconds_covered", pa.float64()),
        ("seconds_unknown", pa.float64()),
        ("messages", pa.int64()),
        ("rows", pa.int64()),
        ("gaps", pa.int64()),
        ("gaps_by_reason", pa.string()),
        ("trades_proven", pa.int64()),
        ("audits_equal", pa.int64()),
        ("audits_unequal", pa.int64()),
    ]
)

_DATASETS = {"l2": "l2_updates", "l3": "l3_events"}
_COLUMNS = ("ordinal", "ts_recv", "held_ns")


@dataclass
class _Day:
    covered_ns: int = 0
    unknown_ns: int = 0
    messages: int = 0
    rows: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    proven: int | None = None
    equal: int = 0
    unequal: int = 0


def coverage(
    engine: Engine, symbol: str | None, ts_from: int | None, ts_to: int | None
) -> pa.RecordBatch:
    """Return one row a symbol, stream and UTC day; all symbols for None.

    A row counts where it was known; rows of full books are not counted. `trades_proven` counts
    the trades recorded while level 3 was covered too: its sequences prove that none is missing.
    `seconds_unknown` of an open gap runs to the end of what the archive knows of any stream.

    Raises
    ------
    UnknownSymbol
    """
    if symbol is not None and symbol not in engine.snapshot.symbols:
        raise UnknownSymbol(symbol, engine.snapshot.symbols)
    groups = engine.snapshot.intervals
    end = max((i.ts_to for group in groups.values() for i in group), default=0)
    rows: list[dict[str, Any]] = []
    for name, stream in sorted(groups):
        if symbol in (None, name):
            days = _days(engine, name, stream, (ts_from or 0, ts_to or end + 1), end)
            rows += [_row(name, stream, date, days[date]) for date in sorted(days)]
    return pa.RecordBatch.from_pylist(rows, COVERAGE_SCHEMA)


def _row(symbol: str, stream: str, date: str, day: _Day) -> dict[str, Any]:
    return {
        "symbol": symbol,
        "stream": stream,
        "date": date,
        "seconds_covered": day.covered_ns / NS_PER_S,
        "seconds_unknown": day.unknown_ns / NS_PER_S,
        "messages": day.messages,
        "rows": day.rows,
        "gaps": day.reasons.total(),
        "gaps_by_reason": orjson.dumps(dict(sorted(day.reasons.items()))).decode(),
        "trades_proven": day.proven,
        "audits_equal": day.equal,
        "audits_unequal": day.unequal,
    }


def _days(
    engine: Engine, symbol: str, stream: str, span: tuple[int, int], end: int
) -> dict[str, _Day]:
    days: dict[str, _Day] = {}
    for interval in engine.snapshot.intervals[symbol, stream]:
        for date, start, stop in _by_day(interval.ts_from, interval.ts_to + 1, span):
            day = days.setdefault(date, _Day())
            # Both ends are known instants: what lies between them was covered.
            day.covered_ns += min(stop, interval.ts_to) - start
            whole = start <= interval.ts_from and stop > interval.ts_to
            messages, rows = (
                (interval.messages, _rows_of(interval))
                if whole and interval.messages is not None
                else _counted(engine, interval, start, stop)
            )
            day.messages += messages
            day.rows += rows
            if stream == "trades":
                day.proven = (day.proven or 0) + _proven(engine, interval, start, stop)
    for gap in engine.snapshot.gaps.get((symbol, stream), []):
        _add_gap(days, gap, span, end)
    _add_audits(engine, days, symbol, stream, span)
    return days


def _add_gap(days: dict[str, _Day], gap: Gap, span: tuple[int, int], end: int) -> None:
    until = max(gap.ts_to if gap.ts_to is not None else end, gap.ts_from)
    for date, start, stop in _by_day(gap.ts_from, until + 1, span):
        day = days.setdefault(date, _Day())
        day.unknown_ns += min(stop, until) - start
        if start == gap.ts_from:
            day.reasons[gap.reason] += 1


def _add_audits(
    engine: Engine, days: dict[str, _Day], symbol: str, stream: str, span: tuple[int, int]
) -> None:
    if stream not in BOOK_STREAMS:
        return
    audits = engine.snapshot.tables["audits"]
    columns = [audits.column(name).to_pylist() for name in ("symbol", "stream", "result")]
    stamps = audits.column("ts").cast(pa.int64()).to_pylist()
    for name, kind, result, ts in zip(*columns, stamps, strict=True):
        if (name, kind) == (symbol, stream) and span[0] <= ts < span[1]:
            day = days.setdefault(date_of(ts), _Day())
            day.equal += result == "equal"
            day.unequal += result == "unequal"


def _by_day(start: int, stop: int, span: tuple[int, int]) -> list[tuple[str, int, int]]:
    """Cut [start, stop), clipped to a span, at UTC midnights."""
    start, stop = max(start, span[0]), min(stop, span[1])
    pieces = []
    while start < stop:
        date = date_of(start)
        midnight = day_start(date) + NS_PER_DAY
        pieces.append((date, start, min(stop, midnight)))
        start = midnight
    return pieces


def _rows_of(interval: Interval) -> int:
    """Return the rows of the stream's own dataset: ordinals are dense, a REST book takes one."""
    seeds = interval.stream in BOOK_STREAMS
    return interval.ordinal_last - interval.ordinal_first + (not seeds)


def _known_rows(
    engine: Engine, interval: Interval, start: int, stop: int, more: tuple[str, ...] = ()
) -> tuple[np.ndarray[Any, Any], pa.Table]:
    dataset = _DATASETS.get(interval.stream, interval.stream)
    table = engine.rows(
        dataset,
        interval.symbol,
        interval.run_id,
        (interval.ordinal_first, interval.ordinal_last),
        _COLUMNS + more,
    )
    known = ints(table, "ts_recv") + ints(table, "held_ns")
    return (known >= start) & (known < stop), table


def _counted(engine: Engine, interval: Interval, start: int, stop: int) -> tuple[int, int]:
    """Count messages and rows from the parts, where an interval is cut by midnight or a range."""
    more = ("is_last",) if interval.stream == "l2" else ()
    inside, table = _known_rows(engine, interval, start, stop, more)
    rows = int(np.count_nonzero(inside))
    if not more:
        return rows, rows
    is_last = np.asarray(table.column("is_last").to_numpy(), np.bool_)
    return int(np.count_nonzero(inside & is_last)), rows


def _proven(engine: Engine, interval: Interval, start: int, stop: int) -> int:
    synced = engine.snapshot.intervals.get((interval.symbol, "l3"), [])
    if not synced:
        return 0
    inside, table = _known_rows(engine, interval, start, stop)
    known = (ints(table, "ts_recv") + ints(table, "held_ns"))[inside]
    return sum(int(np.count_nonzero((known >= l3.ts_from) & (known <= l3.ts_to))) for l3 in synced)
