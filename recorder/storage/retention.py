"""Retention: whole days from the front of the archive, by age and by size, and the catalog's truth.

A unit is a dataset, symbol and UTC day over all runs; full books go with the changes they belong
to. Segments of the raw log have a rule of their own, and stay while a recovery may read them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from recorder.storage.catalog_reader import CatalogReader
from recorder.storage.catalog_writer import CatalogWriter
from recorder.storage.checkpoints import first_needed_segment
from recorder.storage.disk import disk
from recorder.storage.raw_log import RawSegment, list_segments
from recorder.storage.replaced_files import remove_empty
from schemas.archive_layout import RAW
from schemas.timestamps import NS_PER_DAY, date_of

GIB = 1024**3
_BOOK_DATASETS = {"l2": "l2_updates", "l3": "l3_events"}


@dataclass(frozen=True, slots=True)
class RetentionRules:
    """What may go. 0 and absence keep everything.

    Attributes
    ----------
    days : mapping           dataset → UTC days kept before today; `book_snapshots` has none of
                             its own
    total_bytes : int        bytes of parts and raw log together; the oldest days go beyond it
    raw_days : int           UTC days of raw log kept before today
    """

    days: Mapping[str, int] = field(default_factory=dict)
    total_bytes: int = 0
    raw_days: int = 0


@dataclass(frozen=True, slots=True)
class RetentionPlan:
    """What shall go, and what would but must not.

    Attributes
    ----------
    removals : tuple[dict]   rows of the table `removals`, without their time
    bytes_kept : int         bytes of parts and raw log that stay
    held_segments : int      segments that a rule would take and a start after a crash may read
    held_bytes : int         their bytes
    held_runs : int          those runs
    over_bytes : int         bytes by which the archive stays above its total size
    """

    removals: tuple[dict[str, Any], ...]
    bytes_kept: int
    held_segments: int = 0
    held_bytes: int = 0
    held_runs: int = 0
    over_bytes: int = 0

    @property
    def detail(self) -> str:
        """What it means, for the operator."""
        parts = [row for row in self.removals if row["dataset"] != RAW]
        removed = sum(row["bytes"] for row in self.removals)
        text = (
            f"{len(parts)} parts and {len(self.removals) - len(parts)} raw-log segments removed "
            f"({removed / GIB:.2f} GiB)"
        )
        if self.held_segments:
            text += (
                f"; {self.held_segments} raw-log segments ({self.held_bytes / GIB:.2f} GiB) are "
                f"held back: {self.held_runs} runs have not ended, and finishing one after a crash "
                "reads its raw log from its oldest checkpoint on"
            )
        if self.over_bytes:
            text += f"; still {self.over_bytes / GIB:.2f} GiB above retention.total_gib"
        return text


def plan(
    archive: Path, catalog: CatalogReader, rules: RetentionRules, ts_now: int
) -> RetentionPlan:
    """Return what the rules take at a time; nothing of today and yesterday ever goes.

    Parameters
    ----------
    ts_now : int   ns UTC
    """
    units = _units(archive, catalog)
    held: dict[str, list[_Unit]] = {}
    taken: list[tuple[_Unit, str]] = []
    left: list[_Unit] = []
    yesterday = date_of(ts_now - NS_PER_DAY)
    for unit in units:
        rule, days = _rule_of(unit, rules)
        first_kept = date_of(ts_now - days * NS_PER_DAY) if days else ""
        if unit.date < min(first_kept, yesterday):
            _take(unit, rule, taken, held)
            if unit.is_needed:
                left.append(unit)
        else:
            left.append(unit)
    kept = sum(unit.bytes for unit in left)
    if rules.total_bytes:
        rule = f"retention.total_gib = {rules.total_bytes / GIB:g}"
        for unit in left:
            if kept <= rules.total_bytes or unit.date >= yesterday:
                break
            _take(unit, rule, taken, held)
            kept -= 0 if unit.is_needed else unit.bytes
    segments = {unit.rows[0]["path"]: unit for group in held.values() for unit in group}
    return RetentionPlan(
        tuple({**row, "rule": rule} for unit, rule in taken for row in unit.rows),
        kept,
        len(segments),
        sum(unit.bytes for unit in segments.values()),
        len(held),
        max(0, kept - rules.total_bytes) if rules.total_bytes else 0,
    )


def apply(archive: Path, catalog: CatalogWriter, planned: RetentionPlan, ts_now: int) -> None:
    """Take the planned files out of the catalog, then unlink those of the raw log.

    Parts are unlinked by `remove_replaced` once no reader works from them any more. What an
    earlier call was kept from unlinking goes now.
    """
    if planned.removals:
        with catalog.transaction():
            catalog.remove_files([{**row, "ts_removed": ts_now} for row in planned.removals])
        catalog.publish_parquet()
    removed = {path for paths in catalog.removed_segments().values() for path in paths}
    for segments in list_segments(archive).values():
        for segment in segments:
            if segment.path.relative_to(archive).as_posix() in removed:
                disk().unlink(segment.path, missing_ok=True)
                remove_empty(segment.path.parent, archive / RAW)


@dataclass(frozen=True, slots=True)
class _Unit:
    """What goes together.

    Attributes
    ----------
    dataset : str      whose rule applies; raw for a segment
    rows : list        rows of `removals` to be
    is_needed : bool   a segment that a recovery may read
    """

    date: str
    dataset: str
    symbol: str
    rows: list[dict[str, Any]]
    is_needed: bool = False

    @property
    def bytes(self) -> int:
        return sum(int(row["bytes"]) for row in self.rows)


def _units(archive: Path, catalog: CatalogReader) -> list[_Unit]:
    """Return everything the archive holds, oldest day first, its raw log before its parts."""
    units: dict[tuple[str, str, str], _Unit] = {}
    for part in catalog.live_parts():
        dataset = _BOOK_DATASETS.get(part["stream"], part["dataset"])
        key = (part["date"], dataset, part["symbol"])
        row = {
            name: part[name]
            for name in ("path", "dataset", "date", "symbol", "stream", "run_id", "rows", "bytes")
        }
        units.setdefault(key, _Unit(*key, [])).rows.append(row)
    ended = {run_id for run_id, run in catalog.runs().items() if run["ts_stop"] is not None}
    removed = {path for paths in catalog.removed_segments().values() for path in paths}
    raw = [
        unit
        for run_id, segments in list_segments(archive).items()
        for first_needed in [_first_needed(archive, run_id, ended)]
        for segment in segments
        if (unit := _raw_unit(archive, segment, first_needed)).rows[0]["path"] not in removed
    ]
    return sorted(
        [*units.values(), *raw],
        key=lambda unit: (unit.date, unit.dataset != RAW, unit.symbol, unit.dataset),
    )


def _first_needed(archive: Path, run_id: str, ended: set[str]) -> float:
    """Return the number from which on segments of a run may be read by a start after a crash."""
    return math.inf if run_id in ended else first_needed_segment(archive, run_id, default=1)


def _raw_unit(archive: Path, segment: RawSegment, first_needed: float) -> _Unit:
    date = segment.path.parent.name
    row = {
        "path": segment.path.relative_to(archive).as_posix(),
        "dataset": RAW,
        "date": date,
        "symbol": None,
        "stream": None,
        "run_id": segment.run_id,
        "rows": None,
        "bytes": disk().size(segment.path),
    }
    return _Unit(date, RAW, "", [row], is_needed=segment.number >= first_needed)


def _rule_of(unit: _Unit, rules: RetentionRules) -> tuple[str, int]:
    if unit.dataset == RAW:
        return f"raw_log.keep_days = {rules.raw_days}", rules.raw_days
    days = rules.days.get(unit.dataset, 0)
    return f"retention.{unit.dataset}_days = {days}", days


def _take(
    unit: _Unit, rule: str, taken: list[tuple[_Unit, str]], held: dict[str, list[_Unit]]
) -> None:
    if unit.is_needed:
        held.setdefault(unit.rows[0]["run_id"], []).append(unit)
    else:
        taken.append((unit, rule))
