"""An archive opened for reading: books, replays, tables and SQL."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import pyarrow as pa

from replay.bars import bars
from replay.bbo_rows import BBO_SCHEMA
from replay.book import Book
from replay.catalog import CatalogReader, Snapshot
from replay.coverage import Days, coverage, covered_time
from replay.depth_rows import DEPTH_SCHEMA
from replay.engine import Counters, Engine
from replay.errors import BadInput, SnapshotExpired
from replay.events import ReplayEvent, replay_events
from replay.parts import PartReader
from replay.sql.connection import SqlSession
from replay.tasks import Task, bbo_tasks, depth_tasks
from replay.times import Every, Time, every_to_ns, to_ns
from replay.verify import Report, verify

T = TypeVar("T")


class Archive:
    """An archive folder, read-only.

    Parameters
    ----------
    path : str | Path   the folder
    pin : bool          answer everything from the catalog as it is now, instead of from the
                        newest at each call; `SnapshotExpired` once its parts are removed

    Raises
    ------
    NotAnArchive   when the folder holds no readable catalog

    Examples
    --------
    >>> with Archive("archive") as tape:                                    # doctest: +SKIP
    ...     tape.book("BTC-USDT", at="2026-11-22T10:00:00Z").bbo
    """

    def __init__(self, path: str | os.PathLike[str], pin: bool = False) -> None:
        self.path = Path(path)
        self.counters = Counters()
        self._catalog = CatalogReader(self.path)
        self._reader = PartReader(self.path)
        self._pinned = pin
        self._lock = threading.Lock()
        self._engine = self._engine_of(self._catalog.newest())
        self._session: SqlSession | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close DuckDB and the catalog; a second time does nothing."""
        with self._lock:
            if self._session is not None:
                self._session.close()
                self._session = None
            self._catalog.close()

    def engine(self) -> Engine:
        """Return the engine of the newest catalog snapshot, or of the pinned one."""
        if not self._pinned:
            with self._lock:
                newest = self._catalog.newest()
                if newest is not self._engine.snapshot:
                    self._engine = self._engine_of(newest)
        return self._engine

    def _engine_of(self, snapshot: Snapshot) -> Engine:
        newest = None if self._pinned else self._catalog.newest
        return Engine(snapshot, self._reader, self.counters, newest)

    def _answer(self, question: Callable[[Engine], T]) -> T:
        """Ask the engine, and the newest one where retention removed rows meanwhile."""
        engine = self.engine()
        try:
            return question(engine)
        except SnapshotExpired as error:
            newer = self.engine()
            if newer is engine or newer.names_still(error.path):
                raise
            return question(newer)

    @property
    def snapshot(self) -> Snapshot:
        """The catalog as this archive sees it now."""
        return self.engine().snapshot

    @property
    def parts_touched(self) -> frozenset[str]:
        """Paths of the parts that books were rebuilt from since this archive was opened."""
        return frozenset(self._reader.touched)

    @property
    def symbols(self) -> tuple[str, ...]:
        """Every symbol recorded, sorted."""
        return self.snapshot.symbols

    def book(
        self,
        symbol: str,
        at: Time | None = None,
        *,
        sequence: int | None = None,
        level: int = 2,
    ) -> Book:
        """Return the book after the last complete message at a time, or at a sequence.

        Parameters
        ----------
        symbol : str
        at : time              known at or before this; with neither, the newest book
        sequence : int         messages with `sequence_end` at or before this
        level : int            2 or 3

        Raises
        ------
        BookUnknown      inside a gap
        OutsideArchive   before the first or after the last known book
        UnknownSymbol, BadTime, SnapshotExpired, PartDamaged, ScaleOverflow
        """
        if at is not None and sequence is not None:
            raise BadInput("both a time and a sequence are given", "give one of them")
        ts = None if at is None else to_ns(at)
        return self._answer(lambda engine: engine.book(symbol, ts, sequence, level))

    def bbo(
        self,
        symbol: str,
        start: Time | None = None,
        end: Time | None = None,
        *,
        level: int = 2,
    ) -> pa.Table:
        """Return every change of the best bid and offer in [start, end), one row each.

        The first row is the state at `start`. `valid` is false, and prices NULL, from where the
        book becomes unknown.
        """
        ts_from, ts_to = _optional(start), _optional(end)
        return self._answer(
            lambda engine: _table(bbo_tasks(engine, symbol, ts_from, ts_to, level), BBO_SCHEMA)
        )

    def depth(
        self, symbol: str, start: Time, end: Time, every: Every = "1s", levels: int = 10
    ) -> pa.Table:
        """Return the best levels at every multiple of `every` in [start, end), one row a level."""
        ts_from, ts_to, spacing = to_ns(start), to_ns(end), every_to_ns(every)
        return self._answer(
            lambda engine: _table(
                depth_tasks(engine, symbol, ts_from, ts_to, spacing, levels), DEPTH_SCHEMA
            )
        )

    def bars(self, symbol: str, start: Time, end: Time, every: Every) -> pa.Table:
        """Return open, high, low, close and volumes of trades by `every` in [start, end)."""
        ts_from, ts_to, spacing = to_ns(start), to_ns(end), every_to_ns(every)
        batch = self._answer(lambda engine: bars(engine, symbol, ts_from, ts_to, spacing))
        return pa.Table.from_batches([batch])

    def coverage(
        self, symbol: str | None = None, start: Time | None = None, end: Time | None = None
    ) -> pa.Table:
        """Return what is known of each symbol, stream and UTC day, and what is not."""
        ts_from, ts_to = _optional(start), _optional(end)
        batch = self._answer(lambda engine: coverage(engine, symbol, ts_from, ts_to))
        return pa.Table.from_batches([batch])

    def covered_time(
        self, symbol: str | None = None, start: Time | None = None, end: Time | None = None
    ) -> dict[tuple[str, str], Days]:
        """Return known and unknown time by (symbol, stream) and UTC day, from the catalog alone."""
        return covered_time(self.snapshot, symbol, _optional(start), _optional(end))

    def replay(
        self,
        symbols: str | Sequence[str],
        start: Time | None = None,
        end: Time | None = None,
        *,
        level: int = 2,
    ) -> Iterator[ReplayEvent]:
        """Iterate over the events of several symbols in the order they were known.

        Each event carries the live book of its symbol, moved to that very event. Compaction
        meanwhile changes nothing; `SnapshotExpired` is raised where retention removes what is
        still to come.
        """
        names = [symbols] if isinstance(symbols, str) else list(symbols)
        return replay_events(self.engine(), names, _optional(start), _optional(end), level)

    def sql(self, query: str, /, **parameters: Any) -> pa.Table:
        """Run DuckDB SQL over the views and macros of the archive.

        Parameters
        ----------
        query : str
        parameters   values of `$name` in the query; an aware datetime or a datetime64 becomes a
            TIMESTAMP_NS in UTC, as the archive's own times are

        Raises
        ------
        QueryError    DuckDB refused it
        BadTime       a datetime without a zone
        ReplayError   what a macro raised
        """
        with self._lock:
            if self._session is None:
                self._session = SqlSession(self.path, self.engine)
            session = self._session
        return session.query(query, parameters)

    def verify(self) -> Report:
        """Replay every book from Parquet and compare it with every full book of the record."""
        return self._answer(verify)


def _optional(value: Time | None) -> int | None:
    return None if value is None else to_ns(value)


def _table(tasks: list[Task], schema: pa.Schema) -> pa.Table:
    return pa.Table.from_batches([task() for task in tasks], schema)
