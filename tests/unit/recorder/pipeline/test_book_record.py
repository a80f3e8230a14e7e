"""Rows and ledger of one book stream, without a stitcher or a book."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from recorder.pipeline.book_record import BookRecord, Place
from recorder.pipeline.decode import Book
from recorder.pipeline.output import NO_TIME, Gap, Interval, Output
from recorder.stitch.events import Snapshot, UpdateBatch


def snapshot(sequence: int, ts: int) -> Snapshot:
    """Return a venue's book of no level."""
    return Snapshot(ts, sequence, 1, Book(NO_TIME, {"side": np.zeros(0, np.int8)}))


def messages(*received: int, rows: int = 2, first: int = 11) -> tuple[dict[str, Any], UpdateBatch]:
    """Return messages of some rows each, with a number a row."""
    n = len(received)
    starts = np.arange(n, dtype=np.int64) * rows + first
    sequence = np.arange(n * rows, dtype=np.int64) + first
    row_start = np.arange(n + 1, dtype=np.int64) * rows
    ends = starts + rows - 1
    columns = {"sequence": sequence, "sequence_end": np.repeat(ends, rows)}
    batch = UpdateBatch(np.array(received, np.int64), starts, ends, row_start, sequence, {})
    return columns, batch


def covered() -> tuple[BookRecord, Output]:
    """Return a record that a book at 10 began at 100 ns, and what that made."""
    record, output = BookRecord("A-B", "l2"), Output()
    record.begin(snapshot(10, 100), output)
    return record, output


def origins(output: Output) -> list[str]:
    """Return where each full book among the rows is from."""
    return [rows.full_book.origin for rows in output.rows if rows.full_book is not None]


def test_messages_extend_the_interval_and_no_ordinal_is_used_twice() -> None:
    record, output = covered()
    columns, batch = messages(90, 120)
    known = record.write_changes(columns, batch, 0, 2, output, is_public=True)
    assert known.tolist() == [100, 100, 120, 120], "known from the book on, though received before"
    assert columns["held_ns"].tolist() == [10, 10, 0, 0]
    assert columns["ordinal"].tolist() == [1, 2, 3, 4]
    assert columns["is_last"].tolist() == [False, True, False, True]
    assert record.place == Place(ordinal=4, ts=120, sequence=14, messages=2, rows=5)
    assert (record.next_ordinal, record.spacing.changes) == (5, 4)


def test_what_is_outside_the_sequence_is_a_row_and_proves_nothing() -> None:
    record, output = covered()
    before = record.place
    columns, batch = messages(120)
    record.write_changes(columns, batch, 0, 1, output, is_public=False)
    assert record.place == before
    assert record.next_ordinal == 3


def test_a_silence_is_covered_up_to_what_is_known_and_never_back() -> None:
    record, output = covered()
    record.clock.advance(500)
    record.cover_silence(output)
    assert record.place.ts == 500
    record.cover_silence(output)
    assert record.place.ts == 500


def test_an_interval_ends_where_the_book_was_right_and_the_gap_begins_there() -> None:
    record, output = covered()
    right = record.place
    columns, batch = messages(120)
    record.write_changes(columns, batch, 0, 1, output, is_public=True)
    record.end("drift", 300, output, right)
    assert not record.is_covered
    (interval,) = [entry for entry in output.ledger.values() if isinstance(entry, Interval)]
    assert Place.at_end_of(interval) == right
    (gap,) = [entry for entry in output.ledger.values() if isinstance(entry, Gap)]
    assert (gap.reason, gap.ts_from, gap.ts_detected, gap.ts_to) == ("drift", 100, 300, None)
    assert (gap.ordinal_from, gap.sequence_expected) == (0, 11)
    record.begin(snapshot(20, 400), output)
    record.heal(20, output)
    assert (gap.ts_to, gap.sequence_received, gap.healed_by) == (400, 20, "snapshot")
    assert record.is_covered


@pytest.mark.parametrize(("reason", "told"), [("stopped", 0), ("source", 0), ("sequence", 1)])
def test_the_end_of_a_run_is_a_gap_only_once_the_run_goes_on(reason: str, told: int) -> None:
    record, output = covered()
    record.end(reason, 300, output)
    assert sum(isinstance(entry, Gap) for entry in output.ledger.values()) == told
    record.begin(snapshot(20, 400), output)
    record.heal(20, output)
    assert sum(isinstance(entry, Gap) for entry in output.ledger.values()) == 1


def test_a_book_of_the_venues_that_stands_there_is_not_kept_again() -> None:
    record, output = covered()
    record.keep_audit(snapshot(10, 200), output)
    assert origins(output) == ["rest"]
    record.keep_audit(snapshot(12, 300), output)
    record.keep_audit(snapshot(12, 400), output)
    assert origins(output) == ["rest", "audit"]
