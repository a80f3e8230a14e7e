"""Books compared as far as both are known."""

from __future__ import annotations

import numpy as np
import pytest

from replay.book import Book, BookSide
from replay.comparison import compare_books
from replay.numbers import to_decimal


def side(name: str, levels: dict[int, int], bound: int | None) -> BookSide:
    prices = np.array(sorted(levels, reverse=name == "bids"), np.int64)
    sizes = np.array([levels[price] for price in prices.tolist()], np.int64)
    if bound is None:
        known = np.ones(len(prices), np.bool_)
    else:
        known = prices >= bound if name == "bids" else prices <= bound
    return BookSide(prices, sizes, 0, 0, known, None if bound is None else to_decimal(bound, 0))


def book(
    bids: dict[int, int], asks: dict[int, int], known: tuple[int | None, int | None] = (None, None)
) -> Book:
    sides = (side("bids", bids, known[0]), side("asks", asks, known[1]))
    return Book("ABC-XYZ", 2, 1, 0, None, *sides)


@pytest.mark.parametrize(
    ("ours", "theirs", "depth", "difference"),
    [
        (book({9: 1}, {11: 1}), book({9: 1}, {11: 1}), "whole", None),
        (book({}, {}), book({}, {}), "whole", None),
        (book({9: 1, 8: 1}, {}), book({9: 1}, {}), "whole", "bids at place 2: replayed ('8', '1')"),
        # What only one of them knows is not compared, whichever that is.
        (book({9: 1, 8: 1}, {}, (9, None)), book({9: 1}, {}), "partial", None),
        (book({9: 1}, {}), book({9: 1, 8: 5}, {}, (9, None)), "partial", None),
        (book({9: 1}, {11: 1}, (9, 11)), book({9: 1}, {11: 2}, (8, 12)), "partial", "asks at"),
        # The price has left what one knows: nothing there to compare.
        (book({7: 1}, {8: 1}, (9, None)), book({7: 2}, {8: 1}, (7, None)), "partial", None),
        (book({7: 1}, {}, (9, 11)), book({7: 2}, {}, (7, 12)), "empty", None),
        # That one of them has a level there is a difference all the same.
        (book({7: 1}, {}, (9, 11)), book({9: 2}, {}, (7, 12)), "partial", "bids at place 1"),
    ],
)
def test_books_are_compared_inside_what_both_know(ours, theirs, depth, difference):
    for left, right in ((ours, theirs), (theirs, ours)):
        outcome = compare_books(left, right)
        assert outcome.depth == depth
        assert (outcome.difference is None) == (difference is None)
    first = compare_books(ours, theirs).difference
    assert difference is None or (first or "").startswith(difference)
