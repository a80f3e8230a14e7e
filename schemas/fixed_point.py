"""Exact decimal numbers: an int64 mantissa and an int8 scale, value = mantissa / 10**scale.

Prices and sizes are never floats on the way in. Trailing zeros carry no meaning: "4.000" is 4.
"""

from __future__ import annotations

INT64_MAX = 2**63 - 1
SCALE_MAX = 38

POWERS_OF_TEN: tuple[int, ...] = tuple(10**n for n in range(SCALE_MAX + 1))


class FixedPointError(ValueError):
    """A text that is not a decimal number, or one that fits no int64 mantissa.

    Attributes
    ----------
    text : str   the number as it was written
    """

    def __init__(self, text: str, problem: str) -> None:
        self.text = text
        super().__init__(f"{text!r} {problem}")


def parse_fixed(text: str, scale: int) -> tuple[int, int]:
    """Parse decimal text to (mantissa, scale) at the scale given, or at its own if that is finer.

    Parameters
    ----------
    text : str    plain or exponent notation: "0.07", "4.000", "-1.0E-5"
    scale : int   digits after the point that the instrument in force uses

    Returns
    -------
    tuple[int, int]   mantissa and the scale it is at; the scale is `scale` unless the value has
                      more significant digits, then the smallest that holds it exactly

    Raises
    ------
    FixedPointError   for anything that is no decimal number or fits no int64
    """
    whole, _, fraction = text.partition(".")
    missing = scale - len(fraction)
    if missing < 0:
        fraction = fraction.rstrip("0")
        missing = scale - len(fraction)
    digits = whole + fraction
    if not digits.isdecimal() or not digits.isascii():
        return _parse_unusual(text, scale)
    if missing < 0:
        scale = len(fraction)
        missing = 0
    mantissa = int(digits) * POWERS_OF_TEN[missing] if scale <= SCALE_MAX else INT64_MAX + 1
    if mantissa > INT64_MAX:
        return _checked(text, int(digits), len(fraction), len(fraction))
    return mantissa, scale


def parse_minimal(text: str) -> tuple[int, int]:
    """Parse decimal text at the smallest scale that holds it: "4.000" is (4, 0)."""
    return parse_fixed(text, 0)


def format_fixed(mantissa: int, scale: int) -> str:
    """Format as the shortest plain decimal: no exponent, no trailing zero.

    Examples
    --------
    >>> format_fixed(2871700, 10), format_fixed(-400, 2), format_fixed(0, 8)
    ('0.00028717', '-4', '0')
    """
    if scale <= 0:
        return str(mantissa * POWERS_OF_TEN[-scale])
    digits = str(abs(mantissa)).rjust(scale + 1, "0")
    fraction = digits[-scale:].rstrip("0")
    text = digits[:-scale] + ("." + fraction if fraction else "")
    return "-" + text if mantissa < 0 else text


def scale_of(increment: str) -> int:
    """Return the digits after the point of an increment: "0.00000100" is 6."""
    return parse_minimal(increment)[1]


def rescale(mantissa: int, scale: int, to_scale: int) -> int:
    """Return the mantissa at a finer or equal scale.

    Raises
    ------
    FixedPointError   when `to_scale` is coarser than the value or the result fits no int64
    """
    if to_scale >= scale:
        scaled = mantissa * POWERS_OF_TEN[to_scale - scale]
        if -INT64_MAX <= scaled <= INT64_MAX:
            return scaled
    raise FixedPointError(format_fixed(mantissa, scale), f"fits no int64 at scale {to_scale}")


def _parse_unusual(text: str, scale: int) -> tuple[int, int]:
    """Parse what the quick path refuses: a sign, an exponent, a bare point."""
    body, marker, exponent_text = text.replace("E", "e").partition("e")
    sign = -1 if body.startswith("-") else 1
    whole, _, fraction = body.removeprefix("-" if sign < 0 else "+").partition(".")
    digits = whole + fraction
    unsigned_exponent = exponent_text[1:] if exponent_text[:1] in {"-", "+"} else exponent_text
    if not (digits.isascii() and digits.isdecimal()) or (
        marker and not (unsigned_exponent.isascii() and unsigned_exponent.isdecimal())
    ):
        raise FixedPointError(text, "is not a decimal number")
    if len(unsigned_exponent) > 4:
        raise FixedPointError(text, "is out of range")
    mantissa, own_scale = sign * int(digits), len(fraction) - int(exponent_text or "0")
    return _checked(text, mantissa, own_scale, scale)


def _checked(text: str, mantissa: int, own_scale: int, scale: int) -> tuple[int, int]:
    """Bring an exact value to `scale`, or to its minimal scale where that is finer or overflows."""
    if mantissa == 0:
        own_scale = 0
    while own_scale > 0 and mantissa % 10 == 0:
        mantissa //= 10
        own_scale -= 1
    if own_scale < 0:
        if -own_scale > SCALE_MAX:
            raise FixedPointError(text, "fits no int64 mantissa")
        mantissa, own_scale = mantissa * POWERS_OF_TEN[-own_scale], 0
    if own_scale > SCALE_MAX or abs(mantissa) > INT64_MAX:
        raise FixedPointError(text, "fits no int64 mantissa")
    if own_scale < scale <= SCALE_MAX:
        scaled = mantissa * POWERS_OF_TEN[scale - own_scale]
        if abs(scaled) <= INT64_MAX:
            return scaled, scale
    return mantissa, own_scale
