"""What the writer counts while it writes: plain numbers, each added to by one thread alone.

Whoever shows them takes a copy first. Nothing here depends on who looks, or whether anybody does.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from recorder.clock import monotonic_ns
from recorder.pipeline.output import INCONCLUSIVE, NO_TIME, Audited, Gap, Output
from recorder.pipeline.routes import Key
from recorder.raw_line import RawLine
from schemas.datasets import BOOK_STREAMS
from schemas.timestamps import NS_PER_S

# From half a millisecond to what the watchdog would call hung.
WRITE_BOUNDS_S = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)
# From the next room to an exchange, or a clock, that is far behind.
LAG_BOUNDS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0)
# A clock that is slewed drifts by half a millisecond a second, and some frame comes every few
# seconds: what is more than this in between is a step.
CLOCK_STEP_NS = 100_000_000
# What reaches us before the venue says it happened tells of a clock, not of a network.
VENUE_LAG_BOUNDS_S = (0.0, *LAG_BOUNDS_S)
# Gaps in trades that may be told of again, when they have been filled in: a reconnect of an
# exchange's whole list leaves one a symbol.
_CLOSED_GAPS_REMEMBERED = 4_096

Int64Array = npt.NDArray[np.int64]


class Tally:
    """A histogram: how many values fell under each bound, and their sum.

    Parameters
    ----------
    bounds_s : sequence of float   upper bounds, seconds, ascending; a last one is +Inf
    """

    def __init__(self, bounds_s: Sequence[float]) -> None:
        self.bounds_s = tuple(bounds_s)
        self.sum_s = 0.0
        self._bounds = np.array(bounds_s)
        self._counts = np.zeros(len(bounds_s) + 1, np.int64)

    def add(self, seconds: float) -> None:
        """Count one value."""
        self._counts[np.searchsorted(self._bounds, seconds)] += 1
        self.sum_s += seconds

    def add_all_ns(self, values: Int64Array) -> None:
        """Count values given in ns."""
        seconds = values / NS_PER_S
        places = np.searchsorted(self._bounds, seconds)
        self._counts += np.bincount(places, minlength=len(self._counts))
        self.sum_s += float(seconds.sum())

    @property
    def cumulative(self) -> list[tuple[str, int]]:
        """Return (bound, values at or under it), the last one "+Inf": all of them."""
        bounds = [*(str(bound) for bound in self.bounds_s), "+Inf"]
        return list(zip(bounds, np.cumsum(self._counts).tolist(), strict=True))


@dataclass(frozen=True, slots=True)
class LastRow:
    """The newest row of a stream: when it came, and when the venue says it happened, ns."""

    ts_recv: int
    ts_event: int | None


class Meters:
    """Everything counted of one run.

    Attributes
    ----------
    raw_bytes : int         bytes fsynced to the raw log
    durable : Counter       frames on disk by connection: what "acknowledged" means
    rows : Counter          rows made, by dataset
    parts, part_bytes : Counter   published, by dataset
    gaps : Counter          by (reason, stream), counted when one opens
    stream_gaps : Counter   the same gaps, by (symbol, stream)
    resyncs : Counter       by stream: gaps that a new book healed
    audits : Counter        books compared with the venue's, by (stream, result)
    last_audits : dict      by (symbol, stream): when a book was last compared to an end, ns
    reseeds : int           partial books that were asked for again because the price walked away
    commit_s, fsync_s, durable_lag_s : Tally
    checkpoint_s : Tally    what each checkpoint took, also one that the disk refused
    checkpoints_refused : int
    venue_lag_s : dict      by stream: from the venue's clock to ours
    last_rows : dict        by (symbol, stream)
    ts_frame : int          when the newest frame was received, ns UTC; 0 before the first
    clock_steps : Counter   forward and back: times the wall clock was set, or the machine slept
    clock_step_s : float    how far the last of them went; negative: back
    """

    def __init__(self) -> None:
        self.raw_bytes = 0
        self.durable: Counter[int] = Counter()
        self.rows: Counter[str] = Counter()
        self.parts: Counter[str] = Counter()
        self.part_bytes: Counter[str] = Counter()
        self.gaps: Counter[tuple[str, str]] = Counter()
        self.stream_gaps: Counter[Key] = Counter()
        self.resyncs: Counter[str] = Counter()
        self.audits: Counter[tuple[str, str]] = Counter()
        self.last_audits: dict[Key, int] = {}
        self.reseeds = 0
        self.commit_s = Tally(WRITE_BOUNDS_S)
        self.fsync_s = Tally(WRITE_BOUNDS_S)
        self.checkpoint_s = Tally(WRITE_BOUNDS_S)
        self.checkpoints_refused = 0
        self.durable_lag_s = Tally(LAG_BOUNDS_S)
        self.venue_lag_s: dict[str, Tally] = {}
        self.last_rows: dict[Key, LastRow] = {}
        self.ts_frame = 0
        self.clock_steps: Counter[str] = Counter()
        self.clock_step_s = 0.0
        self._clock_offset: int | None = None
        self._clocks_read = 0  # on the clock that only goes forward
        self._open_gaps: dict[Key, Gap] = {}
        self._closed_trade_gaps: dict[int, Gap] = {}  # by identity, which holding them keeps

    def count_durable(self, lines: Iterable[RawLine], raw_bytes: int) -> None:
        """Count lines that were fsynced just now."""
        self.raw_bytes += raw_bytes
        received = []
        line = None
        for line in lines:
            if line.kind == "recv":
                self.durable[line.connection] += 1
                received.append(line.ts_mono)
                self.ts_frame = line.ts_recv
            elif line.kind == "rest_answer" and line.fields.get("purpose") == "reseed":
                self.reseeds += 1
        if line is not None:
            self._note_clocks(line)
        if received:
            self.durable_lag_s.add_all_ns(monotonic_ns() - np.array(received, np.int64))

    def _note_clocks(self, line: RawLine) -> None:
        """Compare how far the two clocks are apart with what it was a commit before."""
        if line.ts_mono < self._clocks_read:
            return  # a line that was held back: stamped before the step, if there was one
        self._clocks_read = line.ts_mono
        offset = line.ts_recv - line.ts_mono
        before, self._clock_offset = self._clock_offset, offset
        if before is not None and abs(step := offset - before) > CLOCK_STEP_NS:
            self.clock_steps["forward" if step > 0 else "back"] += 1
            self.clock_step_s = step / NS_PER_S

    def count_output(self, output: Output) -> None:
        """Count what the pipeline made of lines."""
        # Joined before anything is computed: a commit of many symbols is many small batches.
        times: dict[str, list[tuple[Int64Array, Int64Array]]] = {}
        for batch in output.rows:
            self.rows[batch.dataset] += len(batch)
            if batch.full_book is not None:
                continue
            ts_recv, ts_event = batch.columns["ts_recv"], batch.columns.get("ts_event")
            last = None if ts_event is None else int(ts_event[-1])
            self.last_rows[batch.symbol, batch.stream] = LastRow(
                int(ts_recv[-1]), None if last == NO_TIME else last
            )
            if ts_event is not None:
                if "backfill" in batch.columns.get("source", ()):
                    # Asked for long after it happened: that says nothing of how late we are told.
                    is_filled_in = np.array([s == "backfill" for s in batch.columns["source"]])
                    ts_event = np.where(is_filled_in, NO_TIME, ts_event)
                times.setdefault(batch.stream, []).append((ts_recv, ts_event))
        for stream, pieces in times.items():
            received = np.concatenate([ts_recv for ts_recv, _ in pieces])
            said = np.concatenate([ts_event for _, ts_event in pieces])
            told = said != NO_TIME
            tally = self.venue_lag_s.setdefault(stream, Tally(VENUE_LAG_BOUNDS_S))
            tally.add_all_ns(received[told] - said[told])
        for entry in output.ledger.values():
            if isinstance(entry, Gap):
                self._count_gap(entry)
            elif isinstance(entry, Audited):
                self._count_audit(entry)

    def count_parts(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Count published parts by their rows of the catalog."""
        for row in rows:
            self.parts[row["dataset"]] += 1
            self.part_bytes[row["dataset"]] += row["bytes"]

    def _count_audit(self, audit: Audited) -> None:
        self.audits[audit.stream, audit.result] += 1
        if audit.result != INCONCLUSIVE and audit.stream in BOOK_STREAMS:
            self.last_audits[audit.symbol, audit.stream] = audit.ts

    def _count_gap(self, gap: Gap) -> None:
        """Count a gap once: when it is first told, which may be when it is already healed."""
        key = (gap.symbol, gap.stream)
        if gap.stream == "trades" and id(gap) in self._closed_trade_gaps:
            return  # told of again: what was missed has been filled in, or never will be
        if self._open_gaps.get(key) is not gap:
            self.gaps[gap.reason, gap.stream] += 1
            self.stream_gaps[key] += 1
        if gap.ts_to is None:
            self._open_gaps[key] = gap
            return
        self._open_gaps.pop(key, None)
        if gap.stream == "trades":
            self._closed_trade_gaps[id(gap)] = gap
            if len(self._closed_trade_gaps) > _CLOSED_GAPS_REMEMBERED:
                del self._closed_trade_gaps[next(iter(self._closed_trade_gaps))]
        if gap.healed_by == "snapshot":
            self.resyncs[gap.stream] += 1
