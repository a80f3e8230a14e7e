"""The live level-3 book: what each kind of event does to the queues."""

from __future__ import annotations

import numpy as np
import pytest

from recorder.book import BookOverflow, BooksDiffer, L2Book, L3Book

BID, ASK, NONE = 0, 1, -1
NOTHING = (0, -1)


def event(sequence, kind, order_id, side=NONE, price=NOTHING, size=NOTHING, remain=NOTHING):
    return (sequence, kind, order_id, side, *price, *size, *remain)


def columns(*events):
    names = (
        "sequence", "kind", "order_id", "side", "price_mantissa", "price_scale", "size_mantissa",
        "size_scale", "remain_size_mantissa", "remain_size_scale",
    )  # fmt: skip
    return {name: [row[n] for row in events] for n, name in enumerate(names)}


def opened(sequence, order_id, side, price, size):
    return event(sequence, "open", order_id, side, (price, 1), (99, 0), (size, 0))


def orders(book):
    rows = book.rows()
    return list(
        zip(
            rows["order_id"],
            rows["side"].tolist(),
            rows["price_mantissa"].tolist(),
            rows["size_mantissa"].tolist(),
            strict=True,
        )
    )


def small_book():
    """Bids a 100x5, b 100x3, c 90x1; asks d 110x4, e 120x2."""
    book = L3Book()
    book.load(
        {
            "order_id": ["c", "e", "a", "d", "b"],
            "side": [BID, ASK, BID, ASK, BID],
            "price_mantissa": [90, 120, 100, 110, 100],
            "price_scale": [1] * 5,
            "size_mantissa": [1, 2, 5, 4, 3],
            "size_scale": [0] * 5,
        },
        sequence=40,
    )
    return book


A, B, C = ("a", BID, 100, 5), ("b", BID, 100, 3), ("c", BID, 90, 1)
D, E = ("d", ASK, 110, 4), ("e", ASK, 120, 2)


def after(*events):
    book = small_book()
    book.apply(columns(*events))
    return book


def test_loaded_orders_keep_their_queue():
    book = small_book()
    assert orders(book) == [A, B, C, D, E]
    assert (book.sequence, book.orders, book.levels) == (40, 5, 4)
    assert (book.best_bid(), book.best_ask(), book.crossed) == (100, 110, False)


@pytest.mark.parametrize(
    ("what", "expected"),
    [
        (opened(41, "f", BID, 100, 7), [A, B, ("f", BID, 100, 7), C, D, E]),
        (opened(41, "f", ASK, 105, 7), [A, B, C, ("f", ASK, 105, 7), D, E]),
        # The same id again: a refilled iceberg goes to the tail.
        (opened(41, "a", BID, 100, 9), [B, ("a", BID, 100, 9), C, D, E]),
        (opened(41, "a", BID, 90, 9), [B, C, ("a", BID, 90, 9), D, E]),
        # Hidden orders are announced without price or size.
        (event(41, "open", "f", BID, NOTHING, (0, 0), (0, 0)), [A, B, C, D, E]),
        (event(41, "open", "f", BID, (100, 1), (7, 0), (0, 0)), [A, B, C, D, E]),
        (event(41, "open", "f", BID, (100, 1), (7, 0), NOTHING), [A, B, C, D, E]),
        (event(41, "open", "a", BID, NOTHING, NOTHING, NOTHING), [B, C, D, E]),
        (event(41, "match", "a", BID, (100, 1), (2, 0)), [("a", BID, 100, 3), B, C, D, E]),
        (event(41, "match", "a", BID, (100, 1), (5, 0)), [B, C, D, E]),
        (event(41, "match", "a", BID, (100, 1), (6, 0)), [B, C, D, E]),
        (event(41, "match", "z", BID, (100, 1), (6, 0)), [A, B, C, D, E]),
        (event(41, "done", "b", BID), [A, C, D, E]),
        (event(41, "done", "c", BID, (90, 1), (1, 0)), [A, B, D, E]),
        (event(41, "done", "z", BID), [A, B, C, D, E]),
        # A change keeps its place in the queue.
        (event(41, "change", "a", BID, (100, 1), (1, 0)), [("a", BID, 100, 1), B, C, D, E]),
        (event(41, "change", "a", BID, (100, 1), (0, 0)), [B, C, D, E]),
        (event(41, "change", "z", BID, (100, 1), (1, 0)), [A, B, C, D, E]),
        (event(41, "change", "a", BID, (100, 1), NOTHING), [A, B, C, D, E]),
        (event(41, "received", "a", BID, (100, 1), (8, 0)), [A, B, C, D, E]),
    ],
)
def test_event(what, expected):
    book = after(what)
    assert orders(book) == expected
    assert (book.sequence, book.orders) == (41, len(expected))


