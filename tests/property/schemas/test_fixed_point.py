"""Fixed point against decimal.Decimal: equal, or refused by name."""

from __future__ import annotations

from decimal import Decimal, InvalidOperation, localcontext

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from schemas.fixed_point import (
    INT64_MAX,
    SCALE_MAX,
    FixedPointError,
    format_fixed,
    parse_fixed,
    parse_minimal,
    rescale,
)

MANTISSAS = st.integers(-INT64_MAX, INT64_MAX)
SCALES = st.integers(0, 18)


def _decimal(mantissa: int, scale: int) -> Decimal:
    return Decimal(mantissa).scaleb(-scale)


def _fits(value: Decimal, scale: int) -> bool:
    scaled = value.scaleb(scale)
    return scaled == scaled.to_integral_value() and abs(scaled) <= INT64_MAX


@st.composite
def decimal_texts(draw: st.DrawFn) -> str:
    """Draw a number as an exchange may write it."""
    whole, fraction = draw(st.from_regex(r"[0-9]{1,15}", fullmatch=True)), ""
    if draw(st.booleans()):
        fraction = "." + draw(st.from_regex(r"[0-9]{1,12}0{0,20}", fullmatch=True))
    exponent = ""
    if draw(st.integers(0, 3)) == 0:
        exponent = draw(st.sampled_from("eE")) + str(draw(st.integers(-12, 6)))
    return draw(st.sampled_from(["", "", "-"])) + whole + fraction + exponent


@given(decimal_texts(), SCALES)
@example("0.10", 0)
@example("9223372036854775807", 18)
def test_what_is_read_is_exactly_what_was_written(text: str, scale: int) -> None:
    with localcontext() as context:
        context.prec = 100
        value = Decimal(text)
        try:
            mantissa, own_scale = parse_fixed(text, scale)
        except FixedPointError as error:
            assert error.text == text
            assert not any(_fits(value, s) for s in range(SCALE_MAX + 1))
            return
        assert _decimal(mantissa, own_scale) == value
        assert abs(mantissa) <= INT64_MAX
        if _fits(value, scale):
            assert own_scale == scale
        else:  # its own smallest scale
            assert own_scale == 0 or not _fits(value, own_scale - 1)


@given(MANTISSAS, SCALES, SCALES)
def test_a_number_survives_text_and_text_is_canonical(mantissa: int, scale: int, at: int) -> None:
    text = format_fixed(mantissa, scale)
    again = parse_fixed(text, at)
    with localcontext() as context:
        context.prec = 100
        assert _decimal(*again) == _decimal(mantissa, scale)
    assert format_fixed(*again) == text
    assert format_fixed(*parse_minimal(text)) == text
    assert "e" not in text.lower()
    assert "." not in text or not text.endswith(("0", "."))


@given(MANTISSAS, SCALES, st.text("0", max_size=12))
def test_trailing_zeros_change_nothing(mantissa: int, scale: int, zeros: str) -> None:
    text = format_fixed(mantissa, scale)
    padded = text + ("" if "." in text else ".") + zeros
    assert parse_fixed(padded, 8) == parse_fixed(text, 8)


@given(st.text("0123456789.-+eE_ x٣", max_size=24))
@example("1e-+5")
def test_any_text_is_a_number_or_an_error_that_names_it(text: str) -> None:
    try:
        mantissa, scale = parse_minimal(text)
    except FixedPointError as error:
        assert error.text == text
        assert repr(text) in str(error)
        return
    with localcontext() as context:
        context.prec = 100
        assert _decimal(mantissa, scale) == Decimal(text)


@given(st.text(max_size=8))
def test_what_decimal_refuses_is_refused(text: str) -> None:
    try:
        finite = Decimal(text).is_finite()
    except InvalidOperation:
        finite = False
    if not finite:
        with pytest.raises(FixedPointError):
            parse_minimal(text)


@given(MANTISSAS, SCALES, SCALES)
def test_rescale_keeps_the_value_or_refuses(mantissa: int, scale: int, to_scale: int) -> None:
    try:
        scaled = rescale(mantissa, scale, to_scale)
    except FixedPointError:
        assert to_scale < scale or abs(mantissa) * 10 ** (to_scale - scale) > INT64_MAX
        return
    assert scaled == mantissa * 10 ** (to_scale - scale)
