"""Questions about columns of messages: which row ends one, and which numbers a book can hold."""

from __future__ import annotations

from typing import Any

import numpy as np

from recorder.pipeline.output import NO_SCALE, Int64Array
from recorder.stitch.events import UpdateBatch
from schemas.datasets import NO_SIDE
from schemas.fixed_point import INT64_MAX, SCALE_MAX

# By how many digits a number gains at a finer scale: the largest mantissa that stays an int64.
_MANTISSA_MAX = np.array([INT64_MAX // 10**digits for digits in range(SCALE_MAX + 1)], np.int64)


def fitting_rows(mantissas: Int64Array, scales: Any, finest: int) -> int:
    """Count the leading rows whose numbers, where they have one, are int64 at scale `finest`."""
    if (scales == finest).all():
        return len(scales)
    missing = np.where(scales == NO_SCALE, 0, finest - scales.astype(np.int64))
    fit = (missing >= 0) & (mantissas <= _MANTISSA_MAX[np.maximum(missing, 0)])
    return len(fit) if fit.all() else int(fit.argmin())


def last_flags(counts: Int64Array) -> Any:
    """Return bool[rows], True on the last row of each message; `counts` are its rows."""
    flags = np.zeros(int(counts.sum()), bool)
    flags[np.cumsum(counts) - 1] = True
    return flags


def without_rows_to(batch: UpdateBatch, index: int, after_sequence: int) -> UpdateBatch:
    """Return one message of a batch without the changes a book at `after_sequence` already has.

    If none remains, one row of price 0 advances the sequence to the message's end.
    """
    begin, end = int(batch.row_start[index]), int(batch.row_start[index + 1])
    keep = begin + int(np.searchsorted(batch.sequence[begin:end], after_sequence, "right"))
    columns = batch.rows
    assert isinstance(columns, dict)
    if keep < end:
        rows = {name: values[keep:end] for name, values in columns.items()}
        sequence = batch.sequence[keep:end]
    else:
        rows = {name: _advance_only(name, values, end) for name, values in columns.items()}
        sequence = batch.sequence_end[index : index + 1]
    return UpdateBatch(
        batch.ts_recv[index : index + 1],
        batch.sequence_start[index : index + 1],
        batch.sequence_end[index : index + 1],
        np.array([0, len(sequence)], np.int64),
        sequence,
        rows,
    )


def _advance_only(name: str, values: Any, end: int) -> Any:
    """Return one column of a price-0 row: the scales of the message's last row, no side."""
    if name == "side":
        return np.array([NO_SIDE], np.int8)
    if name.endswith("_mantissa"):
        return np.zeros(1, np.int64)
    return values[end - 1 : end]
