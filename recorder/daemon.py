"""One recorder process from its first question to its last part: start, watch, stop.

Two ways out. A stop that was asked for closes the sockets, commits what is pending, writes
`run_stop` and publishes every open part. A writer that fails ends the process at once and loudly:
collecting what nobody keeps is the worst a recorder can do.
"""

from __future__ import annotations

import asyncio
import random
import signal
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict
from importlib.metadata import version
from typing import Any

from apscheduler.schedulers.asyncio import AsyncIOScheduler

from recorder.api_key import load_api_key
from recorder.clock import stamp_line
from recorder.collector import Collector
from recorder.config import Config
from recorder.intake import Intake, WriterDied
from recorder.logs import Log, get_log
from recorder.pipeline.routes import Key
from recorder.raw_line import RawLine
from recorder.rest_log import LoggedRest
from recorder.startup import Greeting, greet_venue
from recorder.storage.known_symbols import known_symbols
from recorder.subscriptions import Plan
from recorder.tape import Tape
from recorder.transport.rate_limit import open_budgets
from recorder.transport.rest import RestClient, RestFailed
from recorder.transport.session import Session, open_session

# Often enough that a part is never a second late, rare enough to cost nothing.
ROLL_CHECK_S = 1.0
STATUS_EVERY_S = 10.0
# A whole archive opens in less; minutes of a busy market do not.
RECOVERY_TELL_S = 2.0


async def record(
    config: Config,
    open_tape: Callable[[], Tape],
    *,
    for_s: float | None = None,
    status_every_s: float = STATUS_EVERY_S,
) -> None:
    """Record until SIGTERM, SIGINT, or `for_s` seconds after the first connection was asked for.

    Parameters
    ----------
    open_tape : callable   opens the archive; called in the writer's thread, after the venue
        answered and listed every symbol

    Raises
    ------
    RecorderError   bad input, a venue that is not there, or a writer that failed
    """
    stop = asyncio.Event()
    with _Signals(stop):
        await _Run(config, open_tape, stop, for_s, status_every_s).record()


class _Signals:
    """SIGTERM and SIGINT set an event, once; a second one has its usual, harsher effect."""

    def __init__(self, stop: asyncio.Event) -> None:
        self._stop = stop
        self._loop = asyncio.get_running_loop()

    def __enter__(self) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            self._loop.add_signal_handler(number, self._heard)

    def __exit__(self, *_: object) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            self._loop.remove_signal_handler(number)

    def _heard(self) -> None:
        self.__exit__()
        self._stop.set()


