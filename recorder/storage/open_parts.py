"""Rows that no part holds yet, and when they should.

A stream's changes and its full books close together, so a reader never finds one without the
other.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from itertools import pairwise

import numpy as np

from recorder.pipeline.output import Rows
from recorder.pipeline.routes import Key
from recorder.storage.part_writer import PartRows
from schemas.timestamps import NS_PER_DAY, NS_PER_S, date_of

RowsKey = tuple[str, str, str]  # dataset, symbol, stream


@dataclass(frozen=True, slots=True)
class RollRules:
    """When a part closes.

    Attributes
    ----------
    rows_max : int            rows; never more in one part than this and one batch
    roll_interval_s : float   s; after this, if there are `rows_min` rows
    rows_min : int            rows; fewer cost more bytes a row than they are worth
    age_max_s : float         s; after this in any case
    memory_max_bytes : int    bytes over all open parts; beyond it the largest closes first
    """

    rows_max: int = 1_000_000
    roll_interval_s: float = 900.0
    rows_min: int = 5_000
    age_max_s: float = 6 * 3600.0
    memory_max_bytes: int = 256 * 1024 * 1024


@dataclass(slots=True)
class _Unit:
    """What is open of one stream on one UTC day."""

    date: str
    since_ns: int
    parts: dict[str, PartRows] = field(default_factory=dict)

    @property
    def rows(self) -> int:
        return sum(part.rows for part in self.parts.values())

    @property
    def bytes(self) -> int:
        return sum(part.bytes for part in self.parts.values())


class OpenParts:
    """Open rows by stream, and those whose UTC day is over."""

    def __init__(self, rules: RollRules) -> None:
        self.rules = rules
        self._units: dict[Key, _Unit] = {}
        self._ended: dict[Key, list[PartRows]] = {}

    def __len__(self) -> int:
        """Return the number of streams with open rows."""
        return len(self._units.keys() | self._ended.keys())

    def __contains__(self, key: Key) -> bool:
        """Say whether a stream has rows that no part holds."""
        return key in self._units or key in self._ended

    @property
    def bytes(self) -> int:
        """Memory held, estimated, in bytes."""
        ended = sum(part.bytes for parts in self._ended.values() for part in parts)
        return ended + sum(unit.bytes for unit in self._units.values())

    def add(self, batches: Iterable[Rows]) -> None:
        """Add rows; where a UTC day ends inside a batch, both days get their rows."""
        for batch in batches:
            for rows in _by_day(batch):
                self._add(rows)

    def take_back(self, batches: Iterable[Rows]) -> None:
        """Add rows that were open before, in order inside each dataset of a stream alone."""
        days = (rows for batch in batches for rows in _by_day(batch))
        for rows in sorted(days, key=lambda rows: int(rows.known[0])):
            self._add(rows)

    def by_dataset(self) -> dict[RowsKey, list[Rows]]:
        """Return all open rows, in order."""
        found: dict[RowsKey, list[Rows]] = {}
        for symbol, stream in sorted(self.everything()):
            for part in self.peek((symbol, stream)):
                dataset = part.batches[0].dataset
                found.setdefault((dataset, symbol, stream), []).extend(part.batches)
        return found

    def _add(self, rows: Rows) -> None:
        key = (rows.symbol, rows.stream)
        since = int(rows.known[0])
        date = date_of(since)
        unit = self._units.get(key)
        if unit is None or unit.date != date:
            if unit is not None:
                self._ended.setdefault(key, []).extend(unit.parts.values())
            unit = self._units[key] = _Unit(date, since)
        part = unit.parts.get(rows.dataset)
        if part is None:
            part = unit.parts[rows.dataset] = PartRows(date, since)
        part.add(rows)

    def due(self, ts_now: int) -> set[Key]:
        """Return the streams to close now.

        Parameters
        ----------
        ts_now : int   ns UTC
        """
        rules, today = self.rules, date_of(ts_now)
        due = set(self._ended)
        for key, unit in self._units.items():
            age_s = (ts_now - unit.since_ns) / NS_PER_S
            if (
                max(part.rows for part in unit.parts.values()) >= rules.rows_max
                or (age_s >= rules.roll_interval_s and unit.rows >= rules.rows_min)
                or age_s >= rules.age_max_s
                or today > unit.date
            ):
                due.add(key)
        held = {key: unit.bytes for key, unit in self._units.items() if key not in due}
        excess = sum(held.values()) - rules.memory_max_bytes
        for key, size in sorted(held.items(), key=lambda item: -item[1]):
            if excess <= 0:
                break
            due.add(key)
            excess -= size
        return due

    def everything(self) -> set[Key]:
        """Return all streams with open rows."""
        return self._units.keys() | self._ended.keys()

    def peek(self, key: Key) -> list[PartRows]:
        """Return the rows of a stream, a PartRows a part, oldest day first."""
        unit = self._units.get(key)
        return [*self._ended.get(key, ()), *(unit.parts.values() if unit else ())]

    def drop(self, keys: Iterable[Key]) -> None:
        """Forget streams whose parts have been published."""
        for key in keys:
            self._units.pop(key, None)
            self._ended.pop(key, None)


def skip_rows(rows: Rows, count: int) -> Rows:
    """Return a batch without its first rows; a full book keeps its index entry only when whole."""
    if not count:
        return rows
    columns = {name: values[count:] for name, values in rows.columns.items()}
    return replace(rows, columns=columns, known=rows.known[count:], full_book=None)


def _by_day(batch: Rows) -> Iterator[Rows]:
    days = batch.known // NS_PER_DAY
    if days[0] == days[-1]:
        yield batch
        return
    cuts = [0, *(np.flatnonzero(np.diff(days)) + 1).tolist(), len(batch)]
    for first, last in pairwise(cuts):
        columns = {name: values[first:last] for name, values in batch.columns.items()}
        yield replace(batch, columns=columns, known=batch.known[first:last])
