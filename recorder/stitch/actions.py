"""The decisions a stitcher takes, named as commands for the shell to carry out in order."""

from __future__ import annotations

from dataclasses import dataclass

from recorder.stitch.events import Snapshot, UpdateBatch


@dataclass(frozen=True, slots=True)
class RequestSnapshot:
    """Ask the venue for a full book and answer with `Snapshot` or `SnapshotFailed`.

    Ids count 1, 2, 3, … over the life of one stitcher and at most one request is outstanding.
    The shell may delay the question to space requests; it must answer it in the end.
    """

    request_id: int


@dataclass(frozen=True, slots=True)
class StartTimer:
    """Start the first-update timer and answer with `Timer` when it runs out."""

    timer_id: int


@dataclass(frozen=True, slots=True)
class WriteSnapshot:
    """Write the full book; it replaces whatever the live book held."""

    snapshot: Snapshot


@dataclass(frozen=True, slots=True)
class WriteUpdates:
    """Write messages `first` up to, not including, `last` of `batch`.

    Rows with `sequence <= after_sequence` are dropped one by one: the book already has them. Only
    message `first` can contain such rows. If none of its rows remain, although its `sequence_end`
    is beyond `after_sequence`, one price-0 row is written so that the sequence still advances.
    """

    batch: UpdateBatch
    first: int
    last: int
    after_sequence: int


@dataclass(frozen=True, slots=True)
class WriteGap:
    """Open a gap: from here on the book is unknown.

    Parameters
    ----------
    reason : str
        One of the gap reasons of the archive.
    ts_from : int
        Known time of the last good row, ns UTC.
    sequence_expected : int
        The number that should have come next.
    ts_detected : int
        When the loss was noticed, ns UTC; never before `ts_from`.
    sequence_detected : int or None
        First number of the message that showed the loss, None where no message did.
    """

    reason: str
    ts_from: int
    sequence_expected: int
    ts_detected: int
    sequence_detected: int | None


@dataclass(frozen=True, slots=True)
class HealGap:
    """Close the open gap: the snapshot just written made the book valid again.

    `ts_to` is that snapshot's known time, ns UTC, and `sequence_received` its sequence.
    """

    ts_to: int
    sequence_received: int


@dataclass(frozen=True, slots=True)
class Audit:
    """Compare this full book with the live one; do not apply it."""

    snapshot: Snapshot


Action = RequestSnapshot | StartTimer | WriteSnapshot | WriteUpdates | WriteGap | HealGap | Audit
