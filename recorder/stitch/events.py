"""The facts a stitcher is told, named in the past tense.

Every time is `ts_recv`, int64 nanoseconds UTC, taken by the shell at the socket: the stitcher
itself reads no clock.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


@dataclass(slots=True, eq=False)
class UpdateBatch:
    """Messages of one (symbol, book stream), as columns, in order of receipt.

    Compared by identity: two batches with equal numbers are still two deliveries. The stitcher
    never writes to the arrays and may keep the batch for as long as it holds one of its messages.

    Parameters
    ----------
    ts_recv : int64[n]
        When each message arrived, ns UTC.
    sequence_start, sequence_end : int64[n]
        First and last venue number the message stands for, both included.
    row_start : int64[n + 1]
        Rows of message i are `row_start[i]:row_start[i + 1]`. The decoder gives every message at
        least one row.
    sequence : int64[rows]
        Number of each row, ascending inside one message and within its start and end.
    rows : object
        The column payload. Opaque: the stitcher never looks inside.
    """

    ts_recv: npt.NDArray[np.int64]
    sequence_start: npt.NDArray[np.int64]
    sequence_end: npt.NDArray[np.int64]
    row_start: npt.NDArray[np.int64]
    sequence: npt.NDArray[np.int64]
    rows: object

    def __len__(self) -> int:
        """Return the number of messages."""
        return len(self.ts_recv)


@dataclass(frozen=True, slots=True)
class StreamUp:
    """The first connection that carries the stream came up."""

    ts_recv: int


@dataclass(frozen=True, slots=True)
class Update:
    """One message arrived: message `index` of `batch`."""

    batch: UpdateBatch
    index: int

    @property
    def ts_recv(self) -> int:
        """When the message arrived, ns UTC."""
        return int(self.batch.ts_recv[self.index])

    @property
    def sequence_start(self) -> int:
        """First number the message stands for."""
        return int(self.batch.sequence_start[self.index])

    @property
    def sequence_end(self) -> int:
        """Last number the message stands for."""
        return int(self.batch.sequence_end[self.index])


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A full book at one sequence arrived.

    `request_id` is None where nobody recorded the question (a capture): such an answer is taken
    as asked for. `payload` is the book itself, opaque to the stitcher.
    """

    ts_recv: int
    sequence: int
    request_id: int | None
    payload: object


@dataclass(frozen=True, slots=True)
class SnapshotFailed:
    """A snapshot request ended without a book: refused, timed out, or unreadable."""

    ts_recv: int
    request_id: int


@dataclass(frozen=True, slots=True)
class Timer:
    """The timer started under `timer_id` ran out."""

    ts_recv: int
    timer_id: int


@dataclass(frozen=True, slots=True)
class StreamDown:
    """The last connection that carried the stream went away; `reason` is a gap reason."""

    ts_recv: int
    reason: str


Event = StreamUp | Update | Snapshot | SnapshotFailed | Timer | StreamDown
