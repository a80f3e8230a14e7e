"""Price levels of a book: a hash table by price and a heap of prices, per side.

Any price is a key, however far or sparse: nothing here knows a tick size or a base price.
Each side is an open-addressing table (linear probing, power-of-two capacity) plus a binary heap
of every price that may be live, best on top. A level that empties stays in both until the heap
brings it to the top or the table is compacted, so each change costs O(log n) at worst.

Keys are prices turned so that less is better: `-price` for bids (side 0), `price` for asks (1).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from numba import njit

Int64s = npt.NDArray[np.int64]
Int32s = npt.NDArray[np.int32]
Int8s = npt.NDArray[np.int8]
Bools = npt.NDArray[np.bool_]

FREE = -(2**63)  # key of a slot never used; mantissas stay above it
EMPTY = 0  # size of a level without size whose price is still in the heap
IDLE = -1  # size of a level without size whose price is not in the heap
BOUND = 2  # column of `counts`, so that a change touches no array more
WHOLE = 2**63 - 1  # bound of a side that is known to its end
UNKNOWN = -1  # size of a best price that is not known


class Levels(NamedTuple):
    """Both sides of a book; first axis 0 bid, 1 ask; second the slot.

    table : int64[2, capacity, 2]    turned price (or FREE) and size (or EMPTY, IDLE) of the slot
    heap : int64[2, capacity, 2]     binary heap of (turned price, slot), least first
    counts : int64[2, 3]             slots used, heap length, and at BOUND the turned price to which
                                     the side is exact, or WHOLE; beyond it levels may be missing
    queues : int32[2, capacity, 2]   first and last order of the level (L3), else int32[2, 0, 2]
    """

    table: Int64s
    heap: Int64s
    counts: Int64s
    queues: Int32s


def new_levels(capacity: int, queues: bool) -> Levels:
    """Return empty, whole levels; `capacity` is a power of two, half of which can be used."""
    table = np.zeros((2, capacity, 2), np.int64)
    table[:, :, 0] = FREE
    counts = np.zeros((2, 3), np.int64)
    counts[:, BOUND] = WHOLE
    return Levels(
        table,
        np.empty((2, capacity, 2), np.int64),
        counts,
        np.empty((2, capacity if queues else 0, 2), np.int32),
    )


@njit(cache=True, nogil=True)
def find_slot(levels: Levels, side: int, key: int) -> int:
    """Return the slot of a key: where it is, or the free one where it would go."""
    table = levels.table[side]
    mask = table.shape[0] - 1
    # Two 31-bit multipliers keep every product below 2**63: the same value with and without JIT.
    mixed = ((key & 0xFFFFFFFF) * 0x5BD1E995) ^ (((key >> 32) & 0xFFFFFFFF) * 0x27D4EB2F)
    mixed ^= mixed >> 29
    slot: int = (mixed ^ (mixed >> 15)) & mask
    while table[slot, 0] != key and table[slot, 0] != FREE:
        slot = (slot + 1) & mask
    return slot


@njit(cache=True, nogil=True)
def claim_slot(levels: Levels, side: int, key: int) -> int:
    """Return the slot of a key, taking a free one for a new key; -1 when the table is full."""
    slot = find_slot(levels, side, key)
    if levels.table[side, slot, 0] == FREE:
        if levels.counts[side, 0] * 2 >= levels.table.shape[1]:
            return -1
        levels.table[side, slot, 0] = key
        levels.table[side, slot, 1] = IDLE
        levels.counts[side, 0] += 1
    return slot


@njit(cache=True, nogil=True)
def put_size(levels: Levels, side: int, slot: int, size: int) -> None:
    """Give a claimed slot its size; size 0 empties the level."""
    before = levels.table[side, slot, 1]
    if size == 0:
        if before > 0:
            levels.table[side, slot, 1] = EMPTY
        return
    levels.table[side, slot, 1] = size
    if before == IDLE:
        _push(levels, side, slot)


@njit(cache=True, nogil=True)
def _push(levels: Levels, side: int, slot: int) -> None:
    heap = levels.heap[side]
    key = levels.table[side, slot, 0]
    at = levels.counts[side, 1]
    levels.counts[side, 1] = at + 1
    while at > 0:
        parent = (at - 1) >> 1
        if heap[parent, 0] <= key:
            break
        heap[at, 0] = heap[parent, 0]
        heap[at, 1] = heap[parent, 1]
        at = parent
    heap[at, 0] = key
    heap[at, 1] = slot


@njit(cache=True, nogil=True)
def _drop_top(levels: Levels, side: int) -> None:
    heap = levels.heap[side]
    levels.table[side, heap[0, 1], 1] = IDLE
    length = levels.counts[side, 1] - 1
    levels.counts[side, 1] = length
    key = heap[length, 0]
    slot = heap[length, 1]
    at = 0
    while True:
        child = 2 * at + 1
        if child >= length:
            break
        if child + 1 < length and heap[child + 1, 0] < heap[child, 0]:
            child += 1
        if heap[child, 0] >= key:
            break
        heap[at, 0] = heap[child, 0]
        heap[at, 1] = heap[child, 1]
        at = child
    heap[at, 0] = key
    heap[at, 1] = slot


@njit(cache=True, nogil=True)
def best_slot(levels: Levels, side: int) -> int:
    """Return the slot of the best live level, or -1 for an empty side."""
    while levels.counts[side, 1] > 0:
        slot: int = levels.heap[side, 0, 1]
        if levels.table[side, slot, 1] > 0:
            return slot
        _drop_top(levels, side)
    return -1


@njit(cache=True, nogil=True)
def note_best(levels: Levels, best: Int64s) -> bool:
    """Write bid price, bid size, ask price, ask size to int64[4]; size 0 is an empty side.

    Beyond the bound of a side, or with nothing there, a better level may be missing: while the best
    of either side is not known so, both sizes are UNKNOWN and both prices 0.

    Returns
    -------
    bool   whether anything differs from what stood there
    """
    changed = False
    for side in range(2):
        slot = best_slot(levels, side)
        price, size = 0, 0
        if slot >= 0:
            key = levels.table[side, slot, 0]
            if key > levels.counts[side, BOUND]:
                return _note_unknown(best)
            size = levels.table[side, slot, 1]
            price = -key if side == 0 else key
        elif levels.counts[side, BOUND] != WHOLE:
            return _note_unknown(best)
        if best[2 * side] != price or best[2 * side + 1] != size:
            best[2 * side] = price
            best[2 * side + 1] = size
            changed = True
    return changed


@njit(cache=True, nogil=True)
def _note_unknown(best: Int64s) -> bool:
    """Write that the best prices are not known; return whether they were known before.

    The ask's size tells: the bid may have been written already.
    """
    was_known: bool = best[3] != UNKNOWN
    for side in range(2):
        best[2 * side] = 0
        best[2 * side + 1] = UNKNOWN
    return was_known


@njit(cache=True, nogil=True)
def compact(old: Levels, new: Levels) -> None:
    """Copy the live levels, the ends of their queues and the bounds into larger empty levels."""
    new.counts[:, BOUND] = old.counts[:, BOUND]
    has_queues = old.queues.shape[1] > 0
    for side in range(2):
        for slot in range(old.table.shape[1]):
            if old.table[side, slot, 1] > 0:
                target = claim_slot(new, side, old.table[side, slot, 0])
                put_size(new, side, target, old.table[side, slot, 1])
                if has_queues:
                    new.queues[side, target, 0] = old.queues[side, slot, 0]
                    new.queues[side, target, 1] = old.queues[side, slot, 1]


@njit(cache=True, nogil=True)
def count_live(levels: Levels) -> int:
    """Return how many levels have size, on the fuller side."""
    most = 0
    for side in range(2):
        live = 0
        for slot in range(levels.table.shape[1]):
            if levels.table[side, slot, 1] > 0:
                live += 1
        most = max(most, live)
    return most


@njit(cache=True, nogil=True)
def note_top(levels: Levels, side: int, prices: Int64s, sizes: Int64s) -> int:
    """Write the best levels of a side, best first, into int64[n] pairs.

    Returns
    -------
    int   how many levels were written; the rest of the arrays is left as it was
    """
    found = 0
    room = prices.shape[0]
    for entry in range(levels.counts[side, 1]):
        key = levels.heap[side, entry, 0]
        size = levels.table[side, levels.heap[side, entry, 1], 1]
        if size <= 0 or (found == room and (room == 0 or key >= prices[room - 1])):
            continue
        at = found if found < room else room - 1
        while at > 0 and prices[at - 1] > key:
            prices[at] = prices[at - 1]
            sizes[at] = sizes[at - 1]
            at -= 1
        prices[at] = key
        sizes[at] = size
        found = min(found + 1, room)
    if side == 0:
        for at in range(found):
            prices[at] = -prices[at]
    return found
