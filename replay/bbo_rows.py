"""Best prices as Arrow rows: as they stand, where they change, and from where they are unknown."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from replay.book import Int64s
from replay.kernels.levels import UNKNOWN
from replay.numbers import to_double
from replay.rows import NO_TIME, timestamps
from replay.slice_replay import BestChanges, L2Replay, L3Replay
from replay.timeline import Slice

BBO_SCHEMA = pa.schema(
    [
        ("symbol", pa.string()),
        ("ts_event", pa.timestamp("ns")),
        ("ts_recv", pa.timestamp("ns")),
        ("sequence", pa.int64()),
        ("best_bid", pa.float64()),
        ("best_bid_size", pa.float64()),
        ("best_ask", pa.float64()),
        ("best_ask_size", pa.float64()),
        ("valid", pa.bool_()),
        ("crossed", pa.bool_()),
    ]
)


def moment_row(
    piece: Slice,
    replay: L2Replay | L3Replay,
    ts_recv: int,
    shown: L2Replay | L3Replay | None = None,
) -> pa.RecordBatch:
    """Return the best prices now, or those that another book of this very moment shows."""
    _, ts_event, sequence = replay.moment()
    shown = replay if shown is None else shown
    return _batch(
        piece.interval.symbol,
        shown,
        np.array([NO_TIME if ts_event is None else ts_event], np.int64),
        np.array([ts_recv], np.int64),
        np.array([sequence], np.int64),
        shown.best().reshape(1, 4),
    )


def changes_rows(piece: Slice, replay: L2Replay | L3Replay, changes: BestChanges) -> pa.RecordBatch:
    """Return a row for each change of the best prices."""
    rows = replay.rows
    return _batch(
        piece.interval.symbol,
        replay,
        rows.ts_event[changes.rows],
        rows.known[changes.rows],
        rows.sequence_end[changes.rows],
        changes.bests,
    )


def _batch(
    symbol: str,
    replay: L2Replay | L3Replay,
    ts_event: Int64s,
    ts_recv: Int64s,
    sequence: Int64s,
    bests: Int64s,
) -> pa.RecordBatch:
    count = len(sequence)
    columns = [
        pa.repeat(pa.scalar(symbol), count),
        timestamps(ts_event),
        timestamps(ts_recv),
        pa.array(sequence),
    ]
    for side in (0, 1):
        empty = bests[:, 2 * side + 1] <= 0
        for offset, scale in ((0, replay.price_scale), (1, replay.size_scale)):
            doubles = to_double(bests[:, 2 * side + offset], scale)
            columns.append(pa.array(doubles, mask=empty))
    both = (bests[:, 1] > 0) & (bests[:, 3] > 0)
    columns += [
        pa.array(bests[:, 1] != UNKNOWN),
        pa.array(both & (bests[:, 0] >= bests[:, 2])),
    ]
    return pa.RecordBatch.from_arrays(columns, schema=BBO_SCHEMA)


def unknown_bbo(symbol: str, ts: int, sequence: int | None) -> pa.RecordBatch:
    """Return the row that says: from here on the book is not known."""
    row = {"symbol": symbol, "ts_recv": ts, "sequence": sequence, "valid": False}
    return pa.RecordBatch.from_arrays(
        [
            pa.array([row.get(field.name)], pa.int64()).cast(field.type)
            if pa.types.is_timestamp(field.type)
            else pa.array([row.get(field.name)], field.type)
            for field in BBO_SCHEMA
        ],
        schema=BBO_SCHEMA,
    )


def end_row(piece: Slice) -> pa.RecordBatch | None:
    """Return the row that ends an interval: the first ns and sequence that are not known."""
    interval = piece.interval
    if not piece.is_last or interval.is_open:
        return None
    ts, sequence = interval.ts_to + 1, interval.sequence_last
    if piece.gap is not None and piece.gap.ts_to is not None:
        ts = min(ts, piece.gap.ts_to)
    if piece.gap is not None and piece.gap.sequence_expected is not None:
        sequence = piece.gap.sequence_expected
    elif sequence is not None:
        sequence += 1
    return unknown_bbo(interval.symbol, ts, sequence)
