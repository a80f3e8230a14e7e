"""Order events applied to a book with its queues, row by row.

Orders are dense codes; a level's queue is a linked list through `next_order` and `prev_order`.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit

from replay.kernels.levels import (
    Int8s,
    Int32s,
    Int64s,
    Levels,
    claim_slot,
    find_slot,
    note_best,
    put_size,
)

IGNORED, OPEN, MATCH, DONE, CHANGE = 0, 1, 2, 3, 4
APPLIED, NO_ROOM, OVERFLOW = 0, 1, 2

_INT64_MAX = 2**63 - 1


class Orders(NamedTuple):
    """Orders by code.

    side : int8[n]                      0 bid, 1 ask, -1 not resting
    price, size : int64[n]              mantissas; size is what remains
    next_order, prev_order : int32[n]   neighbours in the queue of the level, -1 at its ends
    """

    side: Int8s
    price: Int64s
    size: Int64s
    next_order: Int32s
    prev_order: Int32s


def new_orders(count: int) -> Orders:
    """Return `count` orders, none resting."""
    return Orders(
        np.full(count, -1, np.int8),
        np.zeros(count, np.int64),
        np.zeros(count, np.int64),
        np.full(count, -1, np.int32),
        np.full(count, -1, np.int32),
    )


@njit(cache=True, nogil=True)
def add_order(levels: Levels, orders: Orders, side: int, order: int, price: int, size: int) -> int:
    """Let an order rest at the tail of its level; APPLIED, NO_ROOM or OVERFLOW."""
    key = -price if side == 0 else price
    slot = claim_slot(levels, side, key)
    if slot < 0:
        return NO_ROOM
    total = max(levels.table[side, slot, 1], 0)
    if total > _INT64_MAX - size:
        return OVERFLOW
    if total == 0:
        levels.queues[side, slot, 0] = order
        orders.prev_order[order] = -1
    else:
        tail = levels.queues[side, slot, 1]
        orders.next_order[tail] = order
        orders.prev_order[order] = tail
    levels.queues[side, slot, 1] = order
    put_size(levels, side, slot, total + size)
    orders.next_order[order] = -1
    orders.side[order] = side
    orders.price[order] = price
    orders.size[order] = size
    return APPLIED


@njit(cache=True, nogil=True)
def level_of(levels: Levels, orders: Orders, order: int) -> int:
    """Return the slot of the level where an order rests."""
    side = orders.side[order]
    price = orders.price[order]
    return find_slot(levels, side, -price if side == 0 else price)


@njit(cache=True, nogil=True)
def remove_order(levels: Levels, orders: Orders, order: int) -> None:
    """Take a resting order out of its queue and level."""
    side = orders.side[order]
    slot = level_of(levels, orders, order)
    before = orders.prev_order[order]
    after = orders.next_order[order]
    if before >= 0:
        orders.next_order[before] = after
    else:
        levels.queues[side, slot, 0] = after
    if after >= 0:
        orders.prev_order[after] = before
    else:
        levels.queues[side, slot, 1] = before
    put_size(levels, side, slot, levels.table[side, slot, 1] - orders.size[order])
    orders.side[order] = -1
    orders.size[order] = 0


@njit(cache=True, nogil=True)
def resize_order(levels: Levels, orders: Orders, order: int, size: int) -> int:
    """Give a resting order a new size in its place; size 0 removes it. APPLIED or OVERFLOW."""
    if size <= 0:
        remove_order(levels, orders, order)
        return APPLIED
    side = orders.side[order]
    slot = level_of(levels, orders, order)
    rest = levels.table[side, slot, 1] - orders.size[order]
    if rest > _INT64_MAX - size:
        return OVERFLOW
    put_size(levels, side, slot, rest + size)
    orders.size[order] = size
    return APPLIED


@njit(cache=True, nogil=True)
def apply_event(
    levels: Levels,
    orders: Orders,
    kind: int,
    side: int,
    order: int,
    price: int,
    amount: int,
) -> int:
    """Apply one event; NO_ROOM and OVERFLOW leave the levels whole, the event can be repeated."""
    if kind == IGNORED or order < 0:
        return APPLIED
    resting = orders.side[order] >= 0
    if kind == OPEN:
        if resting:
            remove_order(levels, orders, order)
        if amount <= 0 or price == 0 or side < 0:
            return APPLIED
        return add_order(levels, orders, side, order, price, amount)
    if not resting:
        return APPLIED
    if kind == MATCH:
        return resize_order(levels, orders, order, orders.size[order] - amount)
    if kind == DONE:
        remove_order(levels, orders, order)
        return APPLIED
    return resize_order(levels, orders, order, amount)


@njit(cache=True, nogil=True)
def apply_events(
    levels: Levels,
    orders: Orders,
    kind: Int8s,
    side: Int8s,
    order: Int32s,
    price: Int64s,
    amount: Int64s,
    start: int,
    stop: int,
) -> tuple[int, int]:
    """Apply rows [start, stop) in order.

    Parameters
    ----------
    levels, orders : Levels, Orders   written
    kind : int8[n]      IGNORED, OPEN, MATCH, DONE or CHANGE
    side : int8[n]      0 bid, 1 ask, -1 none
    order : int32[n]    code of the order acted on (match: the maker's), -1 none
    price : int64[n]    mantissa at the book's price scale; read for OPEN
    amount : int64[n]   mantissa at the book's size scale: what rests (OPEN), what was taken
                        (MATCH), the new size (CHANGE)

    Returns
    -------
    tuple[int, int]   first row not applied (else `stop`), and why: APPLIED, NO_ROOM, OVERFLOW
    """
    for row in range(start, stop):
        status = apply_event(
            levels, orders, kind[row], side[row], order[row], price[row], amount[row]
        )
        if status != APPLIED:
            return row, status
    return stop, APPLIED


@njit(cache=True, nogil=True)
def follow_best_orders(
    levels: Levels,
    orders: Orders,
    kind: Int8s,
    side: Int8s,
    order: Int32s,
    price: Int64s,
    amount: Int64s,
    start: int,
    stop: int,
    best: Int64s,
    rows: Int64s,
    bests: Int64s,
    found: int,
) -> tuple[int, int, int]:
    """Apply rows [start, stop) and note best bid and ask wherever a row changes them.

    Parameters are those of `apply_events` and of `book_l2.follow_best`.

    Returns
    -------
    tuple[int, int, int]   first row not applied (else `stop`), why, entries of `rows` written
    """
    for row in range(start, stop):
        status = apply_event(
            levels, orders, kind[row], side[row], order[row], price[row], amount[row]
        )
        if status != APPLIED:
            return row, status, found
        if note_best(levels, best):
            rows[found] = row
            for column in range(4):
                bests[found, column] = best[column]
            found += 1
    return stop, APPLIED, found


@njit(cache=True, nogil=True)
def list_queues(
    levels: Levels,
    orders: Orders,
    side: int,
    prices: Int64s,
    order_codes: Int32s,
    order_levels: Int64s,
) -> int:
    """Write the orders of some levels in queue order, level by level.

    Parameters
    ----------
    prices : int64[m]              mantissas of the levels wanted
    order_codes : int32[n]         written
    order_levels : int64[n]        written: index into `prices`

    Returns
    -------
    int   how many orders there are; nothing is written beyond n
    """
    count = 0
    for level in range(prices.shape[0]):
        slot = find_slot(levels, side, -prices[level] if side == 0 else prices[level])
        if levels.table[side, slot, 1] <= 0:
            continue
        order = levels.queues[side, slot, 0]
        while order >= 0:
            if count < order_codes.shape[0]:
                order_codes[count] = order
                order_levels[count] = level
            count += 1
            order = orders.next_order[order]
    return count
