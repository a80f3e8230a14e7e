"""Generated books and histories: what is formatted is parsed to the same answer."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from schemas.fixed_point import format_fixed
from schemas.kucoin.rest import (
    BookAnswer,
    HistoryTrade,
    format_book,
    format_histories,
    parse_answer,
    parse_book,
    parse_histories,
)

NUMBERS = st.builds(format_fixed, st.integers(0, 10**15), st.integers(0, 12))
SEQUENCES = st.integers(-1, 2**63 - 1)
LEVELS = st.lists(st.tuples(NUMBERS, NUMBERS), max_size=6)
ORDERS = st.lists(st.tuples(st.text("0123456789abcdef", min_size=1), NUMBERS, NUMBERS), max_size=6)
TIMES = st.none() | st.integers(0, 2**43).map(lambda ms: ms * 10**6)


@given(
    st.builds(BookAnswer, SEQUENCES, TIMES, LEVELS, LEVELS)
    | st.builds(BookAnswer, SEQUENCES, TIMES, ORDERS, ORDERS)
)
def test_a_book_survives_the_wire(book: BookAnswer) -> None:
    assert parse_book(parse_answer(format_book(book))) == book


@given(
    st.lists(
        st.builds(
            HistoryTrade, SEQUENCES, NUMBERS, NUMBERS, st.sampled_from(["buy", "sell"]),
            st.integers(0, 2**63 - 1),
        ),
        max_size=5,
    )
)  # fmt: skip
def test_histories_survive_the_wire(trades: list[HistoryTrade]) -> None:
    assert parse_histories(parse_answer(format_histories(trades))) == trades