class _Run:
    def __init__(
        self,
        config: Config,
        open_tape: Callable[[], Tape],
        stop: asyncio.Event,
        for_s: float | None,
        status_every_s: float,
    ) -> None:
        self._config = config
        self._profile = config.profile
        self._open_tape = open_tape
        self._stop = stop
        self._for_s = for_s
        self._status_every_s = status_every_s
        self._draw = random.Random()
        self._log: Log = get_log("recorder", venue=self._profile.venue)
        self._greeting: Greeting | None = None
        self._plan = Plan(self._profile, config.venue.topics_per_connection)

    async def record(self) -> None:
        """Ask, open, collect, close."""
        limits = self._profile.limits
        first_lines: list[RawLine] = []
        started = (time.time_ns(), time.monotonic_ns())
        worker = ThreadPoolExecutor(1, "writer")
        async with open_session() as session:
            key = load_api_key(self._config)
            client = RestClient(
                session,
                self._config.rest_url,
                open_budgets(limits),
                limits,
                key.sign if key else None,
            )

            async def greet() -> None:
                self._greeting = await greet_venue(
                    LoggedRest(client, first_lines.append),
                    client,
                    self._config,
                    key,
                    known_symbols(self._config.archive),
                    self._log,
                )

            if not await self._finish_unless_stopped(greet()):
                return
            assert self._greeting is not None
            self._plan.change(self._greeting.symbols, self._config.venue.streams)
            try:
                tape = await self._open(worker)
                self._log = self._log.bind(run_id=tape.run_id)
                for run in tape.recovered:
                    self._log.warning(
                        "a crashed run was finished from its raw log",
                        crashed_run_id=run.run_id,
                        lines=run.lines,
                        torn_bytes_cut=run.bytes_cut,
                    )
                run_start = RawLine("run_start", *started, fields=self._start_fields(tape.run_id))
                await self._collect(session, client, worker, tape, [run_start, *first_lines])
            finally:
                worker.shutdown(wait=False, cancel_futures=True)

    async def _open(self, worker: ThreadPoolExecutor) -> Tape:
        """Open the archive; what takes long there is a crashed run, and is told as it goes on."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        opening = loop.run_in_executor(worker, self._open_tape)
        while not (await asyncio.wait({opening}, timeout=RECOVERY_TELL_S))[0]:
            self._log.warning(
                "finishing a crashed run from its raw log, recording starts after it",
                archive=str(self._config.archive),
                seconds=round(loop.time() - began),
            )
        return opening.result()

    async def _finish_unless_stopped(self, work: Coroutine[Any, Any, None]) -> bool:
        """Await some work; False when a stop came first."""
        task = asyncio.create_task(work)
        stopped = asyncio.create_task(self._stop.wait())
        try:
            await asyncio.wait({task, stopped}, return_when=asyncio.FIRST_COMPLETED)
            if not task.done():
                return False
            task.result()
            return True
        finally:
            for each in (task, stopped):
                each.cancel()
            await asyncio.gather(task, stopped, return_exceptions=True)

    def _start_fields(self, run_id: str) -> dict[str, object]:
        config = self._config
        return {
            "run_id": run_id,
            "version": version("booktape"),
            "profile": self._profile.name,
            "profile_hash": self._profile.hash,
            "symbols": list(self._greeting.symbols if self._greeting else ()),
            "signed": self._greeting is not None and self._greeting.signed,
            "feeds": list(config.venue.streams),
            "limits": {
                **asdict(self._profile.limits),
                "buffer_updates_max": config.stitch.buffer_updates_max,
                "first_update_timer_s": config.stitch.first_update_timer_s,
            },
        }

    async def _collect(
        self,
        session: Session,
        client: RestClient,
        worker: ThreadPoolExecutor,
        tape: Tape,
        first_lines: Sequence[RawLine],
    ) -> None:
        config, log = self._config, self._log
        collector = Collector(
            self._profile,
            self._plan,
            session,
            client,
            config.stitch.first_update_timer_s,
            log,
            self._draw,
        )
        intake = Intake(
            tape.commit,
            collector.carry_out,
            config.raw_log.commit_interval_ms / 1000,
            config.raw_log.commit_bytes,
            worker,
        )
        for line in first_lines:
            intake.append(line)
        intake.start()
        collector.start(intake)
        log.info(
            "recording",
            archive=str(config.archive),
            symbols=len(self._greeting.symbols if self._greeting else ()),
            streams=len(config.venue.streams),
            connections=len(self._plan.places),
        )
        scheduler = self._schedule(intake, tape, collector, client)
        reason = "internal"
        try:
            await self._until_stopped(intake, collector)
            reason = "stopped"
        finally:
            scheduler.shutdown(wait=False)
            await collector.stop()
            await self._close(intake, tape, reason)
        log.info("stopped", lines=intake.lines_committed)

    async def _close(self, intake: Intake, tape: Tape, reason: str) -> None:
        """End the run in the archive; of a writer that failed, keep what is durable and no more."""
        if intake.failed.done():
            await intake.run(tape.abandon)
            return
        intake.append(stamp_line("run_stop", {"reason": reason}))
        await intake.drain()
        self._tell_incidents(tape)
        await intake.run(tape.close)

    def _tell_incidents(self, tape: Tape) -> None:
        for story in tape.take_incidents():
            self._log.error("incident in a stream, which heals by itself", story=story)

    async def _until_stopped(self, intake: Intake, collector: Collector) -> None:
        """Wait for the end that was asked for; raise what ends the run before."""
        stopped = asyncio.create_task(self._stop.wait())
        working = asyncio.create_task(collector.wait())
        try:
            ends: set[asyncio.Future[Any]] = {stopped, working, intake.failed}
            done, _ = await asyncio.wait(
                ends,
                timeout=self._for_s,
                return_when=asyncio.FIRST_COMPLETED,
            )
            if intake.failed.done():
                self._log.critical("writer failed, nothing more is recorded")
                raise intake.failed.result()
            if working in done:
                working.result()
        finally:
            for task in (stopped, working):
                task.cancel()
            await asyncio.gather(stopped, working, return_exceptions=True)

    def _schedule(
        self, intake: Intake, tape: Tape, collector: Collector, client: RestClient
    ) -> AsyncIOScheduler:
        rest = LoggedRest(client, intake.append)

        async def roll() -> None:
            await intake.run(lambda: tape.roll(time.time_ns()))
            self._tell_incidents(tape)

        async def refresh_instruments() -> None:
            try:
                await rest.ask(self._profile.symbols_path)
            except RestFailed as failure:
                self._log.warning("instruments not refreshed", problem=failure.problem)

        async def say_status() -> None:
            status = await intake.run(tape.status)
            self._log.info("status", **_summarize(status, intake, collector))

        scheduler = AsyncIOScheduler(timezone="UTC")
        common = {"trigger": "interval", "coalesce": True, "misfire_grace_time": None}
        for job, seconds in (
            (roll, ROLL_CHECK_S),
            (say_status, self._status_every_s),
            (refresh_instruments, self._config.instruments.interval_s),
        ):
            scheduler.add_job(_until_the_end, args=(job,), seconds=seconds, **common)
        scheduler.start()
        return scheduler


async def _until_the_end(job: Callable[[], Awaitable[None]]) -> None:
    """Run a job; the end of the run may come in its middle, and is told elsewhere."""
    with suppress(WriterDied, asyncio.CancelledError):
        await job()


def _summarize(
    status: Mapping[Key, Mapping[str, Any]], intake: Intake, collector: Collector
) -> dict[str, object]:
    """Put the state of all streams into one line: how many are in which, and what was lost."""
    states = Counter(str(stream.get("state")) for stream in status.values())
    return {
        "lines": intake.lines_committed,
        "connections": collector.connections_open,
        "streams": dict(sorted(states.items())),
        "gaps": sum(int(stream.get("gaps") or 0) for stream in status.values()),
        "refused": len(collector.refused),
    }
