"""Market messages → columns: one growing batch for each book stream, taken as arrays.

Numbers are brought to the instrument's scales here, exactly; a value with more significant digits
keeps its own minimal scale in its row.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from recorder.pipeline.output import NO_SCALE, NO_TIME
from recorder.stitch.events import UpdateBatch
from schemas.datasets import ASK, BID, NO_SIDE
from schemas.fixed_point import INT64_MAX, parse_fixed
from schemas.kucoin.market import L2Update, L3Event
from schemas.kucoin.rest import BookAnswer

# Prices and sizes repeat within a symbol; a hit costs a tenth of a parse.
_NUMBERS_REMEMBERED = 65_536

SIDE_OF_ORDER = {"buy": BID, "sell": ASK}
SIDE_OF_MAKER = {"buy": ASK, "sell": BID}  # the wire names the taker's side

Number = tuple[int, int]  # mantissa, scale

parse_number = lru_cache(_NUMBERS_REMEMBERED)(parse_fixed)


@dataclass(frozen=True, slots=True)
class Scales:
    """Digits after the point for prices, sizes and funds of the instrument in force."""

    price: int = 0
    size: int = 0
    funds: int = 0


UNKNOWN_INSTRUMENT = Scales()


def check_int64(*numbers: int | None) -> None:
    """Refuse sequences and times that no column can hold; they are never negative.

    Raises
    ------
    ValueError   naming the first one
    """
    for number in numbers:
        if number is not None and not 0 <= number <= INT64_MAX:
            raise ValueError(f"{number} is no sequence or time an int64 column can hold")


def check_texts(*texts: str | None) -> None:
    """Refuse JSON of another type where the dialect has text: no column could hold it.

    Raises
    ------
    ValueError   naming the first one
    """
    for text in texts:
        if text is not None and type(text) is not str:
            raise ValueError(f"{text!r} is not text")


def parse_optional(text: str | None, scale: int) -> tuple[int, int]:
    """Parse a number that may be absent: None and "" give mantissa 0 and `NO_SCALE`."""
    return (0, NO_SCALE) if not text else parse_number(text, scale)


class L2Batch:
    """Level-2 messages of one symbol, waiting to be stitched.

    Parameters
    ----------
    tells_again : bool
        Changes from before the range of their message are in any book that the message follows,
        and are left out; else such a message is malformed.
    """

    __slots__ = ("_ends", "_row_start", "_rows", "_starts", "_tells_again", "_ts_event", "_ts_recv")

    def __init__(self, *, tells_again: bool = False) -> None:
        self._tells_again = tells_again
        self._clear()

    def _clear(self) -> None:
        self._ts_recv: list[int] = []
        self._ts_event: list[int] = []
        self._starts: list[int] = []
        self._ends: list[int] = []
        self._row_start: list[int] = [0]
        self._rows: list[tuple[int, int, int, int, int, int]] = []

    def __len__(self) -> int:
        """Return the number of messages."""
        return len(self._ts_recv)

    def add(self, ts_recv: int, update: L2Update, scales: Scales) -> int:
        """Append one message, its changes in ascending sequence.

        Returns
        -------
        int   changes left out, being from before the message's range

        Raises
        ------
        FixedPointError   for a number that fits no int64
        ValueError        for a sequence outside the message's range, or a negative number

        The batch is then unchanged.
        """
        start, end = update.sequence_start, update.sequence_end
        rows = [
            _l2_row(sequence, side, price, size, scales)
            for side, changes in ((ASK, update.asks), (BID, update.bids))
            for price, size, sequence in changes
        ]
        told = len(rows)
        if told > 1:
            rows.sort(key=_sequence)
        if told and self._tells_again and rows[0][0] < start:
            rows = [row for row in rows if row[0] >= start]
        left_out = told - len(rows)
        if not rows:
            rows = [(end, NO_SIDE, 0, scales.price, 0, scales.size)]
        # A new instrument may begin at -1.
        if not -1 <= start <= rows[0][0] <= rows[-1][0] <= end <= INT64_MAX:
            raise ValueError(f"changes {rows[0][0]} to {rows[-1][0]} of a message {start} to {end}")
        check_int64(update.ts_event)
        self._rows += rows
        self._ts_recv.append(ts_recv)
        self._ts_event.append(NO_TIME if update.ts_event is None else update.ts_event)
        self._starts.append(start)
        self._ends.append(end)
        self._row_start.append(len(self._rows))
        return left_out

    def take(self) -> UpdateBatch:
        """Return what has gathered, as arrays, and start anew."""
        rows = np.array(self._rows, dtype=np.int64).reshape(-1, 6)
        row_start = np.array(self._row_start, dtype=np.int64)
        batch = UpdateBatch(
            np.array(self._ts_recv, dtype=np.int64),
            np.array(self._starts, dtype=np.int64),
            np.array(self._ends, dtype=np.int64),
            row_start,
            np.ascontiguousarray(rows[:, 0]),
            {
                "ts_event": np.repeat(np.array(self._ts_event, dtype=np.int64), np.diff(row_start)),
                "side": rows[:, 1].astype(np.int8),
                "price_mantissa": np.ascontiguousarray(rows[:, 2]),
                "price_scale": rows[:, 3].astype(np.int8),
                "size_mantissa": np.ascontiguousarray(rows[:, 4]),
                "size_scale": rows[:, 5].astype(np.int8),
            },
        )
        self._clear()
        return batch


def _sequence(row: tuple[int, int, int, int, int, int]) -> int:
    return row[0]


def _l2_row(
    sequence: int, side: int, price: str, size: str, scales: Scales
) -> tuple[int, int, int, int, int, int]:
    price_mantissa, price_scale = parse_number(price, scales.price)
    if not price_mantissa:  # only advances the sequence
        return sequence, side, 0, scales.price, 0, scales.size
    size_mantissa, size_scale = parse_number(size, scales.size)
    if price_mantissa < 0 or size_mantissa < 0:
        raise ValueError(f"no level has price {price} and size {size}")
    return sequence, side, price_mantissa, price_scale, size_mantissa, size_scale


L3_NUMBERS = ("price", "size", "remain_size", "old_size", "funds")
L3_TEXTS = ("kind", "order_id", "taker_order_id", "trade_id", "order_type", "stop_type", "reason")


class L3Batch:
    """Level-3 events of one symbol, waiting to be stitched; each is a message of its own."""

    __slots__ = ("_numbers", "_rows", "_texts")

    def __init__(self) -> None:
        self._clear()

    def _clear(self) -> None:
        self._rows: list[tuple[int, int, int, int]] = []
        self._numbers: list[tuple[int, ...]] = []
        self._texts: list[tuple[str | None, ...]] = []

    def __len__(self) -> int:
        """Return the number of messages."""
        return len(self._rows)

    def add(self, ts_recv: int, event: L3Event, scales: Scales) -> None:
        """Append one event.

        Raises
        ------
        FixedPointError   for a number that fits no int64
        ValueError        for a side that is neither buy nor sell, or a field of another type

        The batch is then unchanged.
        """
        texts = (
            event.kind,
            event.order_id,
            event.taker_order_id,
            event.trade_id,
            event.order_type,
            event.stop_type,
            event.reason,
            event.side if event.kind == "match" else None,
        )
        check_texts(*texts)
        check_int64(event.sequence, event.ts_event)
        sides = SIDE_OF_MAKER if event.kind == "match" else SIDE_OF_ORDER
        if event.side not in sides and (event.side is not None or event.kind in {"open", "match"}):
            raise ValueError(f"an order has side buy or sell, not {event.side!r}")
        numbers = (
            *parse_optional(event.price, scales.price),
            *parse_optional(event.size, scales.size),
            *parse_optional(event.remain_size, scales.size),
            *parse_optional(event.old_size, scales.size),
            *parse_optional(event.funds, scales.funds),
        )
        if min(numbers[::2]) < 0:
            raise ValueError(f"a number of order {event.order_id} is negative")
        self._rows.append(
            (
                ts_recv,
                NO_TIME if event.ts_event is None else event.ts_event,
                event.sequence,
                sides.get(event.side or "", NO_SIDE),
            )
        )
        self._numbers.append(numbers)
        self._texts.append(texts)

    def take(self) -> UpdateBatch:
        """Return what has gathered, as arrays, and start anew."""
        rows = np.array(self._rows, dtype=np.int64).reshape(-1, 4)
        numbers = np.array(self._numbers, dtype=np.int64).reshape(-1, 2 * len(L3_NUMBERS))
        texts = [list(column) for column in zip(*self._texts, strict=True)]
        columns: dict[str, Any] = {
            "ts_event": np.ascontiguousarray(rows[:, 1]),
            "side": rows[:, 3].astype(np.int8),
        }
        for index, name in enumerate(L3_NUMBERS):
            columns[f"{name}_mantissa"] = np.ascontiguousarray(numbers[:, 2 * index])
            columns[f"{name}_scale"] = numbers[:, 2 * index + 1].astype(np.int8)
        columns.update(zip((*L3_TEXTS, "aggressor_side"), texts, strict=True))
        sequence = np.ascontiguousarray(rows[:, 2])
        batch = UpdateBatch(
            np.ascontiguousarray(rows[:, 0]),
            sequence,
            sequence,
            np.arange(len(rows) + 1, dtype=np.int64),
            sequence,
            columns,
        )
        self._clear()
        return batch


@dataclass(frozen=True, slots=True)
class Book:
    """A full book as columns, bids high to low, then asks low to high, queue order inside a price.

    Attributes
    ----------
    columns : dict[str, ndarray or list]   side, price and size pairs, order_id (None at level 2)
    known_bid_from, known_ask_to : (mantissa, scale) or None
        The worst price of a side that was cut off at the source's depth; None: the side is whole.
    """

    ts_event: int
    columns: dict[str, Any]
    known_bid_from: Number | None = None
    known_ask_to: Number | None = None


def decode_book(answer: BookAnswer, stream: str, scales: Scales, depth: int | None = None) -> Book:
    """Turn a REST book into columns, whatever order the venue sent its prices in.

    Parameters
    ----------
    depth : int or None   levels a side at most in such an answer; None: it has them all

    Raises
    ------
    FixedPointError   for a number that fits no int64
    ValueError        for a row that is not (price, size), or (order_id, price, size) at level 3,
                      and for negative numbers
    """
    check_int64(answer.ts_event)
    if not -1 <= answer.sequence <= INT64_MAX:  # -1 is what a new instrument has
        raise ValueError(f"a book at sequence {answer.sequence}")
    rows: list[tuple[int, int, int, int, int, str | None]] = []
    bounds: list[Number | None] = []
    for side, wire_rows in ((BID, answer.bids), (ASK, answer.asks)):
        side_rows = []
        for wire_row in wire_rows:
            order_id, price, size = wire_row[:3] if stream == "l3" else (None, *wire_row[:2])
            price_pair, size_pair = (
                parse_number(price, scales.price),
                parse_number(size, scales.size),
            )
            if price_pair[0] < 0 or size_pair[0] < 0:
                raise ValueError(f"no level has price {price} and size {size}")
            if price_pair[0] and size_pair[0]:  # no level has price or size 0
                side_rows.append((side, *price_pair, *size_pair, order_id))
        finest = max((row[2] for row in side_rows), default=0)
        side_rows.sort(key=lambda row: row[1] * 10 ** (finest - row[2]), reverse=side == BID)
        is_cut = depth is not None and len(wire_rows) >= depth and side_rows
        bounds.append((side_rows[-1][1], side_rows[-1][2]) if is_cut else None)
        rows += side_rows
    numbers = np.array([row[:5] for row in rows], dtype=np.int64).reshape(-1, 5)
    return Book(
        NO_TIME if answer.ts_event is None else answer.ts_event,
        {
            "side": numbers[:, 0].astype(np.int8),
            "price_mantissa": np.ascontiguousarray(numbers[:, 1]),
            "price_scale": numbers[:, 2].astype(np.int8),
            "size_mantissa": np.ascontiguousarray(numbers[:, 3]),
            "size_scale": numbers[:, 4].astype(np.int8),
            "order_id": [row[5] for row in rows],
        },
        *bounds,
    )