@pytest.mark.parametrize("kind", ["stop", "activate"])
def test_private_events_take_no_public_number(kind):
    book = after(event(9999, kind, "a", BID, (100, 1), (8, 0)))
    assert orders(book) == [A, B, C, D, E]
    assert book.sequence == 40
    assert after(event(41, "received", "x"), event(9, kind, "a")).sequence == 41


def test_life_of_an_order_with_its_late_done():
    book = after(
        event(41, "received", "f", ASK, (100, 1), (10, 0)),
        event(42, "match", "a", BID, (100, 1), (5, 0)),
        event(43, "done", "a", BID),
        event(44, "match", "b", BID, (100, 1), (3, 0)),
        event(45, "done", "b", BID),
        opened(46, "f", ASK, 100, 2),
    )
    assert orders(book) == [C, ("f", ASK, 100, 2), D, E]
    assert book.oddities.done_not_resting == 2
    assert book.sequence == 46


def test_oddities_are_counted_by_kind():
    book = after(
        event(41, "match", "z", BID, (1, 1), (1, 0)),
        event(42, "change", "z", BID, (1, 1), (1, 0)),
        event(43, "done", "z", BID),
        event(44, "match", "a", BID, (1, 1), (50, 0)),
        opened(45, "b", BID, 100, 1),
    )
    odd = book.oddities
    assert (odd.unknown_makers, odd.unknown_changes, odd.done_not_resting) == (1, 1, 1)
    assert (odd.overfilled, odd.replaced) == (1, 1)


def test_an_unknown_kind_is_an_error():
    with pytest.raises(ValueError, match="unknown kind of order event: 'amend'"):
        after(event(41, "amend", "a"))


def test_an_order_that_rests_needs_a_side():
    with pytest.raises(ValueError, match="a resting order has side 0 or 1, not -1"):
        after(opened(41, "f", NONE, 100, 1))


def test_apply_takes_the_rows_asked_for_and_arrays_alike():
    rows = columns(event(41, "done", "a"), event(42, "done", "b"), event(43, "done", "c"))
    arrays = {name: np.array(values) for name, values in rows.items()}
    for given in (rows, arrays):
        book = small_book()
        book.apply(given, 1, 2)
        assert orders(book) == [A, C, D, E]
        assert (book.sequence, type(book.sequence)) == (42, int)
        book.apply(given, 3, 3)
        assert book.sequence == 42


def test_equal_values_at_other_scales_share_a_level_and_a_queue():
    book = after(
        event(41, "open", "f", BID, (10, 0), NOTHING, (125, 2)),
        event(42, "match", "a", BID, (1000, 2), (25, 1)),
        event(43, "change", "b", BID, (1000, 2), (1500, 3)),
        opened(44, "g", ASK, 110, 6),
    )
    assert orders(book) == [
        ("a", BID, 100, 2500),
        ("b", BID, 100, 1500),
        ("f", BID, 100, 1250),
        ("c", BID, 90, 1000),
        ("d", ASK, 110, 4000),
        ("g", ASK, 110, 6000),
        ("e", ASK, 120, 2000),
    ]
    assert (book.price_scale, book.size_scale) == (1, 3)
    book.apply(columns(event(45, "open", "h", BID, (10001, 3), NOTHING, (1, 0))))
    assert orders(book)[:2] == [("h", BID, 10001, 1000), ("a", BID, 10000, 2500)]


@pytest.mark.parametrize(("kind", "left"), [("match", 3750), ("change", 1250)])
def test_a_finer_size_may_come_with_any_event(kind, left):
    book = after(event(41, kind, "a", BID, (100, 1), (1250, 3)))
    assert orders(book)[:2] == [("a", BID, 100, left), ("b", BID, 100, 3000)]


