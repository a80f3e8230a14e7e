"""Archives of several UTC days, as the recorder writes them: many small parts, several segments.

And the jobs on them, as a caller runs them one after the other.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest

from recorder import recording
from recorder.raw_line import RawLine
from recorder.recording import Recording, RecordingSettings
from recorder.storage import compaction, repacking, retention
from recorder.storage.archive_folder import ArchiveFolder
from recorder.storage.backup import backup
from recorder.storage.merging import merge
from recorder.storage.open_parts import RollRules
from recorder.storage.replaced_files import remove_replaced
from recorder.storage.retention import RetentionRules
from schemas.timestamps import NS_PER_DAY, NS_PER_S, date_of
from tests.support.archive_content import archive_rows, table_rows
from tests.support.market_log import RUN, T0, Story, market_log, split_batches

SETTINGS = RecordingSettings(
    segment_bytes=40_000, rules=RollRules(rows_min=1, roll_interval_s=0.2, rows_max=150)
)
NEXT_RUN = "20261201T000000.000000Z-test-2"
DAYS = ("2026-11-22", "2026-11-23", "2026-11-24", "2026-11-25", "2026-11-26")
NOW = T0 + len(DAYS) * NS_PER_DAY
"""A time on the day behind the last."""

EVERY_DATASET = ("l2_updates", "l3_events", "trades", "tickers", "market_snapshots")
KEEP_TWO_DAYS = RetentionRules(dict.fromkeys(EVERY_DATASET, 2))


def days_log(story: Story) -> list[RawLine]:
    """Return the lines of a story whose nights are empty: it goes on at the same time next day."""
    lines = market_log(story)
    return [
        replace(line, ts_recv=line.ts_recv + (number * len(DAYS) // len(lines)) * NS_PER_DAY)
        for number, line in enumerate(lines)
    ]


def record(
    archive: Path, lines: Sequence[RawLine], *, run_id: str = RUN, ends: bool = True
) -> None:
    """Record lines into an archive; a run that does not end is left as by a crash."""
    tape = start_recording(archive, run_id)
    for batch in split_batches(list(lines), random.Random(3), 40):
        tape.commit(batch)
    if ends:
        tape.close()
    else:
        tape.abandon()


def start_recording(archive: Path, run_id: str = RUN) -> Recording:
    """Open an archive for a run with a given name; what a crash left is finished."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(recording, "new_run_id", lambda: run_id)
        return Recording.create(archive, SETTINGS)


def days_archive(
    archive: Path, *, seed: int = 5, steps: int = 150, chance: float = 0.01
) -> list[RawLine]:
    """Record one run over `DAYS` and return its lines."""
    lines = days_log(Story(seed, steps=steps, chance=chance))
    record(archive, lines)
    return lines


def run_compaction(folder: ArchiveFolder, ts_now: int = NOW) -> int:
    """Compact what is due; return how many units were."""
    tasks = compaction.plan(folder.catalog, date_of(ts_now))
    for task in tasks:
        parts = merge(folder.path, task)
        assert compaction.publish(folder.path, folder.catalog, task, parts, ts_now)
    return len(tasks)


def run_retention(
    folder: ArchiveFolder, rules: RetentionRules = KEEP_TWO_DAYS, ts_now: int = NOW
) -> retention.RetentionPlan:
    """Remove what the rules say."""
    planned = retention.plan(folder.path, folder.catalog, rules, ts_now)
    retention.apply(folder.path, folder.catalog, planned, ts_now)
    return planned


def run_removal(folder: ArchiveFolder, ts_now: int = NOW) -> int:
    """Unlink everything that left force before; return how many files went."""
    return remove_replaced(folder.path, folder.catalog, ts_now + NS_PER_S, 1.0).files


def run_repack(folder: ArchiveFolder) -> int:
    """Repack what is due; return how many segments were."""
    return len([repacking.repack(path) for path in repacking.plan(folder.path, folder.catalog)])


def run_job(folder: ArchiveFolder, name: str) -> None:
    """Run a job by its name, with what follows it."""
    if name == "compaction":
        run_compaction(folder)
        run_removal(folder)
    elif name == "retention":
        run_retention(folder, replace(KEEP_TWO_DAYS, raw_days=3))
        run_removal(folder)
    elif name == "swap":  # what readers work from stays where it is
        run_compaction(folder)
    elif name == "retain":
        run_retention(folder)
    elif name == "repack":
        run_repack(folder)
    elif name == "backup":
        backup(folder.path, 2, NOW)
    else:
        raise ValueError(name)


def rows_by_day(archive: Path) -> dict[tuple[str, ...], dict[str, pa.Table]]:
    """Return all rows by (dataset, symbol, stream, run), then by UTC day."""
    found: dict[tuple[str, ...], dict[str, pa.Table]] = {}
    for key, table in archive_rows(archive).items():
        known = table["ts_recv"].cast(pa.int64()).to_numpy() + table["held_ns"].to_numpy()
        days = pa.array([date_of(int(ts)) for ts in known])
        found[key] = {
            day: table.filter(pa.compute.equal(days, day)) for day in sorted(set(days.to_pylist()))
        }
    return found


def part_files(archive: Path) -> set[str]:
    """Return the paths of everything that lies where parts do."""
    return {p.relative_to(archive).as_posix() for p in archive.glob("*/date=*/symbol=*/*")}


def live_paths(archive: Path) -> set[str]:
    """Return the paths of the parts in force."""
    return {p["path"] for p in table_rows(archive, "parts") if p["ts_replaced"] is None}
