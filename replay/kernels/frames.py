"""The top of a book at chosen rows: depth frames."""

from __future__ import annotations

from numba import njit

from replay.kernels.book_l2 import set_level
from replay.kernels.levels import Int8s, Int64s, Levels, note_top


@njit(cache=True, nogil=True)
def frames_l2(
    levels: Levels,
    side: Int8s,
    price: Int64s,
    size: Int64s,
    start: int,
    cuts: Int64s,
    frame: int,
    prices: Int64s,
    sizes: Int64s,
    counts: Int64s,
) -> tuple[int, int]:
    """Apply rows and write the best levels after each cut.

    Parameters
    ----------
    levels, side, price, size : see `book_l2.apply_changes`
    start : int              first row to apply
    cuts : int64[k]          ascending; frame f is the book after rows [.., cuts[f])
    frame : int              first frame to write
    prices, sizes : int64[k, 2, n]   written; n levels a side, best first
    counts : int64[k, 2]     written: levels present

    Returns
    -------
    tuple[int, int]   row and frame to go on from; frame k when all are written
    """
    row = start
    while frame < cuts.shape[0]:
        while row < cuts[frame]:
            if not set_level(levels, side[row], price[row], size[row]):
                return row, frame
            row += 1
        for book_side in range(2):
            counts[frame, book_side] = note_top(
                levels, book_side, prices[frame, book_side], sizes[frame, book_side]
            )
        frame += 1
    return row, frame
