"""Write engine integers as exact decimal text.

Kept apart from the fixed-point code of `schemas` on purpose: the truth file is compared with books
that went through that code, so it must not share a mistake with it.
"""


def decimal_text(units: int, digits: int) -> str:
    """Format `units` × 10^-`digits` as the shortest plain decimal.

    Parameters
    ----------
    units : int
        Number of ticks, lots, or their product.
    digits : int
        Decimal places of one unit, ≥ 0.

    Returns
    -------
    str
        No exponent, no trailing zero, no sign on zero: ``decimal_text(1200, 3) == "1.2"``.
    """
    if digits == 0:
        return str(units)
    sign = "-" if units < 0 else ""
    whole, fraction = divmod(abs(units), 10**digits)
    if fraction == 0:
        return f"{sign}{whole}"
    return f"{sign}{whole}.{fraction:0{digits}d}".rstrip("0")
