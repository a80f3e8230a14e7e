"""Exact numbers: what is accepted, what is refused, and how it reads back."""

from __future__ import annotations

import pytest

from schemas.fixed_point import (
    INT64_MAX,
    FixedPointError,
    format_fixed,
    parse_fixed,
    parse_minimal,
    rescale,
    scale_of,
)


@pytest.mark.parametrize(
    ("text", "scale", "expected"),
    [
        ("0.00028717", 8, (28717, 8)),
        ("0.00028717", 10, (2871700, 10)),
        ("4.00000000000000000000", 8, (400000000, 8)),
        ("0.01022222000000000000", 8, (1022222, 8)),
        ("3262786978", 0, (3262786978, 0)),
        ("007.50", 2, (750, 2)),
        (".5", 1, (5, 1)),
        ("5.", 1, (50, 1)),
        ("0", 8, (0, 8)),
        ("-0", 8, (0, 8)),
        ("0e9999", 2, (0, 2)),
        ("-4", 2, (-400, 2)),
        ("+4", 2, (400, 2)),
        ("-1.0E-5", 8, (-1000, 8)),
        ("1.5e3", 2, (150000, 2)),
        ("1e-8", 8, (1, 8)),
        ("9223372036854775807", 0, (INT64_MAX, 0)),
        ("-9223372036854775807", 0, (-INT64_MAX, 0)),
    ],
)
def test_a_number_is_read_at_the_scale_in_force(
    text: str, scale: int, expected: tuple[int, int]
) -> None:
    assert parse_fixed(text, scale) == expected


@pytest.mark.parametrize(
    ("text", "scale", "expected"),
    [
        # Finer than the instrument's increment: its own smallest scale, for that row only.
        ("0.123456789", 8, (123456789, 9)),
        ("0.12345678900", 8, (123456789, 9)),
        ("1e-9", 8, (1, 9)),
        # Too large for the scale asked, not for a coarser one.
        ("100000000000.5", 8, (1000000000005, 1)),
        ("1000000000000", 8, (1000000000000, 0)),
        ("-100000000000.50", 8, (-1000000000005, 1)),
    ],
)
def test_a_value_that_does_not_fit_the_scale_takes_its_smallest(
    text: str, scale: int, expected: tuple[int, int]
) -> None:
    assert parse_fixed(text, scale) == expected


@pytest.mark.parametrize("text", ["4", "4.0", "4.000", "04", "400e-2", "0.4e1"])
def test_trailing_zeros_carry_no_meaning(text: str) -> None:
    assert parse_minimal(text) == (4, 0)


@pytest.mark.parametrize(
    "text",
    [
        "9223372036854775808",
        "-9223372036854775808",
        "92233720368547758070.0",
        "9223372036.854775807123",
        "1e19",
        "1e39",
        "1e-39",
        "0." + "0" * 38 + "1",
        "123456789012345678901234567890",
    ],
)
def test_what_fits_no_int64_is_an_error_that_names_it(text: str) -> None:
    with pytest.raises(FixedPointError) as caught:
        parse_fixed(text, 8)
    assert caught.value.text == text
    assert str(caught.value) == f"{text!r} fits no int64 mantissa"


@pytest.mark.parametrize(
    "text",
    ["", " ", ".", "-", "e5", "1e", "1e-+5", "1e+-5", "--1", "-+1", "1.2.3", "1,5", "1_000",
     " 1", "1 ", "0x10", "NaN", "Infinity", "null", "٣", "1٣", "1e٣", "1e5.0"],
)  # fmt: skip
def test_what_is_no_decimal_number_is_an_error_that_names_it(text: str) -> None:
    with pytest.raises(FixedPointError) as caught:
        parse_fixed(text, 8)
    assert caught.value.text == text
    assert str(caught.value) == f"{text!r} is not a decimal number"


def test_an_exponent_beyond_reason_is_refused_before_it_is_computed() -> None:
    with pytest.raises(FixedPointError, match=r"^'1e99999' is out of range$"):
        parse_fixed("1e99999", 8)


@pytest.mark.parametrize(
    ("mantissa", "scale", "text"),
    [
        (2871700, 10, "0.00028717"),
        (-400, 2, "-4"),
        (-1, 8, "-0.00000001"),
        (0, 8, "0"),
        (750, 2, "7.5"),
        (12, 0, "12"),
        (120, 0, "120"),
        (12, -2, "1200"),
        (INT64_MAX, 18, "9.223372036854775807"),
    ],
)
def test_text_out_is_the_shortest_plain_decimal(mantissa: int, scale: int, text: str) -> None:
    assert format_fixed(mantissa, scale) == text


@pytest.mark.parametrize(
    ("increment", "scale"), [("0.00000001", 8), ("0.00000100", 6), ("0.01", 2), ("1", 0), ("10", 0)]
)
def test_the_scale_of_an_increment_is_its_significant_digits(increment: str, scale: int) -> None:
    assert scale_of(increment) == scale


def test_rescale_goes_finer_and_refuses_coarser_and_overflow() -> None:
    assert rescale(75, 1, 3) == 7500
    assert rescale(75, 1, 1) == 75
    with pytest.raises(FixedPointError, match=r"^'7.5' fits no int64 at scale 0$"):
        rescale(75, 1, 0)
    with pytest.raises(FixedPointError, match=r"^'1000000000000' fits no int64 at scale 8$"):
        rescale(10**12, 0, 8)
