"""What is kept of one book stream: its rows in their order, and the ledger of when it is known."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from recorder.book import L2Book, L3Book
from recorder.pipeline.book_rows import full_book_rows
from recorder.pipeline.columns import last_flags
from recorder.pipeline.decode import Book
from recorder.pipeline.keyframes import KeyframeSpacing
from recorder.pipeline.known_clock import KnownClock
from recorder.pipeline.output import (
    RUN_ENDS,
    FullBook,
    Gap,
    Int64Array,
    Interval,
    Output,
    Rows,
)
from recorder.stitch.events import Snapshot, UpdateBatch


@dataclass(frozen=True, slots=True)
class Place:
    """The end of a message of a covered interval: an interval can be cut off here.

    Attributes
    ----------
    ordinal, ts, sequence : int   of the last row, `ts` from when it is known
    messages, rows : int          of the interval up to there
    """

    ordinal: int
    ts: int
    sequence: int
    messages: int
    rows: int

    @classmethod
    def at_end_of(cls, interval: Interval) -> Place:
        """Return where an interval ends now."""
        assert interval.sequence_last is not None
        return cls(
            interval.ordinal_last,
            interval.ts_to,
            interval.sequence_last,
            interval.messages,
            interval.rows,
        )

    def cut(self, interval: Interval) -> None:
        """Let an interval end here."""
        interval.ordinal_last = self.ordinal
        interval.ts_to = self.ts
        interval.sequence_last = self.sequence
        interval.messages = self.messages
        interval.rows = self.rows


class BookRecord:
    """Rows, ordinals, known times, intervals and gaps of one book stream.

    Parameters
    ----------
    symbol, stream : str   stream is l2 or l3

    Attributes
    ----------
    clock : KnownClock          from when its rows are known
    spacing : KeyframeSpacing   how far the rows have come since the last full book
    next_ordinal : int          rows so far
    """

    def __init__(self, symbol: str, stream: str) -> None:
        self.symbol = symbol
        self.stream = stream
        self.clock = KnownClock()
        self.spacing = KeyframeSpacing()
        self.next_ordinal = 0
        self._dataset = "l2_updates" if stream == "l2" else "l3_events"
        self._interval: Interval | None = None
        self._gap: Gap | None = None
        self._kept_sequence = -1  # of the venue's newest full book among the rows

    @property
    def is_covered(self) -> bool:
        """Whether the book is known now."""
        return self._interval is not None and self._interval.is_open

    @property
    def place(self) -> Place:
        """Where the interval ends now; only once there is one."""
        assert self._interval is not None
        return Place.at_end_of(self._interval)

    def begin(self, snapshot: Snapshot, output: Output) -> None:
        """Write the venue's book that begins an interval."""
        entry = self._write_venue_book("rest", self.next_ordinal, snapshot, output)
        self.next_ordinal += 1
        self.spacing.restart(entry.ts)
        self._interval = Interval(
            self.symbol,
            self.stream,
            entry.ordinal,
            entry.ordinal,
            entry.ts,
            entry.ts,
            snapshot.sequence,
            snapshot.sequence,
            rows=len(output.rows[-1]),
        )
        output.touch(self._interval)

    def end(
        self, reason: str, ts_detected: int, output: Output, right_until: Place | None = None
    ) -> None:
        """End the open interval at its last good row, where a gap begins.

        The end of a run is told by the run itself: its gap is written only if the stream comes up
        again in this run, or by the next run.

        Parameters
        ----------
        right_until : Place or None   where the book was right for certain, if not to the last row
        """
        interval = self._interval
        assert interval is not None
        assert interval.sequence_last is not None
        interval.is_open = False
        if right_until is not None:
            right_until.cut(interval)
        output.touch(interval)
        self._gap = Gap(
            self.symbol,
            self.stream,
            interval.ordinal_last,
            reason,
            interval.ts_to,
            self.clock.advance(ts_detected),
            interval.sequence_last + 1,
        )
        if reason not in RUN_ENDS:
            output.touch(self._gap)

    def heal(self, sequence_received: int | None, output: Output) -> None:
        """End the gap where the interval behind it begins; nothing where there was none."""
        if self._gap is not None:
            assert self._interval is not None
            self._gap.ts_to = self._interval.ts_from
            self._gap.sequence_received = sequence_received
            self._gap.healed_by = "snapshot"
            output.touch(self._gap)
            self._gap = None

    def cover_silence(self, output: Output) -> None:
        """Let the interval last until now: behind its last message, nothing has been missed."""
        interval = self._interval
        if interval is not None:
            interval.ts_to = max(interval.ts_to, self.clock.now)
            output.touch(interval)

    def write_audit(self, snapshot: Snapshot, output: Output) -> None:
        """Keep a full book that is not applied: readers compare theirs with it at its sequence."""
        self._write_venue_book("audit", self.next_ordinal - 1, snapshot, output)

    def keep_audit(self, answer: Snapshot, output: Output) -> None:
        """Keep the answer to an audit, unless a book of the venue's at this sequence stands there.

        A quiet book is audited again and again; its rows would be the same.
        """
        if answer.sequence != self._kept_sequence:
            self.write_audit(answer, output)

    def write_keyframe(self, book: L2Book | L3Book, output: Output) -> None:
        """Write the live book behind the row that was written last."""
        known = self.clock.now
        entry = FullBook("keyframe", self.next_ordinal - 1, known, book.sequence)
        bounds: dict[str, Any] = {}
        if isinstance(book, L2Book):
            bounds = {"known_bid_from": book.known_bid_from, "known_ask_to": book.known_ask_to}
        rows = full_book_rows(self.symbol, self.stream, book.rows(), entry, ts_recv=known, **bounds)
        output.rows.append(rows)
        self.spacing.restart(known)

    def write_changes(
        self,
        columns: dict[str, Any],
        batch: UpdateBatch,
        first: int,
        last: int,
        output: Output,
        *,
        is_public: bool,
    ) -> Int64Array:
        """Write whole messages of a batch; public ones extend the interval.

        Parameters
        ----------
        columns : dict      of their rows, `sequence_end` among them; times and places are added
        first, last : int   the messages
        is_public : bool    they have their place in the sequence of the stream

        Returns
        -------
        int64[rows]   from when each row is known, ns
        """
        counts = np.diff(batch.row_start[first : last + 1])
        ts_recv = batch.ts_recv[first:last]
        known = np.repeat(self.clock.advance_all(ts_recv), counts)
        begin, self.next_ordinal = self.next_ordinal, self.next_ordinal + len(known)
        self.spacing.changes += len(known)
        columns["ts_recv"] = np.repeat(ts_recv, counts)
        columns["held_ns"] = known - columns["ts_recv"]
        columns["ordinal"] = np.arange(begin, self.next_ordinal, dtype=np.int64)
        if self.stream == "l2":
            columns["sequence_start"] = np.repeat(batch.sequence_start[first:last], counts)
            columns["is_last"] = last_flags(counts)
        else:
            del columns["sequence_end"]  # an event is a message
        output.rows.append(Rows(self._dataset, self.symbol, self.stream, columns, known))
        interval = self._interval
        if is_public and interval is not None:
            interval.ordinal_last = self.next_ordinal - 1
            interval.ts_to = int(known[-1])
            interval.sequence_last = int(batch.sequence_end[last - 1])
            interval.messages += last - first
            interval.rows += len(known)
            output.touch(interval)
        return known

    def _write_venue_book(
        self, origin: str, ordinal: int, snapshot: Snapshot, output: Output
    ) -> FullBook:
        book = snapshot.payload
        assert isinstance(book, Book)
        known = self.clock.advance(snapshot.ts_recv)
        entry = FullBook(origin, ordinal, known, snapshot.sequence)
        self._kept_sequence = snapshot.sequence
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
        return entry
