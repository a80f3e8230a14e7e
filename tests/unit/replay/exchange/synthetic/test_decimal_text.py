"""Exact text of engine integers."""

from fractions import Fraction

import pytest

from replay.exchange.synthetic.decimal_text import decimal_text


@pytest.mark.parametrize(
    ("units", "digits", "text"),
    [
        (0, 0, "0"),
        (0, 8, "0"),
        (1, 13, "0.0000000000001"),
        (112_345, 13, "0.0000000112345"),
        (600_000, 1, "60000"),
        (600_001, 1, "60000.1"),
        (15_000_000_000_000, 4, "1500000000"),
        (1200, 3, "1.2"),
        (100, 0, "100"),
        (-1_050, 2, "-10.5"),
        (10**30 + 1, 8, "10000000000000000000000.00000001"),
    ],
)
def test_decimal_text(units: int, digits: int, text: str) -> None:
    assert decimal_text(units, digits) == text
    assert Fraction(text) == Fraction(units, 10**digits)
