"""An event loop whose time is a number: it jumps to the next timer, and nothing runs beside it.

The executor's twin runs its work on the loop itself, one call at a time for each executor, and
hands over the outcome after a delay, as a thread would. So a run has one order, and has it again.
"""

from __future__ import annotations

import asyncio
import itertools
import random
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")

# Far more than any seed needs: beyond it something goes round in circles.
TURNS_MAX = 400_000
US = 1_000


class Crashed(BaseException):
    """The process is gone: raised where it stood, and caught by nobody in it."""


class Stuck(AssertionError):
    """Nothing will ever happen again, or the same for ever."""


class VirtualClock:
    """Both clocks of a run, in place of the module `time`.

    Each look at them takes a microsecond, so no two lines have one stamp.

    Attributes
    ----------
    now_s : float     virtual time since the run began; only the loop moves it
    offset_ns : int   by how much the wall clock has been stepped
    """

    def __init__(self, start_ns: int) -> None:
        self.now_s = 0.0
        self.offset_ns = 0
        self._start_ns = start_ns
        self._looks_ns = 0

    def time_ns(self) -> int:
        """Return the wall clock, ns since the epoch."""
        self._looks_ns += US
        return self._start_ns + self.offset_ns + int(self.now_s * 1e9) + self._looks_ns

    def monotonic_ns(self) -> int:
        """Return the clock that only goes forward."""
        self._looks_ns += US
        return int(self.now_s * 1e9) + self._looks_ns

    def peek_ns(self) -> int:
        """Return the wall clock without taking time."""
        return self._start_ns + self.offset_ns + int(self.now_s * 1e9) + self._looks_ns


class _Jump:
    """A selector that waits for nothing: time passes instead."""

    def __init__(self, clock: VirtualClock) -> None:
        self._clock = clock
        self._turns = 0

    def select(self, timeout: float | None) -> list[Any]:
        self._turns += 1
        if timeout is None:
            raise Stuck("every task waits for something that nobody will do")
        if self._turns > TURNS_MAX:
            raise Stuck(f"{TURNS_MAX} turns of the loop in one process")
        # A turn takes time, too: who waits for less than a clock can tell would wait for ever.
        self._clock.now_s += max(timeout, 1e-6)
        return []

    def close(self) -> None:
        """Do nothing: there is nothing open."""


class _Task(asyncio.Task[Any]):
    """A task that stands in sets by its number, so that sets have an order that repeats."""

    _numbers = itertools.count()

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._number = next(self._numbers)
        super().__init__(*args, **kwargs)

    def __hash__(self) -> int:
        return self._number


class _Lane:
    """One executor: what waits for its thread."""

    def __init__(self) -> None:
        self.waiting: deque[tuple[asyncio.Future[Any], Callable[[], Any]]] = deque()
        self.busy = False


class VirtualLoop(asyncio.BaseEventLoop):
    """One process's loop.

    Parameters
    ----------
    clock : VirtualClock   shared by all processes of a run
    draw : random.Random   how long work takes in another thread
    owed_s : callable      seconds the disk has made the work just done wait; asking clears it

    Attributes
    ----------
    crash : Crashed | None   why nothing runs here any more
    signals : dict           number → handler, as the process has set them
    """

    def __init__(
        self, clock: VirtualClock, draw: random.Random, owed_s: Callable[[], float]
    ) -> None:
        super().__init__()
        self._clock = clock
        self._draw = draw
        self._owed_s = owed_s
        self._selector = _Jump(clock)
        self._lanes: dict[int, tuple[object, _Lane]] = {}
        self.crash: Crashed | None = None
        self._is_over = False
        self.signals: dict[int, Callable[[], object]] = {}
        self.unhandled: list[str] = []
        # What the base class calls its clock's resolution: sums of floats are not exact.
        self._clock_resolution = 1e-7
        self.set_exception_handler(self._note_unhandled)
        self.set_task_factory(lambda loop, work, **kwargs: _Task(work, loop=loop, **kwargs))

    def time(self) -> float:
        """Return the loop's time, seconds."""
        return self._clock.now_s

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run until the work is done.

        Raises
        ------
        Crashed   when the process dies meanwhile
        """
        task = self.create_task(work)
        try:
            return self.run_until_complete(task)
        except RuntimeError:
            if self.crash is None:
                raise
            raise self.crash from None
        finally:
            self._is_over = True

    def kill(self, crash: Crashed) -> None:
        """Let nothing run here any more."""
        if self.crash is None and not self._is_over:
            self.crash = crash
            self.stop()

    def bury(self) -> None:
        """End every task of a dead process; what they do on their way out reaches nothing."""
        for _ in range(12):  # one that ends may begin another, or wait for work nobody does
            tasks = asyncio.all_tasks(self)
            if not tasks:
                break
            for task in sorted(tasks, key=hash):
                task.cancel()
            self.run_until_complete(_end(tasks))
        if left := asyncio.all_tasks(self):
            raise Stuck(f"tasks of a dead process do not end: {sorted(map(repr, left))}")
        self.close()

    # Executors

    def run_in_executor(  # type: ignore[override]
        self, executor: object, func: Callable[..., T], *args: Any
    ) -> asyncio.Future[T]:
        """Run a call as another thread would: later, in the order of the calls."""
        future: asyncio.Future[T] = self.create_future()
        lane = self._lanes.setdefault(id(executor), (executor, _Lane()))[1]
        lane.waiting.append((future, lambda: func(*args)))
        if not lane.busy:
            lane.busy = True
            self.call_soon(self._work, lane)
        return future

    def _work(self, lane: _Lane) -> None:
        """Do the next call of a lane and plan when its outcome is known."""
        while lane.waiting:
            future, call = lane.waiting.popleft()
            if future.cancelled():
                continue
            if self._is_over:
                continue  # for ever: nobody works here any more
            value, error = None, None
            try:
                value = call()
            except Crashed as crash:
                self.kill(crash)
                return
            except BaseException as raised:
                error = raised
            took_s = self._draw.uniform(0.0002, 0.003) + self._owed_s()
            self.call_later(took_s, self._deliver, lane, future, value, error)
            return
        lane.busy = False

    def _deliver(
        self, lane: _Lane, future: asyncio.Future[Any], value: Any, error: BaseException | None
    ) -> None:
        if not future.done():
            if error is None:
                future.set_result(value)
            else:
                future.set_exception(error)
        self._work(lane)

    async def shutdown_default_executor(self, timeout: float | None = None) -> None:  # noqa: ASYNC109
        """Do nothing: there is no thread."""

    # Signals

    def add_signal_handler(self, sig: int, callback: Callable[..., object], *args: Any) -> None:
        """Remember a handler; `signals` is how one is sent."""
        self.signals[sig] = lambda: callback(*args)

    def remove_signal_handler(self, sig: int) -> bool:
        """Forget a handler."""
        return self.signals.pop(sig, None) is not None

    # What the base class asks of a loop with real events

    def _process_events(self, event_list: list[Any]) -> None:
        pass

    def _write_to_self(self) -> None:
        pass

    def _note_unhandled(self, _loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        if self.crash is None:
            self.unhandled.append(f"{context.get('message')}: {context.get('exception')!r}")


async def _end(tasks: set[asyncio.Task[Any]]) -> None:
    await asyncio.wait(tasks, timeout=8.0)
