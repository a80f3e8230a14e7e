"""Generated market messages: what is formatted is parsed to the same message."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from schemas.fixed_point import format_fixed
from schemas.kucoin.market import (
    L2Update,
    L3Event,
    Match,
    Ticker,
    format_l2_update,
    format_l3_event,
    format_match,
    format_ticker,
    parse_l2_update,
    parse_l3_event,
    parse_match,
    parse_ticker,
)
from schemas.kucoin.topics import parse_topic

SEQUENCES = st.integers(0, 2**63 - 1)
NUMBERS = st.builds(format_fixed, st.integers(0, 10**15), st.integers(0, 12))
SYMBOLS = st.from_regex(r"[A-Z0-9]{1,6}-[A-Z]{3,4}", fullmatch=True)
IDS = st.from_regex(r"[0-9a-f]{24}", fullmatch=True)
SIDES = st.sampled_from(["buy", "sell"])
NS = st.integers(0, 2**63 - 1)
MS_AS_NS = st.integers(0, 2**43).map(lambda ms: ms * 10**6)
CHANGES = st.lists(st.tuples(NUMBERS, NUMBERS, SEQUENCES), max_size=5)


def _data(frame: bytes) -> Any:
    return json.loads(frame)["data"]


@given(
    st.builds(
        L2Update, SYMBOLS, SEQUENCES, SEQUENCES, CHANGES, CHANGES, st.none() | MS_AS_NS
    )
)  # fmt: skip
def test_a_level2_message_survives_the_wire(update: L2Update) -> None:
    frame = format_l2_update(update)
    assert parse_l2_update(_data(frame)) == update
    assert parse_topic(json.loads(frame)["topic"]) == ("/market/level2", (update.symbol,))


OPTIONAL = st.none() | NUMBERS
EVENTS = st.one_of(
    st.builds(
        L3Event,
        st.sampled_from(["received", "open", "done", "stop", "activate"]),
        SYMBOLS, SEQUENCES, SIDES, st.none() | NS, IDS,
        price=OPTIONAL, size=OPTIONAL, remain_size=OPTIONAL, funds=OPTIONAL,
        order_type=st.sampled_from([None, "limit", "market"]),
        stop_type=st.sampled_from([None, "entry", "loss"]),
        reason=st.sampled_from([None, "filled", "canceled"]),
    ),
    st.builds(
        L3Event, st.just("change"), SYMBOLS, SEQUENCES, SIDES, NS, IDS,
        price=NUMBERS, size=NUMBERS, old_size=OPTIONAL,
    ),
    st.builds(
        L3Event, st.just("match"), SYMBOLS, SEQUENCES, SIDES, NS, IDS,
        price=NUMBERS, size=NUMBERS, taker_order_id=IDS, trade_id=IDS,
    ),
)  # fmt: skip


@given(EVENTS)
def test_a_level3_event_survives_the_wire(event: L3Event) -> None:
    assert parse_l3_event(_data(format_l3_event(event))) == event


@given(
    st.builds(
        Match, SYMBOLS, SEQUENCES, SIDES, NUMBERS, NUMBERS,
        st.none() | IDS, st.none() | IDS, st.none() | IDS, st.none() | NS,
    )
)  # fmt: skip
def test_a_match_survives_the_wire(match: Match) -> None:
    assert parse_match(_data(format_match(match))) == match


@given(
    st.builds(
        Ticker, SYMBOLS, SEQUENCES, OPTIONAL, OPTIONAL, OPTIONAL, OPTIONAL, OPTIONAL, OPTIONAL,
        st.none() | MS_AS_NS, st.sampled_from(["symbol", "all"]),
    )
)  # fmt: skip
def test_a_ticker_survives_either_topic(ticker: Ticker) -> None:
    frame = json.loads(format_ticker(ticker))
    (name,) = parse_topic(frame["topic"])[1]
    symbol = frame["subject"] if name == "all" else name
    channel = "all" if name == "all" else "symbol"
    assert parse_ticker(symbol, frame["data"], channel) == ticker
