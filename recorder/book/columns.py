"""Rows as columns, and the one scale to which a book brings the numbers in them.

Levels are equal when their values are, so a book keys them by mantissas at a common scale: the
finest it has met. Rows of one instrument nearly always share a scale already.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from schemas.fixed_point import FixedPointError, format_fixed, rescale

# Row columns by name: numpy arrays or lists of equal length.
Columns = Mapping[str, Any]


class BookOverflow(OverflowError):
    """A number of a book that fits no int64 at the finest scale the book has met.

    Attributes
    ----------
    number : str
        The number as plain decimal text.
    scale : int
        The scale at which it does not fit.
    """

    def __init__(self, number: str, scale: int) -> None:
        self.number = number
        self.scale = scale
        super().__init__(f"{number} fits no int64 at scale {scale}")


def column(columns: Columns, name: str, first: int, last: int | None) -> list[Any]:
    """Return rows `first` up to `last` of one column as a list of plain Python values."""
    values = columns[name][first:last]
    return values if isinstance(values, list) else list(values.tolist())


def align(mantissa: int, scale: int, to_scale: int) -> int:
    """Return the mantissa at the finer or equal scale `to_scale`.

    Raises
    ------
    BookOverflow   if it fits no int64 there
    """
    try:
        return rescale(mantissa, scale, to_scale)
    except FixedPointError:
        raise BookOverflow(format_fixed(mantissa, scale), to_scale) from None


def aligned(mantissas: list[int], scales: list[int], to_scale: int) -> list[int]:
    """Return the mantissas of all numbers at the one scale `to_scale`.

    Raises
    ------
    BookOverflow   if one fits no int64 there
    """
    if scales.count(to_scale) == len(scales):
        return mantissas
    return [
        mantissa if scale == to_scale else align(mantissa, scale, to_scale)
        for mantissa, scale in zip(mantissas, scales, strict=True)
    ]
