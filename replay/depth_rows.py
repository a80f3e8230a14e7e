"""Depth frames as Arrow rows: a row a level, and what is not known said in rows of its own."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from replay.book import Int64s
from replay.numbers import to_double
from replay.rows import timestamps
from replay.slice_replay import Frames, L2Replay

DEPTH_SCHEMA = pa.schema(
    [
        ("ts", pa.timestamp("ns")),
        ("sequence", pa.int64()),
        ("side", pa.string()),
        ("level", pa.int32()),
        ("price", pa.float64()),
        ("size", pa.float64()),
        ("valid", pa.bool_()),
    ]
)


def depth_rows(
    replay: L2Replay, points: Int64s, sequences: Int64s, cut: Frames, levels: int
) -> pa.RecordBatch:
    """Return a row a level, best first, bids before asks; one without side for an empty book.

    Rows beyond a known depth are not valid. Where a partial side shows none of those and yet fewer
    than `levels` rows, one without price follows that is not valid: no frame of it looks complete.

    Parameters
    ----------
    replay : L2Replay           whose known depth and scales hold for all frames
    points, sequences : int64[k]   times of the frames, ns, and the sequences of their books
    cut : Frames                the k frames, which may have room for fewer levels than
    levels : int                levels a side that were asked for
    """
    present = np.arange(cut.prices.shape[2])[None, None, :] < cut.counts[:, :, None]
    place, side, level = np.nonzero(present)
    prices, sizes = cut.prices[present], cut.sizes[present]
    valid = np.where(side == 0, replay.are_known(0, prices), replay.are_known(1, prices))
    cut_short = np.zeros(cut.counts.shape, np.bool_)
    for book_side in (0, 1):
        if replay.known_to(book_side) is not None:
            cut_short[:, book_side] = cut.counts[:, book_side] < levels
    cut_short[place[~valid], side[~valid]] = False  # its last level says so itself
    empty = np.flatnonzero(~present.any(axis=(1, 2)) & ~cut_short.any(axis=1))
    short_place, short_side = np.nonzero(cut_short)
    lone = len(short_place) + len(empty)  # rows without price
    if lone:
        place = np.concatenate((place, short_place, empty))
        side = np.concatenate((side, short_side, np.full(len(empty), -1)))
        level = np.concatenate((level, cut.counts[cut_short], np.zeros(len(empty), np.int64)))
        nothing = np.zeros(lone, np.int64)
        prices, sizes = np.concatenate((prices, nothing)), np.concatenate((sizes, nothing))
        valid = np.concatenate((valid, np.arange(lone) >= len(short_place)))
    table = pa.RecordBatch.from_arrays(
        [
            timestamps(points[place]),
            pa.array(sequences[place]),
            _side_names(side),
            pa.array((level + 1).astype(np.int32), mask=side < 0),
            *(
                pa.array(to_double(values, scale), mask=np.arange(len(place)) >= len(place) - lone)
                for values, scale in ((prices, replay.price_scale), (sizes, replay.size_scale))
            ),
            pa.array(valid),
        ],
        schema=DEPTH_SCHEMA,
    )
    return table.take(pa.array(np.lexsort((level, side, place)))) if lone else table


def _side_names(side: Int64s) -> pa.Array:
    codes = pa.array(side.astype(np.int8), mask=side < 0)
    return pa.DictionaryArray.from_arrays(codes, ["bid", "ask"]).cast(pa.string())


def unknown_points(points: Int64s) -> pa.RecordBatch:
    """Return one row a point where the book is unknown: no side, not valid."""
    count = len(points)
    columns = [timestamps(points)]
    columns += [pa.nulls(count, field.type) for field in list(DEPTH_SCHEMA)[1:-1]]
    columns.append(pa.array(np.zeros(count, np.bool_)))
    return pa.RecordBatch.from_arrays(columns, schema=DEPTH_SCHEMA)