def test_a_level_leaves_with_its_last_order():
    book = after(event(41, "done", "a"), event(42, "done", "b"), event(43, "done", "d"))
    assert (book.levels, book.best_bid(), book.best_ask()) == (2, 90, 120)


def test_a_finer_scale_that_fits_no_int64_is_refused():
    book = small_book()
    with pytest.raises(BookOverflow) as caught:
        book.apply(columns(event(41, "open", "f", BID, (1, 18), NOTHING, (1, 0))))
    assert caught.value.scale == 18
    assert orders(book) == [A, B, C, D, E]


def test_aggregate_adds_up_the_queues():
    levels = small_book().aggregate()
    assert {name: values.tolist() for name, values in levels.items()} == {
        "side": [BID, BID, ASK, ASK],
        "price_mantissa": [100, 90, 110, 120],
        "price_scale": [1] * 4,
        "size_mantissa": [8, 1, 4, 2],
        "size_scale": [0] * 4,
    }
    whole = L2Book()
    whole.load(levels, sequence=40)
    assert {name: values.tolist() for name, values in whole.rows().items()} == {
        name: values.tolist() for name, values in levels.items()
    }


def test_a_level_that_adds_up_beyond_int64_is_named():
    book = after(opened(41, "f", BID, 100, 2**63 - 1))
    with pytest.raises(BookOverflow) as caught:
        book.aggregate()
    assert caught.value.number == str(2**63 - 1 + 8)


def test_a_fork_goes_its_own_way():
    book = small_book()
    fork = book.fork()
    events = columns(
        event(41, "match", "a", BID, (1, 1), (2, 0)),
        event(42, "done", "b"),
        event(43, "done", "d"),
        event(44, "done", "z"),
        opened(45, "f", ASK, 120, 1),
    )
    book.apply(events)
    assert orders(fork) == [A, B, C, D, E]
    assert fork.oddities == small_book().oddities
    fork.apply(events)
    assert fork.same_orders(book)


def test_same_orders_compares_values_and_queues():
    book, other = small_book(), L3Book()
    rows = book.rows()
    other.load({**rows, "price_mantissa": rows["price_mantissa"] * 10, "price_scale": [2] * 5}, 40)
    assert book.same_orders(other)
    swapped = {name: list(values) for name, values in rows.items()}
    for values in swapped.values():
        values[:2] = values[1::-1]
    other.load(swapped, 40)
    assert not book.same_orders(other)
    book.apply(columns(event(41, "change", "a", BID, (1, 1), (4, 0))))
    assert not book.same_orders(small_book())
    crossed = after(opened(41, "f", BID, 110, 1))
    assert crossed.crossed


def test_equal_books_are_compared_order_by_order():
    book = small_book()
    assert book.compare(small_book()) == 5
    assert L3Book().compare(L3Book()) == 0


@pytest.mark.parametrize(
    ("events", "told"),
    [
        ([event(41, "done", "c")], (BID, "9", "c with 1 at place 1", "nobody at place 1")),
        (
            [event(41, "change", "b", size=(2, 0))],
            (BID, "10", "b with 3 at place 2", "b with 2 at place 2"),
        ),
        ([opened(41, "a", BID, 100, 5)], (BID, "10", "a with 5 at place 1", "b with 3 at place 1")),
        ([opened(41, "f", ASK, 105, 7)], (ASK, "10.5", "nobody at place 1", "f with 7 at place 1")),
    ],
)  # fmt: skip
def test_the_first_order_that_differs_is_named(events, told):
    mine, theirs = small_book(), small_book()
    theirs.apply(columns(*events))
    with pytest.raises(BooksDiffer) as caught:
        mine.compare(theirs)
    found = caught.value
    assert (found.side, found.price, found.mine, found.theirs) == told
    assert orders(mine) == orders(small_book())


def test_a_crossed_book_is_crossed_wherever_it_is_known():
    book = small_book()
    assert not book.known_crossed
    book.apply(columns(opened(41, "f", BID, 110, 1)))
    assert book.known_crossed
