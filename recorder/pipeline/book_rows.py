"""Rows of `book_snapshots` from a full book's columns."""

from __future__ import annotations

from typing import Any

import numpy as np

from recorder.pipeline.output import NO_SCALE, NO_TIME, FullBook, Rows
from schemas.datasets import ASK, BID, NO_SIDE


def full_book_rows(
    symbol: str,
    stream: str,
    book: dict[str, Any],
    entry: FullBook,
    *,
    ts_recv: int,
    ts_event: int = NO_TIME,
    known_bid_from: tuple[int, int] | None = None,
    known_ask_to: tuple[int, int] | None = None,
) -> Rows:
    """Build the rows of one full book; an empty book is one row without side.

    Parameters
    ----------
    book : dict[str, ndarray or list]
        side, price and size pairs, bids high to low then asks low to high; `order_id` at level 3.
    entry : FullBook
        Its place in the stream; `entry.ts` is when it is known, ns.
    ts_recv, ts_event : int
        ns; `NO_TIME` where the venue says nothing.
    known_bid_from, known_ask_to : (mantissa, scale) or None
        How far down and up the book is exact; None: the side is whole.
    """
    n = len(book["side"])
    columns: dict[str, Any]
    if n:
        level, position = _levels_and_positions(book)
        columns = {
            "side": book["side"],
            "level": level.tolist(),
            "position": position.tolist() if stream == "l3" else [None] * n,
            "order_id": book["order_id"] if stream == "l3" else [None] * n,
            **{
                name: book[name]
                for name in ("price_mantissa", "price_scale", "size_mantissa", "size_scale")
            },
        }
    else:
        n = 1
        columns = {
            "side": np.array([NO_SIDE], np.int8),
            "level": [None],
            "position": [None],
            "order_id": [None],
            "price_mantissa": np.zeros(1, np.int64),
            "price_scale": np.full(1, NO_SCALE, np.int8),
            "size_mantissa": np.zeros(1, np.int64),
            "size_scale": np.full(1, NO_SCALE, np.int8),
        }
    return Rows(
        "book_snapshots",
        symbol,
        stream,
        {
            "ts_recv": np.full(n, ts_recv, np.int64),
            "ts_event": np.full(n, ts_event, np.int64),
            "held_ns": np.full(n, entry.ts - ts_recv, np.int64),
            "ordinal": np.full(n, entry.ordinal, np.int64),
            "sequence": np.full(n, entry.sequence, np.int64),
            "book": [stream] * n,
            "origin": [entry.origin] * n,
            **columns,
            **_bound_columns("known_bid_from", known_bid_from, n),
            **_bound_columns("known_ask_to", known_ask_to, n),
        },
        np.full(n, entry.ts, np.int64),
        entry,
    )


def _bound_columns(name: str, bound: tuple[int, int] | None, n: int) -> dict[str, Any]:
    mantissa, scale = (0, NO_SCALE) if bound is None else bound
    return {
        f"{name}_mantissa": np.full(n, mantissa, np.int64),
        f"{name}_scale": np.full(n, scale, np.int8),
    }


def _levels_and_positions(book: dict[str, Any]) -> tuple[Any, Any]:
    """Count the prices of each side from 1, and the orders of each price from 1."""
    side, price, scale = book["side"], book["price_mantissa"], book["price_scale"]
    n = len(side)
    starts = np.ones(n, bool)
    starts[1:] = (side[1:] != side[:-1]) | (price[1:] != price[:-1]) | (scale[1:] != scale[:-1])
    group = np.cumsum(starts)
    first_of_group = np.flatnonzero(starts)
    position = np.arange(n) - first_of_group[group - 1] + 1
    level = np.where(side == ASK, group - group[side == BID].max(initial=0), group)
    return level.astype(np.int32), position.astype(np.int32)
