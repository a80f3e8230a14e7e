"""Exact numbers on their way out: DOUBLE for SQL and plots, Decimal for the exact."""

from __future__ import annotations

from decimal import Decimal

import numpy as np
import numpy.typing as npt

_EXACT_INT = 2**53
_EXACT_POWER = 22
_TENS = np.array([10.0**n for n in range(_EXACT_POWER + 1)])


def to_double(mantissa: npt.NDArray[np.int64], scale: int) -> npt.NDArray[np.float64]:
    """Return mantissa / 10**scale, each correctly rounded.

    Both operands of the division are exact below 2**53 and 10**22; the others go through text.
    """
    if 0 <= scale <= _EXACT_POWER:
        doubles = mantissa / _TENS[scale]
        large = np.flatnonzero(np.abs(mantissa) >= _EXACT_INT)
    else:
        doubles = np.zeros(len(mantissa))
        large = np.arange(len(mantissa))
    for at in large.tolist():
        doubles[at] = float(f"{int(mantissa[at])}e{-scale}")
    return np.asarray(doubles, np.float64)


def to_decimal(mantissa: int, scale: int) -> Decimal:
    """Return mantissa / 10**scale exactly, without trailing zeros ("4", not "4.000")."""
    digits, exponent = int(mantissa), -scale
    while exponent < 0 and digits % 10 == 0:
        digits //= 10
        exponent += 1
    return Decimal((digits < 0, tuple(map(int, str(abs(digits)))), exponent))
