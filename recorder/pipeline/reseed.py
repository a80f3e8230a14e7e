"""Re-seeding: how a partial book learns more levels without a gap.

A book that was seeded by the best levels only knows less and less of one side as the price walks
away. So a book is asked for again, and what it shows beyond our bounds is taken over. Its answer
stands at a sequence S that has passed, or is still to come; the changes behind S bring it to
where the stream stands, and they are all here: a journal of them is kept from the moment the
question was put.

    rest_request ──▶ journal from sequence J ──▶ rest_answer at S
        S < J: of no use, the changes between are not in the journal; asked again later, with
               the same journal, so that a venue that answers out of a cache is waited for
        S ≥ J: once the stream stands at S or beyond, at the end of a message:
               answer at S + changes behind S = a book at our sequence, known as deep as the answer

A capture has answers and no questions: there the journal is kept from each answer to the next.

When that is depends on the lines alone, never on how they were batched.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from recorder.book import Columns, L2Book
from recorder.pipeline.decode import Book
from recorder.pipeline.output import Int64Array
from recorder.stitch.events import Snapshot, UpdateBatch

# Known levels that must be left between the touch and a bound before more are asked for.
RESEED_LEVELS = 20
# Changes between question and merge, and numbers an answer may be ahead of the stream: a minute or
# two of a busy symbol, while a question lives ten seconds and the next comes within eight. What is
# beyond is no answer to our question, and no journal may grow for ever: this is 0.7 MB.
JOURNAL_CHANGES_MAX = 20_000

_CHANGE_COLUMNS = ("side", "price_mantissa", "price_scale", "size_mantissa", "size_scale")


class JournalTooLong(Exception):
    """More changes came between question and merge than a journal keeps.

    Attributes
    ----------
    count : int   how many
    """

    def __init__(self, count: int) -> None:
        self.count = count
        super().__init__(f"{count} changes came before its answer could be merged")


@dataclass(slots=True)
class Journal:
    """Changes written since a question was put.

    Attributes
    ----------
    start : int   where the stream stood then
    """

    start: int
    changes: list[tuple[Int64Array, Columns]] = field(default_factory=list)
    count: int = 0


class Reseeding:
    """The question under way for one partial book.

    Attributes
    ----------
    wanted : bool   a re-seed has been asked for and nothing has come of it yet
    """

    __slots__ = ("_answer", "_journal", "wanted")

    def __init__(self) -> None:
        self.wanted = False
        self._journal: Journal | None = None
        self._answer: Snapshot | None = None

    @property
    def answer(self) -> Snapshot | None:
        """The answer that waits for the stream to reach it."""
        return self._answer

    def begin(self, sequence: int) -> None:
        """Note that the question was put while the stream stood at a sequence."""
        self.wanted = True
        if self._journal is None or self._journal.count > JOURNAL_CHANGES_MAX:
            self._journal = Journal(sequence)
            self._answer = None

    def record(self, sequence: Int64Array, columns: Columns) -> None:
        """Keep rows that were written: their sequences and their columns."""
        journal = self._journal
        if journal is None:
            return
        journal.count += len(sequence)
        if journal.count > JOURNAL_CHANGES_MAX:
            journal.changes.clear()  # refused when its turn comes
        else:
            kept = {name: columns[name] for name in (*_CHANGE_COLUMNS, "sequence_end")}
            journal.changes.append((sequence, kept))

    def take(self, answer: Snapshot, sequence: int) -> bool:
        """Take in the answer while the stream stands at a sequence; False if it is of no use."""
        journal = self._journal
        if journal is None or not (
            journal.start <= answer.sequence <= sequence + JOURNAL_CHANGES_MAX
        ):
            self.wanted = self._answer is not None
            return False
        self._answer = answer
        return True

    def fail(self) -> None:
        """Note that the question came to nothing: it may be put again."""
        self.wanted = self._answer is not None

    def drop(self) -> None:
        """Forget the question: it is answered, or the stream is another than it was put for."""
        self.wanted = False
        self._journal = self._answer = None

    def is_due(self, sequence: int) -> bool:
        """Say whether a stream that stands at a sequence has reached the answer."""
        return self._answer is not None and sequence >= self._answer.sequence

    def stop(self, batch: UpdateBatch, first: int) -> int:
        """Return how far to handle a batch: to where a message reaches the answer, or its end."""
        if self._answer is None:
            return len(batch)
        reaching = np.flatnonzero(batch.sequence_end[first:] >= self._answer.sequence)
        return first + int(reaching[0]) + 1 if len(reaching) else len(batch)

    def finish(self, sequence: int) -> L2Book:
        """Return the answer brought to where the stream stands, and forget the question.

        Raises
        ------
        BookOverflow    if its numbers fit no common scale
        JournalTooLong  if more has changed in between than is kept
        """
        answer, journal = self._answer, self._journal
        assert answer is not None
        assert journal is not None
        self.drop()
        if journal.count > JOURNAL_CHANGES_MAX:
            raise JournalTooLong(journal.count)
        book = answer.payload
        assert isinstance(book, Book)
        deeper = L2Book()
        deeper.load(book.columns, answer.sequence, book.known_bid_from, book.known_ask_to)
        for sequences, columns in journal.changes:
            newer = np.flatnonzero(sequences > answer.sequence)
            if len(newer):
                deeper.apply({name: values[newer] for name, values in columns.items()})
        deeper.sequence = sequence
        return deeper
