"""One book stream of one symbol: stitcher, live book, ordinals, keyframes, ledger."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from recorder.book import BookOverflow, BooksDiffer, L2Book, L3Book
from recorder.pipeline.auditing import (
    Auditing,
    Place,
    Proof,
    Silent,
    tell_difference,
    tell_reason,
)
from recorder.pipeline.book_rows import full_book_rows
from recorder.pipeline.columns import fitting_rows, last_flags, without_rows_to
from recorder.pipeline.crossed import Crossed, CrossedWatch
from recorder.pipeline.decode import Book
from recorder.pipeline.keyframes import KeyframeSpacing
from recorder.pipeline.known_clock import KnownClock
from recorder.pipeline.output import (
    EQUAL,
    INCONCLUSIVE,
    UNEQUAL,
    ArmTimer,
    AskAudit,
    Audited,
    FullBook,
    Gap,
    Int64Array,
    Interval,
    Output,
    RequestBook,
    Reseed,
    Resubscribe,
    Rows,
)
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

# Ends that are no loss: what stands between two runs is settled when the next one begins.
RUN_ENDS = frozenset({"stopped", "crashed", "source"})


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
        self._clock = KnownClock()
        self._next_ordinal = 0
        self._interval: Interval | None = None
        self._gap: Gap | None = None
        self._spacing = KeyframeSpacing()
        self._writing = 0  # message of the batch being written, for whoever catches an overflow
        self._suspect = ""
        self._reseeding = Reseeding()
        self._auditing: Auditing | None = None
        self._audit_ts = 0  # of the last verdict
        self._crossed = CrossedWatch()
        # Of the interval in force: where the venue's own book began it, and the last proof since.
        self._seed: Place | None = None
        self._proof: Proof | None = None
        self._kept_sequence = -1  # of the venue's newest full book among the rows

    @property
    def dataset(self) -> str:
        """The dataset of this stream's changes."""
        return "l2_updates" if self.stream == "l2" else "l3_events"

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
            stop = self._reseeding.stop(batch, first)
            if self._auditing is not None:
                stop = min(stop, self._auditing.stop(batch, first))
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

    def on_audit_asked(self, output: Output) -> None:
        """Copy the live book, if there is one, and want the venue's to compare it with.

        One at a time: an answer that waits for the stream may be about to prove it silent.
        """
        if self._auditing is not None:
            output.counts["audit_under_way"] += 1
        elif self._is_covered:
            assert self._interval is not None
            self._auditing = Auditing(self.book, Place.at_end_of(self._interval))
            output.commands.append(AskAudit(self.symbol, self.stream, self._next_ordinal))
        else:
            output.counts["audit_uncovered"] += 1

    def on_audit_answered(self, answer: Snapshot, output: Output) -> None:
        """Take in the venue's book: it is compared as soon as the stream has reached it."""
        if self._auditing is None:
            output.counts["audit_ignored"] += 1
            return
        try:
            why = self._auditing.take(answer)
        except BookOverflow as error:
            why = str(error)
        if why:
            ts, told = answer.ts_recv, tell_reason(why)
            self._end_audit(INCONCLUSIVE, ts, output, sequence=answer.sequence, detail=told)
        self._meet_answers(answer.ts_recv, output)

    def on_audit_failed(self, ts: int, why: str, output: Output) -> None:
        """Note that there will be no book to compare with."""
        if self._auditing is not None and self._auditing.answer is None:
            self._end_audit(INCONCLUSIVE, ts, output, detail=tell_reason(why))

    def on_check(self, ts: int, output: Output) -> None:
        """Look at the book, at the end of a message, and at the audit that goes on."""
        if self._is_covered:
            assert self._interval is not None
            if self._crossed.look(self.book, Place.at_end_of(self._interval)):
                crossed = Crossed(self.symbol, self.stream)
                self._quarantine(ts, crossed, output, "crossed", self._crossed.sound)
        if (audit := self._auditing) is None:
            return
        found = audit.check(self.book.sequence)
        if found == "silent":
            assert audit.answer is not None
            ours, theirs = self.book.sequence, audit.answer.sequence
            told = tell_reason("the stream is silent")
            self._end_audit(INCONCLUSIVE, ts, output, sequence=theirs, detail=told)
            silent = Silent(self.symbol, self.stream, ours, theirs)
            self._quarantine(ts, silent, output, "silent")
            output.commands.append(Resubscribe(self.symbol, self.stream))
        elif found:
            self._end_audit(INCONCLUSIVE, ts, output, detail=tell_reason(found))

    def write_private(self, batch: UpdateBatch, output: Output) -> None:
        """Write events that take no public sequence: rows without continuity, outside the book."""
        self._write_rows(batch, 0, len(batch), output)

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
    def _is_covered(self) -> bool:
        """Whether there is a book in force."""
        return self._interval is not None and self._interval.is_open

    @property
    def _is_partial(self) -> bool:
        """Whether the book in force knows only some of the venue's levels."""
        return (
            self._is_covered and isinstance(self.book, L2Book) and self.book.known_left is not None
        )

    def _ask_for_depth(self, output: Output) -> None:
        """Want to know more levels when the touch has come near a bound."""
        if not self._reseeding.wanted and self._is_near_bound and self._is_partial:
            self._reseeding.wanted = True
            output.commands.append(Reseed(self.symbol, self.stream, self._next_ordinal))

    def _meet_answers(self, ts: int, output: Output) -> None:
        """Do what is due where the stream has reached an answer."""
        self._widen_if_due(ts, output)
        if self._auditing is not None and self._auditing.is_due:
            self._compare_books(self._auditing, ts, output)

    def _compare_books(self, audit: Auditing, ts: int, output: Output) -> None:
        """Compare the copy with the answer it has reached.

        What differs has been wrong since some moment behind the last proof of the contrary. The
        rows from there stay where they are, and nothing claims any more that they are the book.
        """
        answer = audit.answer
        assert answer is not None
        self._keep_audit(answer, output)
        ts = max(ts, answer.ts_recv)
        try:
            compared, proof = audit.compare()
        except BooksDiffer as error:
            self._end_audit(
                UNEQUAL, ts, output, sequence=answer.sequence, detail=tell_difference(error)
            )
            told = f"{self.symbol} {self.stream}: an audit at sequence {answer.sequence}: {error}"
            error.args = (told,)
            self._quarantine(ts, error, output, "drift", self._last_right(error))
            return
        except BookOverflow as error:
            self._end_audit(
                INCONCLUSIVE, ts, output, sequence=answer.sequence, detail=tell_reason(str(error))
            )
            return
        is_partial = proof.known_bid_from is not None or proof.known_ask_to is not None
        if is_partial and not compared:
            why = tell_reason("no level is known to both")
            self._end_audit(INCONCLUSIVE, ts, output, sequence=answer.sequence, detail=why)
            return
        self._end_audit(EQUAL, ts, output, sequence=answer.sequence, compared=compared)
        interval = self._interval
        assert interval is not None
        if proof.place.sequence == interval.sequence_last:
            # It may stand in a silence, behind the last message; what is known then is covered.
            interval.ts_to = max(interval.ts_to, self._clock.now)
            output.touch(interval)
            proof = replace(proof, place=Place.at_end_of(interval))
        self._proof = proof

    def _last_right(self, difference: BooksDiffer) -> Place | None:
        """Return where the book was last proven right in what is wrong now."""
        if self._proof is not None and self._proof.covers(difference):
            return self._proof.place
        return self._seed

    def _end_audit(
        self,
        result: str,
        ts: int,
        output: Output,
        *,
        sequence: int | None = None,
        compared: int = 0,
        detail: str | None = None,
    ) -> None:
        self._auditing = None
        self._audit_ts = max(self._clock.advance(ts), self._audit_ts + 1)
        output.counts[f"audit_{result}"] += 1
        output.touch(
            Audited(self.symbol, self.stream, self._audit_ts, sequence, result, compared, detail)
        )

    @property
    def _widens_now(self) -> bool:
        """Whether a re-seed is to be merged here, at the end of a message.

        Not before the first change behind a full book: a keyframe has the ordinal of the change
        before it, and there is only one of an ordinal.
        """
        due = self._reseeding.is_due(self.book.sequence)
        return due and self._spacing.changes > 0

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
        self._write_audit(answer, output)
        try:
            book.widen(self._reseeding.finish(book.sequence))
        except BooksDiffer as error:
            ts = max(ts, answer.ts_recv)
            self._quarantine(ts, error, output, "drift", self._last_right(error))
        except (BookOverflow, JournalTooLong) as error:
            output.incidents.append(f"{self.symbol} {self.stream}: a re-seed is of no use: {error}")
            self._keyframe_if_due(output)
        else:
            self._write_keyframe(output)
            # It may stand in a silence, behind the last message; what is known then is covered.
            if self._interval is not None:
                self._interval.ts_to = max(self._interval.ts_to, self._clock.now)
                output.touch(self._interval)

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
        if self._interval is not None and self._interval.is_open:
            self._end_interval(reason, ts, output, right_until)
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
                        self._write_audit(action.snapshot, output)
                case WriteGap():
                    self._open_gap(action, output)
                case HealGap():
                    self._heal_gap(action, output)
                case RequestSnapshot():
                    asked = (self.symbol, self.stream, action.request_id, self._next_ordinal)
                    output.commands.append(RequestBook(*asked))
                case StartTimer():
                    output.commands.append(ArmTimer(self.symbol, self.stream, action.timer_id))

    def _open_gap(self, action: WriteGap, output: Output) -> None:
        reason = action.reason
        if reason == "sequence" and self._suspect:
            reason = self._suspect
        self._end_interval(reason, action.ts_detected, output)

    def _end_interval(
        self, reason: str, ts_detected: int, output: Output, right_until: Place | None = None
    ) -> None:
        """End the open interval at its last good row, where a gap begins.

        The end of a run is told by the run itself: its gap is written only if the stream comes up
        again in this run, or by the next run.
        """
        interval = self._interval
        assert interval is not None
        assert interval.sequence_last is not None
        if self._auditing is not None:
            told = tell_reason(f"the book was lost: {reason}")
            self._end_audit(INCONCLUSIVE, ts_detected, output, detail=told)
        interval.is_open = False
        if right_until is not None:
            right_until.cut(interval)
        self._reseeding.drop()
        output.touch(interval)
        self._gap = Gap(
            self.symbol,
            self.stream,
            interval.ordinal_last,
            reason,
            interval.ts_to,
            self._clock.advance(ts_detected),
            interval.sequence_last + 1,
        )
        if reason not in RUN_ENDS:
            output.touch(self._gap)

    def _heal_gap(self, action: HealGap, output: Output) -> None:
        if self._gap is not None:
            assert self._interval is not None
            self._gap.ts_to = self._interval.ts_from
            self._gap.sequence_received = action.sequence_received
            self._gap.healed_by = "snapshot"
            output.touch(self._gap)
            self._gap = None

    def _write_snapshot(self, snapshot: Snapshot, output: Output) -> None:
        book = snapshot.payload
        assert isinstance(book, Book)
        # May overflow, so before any row.
        if isinstance(self.book, L2Book):
            bounds = book.known_bid_from, book.known_ask_to
            self.book.load(book.columns, snapshot.sequence, *bounds)
        else:
            self.book.load(book.columns, snapshot.sequence)
        known = self._clock.advance(snapshot.ts_recv)
        entry = FullBook("rest", self._next_ordinal, known, snapshot.sequence)
        self._next_ordinal += 1
        rows = full_book_rows(
            self.symbol,
            self.stream,
            book.columns,
            entry,
            ts_recv=snapshot.ts_recv,
            ts_event=book.ts_event,
            known_bid_from=book.known_bid_from,
            known_ask_to=book.known_ask_to,
        )
        output.rows.append(rows)
        self._spacing.restart(known)
        self._interval = Interval(
            self.symbol,
            self.stream,
            entry.ordinal,
            entry.ordinal,
            known,
            known,
            snapshot.sequence,
            snapshot.sequence,
            rows=len(rows),
        )
        output.touch(self._interval)
        self._seed = Place.at_end_of(self._interval)
        self._proof = None
        self._kept_sequence = snapshot.sequence
        self._crossed.restart(self.book, self._seed)
        if snapshot.request_id is None and self._is_partial:
            self._reseeding.begin(snapshot.sequence)

    def _write_audit(self, snapshot: Snapshot, output: Output) -> None:
        """Keep a full book that is not applied: readers compare theirs with it at its sequence."""
        book = snapshot.payload
        assert isinstance(book, Book)
        known = self._clock.advance(snapshot.ts_recv)
        entry = FullBook("audit", self._next_ordinal - 1, known, snapshot.sequence)
        self._kept_sequence = snapshot.sequence
        output.rows.append(
            full_book_rows(
                self.symbol,
                self.stream,
                book.columns,
                entry,
                ts_recv=snapshot.ts_recv,
                ts_event=book.ts_event,
                known_bid_from=book.known_bid_from,
                known_ask_to=book.known_ask_to,
            )
        )

    def _keep_audit(self, answer: Snapshot, output: Output) -> None:
        """Write the answer to an audit, unless a book of the venue's at this sequence stands there.

        A quiet book is audited again and again; its rows would be the same.
        """
        if answer.sequence != self._kept_sequence:
            self._write_audit(answer, output)

    def _write_keyframe(self, output: Output) -> None:
        assert self._interval is not None
        known = self._clock.now
        entry = FullBook("keyframe", self._next_ordinal - 1, known, self.book.sequence)
        bounds: dict[str, Any] = {}
        if isinstance(self.book, L2Book):
            bounds["known_bid_from"] = self.book.known_bid_from
            bounds["known_ask_to"] = self.book.known_ask_to
        rows = self.book.rows()
        output.rows.append(
            full_book_rows(self.symbol, self.stream, rows, entry, ts_recv=known, **bounds)
        )
        self._spacing.restart(known)

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
        days = self._clock.peek(batch.ts_recv[first:last]) // NS_PER_DAY
        if int(days[0]) != self._spacing.day:
            return first + 1
        last = first + int(np.searchsorted(days, days[0], "right"))
        last = self._fitting(batch, first, last)
        rows = self._spacing.rows_left(self.live)
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
        if self._spacing.is_due(self._clock.now, self.live):
            self._write_keyframe(output)

    def _write_rows(self, batch: UpdateBatch, first: int, last: int, output: Output) -> None:
        """Write whole messages, apply them to the live book, extend the interval."""
        begin, end = int(batch.row_start[first]), int(batch.row_start[last])
        counts = np.diff(batch.row_start[first : last + 1])
        ts_recv = batch.ts_recv[first:last]
        known_by_message = self._clock.advance_all(ts_recv)
        source = batch.rows
        assert isinstance(source, dict)
        columns: dict[str, Any] = {name: values[begin:end] for name, values in source.items()}
        columns["sequence"] = batch.sequence[begin:end]
        columns["sequence_end"] = np.repeat(batch.sequence_end[first:last], counts)
        public = self.stream == "l2" or columns["kind"][0] not in {"stop", "activate"}
        if public:
            self.book.apply(columns)
            self._reseeding.record(columns["sequence"], columns)
        known = np.repeat(known_by_message, counts)
        columns["ts_recv"] = np.repeat(ts_recv, counts)
        columns["held_ns"] = known - columns["ts_recv"]
        columns["ordinal"] = np.arange(
            self._next_ordinal, self._next_ordinal + end - begin, dtype=np.int64
        )
        if self.stream == "l2":
            columns["sequence_start"] = np.repeat(batch.sequence_start[first:last], counts)
            columns["is_last"] = last_flags(counts)
        if public and self._auditing is not None:
            self._auditing.record(columns, columns["sequence_end"], known)
        if self.stream == "l3":
            del columns["sequence_end"]
        self._next_ordinal += end - begin
        self._spacing.changes += end - begin
        output.rows.append(Rows(self.dataset, self.symbol, self.stream, columns, known))
        if public and self._interval is not None:
            self._extend(self._interval, known, batch, first, last, output)

    def _extend(
        self,
        interval: Interval,
        known: Int64Array,
        batch: UpdateBatch,
        first: int,
        last: int,
        output: Output,
    ) -> None:
        interval.ordinal_last = self._next_ordinal - 1
        interval.ts_to = int(known[-1])
        interval.sequence_last = int(batch.sequence_end[last - 1])
        interval.messages += last - first
        interval.rows += len(known)
        output.touch(interval)
