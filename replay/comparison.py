"""Two books compared as far as both are known: what `verify` and the check against truth share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

from replay.book import Book, BookSide

SIDES = ("bids", "asks")
WHOLE, PARTIAL, EMPTY = "whole", "partial", "empty"

Row = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Comparison:
    """What came of comparing two books.

    Attributes
    ----------
    depth : str               whole; partial: inside what both books know; empty: no level of
                              either lies there, so that nothing was compared
    difference : str | None   the first one in words, None when equal
    """

    depth: str
    difference: str | None


def compare_books(replayed: Book, written: Book, levels_only: bool = False) -> Comparison:
    """Compare levels, and orders unless told not to, inside the known depth of both books."""
    limits, compared, difference = [], 0, None
    for name in SIDES:
        mine, theirs = getattr(replayed, name), getattr(written, name)
        limit = common_bound(name, mine, theirs)
        limits.append(limit)
        pairs = [(mine.texts(), theirs.texts())]
        if not levels_only:
            pairs.append((mine.order_texts(), theirs.order_texts()))
        for left, right in pairs:
            ours, other = rows_inside(name, left, limit), rows_inside(name, right, limit)
            compared += len(ours) + len(other)
            at = first_difference(ours, other)
            if at is None or difference is not None:
                continue
            first, second = (rows[at] if at < len(rows) else None for rows in (ours, other))
            difference = f"{name} at place {at + 1}: replayed {first}, written {second}"
    return Comparison(depth_of(limits, compared), difference)


def depth_of(limits: Sequence[Decimal | None], compared: int) -> str:
    """Say how deep a comparison went that had these bounds and met so many rows."""
    if all(limit is None for limit in limits):
        return WHOLE
    return PARTIAL if compared else EMPTY


def common_bound(name: str, *sides: BookSide) -> Decimal | None:
    """Return the worst price that every one of these sides knows about; None when all are whole."""
    bounds = [side.known_to for side in sides if side.known_to is not None]
    if not bounds:
        return None
    return max(bounds) if name == "bids" else min(bounds)


def rows_inside(
    name: str, rows: Sequence[Row], limit: Decimal | None, price_at: int = 0
) -> list[Row]:
    """Return the rows inside a known depth; `price_at` is the place of the price in a row."""
    if limit is None:
        return list(rows)
    if name == "bids":
        return [row for row in rows if Decimal(row[price_at]) >= limit]
    return [row for row in rows if Decimal(row[price_at]) <= limit]


def first_difference(ours: Sequence[Row], theirs: Sequence[Row]) -> int | None:
    """Return the place of the first row that differs, None when all are equal."""
    if ours == theirs:
        return None
    return next(
        (at for at, rows in enumerate(zip(ours, theirs, strict=False)) if rows[0] != rows[1]),
        min(len(ours), len(theirs)),
    )
