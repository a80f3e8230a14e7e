"""From when rows are known: the running maximum of receipt, so a reader never looks ahead."""

from __future__ import annotations

import numpy as np

from recorder.pipeline.output import Int64Array


class KnownClock:
    """The known time of one (run, symbol, stream); it never runs backwards.

    A row held back behind a snapshot, or received after the wall clock stepped back, is known
    from the newest time already written; `held_ns` says by how much.
    """

    __slots__ = ("now",)

    def __init__(self) -> None:
        self.now = 0

    def advance(self, ts_recv: int) -> int:
        """Return the known time of one row received at `ts_recv`, ns."""
        self.now = max(self.now, ts_recv)
        return self.now

    def peek(self, ts_recv: Int64Array) -> Int64Array:
        """Return the known times of rows received in this order, without advancing."""
        known: Int64Array = np.maximum(np.maximum.accumulate(ts_recv), self.now)
        return known

    def advance_all(self, ts_recv: Int64Array) -> Int64Array:
        """Return the known times of rows received in this order."""
        known = self.peek(ts_recv)
        if len(known):
            self.now = int(known[-1])
        return known
