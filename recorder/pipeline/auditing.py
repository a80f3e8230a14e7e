"""Auditing: is the live book the exchange's own? A copy of it follows the stream to the answer.

A book can be wrong although every sequence is right: a change the exchange never sent, a mistake
of ours, a bit of memory. Only a comparison at the same sequence finds it.

    decision "audit" ──▶ copy at sequence F, changes kept from here ──▶ rest_answer at S
        S < F: nothing can be said, the copy cannot go back
        S ≥ F: the copy follows to E, the first end of a message at or behind S, which may be
               still to come; the answer is given the changes in (S, E]; then both are compared

The answer is brought to the end of a message, not the copy into the middle of one: a message tells
of a price that changed twice only where it ended, so between its first and its last sequence
nobody but the exchange knows the book.

An answer that the stream does not reach, while nothing at all comes, is the proof that a
subscription is dead although it was acknowledged, if a level of it differs from ours. Without one
the market may be quiet: a number that changes no level need not be told before the next that does.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import numpy as np
import orjson

from recorder.book import BookOverflow, BooksDiffer, L2Book, L3Book
from recorder.pipeline.book_record import Place
from recorder.pipeline.decode import Book
from recorder.pipeline.output import Int64Array
from recorder.stitch.events import Snapshot, UpdateBatch
from schemas.datasets import BID, BOOK_STREAMS

# Books are compared, trades only asked whether any was not told.
AUDITED_STREAMS = (*BOOK_STREAMS, "trades")
# Changes kept while no answer is there: minutes of a busy symbol, while a question lives ten
# seconds. What is beyond ends the audit without a verdict: two megabytes, of few streams at a time.
CHANGES_MAX = 20_000
# Checks, five seconds apart, at which a stream stands still behind the answer before it is called
# silent: ten seconds at the least, and one more check, so that what a stopped machine or a slow
# disk has kept back is read first.
SILENT_CHECKS = 3
# Answers in a row, each newer than the one before and all older than what we have, which stands
# still meanwhile, before the stream is called silent: no cache lags behind for so many audits.
OLDER_ANSWERS = 3
# Checks an audit may last in all, ten minutes: its question may wait behind those of healing.
CHECKS_MAX = 120

Number = tuple[int, int]  # mantissa, scale

_L2_COLUMNS = ("side", "price_mantissa", "price_scale", "size_mantissa", "size_scale")
_L3_COLUMNS = (*_L2_COLUMNS, "kind", "order_id", "remain_size_mantissa", "remain_size_scale")


class Silent(Exception):
    """A stream brings nothing although the venue has moved on.

    Attributes
    ----------
    ours, theirs : int   the sequences; ours None where nothing ever came
    """

    def __init__(self, symbol: str, stream: str, ours: int | None, theirs: int) -> None:
        self.ours = ours
        self.theirs = theirs
        where = "nothing was told yet" if ours is None else f"ours at {ours}"
        told = f"the exchange stands at {theirs}, {where}, and nothing comes"
        super().__init__(f"{symbol} {stream}: {told}")


class OlderAnswers:
    """Answers older than what we have, one after the other, while it stands still.

    Where numbers have begun anew and nothing tells of it, every answer is. That the venue goes on
    while nothing comes shows then that the stream is dead.
    """

    def __init__(self) -> None:
        self._ours = -1
        self._theirs: list[int] = []

    def note(self, ours: int, theirs: int) -> None:
        """Take in an answer that stands at `theirs` while we stand at `ours`."""
        if ours != self._ours:
            self._ours, self._theirs = ours, []
        if self._theirs and theirs < self._theirs[-1]:
            self._theirs.clear()  # a cache, or several
        if theirs < ours and theirs not in self._theirs[-1:]:
            self._theirs.append(theirs)

    def forget(self) -> None:
        """Begin anew: they spoke of a subscription that may be gone."""
        self._theirs.clear()

    def prove(self, ours: int) -> int | None:
        """Return where the venue stands, once the stream is proven dead."""
        if ours != self._ours or len(self._theirs) < OLDER_ANSWERS:
            return None
        return self._theirs[-1]


@dataclass(frozen=True, slots=True)
class Proof:
    """A place where the live book was the venue's, down to some depth.

    That is where it was copied: what happened to it while the copy followed the stream to the
    answer, a comparison with the copy does not show.

    Attributes
    ----------
    known_bid_from, known_ask_to : (mantissa, scale) or None   None: the side was compared whole
    """

    place: Place
    known_bid_from: Number | None
    known_ask_to: Number | None

    @property
    def is_partial(self) -> bool:
        """Whether some side was compared down to some depth only."""
        return self.known_bid_from is not None or self.known_ask_to is not None

    def covers(self, difference: BooksDiffer) -> bool:
        """Say whether every level that differs now was compared then, and was right."""
        return all(self._reaches(side, Decimal(far)) for side, far in difference.deepest.items())

    def _reaches(self, side: int, price: Decimal) -> bool:
        if side == BID:
            return self.known_bid_from is None or price >= _value(self.known_bid_from)
        return self.known_ask_to is None or price <= _value(self.known_ask_to)


@dataclass(frozen=True, slots=True)
class _Changes:
    """Whole messages that were written: columns, and by row where its message ends."""

    sequence: Int64Array
    ends: Int64Array
    ordinal: Int64Array
    known: Int64Array
    columns: dict[str, Any]


class Auditing:
    """One audit of one book, from the copy to the verdict.

    Parameters
    ----------
    book : L2Book or L3Book   the live book; copied
    place : Place             where it stands

    Attributes
    ----------
    answer : Snapshot or None   once it is there
    began : Place               where the copy was made
    place : Place               where the copy stands
    """

    __slots__ = ("_changes", "_checks", "_count", "_fork", "_seen", "_still", "_theirs",
                 "answer", "began", "place")  # fmt: skip

    def __init__(self, book: L2Book | L3Book, place: Place) -> None:
        self.began = place
        self.place = place
        self.answer: Snapshot | None = None
        self._fork = book.fork()
        self._theirs: L2Book | L3Book | None = None
        self._changes: list[_Changes] = []
        self._count = 0
        self._checks = 0
        self._still = 0
        self._seen = place.sequence

    @property
    def is_due(self) -> bool:
        """Whether the copy has reached the answer."""
        return self.answer is not None and self.place.sequence >= self.answer.sequence

    def record(self, columns: dict[str, Any], ends: Int64Array, known: Int64Array) -> None:
        """Take in whole messages that were written and applied to the live book.

        Parameters
        ----------
        columns : dict         rows as they were written, `sequence` and `ordinal` among them
        ends : int64[rows]     sequence at which each row's message ends
        known : int64[rows]    from when each row is known, ns
        """
        names = _L2_COLUMNS if isinstance(self._fork, L2Book) else _L3_COLUMNS
        kept = {name: columns[name] for name in names} | {
            "sequence": columns["sequence"],
            "sequence_end": ends,
        }
        changes = _Changes(columns["sequence"], ends, columns["ordinal"], known, kept)
        if self._theirs is not None:
            self._follow(changes)
            return
        self._count += len(ends)
        if self._count > CHANGES_MAX:
            self._changes.clear()  # there will be no verdict
        else:
            self._changes.append(changes)

    def take(self, answer: Snapshot) -> str:
        """Take in the venue's book; return why it is of no use, empty when it is.

        Raises
        ------
        BookOverflow   if its numbers fit no common scale
        """
        if answer.sequence < self.place.sequence:
            return f"the answer stands at {answer.sequence}, the book at {self.place.sequence}"
        if self._count > CHANGES_MAX:
            return f"{self._count} changes came before the answer"
        book = answer.payload
        assert isinstance(book, Book)
        if isinstance(self._fork, L2Book):
            levels = self._theirs = L2Book()
            bounds = book.known_bid_from, book.known_ask_to
            levels.load(book.columns, answer.sequence, *bounds)
        else:
            orders = self._theirs = L3Book()
            orders.load(book.columns, answer.sequence)
        self.answer = answer
        for changes in self._changes:
            if not self.is_due:
                self._follow(changes)
        self._changes.clear()
        return ""

    def stop(self, batch: UpdateBatch, first: int) -> int:
        """Return how far to handle a batch: to where a message reaches the answer, or its end."""
        if self.answer is None:
            return len(batch)
        reaching = np.flatnonzero(batch.sequence_end[first:] >= self.answer.sequence)
        return first + int(reaching[0]) + 1 if len(reaching) else len(batch)

    def compare(self) -> tuple[int, Proof]:
        """Compare, when due: return how much is equal, and what that proves.

        Nothing is proven, and 0 returned, where the two know no level in common.

        Raises
        ------
        BooksDiffer    naming the first difference
        BookOverflow   if their numbers fit no common scale
        """
        assert self.is_due
        return self._compare()

    def check(self, sequence: int) -> str:
        """Look at an audit that goes on while the stream stands at a sequence.

        Returns
        -------
        str   "silent" when the stream is proven to be, why there will be no verdict, or empty
        """
        self._checks += 1
        self._still = self._still + 1 if self.answer and sequence == self._seen else 0
        self._seen = sequence
        if self._still >= SILENT_CHECKS:
            return "no level differs from a newer answer" if self._is_equal() else "silent"
        if self._checks >= CHECKS_MAX:
            waits_for = "the stream" if self.answer else "an answer"
            return f"{waits_for} did not come in time"
        return ""

    def _compare(self) -> tuple[int, Proof]:
        mine, theirs = self._fork, self._theirs
        if isinstance(mine, L3Book):
            assert isinstance(theirs, L3Book)
            return mine.compare(theirs), Proof(self.began, None, None)
        assert isinstance(theirs, L2Book)
        bids = [b for b in (mine.known_bid_from, theirs.known_bid_from) if b is not None]
        asks = [b for b in (mine.known_ask_to, theirs.known_ask_to) if b is not None]
        return mine.compare(theirs), Proof(
            self.began,
            max(bids, key=_value, default=None),
            min(asks, key=_value, default=None),
        )

    def _is_equal(self) -> bool:
        """Say whether the answer, however new, shows nothing that the copy has not."""
        try:
            compared, proof = self._compare()
        except (BooksDiffer, BookOverflow):
            return False
        return compared > 0 or not proof.is_partial

    def _follow(self, changes: _Changes) -> None:
        """Apply messages up to the one that reaches the answer: all to ours, what is new to it."""
        assert self.answer is not None
        assert self._theirs is not None
        wanted = self.answer.sequence
        stop = len(changes.ends)
        reaching = int(np.searchsorted(changes.ends, wanted, "left"))
        if reaching < stop:
            stop = int(np.searchsorted(changes.ends, changes.ends[reaching], "right"))
        newer = int(np.searchsorted(changes.sequence[:stop], wanted, "right"))
        self._fork.apply(changes.columns, 0, stop)
        self._theirs.apply(changes.columns, newer, stop)
        self.place = Place(
            int(changes.ordinal[stop - 1]),
            int(changes.known[stop - 1]),
            int(changes.ends[stop - 1]),
            self.place.messages + len(np.unique(changes.ends[:stop])),
            self.place.rows + stop,
        )


def tell_difference(difference: BooksDiffer) -> str:
    """Return a difference as the catalog keeps it: JSON."""
    return orjson.dumps(
        {
            "side": "bid" if difference.side == BID else "ask",
            "price": difference.price,
            "recorded": difference.mine,
            "exchange": difference.theirs,
        }
    ).decode()


def tell_reason(why: str) -> str:
    """Return why there is no verdict as the catalog keeps it: JSON."""
    return orjson.dumps({"why": why}).decode()


def _value(number: Number) -> Decimal:
    return Decimal(number[0]).scaleb(-number[1])
