"""What is known of each symbol, stream and UTC day, and what is not."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc

from replay.catalog import Interval, Part, Snapshot
from replay.engine import Engine
from replay.errors import BadInput, Gap, UnknownSymbol
from replay.rows import ints
from schemas.archive_layout import RAW
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
_OUTSIDE = ("stop", "activate")  # events of level 3 that take no place in its sequence


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


@dataclass
class DayTime:
    """What the catalog alone says of one stream and UTC day, in ns."""

    covered_ns: int = 0
    unknown_ns: int = 0
    reasons: Counter[str] = field(default_factory=Counter)


Days = dict[str, DayTime]
Span = tuple[int, int]


def coverage(
    engine: Engine, symbol: str | None, ts_from: int | None, ts_to: int | None
) -> pa.RecordBatch:
    """Return one row a symbol, stream and UTC day; all symbols for None.

    Time that two runs cover counts once, and nothing is unknown while either covers it; what a
    backfill brought is covered. A gap counts on the day it begins. `seconds_unknown` of an open
    gap runs to the end of what the archive knows of any stream. A row counts where it was known,
    in each run that wrote it; rows of full books are not counted. `trades_proven` counts the
    trades recorded while level 3 was covered too: its sequences prove that none is missing.

    Raises
    ------
    UnknownSymbol
    BadInput   a range that ends before it begins
    """
    times = covered_time(engine.snapshot, symbol, ts_from, ts_to)
    span = _span(engine.snapshot, ts_from, ts_to)
    audits = _audits(engine, symbol, span)
    rows: list[dict[str, Any]] = []
    for name, stream in sorted(times):
        days = _days(engine, name, stream, span, times[name, stream])
        for date, result in audits.get((name, stream), []):
            day = days.setdefault(date, _Day())
            day.equal += result == "equal"
            day.unequal += result == "unequal"
        rows += [_row(name, stream, date, days[date]) for date in sorted(days)]
    return pa.RecordBatch.from_pylist(rows, COVERAGE_SCHEMA)


def covered_time(
    snapshot: Snapshot, symbol: str | None, ts_from: int | None, ts_to: int | None
) -> dict[tuple[str, str], Days]:
    """Return known and unknown time by (symbol, stream) and UTC day; reads no part.

    Raises
    ------
    UnknownSymbol
    BadInput   a range that ends before it begins
    """
    if symbol is not None and symbol not in snapshot.symbols:
        raise UnknownSymbol(symbol, snapshot.symbols)
    if ts_from is not None and ts_to is not None and ts_to < ts_from:
        raise BadInput("the range ends before it begins", "swap its ends")
    span, end = _span(snapshot, ts_from, ts_to), _end(snapshot)
    return {
        key: _time(snapshot.intervals[key], snapshot.gaps.get(key, []), span, end)
        for key in snapshot.intervals
        if symbol in (None, key[0])
    }


def why_nothing(snapshot: Snapshot, archive: Path) -> str:
    """Say why no time is covered, to whoever asked and got nothing."""
    if snapshot.intervals:
        return "nothing is covered in that range; leave out --from and --to to see all there is"
    if any(archive.glob(f"{RAW}/*/*")):
        return (
            "what was recorded is in the raw log alone: no part is published yet, which takes "
            f"some minutes; `recorder job roll {archive}` publishes what there is"
        )
    return "nothing was recorded into this archive"


def _end(snapshot: Snapshot) -> int:
    groups = snapshot.intervals.values()
    return max((i.ts_to for group in groups for i in group), default=0)


def _span(snapshot: Snapshot, ts_from: int | None, ts_to: int | None) -> Span:
    return (
        0 if ts_from is None else ts_from,
        _end(snapshot) + 1 if ts_to is None else ts_to,
    )


def _time(intervals: list[Interval], gaps: list[Gap], span: Span, end: int) -> Days:
    days: Days = {}
    known = [(i.ts_from, i.ts_to) for i in intervals]
    unknown: list[Span] = []
    for gap in gaps:
        until = max(gap.ts_to if gap.ts_to is not None else end, gap.ts_from)
        (known if gap.healed_by == "backfill" else unknown).append((gap.ts_from, until))
        if span[0] <= gap.ts_from < span[1]:
            days.setdefault(date_of(gap.ts_from), DayTime()).reasons[gap.reason] += 1
    known = _joined(known)
    for covered, stretches in ((True, known), (False, _without(_joined(unknown), known))):
        for first, last in stretches:
            # Both ends are instants of their own: one at midnight makes a day of no seconds.
            for date, start, stop in _by_day(first, last + 1, span):
                day = days.setdefault(date, DayTime())
                if covered:
                    day.covered_ns += min(stop, last) - start
                else:
                    day.unknown_ns += min(stop, last) - start
    return days


def _joined(stretches: list[Span]) -> list[Span]:
    """Return the union of stretches, in order, none touching another."""
    joined: list[Span] = []
    for start, stop in sorted(stretches):
        if joined and start <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(joined[-1][1], stop))
        else:
            joined.append((start, stop))
    return joined


def _without(stretches: list[Span], others: list[Span]) -> list[Span]:
    """Return what is left of stretches outside others; both are unions in order."""
    left: list[Span] = []
    at = 0
    for begin, stop in stretches:
        start = begin
        while at < len(others) and others[at][1] < start:
            at += 1
        for other in others[at:]:
            if other[0] >= stop:
                break
            if other[0] > start:
                left.append((start, other[0]))
            start = max(start, other[1])
        if start < stop or begin == stop:
            left.append((start, stop))
    return left


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


def _days(engine: Engine, symbol: str, stream: str, span: Span, times: Days) -> dict[str, _Day]:
    days = {
        date: _Day(time.covered_ns, time.unknown_ns, reasons=time.reasons)
        for date, time in times.items()
    }
    for interval in engine.snapshot.intervals[symbol, stream]:
        pieces = _by_day(interval.ts_from, interval.ts_to + 1, span)
        for (date, start, stop), (messages, rows) in zip(
            pieces, _counts(engine, interval, pieces), strict=True
        ):
            day = days.setdefault(date, _Day())
            day.messages += messages
            day.rows += rows
            if stream == "trades":
                day.proven = (day.proven or 0) + _proven(engine, interval, start, stop, rows)
    return days


def _audits(
    engine: Engine, symbol: str | None, span: Span
) -> dict[tuple[str, str], list[tuple[str, str]]]:
    """Return (date, result) of every audit in a range, by (symbol, stream)."""
    table = engine.snapshot.tables["audits"]
    columns = [table.column(name).to_pylist() for name in ("symbol", "stream", "result")]
    stamps = table.column("ts").cast(pa.int64()).to_pylist()
    found: dict[tuple[str, str], list[tuple[str, str]]] = {}
    for name, stream, result, ts in zip(*columns, stamps, strict=True):
        if symbol in (None, name) and span[0] <= ts < span[1]:
            found.setdefault((name, stream), []).append((date_of(ts), result))
    return found


def _by_day(start: int, stop: int, span: Span) -> list[tuple[str, int, int]]:
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


def _counts(
    engine: Engine, interval: Interval, pieces: list[tuple[str, int, int]]
) -> Iterator[tuple[int, int]]:
    """Yield messages and rows of each piece of an interval, of the last by what is left."""
    is_whole = pieces and pieces[0][1] <= interval.ts_from and pieces[-1][2] > interval.ts_to
    left = None
    if is_whole and interval.messages is not None:
        left = interval.messages, _rows_of(interval)
    for number, (_, start, stop) in enumerate(pieces, 1):
        if left is not None and number == len(pieces):
            yield left
            return
        messages, rows = _counted(engine, interval, start, stop)
        yield messages, rows
        if left is not None:
            left = left[0] - messages, left[1] - rows


def _counted(engine: Engine, interval: Interval, start: int, stop: int) -> tuple[int, int]:
    """Count messages and rows from the parts, where an interval is cut by midnight or a range."""
    told_by = _told_by(interval)
    messages = rows = 0
    for part in _parts(engine, interval, start, stop):
        # Where only midnight cuts, parts are inside as a whole: the catalog knows their rows, and
        # it is read which of them end a message where not each does.
        if (
            start <= part.ts_first
            and part.ts_last < stop
            and interval.ordinal_first <= part.ordinal_first
            and part.ordinal_last <= interval.ordinal_last
        ):
            rows += part.rows
            messages += _message_ends(engine, part, told_by) if told_by else part.rows
            continue
        inside, table = _known_rows(engine, interval, [part], (start, stop), told_by)
        found = int(np.count_nonzero(inside))
        rows += found
        messages += int(np.count_nonzero(inside & _ends_message(table))) if told_by else found
    return messages, rows


def _told_by(interval: Interval) -> tuple[str, ...]:
    """Return the column that says which rows end a message; none where each does.

    Stop orders stand among the events of level 3, outside its sequence: they are no messages.
    """
    if interval.stream == "l2":
        return ("is_last",)
    return ("kind",) if interval.stream == "l3" and interval.messages != _rows_of(interval) else ()


def _parts(engine: Engine, interval: Interval, start: int, stop: int) -> list[Part]:
    """Return the parts that may hold rows of an interval known in [start, stop), in order."""
    dataset = _DATASETS.get(interval.stream, interval.stream)
    # Known time never runs backwards in a run: only parts that reach into the range hold its rows.
    found = [
        part
        for part in engine.snapshot.parts.get((dataset, interval.symbol), [])
        if part.run_id == interval.run_id
        and part.ts_last >= start
        and part.ts_first < stop
        and part.ordinal_last >= interval.ordinal_first
        and part.ordinal_first <= interval.ordinal_last
    ]
    return sorted(found, key=lambda part: part.ordinal_first)


def _known_rows(
    engine: Engine, interval: Interval, parts: list[Part], span: Span, more: tuple[str, ...] = ()
) -> tuple[np.ndarray[Any, Any], pa.Table]:
    """Return which rows of consecutive parts an interval has in a span, and all it has of them."""
    dataset = _DATASETS.get(interval.stream, interval.stream)
    first = min((part.ordinal_first for part in parts), default=interval.ordinal_first)
    last = max((part.ordinal_last for part in parts), default=interval.ordinal_first - 1)
    ordinals = (max(first, interval.ordinal_first), min(last, interval.ordinal_last))
    table = engine.rows(dataset, interval.symbol, interval.run_id, ordinals, _COLUMNS + more)
    known = ints(table, "ts_recv") + ints(table, "held_ns")
    return (known >= span[0]) & (known < span[1]), table


def _message_ends(engine: Engine, part: Part, told_by: tuple[str, ...]) -> int:
    ordinals = (part.ordinal_first, part.ordinal_last)
    wanted = (part.dataset, part.symbol, part.run_id, ordinals)
    return int(np.count_nonzero(_ends_message(engine.rows(*wanted, ("ordinal", *told_by)))))


def _ends_message(table: pa.Table) -> np.ndarray[Any, Any]:
    if "is_last" in table.column_names:
        return np.asarray(table.column("is_last").to_numpy(), np.bool_)
    kinds = table.column("kind").cast(pa.string())
    return ~np.asarray(pc.is_in(kinds, pa.array(_OUTSIDE)).to_numpy(), np.bool_)


def _proven(engine: Engine, interval: Interval, start: int, stop: int, rows: int) -> int:
    synced = _joined(
        [
            (l3.ts_from, l3.ts_to)
            for l3 in engine.snapshot.intervals.get((interval.symbol, "l3"), [])
        ]
    )
    first, last = max(start, interval.ts_from), min(stop - 1, interval.ts_to)
    if any(l3[0] <= first and last <= l3[1] for l3 in synced):
        return rows
    if not any(l3[0] <= last and first <= l3[1] for l3 in synced):
        return 0
    parts = _parts(engine, interval, start, stop)
    inside, table = _known_rows(engine, interval, parts, (start, stop))
    known = (ints(table, "ts_recv") + ints(table, "held_ns"))[inside]
    return sum(int(np.count_nonzero((known >= l3[0]) & (known <= l3[1]))) for l3 in synced)
