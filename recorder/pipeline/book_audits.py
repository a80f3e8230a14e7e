"""Audits of one book stream: one at a time, their verdicts, and since when the book was right."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from recorder.book import BookOverflow, BooksDiffer, L2Book, L3Book
from recorder.pipeline.auditing import (
    Auditing,
    OlderAnswers,
    Proof,
    Silent,
    tell_difference,
    tell_reason,
)
from recorder.pipeline.book_record import BookRecord, Place
from recorder.pipeline.output import (
    EQUAL,
    INCONCLUSIVE,
    UNEQUAL,
    AskAudit,
    Audited,
    Int64Array,
    Output,
)
from recorder.stitch.events import Snapshot, UpdateBatch


class BookAudits:
    """Audit one book, and remember where it was proven right.

    Parameters
    ----------
    record : BookRecord   of the stream: answers and what they prove are kept there
    """

    def __init__(self, record: BookRecord) -> None:
        self._record = record
        self._audit: Auditing | None = None
        self._verdict_ts = 0  # of the last one
        # Of the interval in force: where the venue's own book began it, and the last proof since.
        self._seed: Place | None = None
        self._proof: Proof | None = None
        self._older = OlderAnswers()

    def restart(self) -> None:
        """Begin anew at a full book of the venue's, which has just been written."""
        self._seed = self._record.place
        self._proof = None

    def on_asked(self, book: L2Book | L3Book, output: Output) -> None:
        """Copy the live book, if there is one, and want the venue's to compare it with.

        One at a time: an answer that waits for the stream may be about to prove it silent.
        """
        record = self._record
        if self._audit is not None:
            output.counts["audit_under_way"] += 1
        elif record.is_covered:
            self._audit = Auditing(book, record.place)
            output.commands.append(AskAudit(record.symbol, record.stream, record.next_ordinal))
        else:
            output.counts["audit_uncovered"] += 1

    def on_answered(self, answer: Snapshot, output: Output) -> None:
        """Take in the venue's book: it is to be compared as soon as the stream has reached it."""
        if self._audit is None:
            output.counts["audit_ignored"] += 1
            return
        try:
            why = self._audit.take(answer)
        except BookOverflow as error:
            why = str(error)
        if why:
            self._older.note(self._record.place.sequence, answer.sequence)
            self._give_up(why, answer.ts_recv, output, answer.sequence)

    def on_failed(self, ts: int, why: str, output: Output) -> None:
        """Note that there will be no book to compare with."""
        if self._audit is not None and self._audit.answer is None:
            self._give_up(why, ts, output)

    def on_book_lost(self, ts: int, reason: str, output: Output) -> None:
        """Note that the live book is none any more: what it was copied from cannot be followed.

        Answers older than it spoke of a subscription that may be gone, too.
        """
        self._older.forget()
        if self._audit is not None:
            self._give_up(f"the book was lost: {reason}", ts, output)

    def record(self, columns: dict[str, Any], ends: Int64Array, known: Int64Array) -> None:
        """Take in whole messages that were written: see `Auditing.record`."""
        if self._audit is not None:
            self._audit.record(columns, ends, known)

    def stop(self, batch: UpdateBatch, first: int) -> int:
        """Return how far to handle a batch: to where a message reaches the answer, or its end."""
        return len(batch) if self._audit is None else self._audit.stop(batch, first)

    def compare_if_due(self, ts: int, output: Output) -> None:
        """Compare the copy with the answer once it has reached it, and give the verdict.

        Raises
        ------
        BooksDiffer   the book has been wrong since some moment behind `last_right`
        """
        audit = self._audit
        if audit is None or not audit.is_due:
            return
        answer = audit.answer
        assert answer is not None
        record, sequence = self._record, answer.sequence
        record.keep_audit(answer, output)
        ts = max(ts, answer.ts_recv)
        try:
            compared, proof = audit.compare()
        except BooksDiffer as error:
            self._end(UNEQUAL, ts, output, sequence, detail=tell_difference(error))
            told = f"{record.symbol} {record.stream}: an audit at sequence {sequence}: {error}"
            error.args = (told,)
            raise
        except BookOverflow as error:
            self._give_up(str(error), ts, output, sequence)
            return
        if proof.is_partial and not compared:
            self._give_up("no level is known to both", ts, output, sequence)
            return
        self._end(EQUAL, ts, output, sequence, compared=compared)
        if audit.place.sequence == record.place.sequence:
            # It may stand in a silence, behind the last message; what is known then is covered.
            record.cover_silence(output)
            if audit.began.sequence == record.place.sequence:
                proof = replace(proof, place=record.place)
        self._proof = proof

    def check(self, ts: int, sequence: int, output: Output) -> Silent | None:
        """Look at the audit under way while the stream stands at a sequence.

        Returns
        -------
        Silent or None   when the stream is proven to be
        """
        if (older := self._older.prove(sequence)) is not None:
            self.on_book_lost(ts, "silent", output)
            return Silent(self._record.symbol, self._record.stream, sequence, older)
        audit = self._audit
        found = audit.check(sequence) if audit is not None else ""
        if not found:
            return None
        assert audit is not None
        if found != "silent":
            self._give_up(found, ts, output)
            return None
        assert audit.answer is not None
        theirs = audit.answer.sequence
        self._give_up("the stream is silent", ts, output, theirs)
        return Silent(self._record.symbol, self._record.stream, sequence, theirs)

    def last_right(self, difference: BooksDiffer) -> Place | None:
        """Return where the book was last proven right in what is wrong now."""
        if self._proof is not None and self._proof.covers(difference):
            return self._proof.place
        return self._seed

    def _give_up(self, why: str, ts: int, output: Output, sequence: int | None = None) -> None:
        self._end(INCONCLUSIVE, ts, output, sequence, detail=tell_reason(why))

    def _end(
        self,
        result: str,
        ts: int,
        output: Output,
        sequence: int | None,
        *,
        compared: int = 0,
        detail: str | None = None,
    ) -> None:
        self._audit = None
        record = self._record
        self._verdict_ts = max(record.clock.advance(ts), self._verdict_ts + 1)
        output.counts[f"audit_{result}"] += 1
        verdict = (self._verdict_ts, sequence, result, compared, detail)
        output.touch(Audited(record.symbol, record.stream, *verdict))
