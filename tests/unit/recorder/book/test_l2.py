"""The live level-2 book: what each kind of row does, and how values meet across scales."""

from __future__ import annotations

import numpy as np
import pytest

from recorder.book import BookOverflow, BooksDiffer, L2Book

BID, ASK, NONE = 0, 1, -1


def columns(*rows, price_scale=2, size_scale=1):
    """Columns of (sequence_end, side, price mantissa, size mantissa[, price_scale, size_scale])."""
    full = [(*row, price_scale, size_scale)[:6] for row in rows]
    names = ("sequence_end", "side", "price_mantissa", "size_mantissa", "price_scale", "size_scale")
    return {name: [row[n] for row in full] for n, name in enumerate(names)}


def levels(book):
    rows = book.rows()
    return list(zip(*(values.tolist() for values in rows.values()), strict=True))


def small_book():
    book = L2Book()
    book.load(
        columns((0, BID, 990, 10), (0, ASK, 1010, 5), (0, BID, 1000, 7), (0, ASK, 1005, 3)),
        sequence=40,
    )
    return book


def test_loaded_rows_come_back_sorted_from_the_touch():
    book = small_book()
    assert (book.sequence, book.levels) == (40, 4)
    rows = book.rows()
    assert {name: values.tolist() for name, values in rows.items()} == {
        "side": [BID, BID, ASK, ASK],
        "price_mantissa": [1000, 990, 1005, 1010],
        "price_scale": [2, 2, 2, 2],
        "size_mantissa": [7, 10, 3, 5],
        "size_scale": [1, 1, 1, 1],
    }
    assert [rows[name].dtype for name in rows] == [np.int8, np.int64, np.int8, np.int64, np.int8]


def test_rows_set_remove_and_only_advance():
    book = small_book()
    book.apply(
        columns(
            (41, BID, 990, 99),  # set
            (42, ASK, 1005, 0),  # remove
            (43, BID, 995, 0),  # remove what is not there
            (44, ASK, 0, 0),  # only advance
            (45, NONE, 0, 0),
        )
    )
    assert levels(book) == [(BID, 1000, 2, 7, 1), (BID, 990, 2, 99, 1), (ASK, 1010, 2, 5, 1)]
    assert (book.sequence, book.absent_removals) == (45, 1)


def test_apply_takes_the_rows_asked_for_and_arrays_alike():
    rows = columns((41, BID, 980, 1), (42, BID, 981, 2), (43, BID, 982, 3))
    arrays = {name: np.array(values) for name, values in rows.items()}
    for given in (rows, arrays):
        book = small_book()
        book.apply(given, 1, 2)
        assert book.sequence == 42
        assert type(book.sequence) is int
        assert book.rows()["price_mantissa"].tolist() == [1000, 990, 981, 1005, 1010]
        book.apply(given, 3, 3)
        assert book.sequence == 42


def test_best_prices_follow_every_change():
    book = small_book()
    assert (book.best_bid(), book.best_ask(), book.crossed) == ((1000, 7), (1005, 3), False)
    book.apply(columns((41, BID, 1000, 0), (42, ASK, 1005, 0)))
    assert (book.best_bid(), book.best_ask()) == ((990, 10), (1010, 5))
    book.apply(columns((43, BID, 1000, 4), (43, ASK, 1007, 6)))  # one comes back, one is new
    assert (book.best_bid(), book.best_ask()) == ((1000, 4), (1007, 6))
    book.apply(columns((44, BID, 1010, 1)))
    assert book.crossed
    book.apply(columns((45, ASK, 1010, 0), (45, ASK, 1007, 0)))
    assert (book.best_ask(), book.crossed) == (None, False)
    book.apply(columns((46, BID, 1010, 0), (46, BID, 1000, 0), (46, BID, 990, 0)))
    assert (book.best_bid(), book.levels) == (None, 0)


def test_load_replaces_everything():
    book = small_book()
    book.load(columns((0, BID, 7, 1), (0, ASK, 9, 0), price_scale=0), sequence=99)
    assert levels(book) == [(BID, 7, 0, 1, 1)]
    assert (book.best_bid(), book.best_ask(), book.sequence) == ((7, 1), None, 99)


def test_an_empty_book_is_a_book():
    book = L2Book()
    book.load(columns(), sequence=3)
    assert (book.levels, book.sequence, book.crossed) == (0, 3, False)
    assert [len(values) for values in book.rows().values()] == [0] * 5


