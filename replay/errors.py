"""What can go wrong while reading, as one tree.

ReplayError
├── BadInput                 the question is wrong; asking again cannot help
│   ├── BadTime              no time, or one without a zone
│   ├── UnknownSymbol        the archive has no such symbol (or not this stream of it)
│   ├── NotAnArchive         the folder holds no catalog
│   └── QueryError           DuckDB refused the SQL
├── BookUnknown              inside a gap: the record says that it does not know
│   └── OutsideArchive       before the first or after the last book the record knows
├── SnapshotExpired          a part was replaced since the catalog was read; asking again helps
├── PartDamaged              a part cannot be read or contradicts the catalog
└── ScaleOverflow            prices or sizes of one range fit no common scale in int64

Each carries its facts as attributes and a `hint` for whoever reads the message.
"""

from __future__ import annotations

from dataclasses import dataclass
from difflib import get_close_matches

from schemas.timestamps import format_iso


class ReplayError(Exception):
    """Base of everything this package raises on purpose.

    Attributes
    ----------
    hint : str        what to do about it
    retryable : bool  whether asking again can help
    """

    retryable = False

    def __init__(self, message: str, hint: str = "") -> None:
        self.hint = hint
        super().__init__(f"{message}; {hint}" if hint else message)


class BadInput(ReplayError):
    """The question itself cannot be answered."""


class BadTime(BadInput):
    """A value that is no time, or whose zone is open."""

    def __init__(self, value: object, problem: str, hint: str) -> None:
        self.value = value
        super().__init__(f"time {value!r} {problem}", hint)


class UnknownSymbol(BadInput):
    """A symbol, or a stream of it, that the archive does not hold."""

    def __init__(self, symbol: str, known: tuple[str, ...], what: str = "rows") -> None:
        self.symbol, self.known = symbol, known
        near = get_close_matches(symbol.upper(), known, n=3, cutoff=0.5) or list(known[:5])
        more = f" (and {len(known) - len(near)} more)" if len(known) > len(near) else ""
        hint = f"it holds {', '.join(near)}{more}" if known else f"it holds no {what} at all"
        super().__init__(f"the archive has no {what} of symbol {symbol!r}", hint)


class NotAnArchive(BadInput):
    """A path without a readable catalog."""

    def __init__(self, path: str, problem: str) -> None:
        self.path = path
        super().__init__(
            f"{path} is not an archive: {problem}",
            "name the folder that holds catalog.db or catalog.parquet/CURRENT",
        )


class QueryError(BadInput):
    """SQL that DuckDB refused, in DuckDB's words."""

    def __init__(self, problem: str, hint: str) -> None:
        self.problem = problem
        super().__init__(problem, hint)


@dataclass(frozen=True, slots=True)
class Gap:
    """A stretch of one stream that the archive does not know. Times are known times, ns UTC.

    `ts_to` and `sequence_received` are None while the gap is open.
    """

    symbol: str
    stream: str
    run_id: str
    ordinal_from: int
    reason: str
    ts_from: int
    ts_to: int | None
    sequence_expected: int | None
    sequence_received: int | None
    healed_by: str | None

    def __str__(self) -> str:
        """Say it in one line."""
        until = format_iso(self.ts_to) if self.ts_to is not None else "still open"
        received = self.sequence_received if self.sequence_received is not None else "?"
        return (
            f"gap ({self.reason}) from {format_iso(self.ts_from)} to {until}, "
            f"sequences {self.sequence_expected} to {received}"
        )


class BookUnknown(ReplayError):
    """The record does not know the book asked for.

    Attributes
    ----------
    symbol, stream, asked : str
    gap : Gap | None   the gap it lies in; None outside everything recorded
    """

    def __init__(
        self, symbol: str, stream: str, asked: str, gap: Gap | None, hint: str = ""
    ) -> None:
        self.symbol, self.stream, self.asked, self.gap = symbol, stream, asked, gap
        if gap is None:
            super().__init__(f"{symbol} {stream}: {asked} is outside the archive", hint)
            return
        known = f"the last known book is at {format_iso(gap.ts_from)}"
        if gap.ts_to is not None:
            known += f", the next at {format_iso(gap.ts_to)}"
        super().__init__(f"{symbol} {stream} is unknown at {asked}: {gap}", known)


class OutsideArchive(BookUnknown):
    """A time or a sequence outside everything recorded of a symbol."""

    def __init__(self, symbol: str, stream: str, asked: str, hint: str) -> None:
        super().__init__(symbol, stream, asked, None, hint)


class SnapshotExpired(ReplayError):
    """A part named by the catalog snapshot is gone: compaction replaced and removed it."""

    retryable = True

    def __init__(self, path: str) -> None:
        self.path = path
        super().__init__(
            f"part {path} is gone since the catalog was read",
            "open the archive again; if it stays away, run `recorder verify`",
        )


class PartDamaged(ReplayError):
    """A part that cannot be read, or whose rows contradict the catalog."""

    def __init__(self, path: str, problem: str) -> None:
        self.path, self.problem = path, problem
        super().__init__(f"part {path} is damaged: {problem}", "run `recorder verify`")


class ScaleOverflow(ReplayError):
    """Values that fit no int64 once brought to one scale."""

    def __init__(self, column: str, scale: int) -> None:
        self.column, self.scale = column, scale
        super().__init__(
            f"{column} of this range does not fit int64 at scale {scale}",
            "ask for a shorter range, or query mantissa and scale with SQL",
        )
