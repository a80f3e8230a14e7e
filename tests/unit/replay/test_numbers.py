"""Numbers on their way out."""

from __future__ import annotations

from decimal import Decimal
from random import Random

import numpy as np

from replay.numbers import to_decimal, to_double


def test_doubles_are_correctly_rounded_at_any_size_and_scale():
    rng = Random(3)
    for scale in (0, 1, 8, 15, 18, 22, 23, 30, 38):
        values = [rng.randrange(-(2**63) + 1, 2**63) >> rng.randrange(63) for _ in range(300)]
        values += [0, 2**53 - 1, 2**53, 2**53 + 1, -(2**53) - 1]
        expected = [float(Decimal(value).scaleb(-scale)) for value in values]
        assert to_double(np.array(values, np.int64), scale).tolist() == expected


def test_decimals_are_exact_and_short():
    assert to_decimal(2871700, 10) == Decimal("0.00028717")
    assert str(to_decimal(4000, 3)) == "4"
    assert str(to_decimal(-125, 2)) == "-1.25"
    assert str(to_decimal(0, 8)) == "0"
    assert str(to_decimal(9223372036854775807, 0)) == "9223372036854775807"
