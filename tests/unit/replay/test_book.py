"""A book's views of itself."""

from __future__ import annotations

from decimal import Decimal

from tests.support.archive_builder import T0, S
from tests.unit.replay.conftest import SYMBOL


def test_levels_as_decimals_text_and_mantissas(tape):
    bids = tape.book(SYMBOL, T0 + S).bids
    assert bids[0] == (Decimal("10.5"), Decimal(1))
    assert bids[-1].price == Decimal(9)
    assert [level.price for level in bids[:2]] == [Decimal("10.5"), Decimal(10)]
    assert bids.texts() == [("10.5", "1"), ("10", "1"), ("9", "2")]
    assert (bids.price_mantissa[0], bids.price_scale) == (1050, 2)
    assert bids.orders == []


def test_depth_cuts_levels_and_their_orders(tape):
    book = tape.book(SYMBOL, T0 + 3 * S, level=3).depth(2)
    assert len(book.bids) == len(book.asks) == 2
    assert [order.order_id for order in book.bids.orders] == ["d", "a"]
    assert book.depth(100).bids is book.bids


def test_equal_books_are_equal_whatever_their_scales(tape):
    fine = tape.book(SYMBOL, sequence=201)  # has a price with three digits
    coarse = tape.book(SYMBOL, sequence=200)
    assert fine.bids == tape.book(SYMBOL, T0 + 11 * S).bids
    assert fine.bids == coarse.bids
    assert fine.asks != coarse.asks


def test_best_prices_and_crossing(tape):
    bbo = tape.book(SYMBOL, T0 + 10 * S).bbo
    assert bbo == (Decimal(10), Decimal(1), None, None, True)
    assert not bbo.crossed
    assert bbo._replace(ask=Decimal(10)).crossed


def test_without_a_level_in_its_known_depth_a_side_has_no_best_price(tape):
    book = tape.book(SYMBOL, T0 + S)  # the last ask inside 13 has gone
    assert book.bbo == (None, None, None, None, False)
    assert not book.bbo.crossed
    assert (book.bids.best_known, book.asks.best_known) == (True, False)
    assert (book.bids.known_levels, book.bids.known_to) == (3, Decimal(8))
    assert repr(book) == (
        "Book(BTC-USDT, level 2, sequence 102, bid 10.5 × 1, ask unknown, 3 bids, 0 asks)"
    )


def test_a_book_says_what_it_is_in_a_line(tape):
    assert repr(tape.book(SYMBOL, T0 + 2 * S)) == (
        "Book(BTC-USDT, level 2, sequence 103, bid 10.5 × 1, ask 12 × 3, 3 bids, 1 asks)"
    )
