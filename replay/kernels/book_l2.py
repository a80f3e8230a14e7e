"""Level changes applied to a book, row by row."""

from __future__ import annotations

from numba import njit

from replay.kernels.levels import (
    Bools,
    Int8s,
    Int64s,
    Levels,
    claim_slot,
    find_slot,
    note_best,
    put_size,
)


@njit(cache=True, nogil=True)
def set_level(levels: Levels, side: int, price: int, size: int) -> bool:
    """Set one level; size 0 removes it, price 0 is no level.

    Returns
    -------
    bool   False when there is no room for a new level, and nothing was changed
    """
    if price == 0 or side < 0:
        return True
    key = -price if side == 0 else price
    if size == 0:
        put_size(levels, side, find_slot(levels, side, key), 0)  # a free slot stays free
        return True
    slot = claim_slot(levels, side, key)
    if slot < 0:
        return False
    put_size(levels, side, slot, size)
    return True


@njit(cache=True, nogil=True)
def apply_changes(
    levels: Levels,
    side: Int8s,
    price: Int64s,
    size: Int64s,
    start: int,
    stop: int,
) -> int:
    """Apply rows [start, stop) in order.

    Parameters
    ----------
    levels : Levels       written
    side : int8[n]        0 bid, 1 ask, -1 none
    price : int64[n]      mantissa at the book's price scale; 0 changes nothing
    size : int64[n]       mantissa at the book's size scale; 0 removes the level

    Returns
    -------
    int   first row not applied for want of room, else `stop`
    """
    for row in range(start, stop):
        if not set_level(levels, side[row], price[row], size[row]):
            return row
    return stop


@njit(cache=True, nogil=True)
def follow_best(
    levels: Levels,
    side: Int8s,
    price: Int64s,
    size: Int64s,
    is_last: Bools,
    start: int,
    stop: int,
    best: Int64s,
    rows: Int64s,
    bests: Int64s,
    found: int,
) -> tuple[int, int]:
    """Apply rows [start, stop) and note the best bid and ask wherever a message changes them.

    Parameters
    ----------
    levels, side, price, size : see `apply_changes`
    is_last : bool[n]       last row of its message; the book is looked at there only
    best : int64[4]         bid price, bid size, ask price, ask size before; written
    rows : int64[m]         written: row that ended the message, m >= messages
    bests : int64[m, 4]     written: `best` after it
    found : int             entries of `rows` written before

    Returns
    -------
    tuple[int, int]   first row not applied for want of room (else `stop`), entries written
    """
    for row in range(start, stop):
        if not set_level(levels, side[row], price[row], size[row]):
            return row, found
        if is_last[row] and note_best(levels, best):
            rows[found] = row
            for column in range(4):
                bests[found, column] = best[column]
            found += 1
    return stop, found
