"""Numbers of a command line that mean something, for every benchmark."""

from __future__ import annotations

import math
from argparse import ArgumentTypeError


def whole_number(text: str) -> int:
    """Read a whole number from 1 on.

    Raises
    ------
    ArgumentTypeError   when it is none
    """
    try:
        value = int(text)
    except ValueError:
        value = 0
    if value < 1:
        raise ArgumentTypeError(f"{text!r} is no whole number from 1 on")
    return value


def positive(text: str) -> float:
    """Read a finite number above 0.

    Raises
    ------
    ArgumentTypeError   when it is none
    """
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not (value > 0 and math.isfinite(value)):
        raise ArgumentTypeError(f"{text!r} is no number above 0")
    return value
