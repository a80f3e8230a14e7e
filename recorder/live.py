"""A recording under way: intake, collector, jobs and watch, from first line to last part."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any, TypeVar

from recorder.archive_jobs import ArchiveJobs, TendingRules
from recorder.auditor import AuditRules
from recorder.clock import stamp_line, wall_ns
from recorder.collector import Collector
from recorder.config import Config
from recorder.config_changes import Changes, compare
from recorder.decoding import Decoding
from recorder.disk_policy import DiskPolicy
from recorder.errors import DiskFull
from recorder.health.monitor import Monitor
from recorder.intake import Intake
from recorder.jobs import Done, Job, JobFailed, JobRun, Jobs, Schedule
from recorder.logs import Log, set_level
from recorder.pipeline.routes import Key
from recorder.raw_line import RawLine
from recorder.rest_log import LoggedRest
from recorder.startup import Greeting
from recorder.storage.disk import disk
from recorder.subscriptions import Plan
from recorder.symbols import SymbolChanges
from recorder.tape import Tape, disk_rules, roll_rules
from recorder.transport.rest import RestClient
from recorder.transport.session import Session
from recorder.venue_watch import VenueWatch
from recorder.writer_death import WriterDied, WritersLife

# Often enough that a part is never a second late, rare enough to cost nothing.
ROLL_CHECK_S = 1.0
# What a stop gives the decoder to come to the end; a start afterwards does what is left.
DECODE_PATIENCE_S = 60.0
NO_CHANGES = SymbolChanges((), ())

T = TypeVar("T")


class Live:
    """Everything that runs between the opening of an archive and its end.

    Parameters
    ----------
    config : Config
    greeting : Greeting   what the venue said
    plan : Plan           has been given the greeting's symbols
    session, client       owned by the caller
    worker : ThreadPoolExecutor      the writer's one thread
    appender : ThreadPoolExecutor    the one thread that appends to the raw log
    tape : Tape           open
    monitor : Monitor     is told what there is to look at
    log : Log             with the run bound
    status_every_s : float   seconds between two status lines of the log

    Attributes
    ----------
    config : Config   in force now: a reload replaces it
    watch : VenueWatch
    jobs : Jobs
    """

    def __init__(
        self,
        config: Config,
        greeting: Greeting,
        plan: Plan,
        session: Session,
        client: RestClient,
        worker: ThreadPoolExecutor,
        appender: ThreadPoolExecutor,
        tape: Tape,
        monitor: Monitor,
        log: Log,
        status_every_s: float,
    ) -> None:
        self.config = config
        self._tape = tape
        self._monitor = monitor
        self._log = log
        self._status_every_s = status_every_s
        self._plan = plan
        self._collector = Collector(
            config.profile,
            plan,
            session,
            client,
            config.stitch.first_update_timer_s,
            log,
            random.Random(),
            audits=audit_rules(config),
            last_row=self._last_row,
            rotate_after_s=float(config.venue.rotate_after_s),
        )
        self._life = WritersLife()
        self._decoding = Decoding(tape, self._collector.carry_out, worker, self._life)
        self._intake = Intake(
            tape.append,
            self._decoding.hand_over,
            config.raw_log.commit_interval_ms / 1000,
            config.raw_log.commit_bytes,
            appender,
            self._life,
            lambda: self._disk.note_full(),  # noqa: PLW0108 - there is none yet
        )
        archive = tape.archive
        self._disk = DiskPolicy(
            tape,
            self._intake,
            self._decoding,
            self._collector,
            self._life,
            lambda: disk_rules(self.config),
            None if archive is None else lambda: disk().free_bytes(archive.path),
            log,
        )
        self.watch = VenueWatch(
            LoggedRest(client, self._intake.append),
            config.profile,
            config.selection,
            config.venue.streams,
            greeting,
            self._collector.set_symbols,
            self._intake.append,
            log,
        )
        self.jobs = Jobs({job.name: job for job in self._all_jobs()}, self._keep_run, log)
        self._ticks: list[asyncio.Task[None]] = []
        self._reloading = asyncio.Lock()

    async def start(self, first_lines: Sequence[RawLine]) -> None:
        """Begin to record; `first_lines` come before anything that is received."""
        for line in first_lines:
            self._intake.append(line)
        self._intake.start()
        self._collector.start(self._intake)
        self._log.info(
            "recording",
            archive=str(self.config.archive),
            symbols=len(self.watch.symbols),
            streams=len(self.watch.feeds),
            connections=len(self._plan.places),
        )
        archive = self._tape.archive
        if archive is not None:
            self.jobs.remember(await self._in_writer(archive.catalog.last_jobs))
        self._plan_jobs()
        self.jobs.start()
        self._monitor.jobs = self.jobs.facts
        self._note_venue()
        self._monitor.attach(
            self._tape,
            self._intake,
            self._decoding,
            self._disk,
            self._life,
            self._collector.status,
        )
        self._ticks = [
            asyncio.create_task(_every(ROLL_CHECK_S, self._roll_what_is_due)),
            asyncio.create_task(_every(self._status_every_s, self._say_status)),
            asyncio.create_task(_unless_it_dies(self._disk.run())),
        ]

    async def until(self, stop: asyncio.Event, for_s: float | None) -> None:
        """Wait for the end that was asked for; raise what ends the run before."""
        stopped = asyncio.create_task(stop.wait())
        working = asyncio.create_task(self._collector.wait())
        try:
            ends: set[asyncio.Future[Any]] = {stopped, working, self._life.failed, *self._ticks}
            done, _ = await asyncio.wait(ends, timeout=for_s, return_when=asyncio.FIRST_COMPLETED)
            if self._life.is_over:
                self._log.critical("writer failed, nothing more is recorded")
                raise self._life.failed.result()
            for end in done - {stopped}:
                end.result()
        finally:
            for task in (stopped, working):
                task.cancel()
            await asyncio.gather(stopped, working, return_exceptions=True)

    async def close(self, reason: str) -> None:
        """Stop everything and end the run in the archive.

        Of a writer that failed, what is durable is kept and no more is written.
        """
        for tick in self._ticks:
            tick.cancel()
        await asyncio.gather(*self._ticks, return_exceptions=True)
        await self.jobs.stop()
        await self._collector.stop()
        if self._life.is_over:
            await self._intake.settle()
            await self._decoding.run(self._tape.abandon)
            return
        await self._say_stop(reason)
        if not await self._decoding.drain(DECODE_PATIENCE_S):
            self._log.critical(
                "stopped behind the raw log; the next start decodes what is left",
                lines_left=self._decoding.lag_lines,
            )
            await self._decoding.run(self._tape.abandon)
            return
        self._tell_incidents()
        if not await self._decoding.run(self._tape.close):
            self._log.critical("stopped without room for the last parts; the next start makes them")
        self._log.info("stopped", lines=self._intake.lines_committed)

    async def _say_stop(self, reason: str) -> None:
        """Write the last line; of a disk that is full, with what the reserve has left."""
        line = stamp_line("run_stop", {"reason": reason})
        if not self._intake.is_paused:
            self._intake.append(line)
            await self._intake.drain()
            if not self._intake.is_paused:
                return
        try:
            await self._intake.write_past(line, self._tape.pause)
        except DiskFull as error:
            death = self._life.end(error)
            await self._decoding.run(self._tape.abandon)
            raise death from error

    async def reload(self, config: Config) -> dict[str, Any]:
        """Record as another configuration says from now on; all of it, or nothing.

        Streams that both want are not touched.

        Returns
        -------
        dict   the keys that changed, and the symbols added and removed

        Raises
        ------
        ConfigError   naming the keys that need a restart, or too many symbols
        VenueError    when the venue cannot say what the symbols mean now
        """
        async with self._reloading:
            changes = compare(self.config, config)
            changes.refuse_restart()
            symbols = NO_CHANGES
            if changes.changed("venue.symbols") or changes.changed("venue.streams"):
                symbols = await self.watch.reload(config.selection, config.venue.streams)
            self.config = config
            await self._apply(changes)
        changed = {change.key: change.new for change in changes.live}
        self._log.info(
            "configuration reloaded",
            keys=list(changed),
            symbols_added=len(symbols.added),
            symbols_removed=len(symbols.removed),
        )
        return {
            "changed": changed,
            "added": list(symbols.added),
            "removed": list(symbols.removed),
        }

    async def _apply(self, changes: Changes) -> None:
        """Put everything but symbols and streams in force; what jobs read, they read anew."""
        if changes.changed("log.level"):
            set_level(self.config.log.level)
        if changes.changed("parts."):
            rules = roll_rules(self.config)
            await self._decoding.run(lambda: self._tape.set_rules(rules))
        if changes.changed("audit."):
            self._collector.set_audits(audit_rules(self.config))
        self._plan_jobs()

    def _last_row(self, key: Key) -> int | None:
        last = self._tape.meters.last_rows.get(key)
        return None if last is None else last.ts_recv

    def _all_jobs(self) -> list[Job]:
        jobs = [
            Job("roll", self._roll_everything),
            Job("instruments", self.watch.follow_listing),
            Job("status", self._follow_status),
        ]
        if (archive := self._tape.archive) is not None:
            tending = ArchiveJobs(
                archive,
                lambda: TendingRules.of(self.config),
                self._in_writer,
                self._log,
                lambda: (self._tape.run_id, self._tape.decoded.segment),
            )
            jobs += tending.jobs()
        return jobs

    def _plan_jobs(self) -> None:
        config = self.config
        schedules = {
            "instruments": Schedule(every_s=config.instruments.interval_s),
            "compaction": Schedule(daily_at=config.jobs.compaction_at),
            "retention": Schedule(daily_at=config.jobs.retention_at),
            "backup": Schedule(daily_at=config.jobs.backup_at),
            "repack": Schedule(every_s=config.jobs.repack_interval_s),
        }
        if config.profile.status_path is not None:
            schedules["status"] = Schedule(every_s=config.venue.status_interval_s)
        for name in self.jobs.names:
            self.jobs.plan(name, schedules.get(name, Schedule()))

    async def _keep_run(self, run: JobRun) -> None:
        archive = self._tape.archive
        if archive is None:
            return
        catalog = archive.catalog

        def keep() -> None:
            with catalog.transaction():
                catalog.put_job(run.row)

        await self._in_writer(keep)

    async def _in_writer(self, work: Callable[[], T]) -> T:
        """Do a job's work in the writer's thread; its failure is the job's, not the writer's."""

        def try_to() -> tuple[T, None] | tuple[None, Exception]:
            try:
                return work(), None
            except Exception as error:
                return None, error

        value, error = await self._decoding.run(try_to)
        if error is not None:
            raise error
        return value  # type: ignore[return-value]  # T may be None

    async def _roll_everything(self) -> Done:
        # What cannot be published here cannot be published at all: that is the writer's failure.
        parts = await self._decoding.run(lambda: self._tape.roll(wall_ns(), force=True))
        if self._tape.parts_held:
            raise JobFailed("there is too little room on the disk, parts are held back")
        self._tell_incidents()
        return Done(f"{parts} parts published", is_nothing=not parts)

    async def _follow_status(self) -> Done:
        done = await self.watch.follow_status()
        self._note_venue()
        return done

    def _note_venue(self) -> None:
        status = self.watch.status
        self._monitor.venue = (status.is_open, status.message) if status else (None, "")

    async def _roll_what_is_due(self) -> None:
        await self._decoding.run(lambda: self._tape.roll(wall_ns()))
        self._tell_incidents()

    async def _say_status(self) -> None:
        status = await self._decoding.run(self._tape.status)
        self._log.info("status", **summarize(status, self._tape, self._intake, self._collector))

    def _tell_incidents(self) -> None:
        for story in self._tape.take_incidents():
            self._log.error("incident in a stream, which heals by itself", story=story)


def audit_rules(config: Config) -> AuditRules:
    """Return when books are compared with the exchange's, as configured."""
    return AuditRules(
        interval_s=config.audit.interval_s,
        rest_share=config.audit.rest_share,
        stale_after_s=config.stitch.stale_after_s,
    )


async def _every(seconds: float, work: Callable[[], Awaitable[None]]) -> None:
    """Do something again and again; a writer that dies is told elsewhere, and ends this."""
    with suppress(WriterDied):
        while True:
            await asyncio.sleep(seconds)
            await work()


async def _unless_it_dies(work: Awaitable[None]) -> None:
    """Do something; a writer that dies is told elsewhere, and ends this."""
    with suppress(WriterDied):
        await work


def summarize(
    status: Mapping[Key, Mapping[str, Any]], tape: Tape, intake: Intake, collector: Collector
) -> dict[str, object]:
    """Put the state of all streams into one line: how many are in which, and what was lost."""
    states = Counter(str(stream.get("state")) for stream in status.values())
    return {
        "lines": intake.lines_committed,
        "connections": collector.connections_open,
        "streams": dict(sorted(states.items())),
        # Of every stream, not of books alone; a copy, for the writer counts on meanwhile.
        "gaps": sum(dict(tape.meters.gaps).values()),
        "refused": len(collector.refused),
    }
