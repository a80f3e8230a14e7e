"""Cuts a question about a range into tasks that can run apart, in any order, on any core.

A task is a function without arguments that returns one record batch; the batches of a question's
tasks, in order, are its answer. Only slices that meet the range become tasks.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import pyarrow as pa

from replay.bbo_rows import unknown_bbo
from replay.book import Int64s
from replay.depth_rows import unknown_points
from replay.engine import FRAMES_MAX, Engine
from replay.errors import BadInput
from replay.timeline import Slice, Timeline

Task = Callable[[], pa.RecordBatch]

POINTS_MAX = 10_000_000
"""Points a grid may have: a spacing of a few ns over a day is a mistake, not a question."""
GRID_TASKS = 256
"""Tasks a grid is cut into beyond one for each slice and each gap, however many points it has."""


def bbo_tasks(
    engine: Engine, symbol: str, ts_from: int | None, ts_to: int | None, level: int = 2
) -> list[Task]:
    """Cut `bbo`: the state at `ts_from`, then every change of best bid or offer before `ts_to`.

    Raises
    ------
    UnknownSymbol, OutsideArchive
    """
    line = engine.timeline(symbol, level)
    _check_order(ts_from, ts_to)
    line.check_range(ts_from, ts_to)
    pieces = line.between(ts_from, ts_to)
    tasks: list[Task] = [partial(engine.bbo, piece, ts_from, ts_to) for piece in pieces]
    if ts_from is not None and not _known_at(line, ts_from):
        tasks.insert(0, partial(unknown_bbo, symbol, ts_from, _last_sequence(line, ts_from)))
    return tasks


def depth_tasks(
    engine: Engine, symbol: str, ts_from: int, ts_to: int, every_ns: int, levels: int
) -> list[Task]:
    """Cut `depth`: the top of the book at each multiple of `every_ns` in [ts_from, ts_to).

    Raises
    ------
    UnknownSymbol, OutsideArchive, BadInput
    """
    if not 1 <= levels <= 100_000:
        raise BadInput(f"{levels} levels cannot be cut", "ask for 1 to 100000 levels a side")
    line = engine.timeline(symbol, 2)
    _check_order(ts_from, ts_to)
    line.check_range(ts_from, ts_to)
    tasks: list[Task] = []
    point = -(-ts_from // every_ns) * every_ns
    count = max(-(-(ts_to - point) // every_ns), 0)
    if count > POINTS_MAX:
        raise BadInput(
            f"a frame every {every_ns} ns makes {count} of them, more than {POINTS_MAX}",
            "ask for a longer spacing or a shorter range",
        )
    at_once = max(FRAMES_MAX, -(-count // GRID_TASKS))
    for slices in line.slices:
        for piece in slices:
            if point < piece.seed.ts:
                point = _add_unknown(tasks, point, min(piece.seed.ts, ts_to), every_ns, at_once)
            end = piece.following.ts if piece.following else piece.ts_to + 1
            while point < min(end, ts_to):
                stop = min(end, ts_to, point + at_once * every_ns)
                points = np.arange(point, stop, every_ns, dtype=np.int64)
                tasks.append(partial(engine.depth, piece, points, levels))
                point += len(points) * every_ns
    _add_unknown(tasks, point, ts_to, every_ns, at_once)
    return tasks


def _add_unknown(tasks: list[Task], point: int, stop: int, every_ns: int, at_once: int) -> int:
    """Add the points of [point, stop) as unknown; return the next point."""
    while point < stop:
        count = min(-(-(stop - point) // every_ns), at_once)
        tasks.append(partial(_unknown_points, point, count, every_ns))
        point += count * every_ns
    return point


def _unknown_points(point: int, count: int, every_ns: int) -> pa.RecordBatch:
    points: Int64s = point + np.arange(count, dtype=np.int64) * every_ns
    return unknown_points(points)


def _check_order(ts_from: int | None, ts_to: int | None) -> None:
    if ts_from is not None and ts_to is not None and ts_to <= ts_from:
        raise BadInput("the range is empty: its end is not after its start", "swap the times")


def _known_at(line: Timeline, ts: int) -> bool:
    return any(interval.ts_from <= ts <= interval.ts_to for interval in line.intervals)


def _last_sequence(line: Timeline, ts: int) -> int | None:
    """Return the first sequence that is not known at a time inside a gap."""
    before = [i for i, interval in enumerate(line.intervals) if interval.ts_to < ts]
    if not before:
        return None
    piece: Slice = line.slices[before[-1]][-1]
    if piece.gap is not None and piece.gap.sequence_expected is not None:
        return piece.gap.sequence_expected
    last = piece.interval.sequence_last
    return None if last is None else last + 1
