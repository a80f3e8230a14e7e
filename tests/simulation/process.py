"""One recorder process: the daemon itself, put on a virtual loop with twins around it.

What is left out: signals come by hand, the health pages listen nowhere, and of the jobs only those
that ask the venue something run, since the heavy ones are processes of their own.
"""

from __future__ import annotations

import asyncio
import random
import signal
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

from apscheduler.triggers.interval import IntervalTrigger

import recorder.recording as recording_module
from recorder.clock import use_clock
from recorder.config import Config
from recorder.daemon import record
from recorder.errors import RecorderError, VenueError
from recorder.recording import Recording
from recorder.storage.disk import use_disk
from recorder.tape import open_tape
from tests.simulation.disk import SimulatedDisk
from tests.simulation.loop import Crashed, VirtualClock, VirtualLoop
from tests.simulation.network import Venue
from tests.simulation.session import SimulatedSession
from tests.simulation.sockets import SimulatedSocket
from tests.simulation.troubles import KILLED

STOPPED, CRASHED, FAILED = "stopped", "crashed", "failed"
JOBS = {"instruments", "status"}
# A raw-log segment of the simulation, bytes: small, so that runs have several.
SEGMENT_BYTES = 24_000


@dataclass
class Surroundings:
    """What all processes of a run share."""

    clock: VirtualClock
    disk: SimulatedDisk
    venue: Venue
    draw: random.Random


@dataclass
class Life:
    """What one process did.

    Attributes
    ----------
    end : str            stopped, crashed or failed
    why : str            kind of the crash, or the error
    run_id : str         "" where it never opened the archive
    durable : dict       connection → frames acknowledged
    damage : list        what recovery at its start said is not there any more
    sockets : list
    ts_end : int         wall clock, ns
    was_stopping : bool  it had been asked to end, whatever became of that
    never_began : bool   it failed because the venue would not answer, before it recorded
    """

    number: int
    end: str = ""
    why: str = ""
    run_id: str = ""
    durable: dict[int, int] = field(default_factory=dict)
    damage: list[str] = field(default_factory=list)
    sockets: list[SimulatedSocket] = field(default_factory=list)
    ts_start: int = 0
    ts_end: int = 0
    was_stopping: bool = False
    never_began: bool = False


class Process:
    """A process from its start to its end.

    Parameters
    ----------
    number : int   of this process in the run, from 1
    """

    def __init__(self, around: Surroundings, number: int, config: Config) -> None:
        self.loop = VirtualLoop(around.clock, around.draw, around.disk.owed_s)
        self.tape: Recording | None = None
        self.life = Life(number)
        self._around = around
        self._config = config

    def live(self, meanwhile: Callable[[Process], None], *, refuses_symbol: bool) -> Life:
        """Run the daemon to its end.

        Parameters
        ----------
        meanwhile : callable   plans on the loop what is to happen to the process
        """
        around, life = self._around, self.life
        life.ts_start = around.clock.peek_ns()
        around.disk.start()
        with self._put_in_place():
            try:
                self.loop.run(self._main(meanwhile, refuses_symbol))
                life.end = STOPPED
            except Crashed as crash:
                life.end, life.why = CRASHED, str(crash)
            except (RecorderError, OSError, sqlite3.Error) as error:
                life.end, life.why = FAILED, str(error)
                life.never_began = isinstance(error, VenueError) and not around.venue.sockets
            if self.tape is not None:
                life.durable = dict(self.tape.meters.durable)
            around.venue.stop()
            life.sockets = around.venue.sockets
            around.disk.crash(life.why if life.end == CRASHED else KILLED)
            life.ts_end = around.clock.peek_ns()
            now_s = around.clock.now_s
            self.loop.bury()
            around.clock.now_s = now_s
        return life

    def stop(self) -> None:
        """Send the signal that asks for a clean end."""
        if (handler := self.loop.signals.get(signal.SIGTERM)) is not None:
            self.life.was_stopping = True
            handler()

    def kill(self, kind: str) -> None:
        """End it where it stands."""
        self.loop.kill(Crashed(kind))

    async def _main(self, meanwhile: Callable[[Process], None], refuses_symbol: bool) -> None:
        self._around.venue.start(refuses_symbol=refuses_symbol)
        meanwhile(self)
        await record(self._config, self._open_tape)

    def _open_tape(self) -> Recording:
        self.tape = open_tape(self._config)
        self.life.run_id = self.tape.run_id
        self.life.damage = [run.damage for run in self.tape.recovered if run.damage]
        return self.tape

    @contextmanager
    def _put_in_place(self) -> Iterator[None]:
        """Put the twins where the real things were, and chance under the seed."""
        around = self._around
        venue, number = around.venue, self.life.number
        own = random.Random(around.draw.random())
        with ExitStack() as stack:
            stack.enter_context(use_clock(around.clock))
            stack.enter_context(use_disk(around.disk))
            for target, twin in (
                ("recorder.daemon.open_session", lambda: SimulatedSession(venue)),
                ("recorder.live.random", SimpleNamespace(Random=lambda: own)),
                ("recorder.jobs.AsyncIOScheduler", _Scheduler),
                ("recorder.tape.MIB", SEGMENT_BYTES),
                ("recorder.recording.socket", SimpleNamespace(gethostname=lambda: "twin")),
                ("recorder.recording.os", _with(recording_module.os, getpid=lambda: number)),
            ):
                stack.enter_context(patch(target, twin))
            state = random.getstate()
            random.seed(own.random())
            try:
                yield
            finally:
                random.setstate(state)


class _Scheduler:
    """Runs jobs by the loop's time."""

    def __init__(self, **_: object) -> None:
        self.running = False
        self._jobs: dict[str, tuple[Callable[..., Any], float]] = {}
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._tasks: set[asyncio.Task[Any]] = set()

    def start(self) -> None:
        self.running = True
        for name in self._jobs:
            self._arm(name)

    def shutdown(self, *, wait: bool) -> None:
        del wait
        self.running = False
        for timer in self._timers.values():
            timer.cancel()

    def get_job(self, name: str) -> None:
        """Return nothing: no job is planned by the scheduler's own clock."""

    def add_job(self, work: Callable[..., Any], trigger: object, **options: Any) -> None:
        name = options["id"]
        if name in JOBS and isinstance(trigger, IntervalTrigger):
            self._jobs[name] = (work, trigger.interval.total_seconds())
            if self.running:
                self._arm(name)

    def _arm(self, name: str) -> None:
        loop = asyncio.get_running_loop()
        self._timers[name] = loop.call_later(self._jobs[name][1], self._run, name)

    def _run(self, name: str) -> None:
        task = asyncio.ensure_future(self._jobs[name][0](name))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        self._arm(name)


def _with(module: Any, **replaced: object) -> Any:
    """Return a stand-in for a module with some of it replaced."""
    return SimpleNamespace(**{**vars(module), **replaced})
