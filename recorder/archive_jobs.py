"""The jobs that tend an archive: compaction, retention, repacking, backup, and rolls on demand.

They plan from a connection of their own, work in a child process, and change the catalog in the
thread that writes it: recording waits for a transaction and for nothing else. The same jobs run
beside a recording and, by hand, on an archive that nobody writes.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, TypeVar

from recorder.clock import wall_ns
from recorder.config import Config
from recorder.errors import RecorderError
from recorder.job_process import JobProcess
from recorder.jobs import Done, Job, JobFailed
from recorder.logs import Log
from recorder.storage import backup, compaction, merging, repacking, retention
from recorder.storage.archive_folder import ArchiveFolder
from recorder.storage.catalog_reader import CatalogReader
from recorder.storage.part_writer import Part
from recorder.storage.replaced_files import FILES_AT_ONCE, remove_replaced
from recorder.storage.retention import GIB, RetentionRules
from schemas.timestamps import date_of

MIB = 1024 * 1024

T = TypeVar("T")


class InWriter(Protocol):
    """Does work in the catalog's thread; what it raises comes back, and ends nothing."""

    def __call__(self, work: Callable[[], T]) -> Awaitable[T]:
        """Await the outcome of `work`."""


@dataclass(frozen=True, slots=True)
class TendingRules:
    """What the jobs need of the configuration.

    Attributes
    ----------
    reader_grace_s : float   seconds replaced parts stay for readers
    retention : RetentionRules
    backups_kept : int
    """

    reader_grace_s: float = 3_600.0
    retention: RetentionRules = field(default_factory=RetentionRules)
    backups_kept: int = 7

    @classmethod
    def of(cls, config: Config) -> TendingRules:
        """Take them from a configuration."""
        rules = config.retention
        days = {
            "l2_updates": rules.l2_updates_days,
            "l3_events": rules.l3_events_days,
            "trades": rules.trades_days,
            "tickers": rules.tickers_days,
            "market_snapshots": rules.market_snapshots_days,
        }
        return cls(
            config.parts.reader_grace_s,
            RetentionRules(days, int(rules.total_gib * GIB), config.raw_log.keep_days),
            config.jobs.backups_kept,
        )


class ArchiveJobs:
    """The work of each job, on one archive.

    Parameters
    ----------
    archive : ArchiveFolder   held by this process
    rules : callable          returns what is in force now: a reload may change it
    in_writer : callable      does work in the thread that owns the catalog
    log : Log
    reading : callable or None
        Returns run and number of the raw-log segment that a decoder may read on from: it and what
        follows it is not repacked. None: nobody does.
    """

    def __init__(
        self,
        archive: ArchiveFolder,
        rules: Callable[[], TendingRules],
        in_writer: InWriter,
        log: Log,
        reading: Callable[[], tuple[str, int]] | None = None,
    ) -> None:
        self._archive = archive
        self._path = archive.path
        self._rules = rules
        self._in_writer = in_writer
        self._log = log
        self._reading = reading

    def jobs(self) -> list[Job]:
        """Return them all; they share disk and processor, so each is heavy."""
        return [
            Job("compaction", self.compact, is_heavy=True),
            Job("retention", self.retain, is_heavy=True),
            Job("repack", self.repack, is_heavy=True),
            Job("backup", self.back_up, is_heavy=True),
        ]

    async def compact(self) -> Done:
        """Merge the parts of closed days, one stream of one day after the other."""
        today = date_of(wall_ns())
        tasks = await self._plan(lambda catalog: compaction.plan(catalog, today))
        before = after = rows = 0
        problems: list[str] = []
        if tasks:
            async with JobProcess() as process:
                for task in tasks:
                    try:
                        made = await process.call(merging.merge, self._path, task)
                    except RecorderError as error:
                        # One damaged part holds up its own day and stream, no other.
                        problems.append(str(error))
                        continue
                    if await self._publish(task, made):
                        before, after = before + len(task.parts), after + len(made)
                        rows += task.rows
        unlinked = await self._unlink()
        if problems:
            raise JobFailed(f"{len(problems)} of {len(tasks)} not compacted: {problems[0]}")
        if not before and not unlinked:
            return Done("no closed day has parts to merge", is_nothing=True)
        return Done(f"{before} parts became {after}, {rows} rows; {unlinked} files unlinked")

    async def retain(self) -> Done:
        """Remove what the rules let go."""
        rules, now = self._rules().retention, wall_ns()
        planned = await self._plan(lambda catalog: retention.plan(self._path, catalog, rules, now))
        catalog = self._archive.catalog
        await self._in_writer(lambda: retention.apply(self._path, catalog, planned, now))
        unlinked = await self._unlink()
        if not planned.removals and not unlinked:
            return Done(planned.detail, is_nothing=True)
        return Done(f"{planned.detail}; {unlinked} files unlinked")

    async def repack(self) -> Done:
        """Compress closed segments of the raw log harder."""
        reading = self._reading() if self._reading is not None else None
        paths = await self._plan(lambda catalog: repacking.plan(self._path, catalog, reading))
        before = after = 0
        if paths:
            async with JobProcess() as process:
                for path in paths:
                    result = await process.call(repacking.repack, path)
                    before += result.bytes_before
                    after += result.bytes_after
        unlinked = await self._unlink()
        if not paths and not unlinked:
            return Done("no closed segment is left to repack", is_nothing=True)
        sizes = f"{before / MIB:.1f} MiB became {after / MIB:.1f}"
        return Done(f"{len(paths)} segments, {sizes}; {unlinked} files unlinked")

    async def back_up(self) -> Done:
        """Copy the catalog."""
        keep, now = self._rules().backups_kept, wall_ns()
        try:
            result = await asyncio.to_thread(backup.backup, self._path, keep, now)
        except sqlite3.Error as error:
            raise JobFailed(f"the catalog cannot be copied: {error}") from None
        return Done(f"{result.path.name}, {result.bytes / MIB:.1f} MiB; {result.removed} removed")

    async def _publish(self, task: compaction.CompactionTask, made: list[Part]) -> bool:
        catalog = self._archive.catalog
        return await self._in_writer(
            lambda: compaction.publish(self._path, catalog, task, made, wall_ns())
        )

    async def _unlink(self) -> int:
        """Unlink what left force long enough ago; return how many files.

        A few at a time: a day of a whole exchange is tens of thousands, and recording goes on
        between two calls.
        """
        catalog, grace_s, now = self._archive.catalog, self._rules().reader_grace_s, wall_ns()
        files = 0

        def some() -> int:
            return remove_replaced(
                self._path, catalog, now, grace_s, FILES_AT_ONCE, twin_is_new=files > 0
            ).files

        while True:
            unlinked = await self._in_writer(some)
            files += unlinked
            if unlinked < FILES_AT_ONCE:
                return files

    async def _plan(self, ask: Callable[[CatalogReader], T]) -> T:
        """Ask the catalog through a connection of its own: the writer is not held up."""
        return await asyncio.to_thread(_ask_reader, self._path, ask)


def _ask_reader(path: Path, ask: Callable[[CatalogReader], T]) -> T:
    with closing(CatalogReader.open(path)) as catalog:
        return ask(catalog)
