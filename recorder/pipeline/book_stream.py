"""One book stream of one symbol: its stitcher decides, its book follows, its record is written."""

from __future__ import annotations

from typing import Any

import numpy as np

from recorder.book import BookOverflow, BooksDiffer, L2Book, L3Book
from recorder.pipeline.book_audits import BookAudits
from recorder.pipeline.book_record import BookRecord, Place
from recorder.pipeline.columns import fitting_rows, without_rows_to
from recorder.pipeline.crossed import Crossed, CrossedWatch
from recorder.pipeline.decode import Book
from recorder.pipeline.output import ArmTimer, Output, RequestBook, Reseed, Resubscribe
from recorder.pipeline.reseed import RESEED_LEVELS, JournalTooLong, Reseeding
from recorder.stitch.actions import (
    Action,
    Audit,
    HealGap,
    RequestSnapshot,
    StartTimer,
    WriteGap,
    WriteSnapshot,
    WriteUpdates,
)
from recorder.stitch.events import (
    Event,
    Snapshot,
    StreamDown,
    StreamUp,
    Update,
    UpdateBatch,
)
from recorder.stitch.machine import ImpossibleEvent, Stitcher
from recorder.stitch.rules import ContinuityRule
from schemas.timestamps import NS_PER_DAY


class BookStream:
    """Turn one stream's events into rows.

    Parameters
    ----------
    symbol, stream : str   stream is l2 or l3
    rule : ContinuityRule
    buffer_updates_max : int   messages held while a snapshot is awaited
    """

    def __init__(
        self, symbol: str, stream: str, rule: ContinuityRule, buffer_updates_max: int
    ) -> None:
        self.symbol = symbol
        self.stream = stream
        self.stitcher = Stitcher(rule, symbol, stream, buffer_updates_max=buffer_updates_max)
        self.book: L2Book | L3Book = L2Book() if stream == "l2" else L3Book()
        self._record = BookRecord(symbol, stream)
        self.audits = BookAudits(self._record)
        self._writing = 0  # message of the batch being written, for whoever catches an overflow
        self._suspect = ""
        self._reseeding = Reseeding()
        self._crossed = CrossedWatch()

    @property
    def live(self) -> int:
        """Live levels (l2) or orders (l3)."""
        return self.book.levels if isinstance(self.book, L2Book) else self.book.orders

    def note_unreadable(self, reason: str) -> None:
        """Remember why a message may be missing: if the next one leaves a gap, that is its reason.

        Parameters
        ----------
        reason : str   decode (a message of this stream), garbage (a frame that may have been one)
        """
        self._suspect = reason

    def handle(self, event: Event, output: Output) -> None:
        """Take in one event and write what the stitcher decides."""
        try:
            self._carry_out(self.stitcher.handle(event), output)
        except (ImpossibleEvent, BookOverflow) as error:
            self._quarantine(event.ts_recv, error, output)
        self._meet_answers(event.ts_recv, output)
        self._ask_for_depth(output)

    def handle_updates(self, batch: UpdateBatch, output: Output) -> None:
        """Take in a batch of messages.

        What is accepted is written before the next message is judged: one that has to be
        quarantined then leaves the same rows and commands however the messages were batched.
        """
        first = 0
        while first < len(batch):
            stop = min(self._reseeding.stop(batch, first), self.audits.stop(batch, first))
            accepted, actions = self.stitcher.handle_batch(batch, first, stop)
            if not accepted:
                self.handle(Update(batch, first), output)
                first += 1
                continue
            try:
                self._carry_out(actions, output)
                first += accepted
            except BookOverflow as error:
                first = self._writing
                self._quarantine(int(batch.ts_recv[first]), error, output)
                first += 1
            self._meet_answers(int(batch.ts_recv[first - 1]), output)
        self._ask_for_depth(output)

    def on_reseed_asked(self) -> None:
        """Note that a book is being asked for to widen the bounds: changes from here on count."""
        if self._is_partial:
            self._reseeding.begin(self.book.sequence)

    def on_reseed_answered(self, answer: Snapshot, output: Output) -> bool:
        """Take in the answer; False if it is of no use."""
        taken = self._reseeding.take(answer, self.book.sequence)
        self._widen_if_due(answer.ts_recv, output)
        return taken

    def on_reseed_failed(self) -> None:
        """Note that there will be no answer: it may be asked again."""
        self._reseeding.fail()

    def on_audit_answered(self, answer: Snapshot, output: Output) -> None:
        """Take in the venue's book: it is compared as soon as the stream has reached it."""
        self.audits.on_answered(answer, output)
        self._meet_answers(answer.ts_recv, output)

    def on_check(self, ts: int, output: Output) -> int | None:
        """Look at the book, at the end of a message, and at the audit that goes on.

        Returns
        -------
        int or None   ns; until when the stream has told everything, where it has been found silent
            and is to be subscribed to anew
        """
        if self._record.is_covered and self._crossed.look(self.book, self._record.place):
            crossed = Crossed(self.symbol, self.stream)
            self._quarantine(ts, crossed, output, "crossed", self._crossed.sound)
        silent = self.audits.check(ts, self.book.sequence, output)
        if silent is None:
            return None
        told_until = self._record.place.ts
        self._quarantine(ts, silent, output, "silent")
        output.commands.append(Resubscribe(self.symbol, self.stream))
        return told_until

    def write_private(self, batch: UpdateBatch, output: Output) -> None:
        """Write events that take no public sequence: rows without continuity, outside the book."""
        self._write_rows(batch, 0, len(batch), output, is_public=False)

    def _is_reseed(self, answer: Snapshot) -> bool:
        """Take a book of a capture for the answer to a re-seed, where one would have been asked.

        Nobody recorded the question, so changes are kept from each such book to the next.
        """
        is_pending = self._reseeding.answer is not None
        if answer.request_id is not None or is_pending or not self._is_partial:
            return False
        sequence = self.book.sequence
        self._reseeding.begin(sequence)
        return self._is_near_bound and self._reseeding.take(answer, sequence)

    @property
    def _is_near_bound(self) -> bool:
        left = self.book.known_left if isinstance(self.book, L2Book) else None
        return left is not None and left < RESEED_LEVELS

    @property
    def _is_partial(self) -> bool:
        """Whether the book in force knows only some of the venue's levels."""
        return (
            self._record.is_covered
            and isinstance(self.book, L2Book)
            and self.book.known_left is not None
        )

    def _ask_for_depth(self, output: Output) -> None:
        """Want to know more levels when the touch has come near a bound."""
        if not self._reseeding.wanted and self._is_near_bound and self._is_partial:
            self._reseeding.wanted = True
            output.commands.append(Reseed(self.symbol, self.stream, self._record.next_ordinal))

    def _meet_answers(self, ts: int, output: Output) -> None:
        """Do what is due where the stream has reached an answer."""
        self._widen_if_due(ts, output)
        try:
            self.audits.compare_if_due(ts, output)
        except BooksDiffer as error:
            # The rows since then stay where they are, and nothing claims that they are the book.
            self._quarantine(ts, error, output, "drift", self.audits.last_right(error))

    @property
    def _widens_now(self) -> bool:
        """Whether a re-seed is to be merged here, at the end of a message.

        Not before the first change behind a full book: a keyframe has the ordinal of the change
        before it, and there is only one of an ordinal.
        """
        due = self._reseeding.is_due(self.book.sequence)
        return due and self._record.spacing.changes > 0

    def _widen_if_due(self, ts: int, output: Output) -> None:
        """Merge the answer to a re-seed once the stream has reached it.

        The answer itself stands in the rows as an audit, what came of it as a keyframe. Where both
        books are known and differ, ours has gone wrong unnoticed: that is a gap.
        """
        if not self._widens_now:
            return
        answer, book = self._reseeding.answer, self.book
        assert answer is not None
        assert isinstance(book, L2Book)
        self._record.write_audit(answer, output)
        try:
            book.widen(self._reseeding.finish(book.sequence))
        except BooksDiffer as error:
            ts = max(ts, answer.ts_recv)
            self._quarantine(ts, error, output, "drift", self.audits.last_right(error))
        except (BookOverflow, JournalTooLong) as error:
            output.incidents.append(f"{self.symbol} {self.stream}: a re-seed is of no use: {error}")
            self._keyframe_if_due(output)
        else:
            self._record.write_keyframe(self.book, output)
            # It may stand in a silence, behind the last message; what is known then is covered.
            self._record.cover_silence(output)

    def _quarantine(
        self,
        ts: int,
        error: Exception,
        output: Output,
        reason: str = "internal",
        right_until: Place | None = None,
    ) -> None:
        """Heal this one stream from a mistake, of ours where it is internal; tell its story.

        Parameters
        ----------
        right_until : Place or None   where the book was right for certain, if not to the last row
        """
        output.incidents.append(f"{error}\n{self.stitcher.story()}")
        if self.stitcher.state.value != "down":
            self.stitcher.handle(StreamDown(ts, reason))
        # Decisions that were not carried out are lost, so the ledger goes by what was written.
        if self._record.is_covered:
            self._lose_book(reason, ts, output, right_until)
        self._carry_out(self.stitcher.handle(StreamUp(ts)), output)

    def _carry_out(self, actions: list[Action], output: Output) -> None:
        for action in actions:
            match action:
                case WriteUpdates():
                    self._write_updates(action, output)
                case WriteSnapshot():
                    self._write_snapshot(action.snapshot, output)
                case Audit():
                    if not self._is_reseed(action.snapshot):
                        self._record.write_audit(action.snapshot, output)
                case WriteGap():
                    self._open_gap(action, output)
                case HealGap():
                    self._record.heal(action.sequence_received, output)
                case RequestSnapshot():
                    asked = (self.symbol, self.stream, action.request_id, self._record.next_ordinal)
                    output.commands.append(RequestBook(*asked))
                case StartTimer():
                    output.commands.append(ArmTimer(self.symbol, self.stream, action.timer_id))

    def _open_gap(self, action: WriteGap, output: Output) -> None:
        reason = action.reason
        if reason == "sequence" and self._suspect:
            reason = self._suspect
        self._lose_book(reason, action.ts_detected, output)

    def _lose_book(
        self, reason: str, ts_detected: int, output: Output, right_until: Place | None = None
    ) -> None:
        """Lose the book, and all that goes on with it."""
        self.audits.on_book_lost(ts_detected, reason, output)
        self._reseeding.drop()
        self._record.end(reason, ts_detected, output, right_until)

    def _write_snapshot(self, snapshot: Snapshot, output: Output) -> None:
        book = snapshot.payload
        assert isinstance(book, Book)
        # May overflow, so before any row.
        if isinstance(self.book, L2Book):
            bounds = book.known_bid_from, book.known_ask_to
            self.book.load(book.columns, snapshot.sequence, *bounds)
        else:
            self.book.load(book.columns, snapshot.sequence)
        self._record.begin(snapshot, output)
        self.audits.restart()
        self._crossed.restart(self.book, self._record.place)
        if snapshot.request_id is None and self._is_partial:
            self._reseeding.begin(snapshot.sequence)

    def _write_updates(self, action: WriteUpdates, output: Output) -> None:
        batch, first = action.batch, action.first
        self._writing = first
        row = int(batch.row_start[first])
        if int(batch.sequence[row]) <= action.after_sequence:
            trimmed = without_rows_to(batch, first, action.after_sequence)
            self._write_rows(trimmed, 0, 1, output)
            self._keyframe_if_due(output)
            first += 1
        while first < action.last:
            self._writing = first
            stop = self._next_stop(batch, first, action.last)
            self._write_rows(batch, first, stop, output)
            self._keyframe_if_due(output)
            first = stop
        self._suspect = ""

    def _next_stop(self, batch: UpdateBatch, first: int, last: int) -> int:
        """Return how far to write before a keyframe may be due; never past a point where it is.

        The stop does not depend on how messages were batched: keyframes follow from the changes.
        """
        days = self._record.clock.peek(batch.ts_recv[first:last]) // NS_PER_DAY
        if int(days[0]) != self._record.spacing.day:
            return first + 1
        last = first + int(np.searchsorted(days, days[0], "right"))
        last = self._fitting(batch, first, last)
        rows = self._record.spacing.rows_left(self.live)
        enough = int(np.searchsorted(batch.row_start, batch.row_start[first] + rows, "left"))
        return min(last, max(first + 1, enough))

    def _fitting(self, batch: UpdateBatch, first: int, last: int) -> int:
        """Return how far no number can overflow the book, one message at least.

        A message that may is so written by itself, and an overflow costs no other.
        """
        columns = batch.rows
        assert isinstance(columns, dict)
        begin, end = int(batch.row_start[first]), int(batch.row_start[last])
        price_scale, size_scale = self.book.price_scale, self.book.size_scale
        finest = {"price": price_scale, "size": size_scale, "remain_size": size_scale}
        for name, scale in finest.items():
            if f"{name}_scale" in columns:
                mantissas = columns[f"{name}_mantissa"][begin:end]
                scales = columns[f"{name}_scale"][begin:end]
                end = begin + fitting_rows(mantissas, scales, scale)
        return max(first + 1, int(np.searchsorted(batch.row_start, end, "right")) - 1)

    def _keyframe_if_due(self, output: Output) -> None:
        if self._widens_now:
            return  # the merge writes one
        if self._record.spacing.is_due(self._record.clock.now, self.live):
            self._record.write_keyframe(self.book, output)

    def _write_rows(
        self, batch: UpdateBatch, first: int, last: int, output: Output, *, is_public: bool = True
    ) -> None:
        """Write whole messages; public ones are applied to the live book."""
        begin, end = int(batch.row_start[first]), int(batch.row_start[last])
        source = batch.rows
        assert isinstance(source, dict)
        columns: dict[str, Any] = {name: values[begin:end] for name, values in source.items()}
        columns["sequence"] = batch.sequence[begin:end]
        ends = np.repeat(batch.sequence_end[first:last], np.diff(batch.row_start[first : last + 1]))
        columns["sequence_end"] = ends
        if is_public:
            self.book.apply(columns)  # may overflow, so before any row
            self._reseeding.record(columns["sequence"], columns)
        known = self._record.write_changes(columns, batch, first, last, output, is_public=is_public)
        if is_public:
            self.audits.record(columns, ends, known)
