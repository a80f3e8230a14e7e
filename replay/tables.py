"""Books as Arrow tables: the columns of the `book_at` family."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from replay.book import Book, BookSide
from replay.errors import BadInput
from replay.numbers import to_double

BOOK_SCHEMA = pa.schema(
    [
        ("side", pa.string()),
        ("level", pa.int32()),
        ("price", pa.float64()),
        ("size", pa.float64()),
        ("price_mantissa", pa.int64()),
        ("price_scale", pa.int8()),
        ("size_mantissa", pa.int64()),
        ("size_scale", pa.int8()),
        ("sequence", pa.int64()),
        ("known", pa.bool_()),
    ]
)
L3_BOOK_SCHEMA = pa.schema(
    [
        ("side", pa.string()),
        ("level", pa.int32()),
        ("position", pa.int32()),
        ("price", pa.float64()),
        ("size", pa.float64()),
        ("order_id", pa.string()),
    ]
)


def book_rows(book: Book, depth: int) -> pa.RecordBatch:
    """Return the `depth` best levels a side, bids first.

    Levels beyond a known depth are not `known`. Where a partial side shows none of those and yet
    fewer than `depth` levels, a row without price follows that is not known either.

    Raises
    ------
    BadInput   for a depth below 1
    """
    if depth < 1:
        raise BadInput(f"depth {depth} shows nothing", "ask for at least 1 level")
    cut = book.depth(depth)
    batches = [
        batch
        for name, side in (("bid", cut.bids), ("ask", cut.asks))
        for batch in (
            _levels(name, side, book.sequence),
            _open_end(name, side, book.sequence, depth),
        )
    ]
    return pa.concat_batches(batches)


def _open_end(name: str, side: BookSide, sequence: int, depth: int) -> pa.RecordBatch:
    row = {"side": name, "level": len(side) + 1, "sequence": sequence, "known": False}
    looks_complete = len(side) < depth and side.known_levels == len(side)
    said = [row] if side.known_to is not None and looks_complete else []
    return pa.RecordBatch.from_pylist(said, schema=BOOK_SCHEMA)


def _levels(name: str, side: BookSide, sequence: int) -> pa.RecordBatch:
    count = len(side)
    return pa.RecordBatch.from_arrays(
        [
            pa.repeat(pa.scalar(name), count),
            pa.array(np.arange(1, count + 1, dtype=np.int32)),
            pa.array(to_double(side.price_mantissa, side.price_scale)),
            pa.array(to_double(side.size_mantissa, side.size_scale)),
            pa.array(side.price_mantissa),
            pa.array(np.full(count, side.price_scale, np.int8)),
            pa.array(side.size_mantissa),
            pa.array(np.full(count, side.size_scale, np.int8)),
            pa.array(np.full(count, sequence, np.int64)),
            pa.array(side.known_mask),
        ],
        schema=BOOK_SCHEMA,
    )


def l3_book_rows(book: Book) -> pa.RecordBatch:
    """Return every resting order, bids first, in queue order."""
    return pa.concat_batches(
        [_orders(name, side) for name, side in (("bid", book.bids), ("ask", book.asks))]
    )


def _orders(name: str, side: BookSide) -> pa.RecordBatch:
    assert side.order_sizes is not None, "a level-3 side"
    assert side.order_levels is not None, "a level-3 side"
    count, levels = len(side.order_levels), side.order_levels
    first_of_level = np.searchsorted(levels, levels, "left")
    return pa.RecordBatch.from_arrays(
        [
            pa.repeat(pa.scalar(name), count),
            pa.array((levels + 1).astype(np.int32)),
            pa.array((np.arange(count) - first_of_level + 1).astype(np.int32)),
            pa.array(to_double(side.price_mantissa, side.price_scale)[levels]),
            pa.array(to_double(side.order_sizes, side.size_scale)),
            pa.array(side.order_ids, pa.string()),
        ],
        schema=L3_BOOK_SCHEMA,
    )