def test_equal_values_at_other_scales_are_the_same_level():
    book = small_book()
    book.apply(columns((41, BID, 100, 8, 1, 0), (42, ASK, 10050, 0, 3, 4)))
    assert levels(book) == [
        (BID, 10000, 3, 80000, 4),
        (BID, 9900, 3, 10000, 4),
        (ASK, 10100, 3, 5000, 4),
    ]
    assert book.best_bid() == (10000, 80000)


def test_a_finer_scale_that_fits_no_int64_is_refused_before_anything_changes():
    book = small_book()
    before = levels(book)
    with pytest.raises(BookOverflow) as caught:
        book.apply(columns((41, BID, 999, 1), (42, BID, 1, 1, 18, 1)))
    assert (caught.value.number, caught.value.scale) == ("9.99", 18)
    assert levels(book) == before
    assert book.sequence == 40


def test_a_level_without_a_side_is_our_mistake():
    with pytest.raises(ValueError, match="a level has side 0 or 1, not -1"):
        small_book().apply(columns((41, NONE, 5, 5)))
    with pytest.raises(ValueError, match="a level has side 0 or 1, not -1"):
        small_book().load(columns((41, NONE, 5, 5)), sequence=1)


def test_a_fork_goes_its_own_way():
    book = small_book()
    fork = book.fork()
    book.apply(columns((41, BID, 1001, 1), (42, ASK, 1005, 0)))
    assert levels(fork) == levels(small_book())
    assert (fork.sequence, fork.best_bid(), fork.best_ask()) == (40, (1000, 7), (1005, 3))
    fork.apply(columns((41, BID, 1001, 1), (42, ASK, 1005, 0)))
    assert fork.same_levels(book)


def test_same_levels_compares_values():
    book, other = small_book(), L2Book()
    rows = book.rows()
    coarse = {**rows, "size_mantissa": rows["size_mantissa"] * 100, "size_scale": [3] * 4}
    other.load(coarse, sequence=40)
    assert book.same_levels(other)
    assert other.same_levels(book)
    assert (book.size_scale, other.size_scale) == (1, 3)  # comparing changes neither
    other.apply(columns((41, BID, 990, 11)))
    assert not book.same_levels(other)


def test_heaps_stay_bounded_by_the_live_levels():
    book = small_book()
    for number in range(20):
        adds = [(number, BID, price, 1) for price in range(1, 990, 3)]
        removes = [(number, BID, price, 0) for price in range(1, 990, 3)]
        book.apply(columns(*adds, *removes))
    assert book.levels == 4
    assert len(book._best_bids) < 700
    assert book.best_bid() == (1000, 7)


# How far a book is known


def partial_book():
    """Bids 10.00, 9.90 and asks 10.05, 10.10, all a source of two levels a side showed."""
    book = L2Book()
    rows = columns((0, BID, 990, 10), (0, ASK, 1010, 5), (0, BID, 1000, 7), (0, ASK, 1005, 3))
    book.load(rows, 40, known_bid_from=(99, 1), known_ask_to=(1010, 2))
    return book


def test_a_whole_book_has_no_bounds():
    book = small_book()
    assert (book.known_bid_from, book.known_ask_to, book.known_left) == (None, None, None)


def test_known_levels_are_counted_as_they_come_and_go():
    book = partial_book()
    assert (book.known_bid_from, book.known_ask_to, book.known_left) == ((990, 2), (1010, 2), 2)
    book.apply(columns((41, BID, 980, 1), (42, ASK, 1011, 1), (43, BID, 995, 1)))
    assert book.known_left == 2  # beyond the bounds levels do not count; asks are the fewer
    book.apply(columns((44, ASK, 1005, 0), (45, ASK, 1010, 8), (46, ASK, 1009, 0)))
    assert book.known_left == 1
    book.apply(columns((47, BID, 1000, 0), (48, BID, 990, 0), (49, BID, 995, 0)))
    assert book.known_left == 0
    assert [level[:2] for level in levels(book)] == [(BID, 980), (ASK, 1010), (ASK, 1011)]


def test_one_side_may_be_whole():
    book = L2Book()
    book.load(columns((0, BID, 990, 10)), 40, known_ask_to=None, known_bid_from=(990, 2))
    book.apply(columns((41, ASK, 1010, 1)))
    assert (book.known_ask_to, book.known_left) == (None, 1)


