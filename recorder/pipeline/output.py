"""What the pipeline gives back: rows, intervals and gaps, facts for the catalog, and commands."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from schemas.kucoin.rest import Instrument

Int64Array = npt.NDArray[np.int64]
Counts = Counter[str]

# Markers of an absent value in row columns; Arrow NULL in a part.
NO_TIME = -1
NO_SCALE = -1


@dataclass(frozen=True, slots=True)
class RequestBook:
    """Ask the venue for the full book of a stream and log the answer with this id.

    Attributes
    ----------
    traffic : int   rows of the stream so far: of many that wait, the busiest is asked for first
    """

    symbol: str
    stream: str
    request_id: int
    traffic: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class Reseed:
    """Ask the venue for a book again, purpose `reseed`, to know more levels of a partial one.

    It may be asked late or not at all: the rows depend on the lines of the question and its
    outcome only, and what is not known yet stays marked.

    Attributes
    ----------
    traffic : int   as of `RequestBook`
    """

    symbol: str
    stream: str
    traffic: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class ArmTimer:
    """Log a `timer` line with this id after the first-update delay."""

    symbol: str
    stream: str
    timer_id: int


@dataclass(frozen=True, slots=True)
class Backfill:
    """Ask the venue for the last trades of a symbol, purpose `backfill`: some were missed.

    It may be asked late or not at all: what is not filled in stays a gap.
    """

    stream: ClassVar[str] = "trades"
    symbol: str


@dataclass(frozen=True, slots=True)
class AskAudit:
    """Ask the venue for a book, purpose `audit`: the live one was copied to be compared with it.

    It may be asked late or not at all; an audit that is never answered ends by itself.

    Attributes
    ----------
    traffic : int   as of `RequestBook`
    """

    symbol: str
    stream: str
    traffic: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class Resubscribe:
    """Unsubscribe and subscribe a stream anew: it is acknowledged, and nothing comes of it."""

    symbol: str
    stream: str


Command = RequestBook | Reseed | ArmTimer | Backfill | AskAudit | Resubscribe


@dataclass(slots=True)
class Rows:
    """Consecutive rows of one dataset, symbol and stream.

    Attributes
    ----------
    columns : dict[str, ndarray or list]
        One entry a column that differs by row, all of length n. Times and numbers are arrays,
        with `NO_TIME` and `NO_SCALE` for NULL; `side` is int8 (0 bid, 1 ask, -1 NULL); words and
        texts are lists of str or None. `symbol` and `run_id` are not among them: they are the
        same in every row.
    known : int64[n]   from when each row is known, ns UTC, never running backwards
    full_book : FullBook or None   what book these rows are, when they are one
    """

    dataset: str
    symbol: str
    stream: str
    columns: dict[str, Any]
    known: Int64Array
    full_book: FullBook | None = None

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.known)


@dataclass(frozen=True, slots=True)
class FullBook:
    """Index entry of one full book: a REST snapshot, a keyframe or an audit."""

    origin: str
    ordinal: int
    ts: int
    sequence: int


@dataclass(slots=True, eq=False)
class Interval:
    """A stretch in which one (symbol, stream) is known; grows while it is open."""

    symbol: str
    stream: str
    ordinal_first: int
    ordinal_last: int
    ts_from: int
    ts_to: int
    sequence_first: int | None
    sequence_last: int | None
    messages: int = 0
    rows: int = 0
    is_open: bool = True


@dataclass(slots=True, eq=False)
class Gap:
    """Rows that should exist and do not; `ts_to` is None while it is open."""

    symbol: str
    stream: str
    ordinal_from: int
    reason: str
    ts_from: int
    ts_detected: int
    sequence_expected: int | None
    ts_to: int | None = None
    sequence_received: int | None = None
    healed_by: str | None = None


# Ends that are no loss: what stands between two runs is settled when the next one begins.
RUN_ENDS = frozenset({"stopped", "crashed", "source"})

EQUAL, UNEQUAL, INCONCLUSIVE = "equal", "unequal", "inconclusive"
AUDIT_RESULTS = (EQUAL, UNEQUAL, INCONCLUSIVE)


@dataclass(frozen=True, slots=True, eq=False)
class Audited:
    """What came of one comparison of a live book with the venue's.

    Attributes
    ----------
    ts : int                known time of the verdict, ns UTC; no two of a stream have the same
    sequence : int | None   of the venue's book; None where none came
    result : str            one of `AUDIT_RESULTS`
    compared : int          levels (l2) or orders (l3) that are equal; 0 unless all are
    detail : str | None     JSON: the first difference, or why there is no verdict
    """

    symbol: str
    stream: str
    ts: int
    sequence: int | None
    result: str
    compared: int
    detail: str | None


# What the catalog keeps of a stream beside its rows.
Entry = Interval | Gap | Audited


@dataclass(frozen=True, slots=True)
class InstrumentSeen:
    """Metadata of a symbol as the venue stated it at a time."""

    ts: int
    instrument: Instrument


@dataclass(frozen=True, slots=True)
class InstrumentsListed:
    """All symbols the venue listed at a time: what was in force and is not among them has ended."""

    ts: int
    symbols: frozenset[str]


@dataclass(slots=True)
class Output:
    """Everything one feed of lines led to, in order.

    Attributes
    ----------
    trades_joined : list[str]   symbols of which no trade is missing between an earlier run and
        this one
    counts : Counter            to be added to the run's
    """

    rows: list[Rows] = field(default_factory=list)
    commands: list[Command] = field(default_factory=list)
    ledger: dict[int, Entry] = field(default_factory=dict)
    instruments: list[InstrumentSeen | InstrumentsListed] = field(default_factory=list)
    incidents: list[str] = field(default_factory=list)
    trades_joined: list[str] = field(default_factory=list)
    counts: Counts = field(default_factory=Counter)

    def touch(self, entry: Entry) -> None:
        """Note that an interval or a gap is new or has changed, or an audit has ended."""
        self.ledger[id(entry)] = entry
