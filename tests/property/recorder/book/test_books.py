"""The live books against books kept in the plainest way: lists of exact fractions."""

from __future__ import annotations

from fractions import Fraction
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from recorder.book import L2Book, L3Book

BID, ASK = 0, 1


def number(random, values, scales):
    """A value as (mantissa, scale), at a scale that need not be its smallest."""
    value = random.choice(values)
    scale = random.choice(scales)
    return int(value * 10**scale), scale


def value(mantissa, scale):
    return Fraction(mantissa, 10**scale)


def as_columns(names, rows):
    return {name: [row[n] for row in rows] for n, name in enumerate(names)}


def cuts(random, total):
    """Split rows into batches of random lengths."""
    first = 0
    while first < total:
        last = min(total, first + random.randrange(1, 20))
        yield first, last
        first = last


L2_NAMES = ("sequence_end", "side", "price_mantissa", "price_scale", "size_mantissa", "size_scale")
PRICES = [Fraction(n, 100) for n in range(9900, 10100, 20)]
SIZES = [Fraction(0), Fraction(0), Fraction(1, 2), Fraction(3), Fraction(40)]


@given(st.integers(0, 2**32), st.integers(1, 120))
def test_l2_book_equals_a_list_of_levels(seed, total):
    random = Random(seed)
    rows = []
    for sequence in range(total):
        price = number(random, PRICES, [2, 2, 2, 3, 5])
        if random.random() < 0.1:
            price = (0, 2)
        size = number(random, SIZES, [1, 1, 1, 4])
        rows.append((sequence, random.choice([BID, ASK]), *price, *size))
    columns = as_columns(L2_NAMES, rows)
    book, plain = L2Book(), []
    for first, last in cuts(random, total):
        book.apply(columns, first, last)
        for _, side, *numbers in rows[first:last]:
            price, size = value(*numbers[:2]), value(*numbers[2:])
            if price:
                plain = [level for level in plain if level[:2] != (side, price)]
                if size:
                    plain.append((side, price, size))
        plain.sort(key=lambda level: (level[0], level[1] if level[0] == ASK else -level[1]))
        assert levels_of(book) == plain
        assert (book.sequence, book.levels) == (last - 1, len(plain))
        bids = [price for side, price, _ in plain if side == BID]
        asks = [price for side, price, _ in plain if side == ASK]
        best_bid, best_ask = book.best_bid(), book.best_ask()
        assert (best_bid and value(best_bid[0], book.price_scale)) == (bids[0] if bids else None)
        assert (best_ask and value(best_ask[0], book.price_scale)) == (asks[0] if asks else None)
        assert book.crossed == bool(bids and asks and bids[0] >= asks[0])
        loaded = L2Book()
        loaded.load(book.rows(), book.sequence)
        assert loaded.same_levels(book)


L3_NAMES = (
    "sequence", "kind", "order_id", "side", "price_mantissa", "price_scale", "size_mantissa",
    "size_scale", "remain_size_mantissa", "remain_size_scale",
)  # fmt: skip
KINDS = ["received", "open", "open", "open", "match", "match", "done", "change", "stop", "activate"]


@given(st.integers(0, 2**32), st.integers(1, 120))
def test_l3_book_equals_a_list_of_orders(seed, total):
    random = Random(seed)
    rows = []
    for sequence in range(total):
        size, remain = (number(random, SIZES, [1, 1, 1, 4]) for _ in range(2))
        price = number(random, PRICES, [2, 2, 2, 3, 5])
        if random.random() < 0.05:
            price = (0, -1)
        if random.random() < 0.05:
            remain = (0, -1)
        order_id = f"order-{random.randrange(12)}"
        kind, side = random.choice(KINDS), random.choice([BID, ASK])
        rows.append((sequence, kind, order_id, side, *price, *size, *remain))
    columns = as_columns(L3_NAMES, rows)
    book, plain = L3Book(), []
    for first, last in cuts(random, total):
        book.apply(columns, first, last)
        for row in rows[first:last]:
            plain = naive_l3(plain, row)
        queues = sorted(plain, key=lambda order: (order[1], order[2] * (-1, 1)[order[1]]))
        assert orders_of(book) == queues
        assert book.orders == len(plain)
        public = [row[0] for row in rows[:last] if row[1] not in {"stop", "activate"}]
        assert book.sequence == (public[-1] if public else 0)
        whole: dict[tuple[int, Fraction], Fraction] = {}
        for _, side, price, size in queues:
            whole[side, price] = whole.get((side, price), 0) + size
        assert book.levels == len(whole)
        aggregated = L2Book()
        aggregated.load(book.aggregate(), book.sequence)
        assert levels_of(aggregated) == [(*key, size) for key, size in whole.items()]
        loaded = L3Book()
        loaded.load(book.rows(), book.sequence)
        assert loaded.same_orders(book)


def naive_l3(orders, row):
    """Apply one event to a list of (id, side, price, size), first come first."""
    _, kind, order_id, side, price, price_scale, size, size_scale, remain, remain_scale = row
    if kind in {"open", "done"}:
        orders = [order for order in orders if order[0] != order_id]
        if kind == "open" and price_scale >= 0 and remain_scale >= 0 and remain:
            orders.append((order_id, side, value(price, price_scale), value(remain, remain_scale)))
        return orders
    if kind in {"match", "change"}:
        told = value(size, size_scale)
        changed = [
            (name, own_side, own_price, own_size - told if kind == "match" else told)
            if name == order_id
            else (name, own_side, own_price, own_size)
            for name, own_side, own_price, own_size in orders
        ]
        return [order for order in changed if order[3] > 0]
    return orders


def levels_of(book):
    rows = book.rows()
    return [
        (side, value(price, price_scale), value(size, size_scale))
        for side, price, price_scale, size, size_scale in zip(
            *(values.tolist() for values in rows.values()), strict=True
        )
    ]


def orders_of(book):
    rows = book.rows()
    ids = rows.pop("order_id")
    return [
        (order_id, side, value(price, price_scale), value(size, size_scale))
        for order_id, side, price, price_scale, size, size_scale in zip(
            ids, *(values.tolist() for values in rows.values()), strict=True
        )
    ]
