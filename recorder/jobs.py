"""Jobs: what is done by the clock or by hand beside recording, each run told and kept.

A job that fails is a row, a log line and a metric; it never ends the recording. Heavy ones run one
at a time; one that is asked for while it runs is not run twice: whoever asks gets its outcome.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from apscheduler.schedulers.asyncio import AsyncIOScheduler
from apscheduler.triggers.cron import CronTrigger
from apscheduler.triggers.interval import IntervalTrigger

from recorder.clock import wall_ns
from recorder.health.status import FAILED, NOTHING, OK, JobFacts
from recorder.logs import Log
from schemas.timestamps import NS_PER_S


@dataclass(frozen=True, slots=True)
class Done:
    """What a job did.

    Attributes
    ----------
    detail : str        for people; "" where the outcome says it all
    is_nothing : bool   there was nothing to do
    """

    detail: str = ""
    is_nothing: bool = False


class JobFailed(Exception):
    """A job could not do its work, for a reason it names."""


@dataclass(frozen=True, slots=True)
class Job:
    """Something to do.

    Attributes
    ----------
    work : callable    does it once; whatever it raises is the failure of this run alone
    is_heavy : bool    it takes processor or disk for a while
    """

    name: str
    work: Callable[[], Awaitable[Done]]
    is_heavy: bool = False


@dataclass(frozen=True, slots=True)
class Schedule:
    """When a job runs by itself: every so many seconds, or daily at hh:mm UTC; neither: never."""

    every_s: float = 0
    daily_at: str = ""


@dataclass(frozen=True, slots=True)
class JobRun:
    """One run of a job, as the catalog's table `jobs` has it; times in ns UTC."""

    name: str
    ts_start: int
    ts_stop: int
    outcome: str
    detail: str

    @property
    def row(self) -> dict[str, Any]:
        """The catalog's row."""
        return {
            "name": self.name,
            "ts_start": self.ts_start,
            "ts_stop": self.ts_stop,
            "outcome": self.outcome,
            "detail": self.detail,
        }

    @property
    def duration_s(self) -> float:
        """How long it took."""
        return (self.ts_stop - self.ts_start) / NS_PER_S


class UnknownJob(LookupError):
    """No job has this name."""

    def __init__(self, name: str, known: tuple[str, ...]) -> None:
        self.name = name
        self.known = known
        super().__init__(f"no job is called {name!r}; there are: {', '.join(known)}")


@dataclass(slots=True)
class _Entry:
    job: Job
    last: JobRun | None = None
    running: asyncio.Task[JobRun] | None = None
    schedule: Schedule = field(default_factory=Schedule)


class Jobs:
    """All jobs of one recorder, or of one archive worked on by hand.

    Parameters
    ----------
    jobs : iterable of Job
    keep : callable   takes each run that did something or failed, for the catalog
    log : Log
    """

    def __init__(
        self, jobs: Mapping[str, Job], keep: Callable[[JobRun], Awaitable[None]], log: Log
    ) -> None:
        self._entries = {name: _Entry(job) for name, job in jobs.items()}
        self._keep = keep
        self._log = log
        self._heavy = asyncio.Lock()
        self._scheduler = AsyncIOScheduler(timezone="UTC")

    @property
    def names(self) -> tuple[str, ...]:
        """Every job there is."""
        return tuple(self._entries)

    def remember(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Take the last runs of an earlier process, rows of the catalog, as the last ones."""
        for row in rows:
            if (entry := self._entries.get(row["name"])) is not None:
                entry.last = JobRun(
                    row["name"], row["ts_start"], row["ts_stop"], row["outcome"], row["detail"]
                )

    def start(self) -> None:
        """Begin to run what is due."""
        self._scheduler.start()

    def plan(self, name: str, schedule: Schedule) -> None:
        """Run a job by a schedule from now on, instead of any it had."""
        entry = self._entries[name]
        if schedule == entry.schedule:
            return
        entry.schedule = schedule
        if self._scheduler.get_job(name) is not None:
            self._scheduler.remove_job(name)
        trigger = _trigger(schedule)
        if trigger is not None:
            self._scheduler.add_job(
                self.run,
                trigger,
                args=(name,),
                id=name,
                coalesce=True,
                max_instances=1,
                misfire_grace_time=None,
            )

    async def run(self, name: str) -> JobRun:
        """Run a job now, or wait for the run under way; never raises what the job did.

        Raises
        ------
        UnknownJob   naming those there are
        """
        try:
            entry = self._entries[name]
        except KeyError:
            raise UnknownJob(name, self.names) from None
        if entry.running is None:
            entry.running = asyncio.create_task(self._run(entry), name=f"job {name}")
        # Whoever waits may go away; the job goes on.
        return await asyncio.shield(entry.running)

    async def stop(self) -> None:
        """Run nothing more, and break off what runs."""
        if self._scheduler.running:
            self._scheduler.shutdown(wait=False)
        running = [entry.running for entry in self._entries.values() if entry.running is not None]
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)

    def facts(self) -> list[JobFacts]:
        """Return the last and the next run of every job."""
        return [self._facts(entry) for entry in self._entries.values()]

    def _facts(self, entry: _Entry) -> JobFacts:
        planned = self._scheduler.get_job(entry.job.name)
        next_run = getattr(planned, "next_run_time", None)
        last = entry.last
        return JobFacts(
            entry.job.name,
            last.ts_start if last else 0,
            last.duration_s if last else 0.0,
            last.outcome if last else "",
            last.detail if last else "",
            entry.running is not None,
            int(next_run.timestamp() * NS_PER_S) if next_run else None,
        )

    async def _run(self, entry: _Entry) -> JobRun:
        try:
            if entry.job.is_heavy:
                async with self._heavy:
                    entry.last = await self._work(entry.job)
            else:
                entry.last = await self._work(entry.job)
            # What looks every minute and finds nothing would fill the catalog with nothing.
            if entry.last.outcome != NOTHING or not entry.schedule.every_s:
                await self._keep_run(entry.last)
        finally:
            entry.running = None
        return entry.last

    async def _keep_run(self, run: JobRun) -> None:
        try:
            await self._keep(run)
        except Exception as error:
            self._log.error("a job's run was not kept", job=run.name, problem=str(error))

    async def _work(self, job: Job) -> JobRun:
        ts_start = wall_ns()
        try:
            done = await job.work()
            outcome, detail = NOTHING if done.is_nothing else OK, done.detail
        except Exception as error:  # whatever it is, it concerns this run of this job alone
            outcome, detail = FAILED, str(error) or type(error).__name__
            unexpected = not isinstance(error, (JobFailed, OSError))
            self._log.error("job failed", job=job.name, problem=detail, exc_info=unexpected)
        run = JobRun(job.name, ts_start, wall_ns(), outcome, detail)
        if outcome != FAILED:
            say = self._log.debug if outcome == NOTHING else self._log.info
            say("job done", job=job.name, seconds=round(run.duration_s, 3), detail=detail)
        return run


def _trigger(schedule: Schedule) -> CronTrigger | IntervalTrigger | None:
    if schedule.daily_at:
        hour, minute = schedule.daily_at.split(":")
        return CronTrigger(hour=int(hour), minute=int(minute), timezone="UTC")
    if schedule.every_s > 0:
        return IntervalTrigger(seconds=schedule.every_s, timezone="UTC")
    return None