def test_bounds_follow_a_finer_scale():
    book = partial_book()
    book.apply(columns((41, BID, 9905, 1, 3, 1)))
    assert (book.known_bid_from, book.known_ask_to, book.known_left) == ((9900, 3), (10100, 3), 2)
    book.load(columns((0, BID, 99, 1, 1, 0)), 50, known_bid_from=(9900, 3))
    assert (book.price_scale, book.known_bid_from, book.known_left) == (3, (9900, 3), 1)


def test_a_deeper_book_is_taken_over_beyond_the_bounds():
    book = partial_book()
    book.apply(columns((41, BID, 970, 4), (41, ASK, 1030, 4), (41, BID, 950, 9)))
    deeper = L2Book()
    rows = columns(
        (0, BID, 1000, 70), (0, BID, 990, 100), (0, BID, 985, 20), (0, BID, 960, 10),
        (0, ASK, 1005, 30), size_scale=2,
    )  # fmt: skip
    deeper.load(rows, 41, known_bid_from=(960, 2), known_ask_to=(1005, 2))
    book.widen(deeper)
    assert [(side, price, size) for side, price, _, size, _ in levels(book)] == [
        (BID, 1000, 70), (BID, 990, 100), (BID, 985, 20), (BID, 960, 10),
        (BID, 950, 90),  # beyond both bounds: as changes told it; 9.70 is known to be gone
        (ASK, 1005, 30), (ASK, 1010, 50), (ASK, 1030, 40),
    ]  # fmt: skip
    assert (book.known_bid_from, book.known_ask_to) == ((960, 2), (1010, 2))
    assert book.known_left == 2
    assert (book.best_bid(), book.best_ask()) == ((1000, 70), (1005, 30))


def test_a_whole_side_leaves_nothing_in_doubt():
    book = partial_book()
    book.apply(columns((41, BID, 970, 4)))
    whole = L2Book()
    whole.load(columns((0, BID, 1000, 7), (0, BID, 990, 10)), 41, known_ask_to=(1000, 2))
    book.widen(whole)
    assert [level[1] for level in levels(book)] == [1000, 990, 1005, 1010]
    assert (book.known_bid_from, book.known_ask_to) == (None, (1010, 2))


@pytest.mark.parametrize(
    ("row", "told"),
    [
        ((0, BID, 1000, 8), "the bid at 10 is 0.7 in one book, 0.8 in the other"),
        ((0, BID, 995, 1), "the bid at 9.95 is 0 in one book, 0.1 in the other"),
        ((0, ASK, 1005, 0), "the ask at 10.05 is 0.3 in one book, 0 in the other"),
    ],
)
def test_books_that_differ_where_both_are_known_are_not_merged(row, told):
    book = partial_book()
    other = partial_book()
    other.apply(columns(row))
    other.apply(columns((0, BID, 980, 99)))  # beyond the bounds: no matter
    before = levels(book)
    with pytest.raises(BooksDiffer) as caught:
        book.widen(other)
    assert str(caught.value) == told
    assert levels(book) == before


def test_a_fork_knows_as_much():
    book = partial_book()
    copy = book.fork()
    copy.apply(columns((41, BID, 1000, 0)))
    assert (copy.known_left, book.known_left, copy.known_bid_from) == (1, 2, (990, 2))


def test_a_comparison_counts_what_both_know_and_changes_nothing():
    whole, partial = small_book(), partial_book()
    before = levels(whole)
    assert whole.compare(small_book()) == whole.levels
    assert levels(whole) == before
    assert partial.compare(partial_book()) == partial._known_bids + partial._known_asks
    other = small_book()
    other._bids[max(other._bids)] += 1
    with pytest.raises(BooksDiffer):
        whole.compare(other)


def test_a_cross_counts_only_where_both_touches_are_known():
    book = L2Book()
    book.load(columns((0, BID, 100, 1), (0, ASK, 110, 1)), 5, (90, 2), (120, 2))
    assert not book.known_crossed
    book.apply(columns((6, BID, 115, 1)))
    assert book.known_crossed
    book.load(columns((0, BID, 130, 1), (0, ASK, 125, 1)), 7, (90, 2), (120, 2))
    assert book.crossed
    assert not book.known_crossed
