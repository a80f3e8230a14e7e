"""Live books that go wrong in memory, and whether a live book is the venue's.

The raw log and the rows follow the messages, so both stay right whatever happens to the book in
memory. What is wrong are the keyframes written from it, and what an audit has to find is that.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from unittest.mock import patch

import numpy as np

from recorder.book import BooksDiffer, L2Book, L3Book
from recorder.pipeline.book_audits import BookAudits
from recorder.pipeline.book_stream import BookStream
from recorder.pipeline.output import Output
from recorder.recording import Recording
from schemas.datasets import ASK, BID
from tests.simulation.archive import values
from tests.simulation.depth import NO_BOUNDS, Bounds, known_levels, queues_of
from tests.simulation.market import DIGITS, Truth, book_orders

# What happens to a book, and of which stream: a size is another, a level is gone, an order stands
# somewhere else.
STREAM_OF = {"memory_size": "l2", "memory_level": "l2", "memory_order": "l3"}
# A side keeps that many levels at least.
LEVELS_MIN = 3

Key = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Spoilt:
    """A live book that was spoilt.

    Attributes
    ----------
    ordinal, sequence : int   of the last row before
    """

    kind: str
    run_id: str
    symbol: str
    stream: str
    ordinal: int
    sequence: int


def live_books(tape: Recording) -> dict[Key, BookStream]:
    """Return the book streams of a recording."""
    streams = tape._writer.pipeline._streams
    return {} if streams is None else streams._books


def spoil(kind: str, tape: Recording, draw: random.Random) -> Spoilt | None:
    """Spoil a book of a recording; None where there is none to spoil."""
    found = sorted(
        key
        for key, stream in live_books(tape).items()
        if key[1] == STREAM_OF[kind] and stream._record.is_covered
    )
    if not found:
        return None
    key = draw.choice(found)
    stream = live_books(tape)[key]
    book = stream.book
    if isinstance(book, L3Book):
        is_done = _move_order(book, draw)
    else:
        is_done = _change_level(book, draw, is_gone=kind == "memory_level")
    if not is_done:
        return None
    return Spoilt(kind, tape.run_id, *key, stream._record.place.ordinal, book.sequence)


def _change_level(book: L2Book, draw: random.Random, *, is_gone: bool) -> bool:
    rows = book.rows()
    bid_from, ask_to = book.known_bid_from, book.known_ask_to
    side = draw.choice((BID, ASK))
    known = [
        place
        for place, price in enumerate(rows["price_mantissa"].tolist())
        if rows["side"][place] == side
        and (price >= bid_from[0] if side == BID and bid_from else True)
        and (price <= ask_to[0] if side == ASK and ask_to else True)
    ]
    if len(known) < LEVELS_MIN:
        return False
    place = draw.choice(known)
    row = {name: column[place : place + 1].copy() for name, column in rows.items()}
    row["size_mantissa"] = row["size_mantissa"] * (0 if is_gone else 2)
    book.apply({**row, "sequence_end": np.array([book.sequence])})
    return True


def _move_order(book: L3Book, draw: random.Random) -> bool:
    """Move an order to the end of its queue, or to another price where it stands there already."""
    rows = book.rows()
    side = draw.choice((BID, ASK))
    places = [place for place in range(book.orders) if rows["side"][place] == side]
    prices = rows["price_mantissa"].tolist()
    if len({prices[place] for place in places}) < LEVELS_MIN:
        return False
    place = draw.choice(places)
    price = prices[place]
    if max(other for other in places if prices[other] == price) == place:
        price = draw.choice([prices[other] for other in places if prices[other] != price])
    row: dict[str, Any] = {name: column[place : place + 1] for name, column in rows.items()}
    row |= {"sequence": np.array([book.sequence]), "price_mantissa": np.array([price])}
    row |= {"remain_size_mantissa": row["size_mantissa"], "remain_size_scale": row["size_scale"]}
    for kind in ("done", "open"):
        book.apply({**row, "kind": [kind]})
    return True


def is_the_venues(
    book: L2Book | L3Book, stream: str, truth: Truth, within: Bounds = NO_BOUNDS
) -> bool:
    """Say whether a book is the venue's at its number, as far down as it is known."""
    answer = truth.answer_at(stream, book.sequence)
    if answer is None:
        return False
    rows = book.rows()
    price = values(rows["price_mantissa"], rows["price_scale"]).tolist()
    size = values(rows["size_mantissa"], rows["size_scale"]).tolist()
    side = rows["side"].tolist()
    if isinstance(book, L3Book):
        orders = tuple(zip(side, rows["order_id"], price, size, strict=True))
        return queues_of(orders) == queues_of(book_orders(answer)[1])
    known = _bounds(book)
    bounds = Bounds(max(known.bid_from, within.bid_from), min(known.ask_to, within.ask_to))
    levels = frozenset(
        level for level in zip(side, price, size, strict=True) if bounds.holds(level[0], level[1])
    )
    return levels == known_levels(answer, bounds)


@contextmanager
def audits_judged(
    truth_at: Callable[[str, int], Truth | None], broken: list[str]
) -> Iterator[None]:
    """Judge each verdict on a book by the truth, and write down those that are wrong.

    What a whole book's last proof stands for is not taken back by a later verdict either.
    """
    compare = BookAudits.compare_if_due
    proofs: dict[BookAudits, int] = {}  # ordinal of the copy that was last found right

    def judge(self: BookAudits, ts: int, output: Output) -> None:
        audit = self._audit
        if audit is None or not audit.is_due:
            return
        record, mine, theirs = self._record, audit._fork, audit._theirs
        within = _bounds(theirs) if isinstance(theirs, L2Book) else NO_BOUNDS
        equal = output.counts["audit_equal"]
        is_found = False
        try:
            compare(self, ts, output)
        except BooksDiffer as difference:
            is_found = True
            place = self.last_right(difference)
            if place is None or place.ordinal < proofs.get(self, -1):
                what = f"{record.symbol} {record.stream} at {mine.sequence}"
                broken.append(f"a verdict on {what} takes back what was proven")
            raise
        finally:
            if output.counts["audit_equal"] > equal and within == NO_BOUNDS:
                proofs[self] = audit.began.ordinal
            truth = truth_at(record.symbol, mine.sequence)
            if truth is not None and (is_found or output.counts["audit_equal"] > equal):
                is_right = is_the_venues(mine, record.stream, truth, within)
                if is_right == is_found:
                    said, was = ("wrong", "right") if is_found else ("right", "wrong")
                    what = f"{record.symbol} {record.stream} at {mine.sequence}"
                    broken.append(f"an audit called {what} {said}, and it was {was}")

    with patch.object(BookAudits, "compare_if_due", judge):
        yield


def _bounds(book: L2Book) -> Bounds:
    lowest, highest = NO_BOUNDS.bid_from, NO_BOUNDS.ask_to
    if (bid := book.known_bid_from) is not None:
        lowest = bid[0] * 10 ** (DIGITS - bid[1])
    if (ask := book.known_ask_to) is not None:
        highest = ask[0] * 10 ** (DIGITS - ask[1])
    return Bounds(lowest, highest)
