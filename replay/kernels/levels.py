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

FREE, IDLE, QUEUED = 0, 1, 2  # slot unused; used, price not in the heap; used and in the heap


class Levels(NamedTuple):
    """Both sides of a book; first axis 0 bid, 1 ask; second the slot.

    keys : int64[2, capacity]        turned price of the slot
    sizes : int64[2, capacity]       0 where the level is empty
    flags : uint8[2, capacity]       FREE, IDLE or QUEUED
    heap_keys : int64[2, capacity]   binary heap, least first
    heap_slots : int32[2, capacity]  slot of each heap entry
    counts : int64[2, 2]             slots used, heap length
    head, tail : int32[2, capacity]  first and last order of the level (L3), else int32[2, 0]
    """

    keys: Int64s
    sizes: Int64s
    flags: npt.NDArray[np.uint8]
    heap_keys: Int64s
    heap_slots: Int32s
    counts: Int64s
    head: Int32s
    tail: Int32s


def new_levels(capacity: int, queues: bool) -> Levels:
    """Return empty levels; `capacity` is a power of two, half of which can be used."""
    queue_capacity = capacity if queues else 0
    return Levels(
        np.zeros((2, capacity), np.int64),
        np.zeros((2, capacity), np.int64),
        np.zeros((2, capacity), np.uint8),
        np.zeros((2, capacity), np.int64),
        np.zeros((2, capacity), np.int32),
        np.zeros((2, 2), np.int64),
        np.zeros((2, queue_capacity), np.int32),
        np.zeros((2, queue_capacity), np.int32),
    )


@njit(cache=True, nogil=True)
def find_slot(levels: Levels, side: int, key: int) -> int:
    """Return the slot of a key: where it is, or the free one where it would go."""
    mask = levels.keys.shape[1] - 1
    # Two 31-bit multipliers keep every product below 2**63: the same value with and without JIT.
    mixed = ((key & 0xFFFFFFFF) * 0x5BD1E995) ^ (((key >> 32) & 0xFFFFFFFF) * 0x27D4EB2F)
    mixed ^= mixed >> 29
    slot: int = (mixed ^ (mixed >> 15)) & mask
    while levels.flags[side, slot] != FREE and levels.keys[side, slot] != key:
        slot = (slot + 1) & mask
    return slot


@njit(cache=True, nogil=True)
def claim_slot(levels: Levels, side: int, key: int) -> int:
    """Return the slot of a key, taking a free one for a new key; -1 when the table is full."""
    slot = find_slot(levels, side, key)
    if levels.flags[side, slot] == FREE:
        if levels.counts[side, 0] * 2 >= levels.keys.shape[1]:
            return -1
        levels.flags[side, slot] = IDLE
        levels.keys[side, slot] = key
        levels.sizes[side, slot] = 0
        levels.counts[side, 0] += 1
    return slot


@njit(cache=True, nogil=True)
def queue_slot(levels: Levels, side: int, slot: int) -> None:
    """Put the price of a slot into the heap unless it is there."""
    if levels.flags[side, slot] == QUEUED:
        return
    levels.flags[side, slot] = QUEUED
    key = levels.keys[side, slot]
    at = levels.counts[side, 1]
    levels.counts[side, 1] = at + 1
    while at > 0:
        parent = (at - 1) >> 1
        if levels.heap_keys[side, parent] <= key:
            break
        levels.heap_keys[side, at] = levels.heap_keys[side, parent]
        levels.heap_slots[side, at] = levels.heap_slots[side, parent]
        at = parent
    levels.heap_keys[side, at] = key
    levels.heap_slots[side, at] = slot


@njit(cache=True, nogil=True)
def drop_top(levels: Levels, side: int) -> None:
    """Take the best price out of the heap."""
    levels.flags[side, levels.heap_slots[side, 0]] = IDLE
    length = levels.counts[side, 1] - 1
    levels.counts[side, 1] = length
    key = levels.heap_keys[side, length]
    slot = levels.heap_slots[side, length]
    at = 0
    while True:
        child = 2 * at + 1
        if child >= length:
            break
        if child + 1 < length and levels.heap_keys[side, child + 1] < levels.heap_keys[side, child]:
            child += 1
        if levels.heap_keys[side, child] >= key:
            break
        levels.heap_keys[side, at] = levels.heap_keys[side, child]
        levels.heap_slots[side, at] = levels.heap_slots[side, child]
        at = child
    if length > 0:
        levels.heap_keys[side, at] = key
        levels.heap_slots[side, at] = slot


@njit(cache=True, nogil=True)
def best_slot(levels: Levels, side: int) -> int:
    """Return the slot of the best live level, or -1 for an empty side."""
    while levels.counts[side, 1] > 0:
        slot: int = levels.heap_slots[side, 0]
        if levels.sizes[side, slot] > 0:
            return slot
        drop_top(levels, side)
    return -1


@njit(cache=True, nogil=True)
def note_best(levels: Levels, best: Int64s) -> bool:
    """Write bid price, bid size, ask price, ask size to int64[4]; size 0 is an empty side.

    Returns
    -------
    bool   whether anything differs from what stood there
    """
    changed = False
    for side in range(2):
        slot = best_slot(levels, side)
        price, size = 0, 0
        if slot >= 0:
            size = levels.sizes[side, slot]
            key = levels.keys[side, slot]
            price = -key if side == 0 else key
        if best[2 * side] != price or best[2 * side + 1] != size:
            best[2 * side] = price
            best[2 * side + 1] = size
            changed = True
    return changed


@njit(cache=True, nogil=True)
def compact(old: Levels, new: Levels) -> None:
    """Copy the live levels, and the ends of their queues, into larger empty levels."""
    has_queues = old.head.shape[1] > 0
    for side in range(2):
        for slot in range(old.keys.shape[1]):
            if old.sizes[side, slot] > 0:
                target = claim_slot(new, side, old.keys[side, slot])
                new.sizes[side, target] = old.sizes[side, slot]
                if has_queues:
                    new.head[side, target] = old.head[side, slot]
                    new.tail[side, target] = old.tail[side, slot]
                queue_slot(new, side, target)


@njit(cache=True, nogil=True)
def count_live(levels: Levels) -> int:
    """Return how many levels have size, on the fuller side."""
    most = 0
    for side in range(2):
        live = 0
        for slot in range(levels.keys.shape[1]):
            if levels.sizes[side, slot] > 0:
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
        slot = levels.heap_slots[side, entry]
        size = levels.sizes[side, slot]
        key = levels.keys[side, slot]
        if size == 0 or (found == room and (room == 0 or key >= prices[room - 1])):
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
