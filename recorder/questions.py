"""Questions under way: one a key, and spaced where they repeat one that was just answered.

Whoever wants something of the exchange notes what, and has it served. A wish that comes while its
key is served finds a task that looks for it behind the question it is at.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine, Hashable
from typing import Any, Generic, TypeVar

from recorder.transport.rate_limit import Backoff

K = TypeVar("K", bound=Hashable)


class Questions(Generic[K]):
    """Serve each key that something is wanted of, by one task at a time.

    Parameters
    ----------
    purpose : str      names the tasks
    serve : callable   asks what is wanted of a key, until nothing is

    Attributes
    ----------
    crashed : asyncio.Future   fails when a question ended by a mistake of ours; else never done
    """

    def __init__(self, purpose: str, serve: Callable[[K], Coroutine[Any, Any, None]]) -> None:
        self._purpose = purpose
        self._serve = serve
        self._tasks: dict[K, asyncio.Task[None]] = {}
        self.crashed: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    @property
    def under_way(self) -> int:
        """How many keys are served now."""
        return len(self._tasks)

    def begin(self, key: K) -> None:
        """Have a key served, if it is not."""
        if key not in self._tasks:
            task = asyncio.create_task(self._run(key), name=f"{self._purpose} {key}")
            task.add_done_callback(self._note_crash)
            self._tasks[key] = task

    async def stop(self) -> None:
        """Give up everything not answered yet."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self.crashed.cancel()

    async def _run(self, key: K) -> None:
        try:
            await self._serve(key)
        finally:
            del self._tasks[key]

    def _note_crash(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) and not self.crashed.done():
            self.crashed.set_exception(error)


class Spacing(Generic[K]):
    """How long a question waits: nothing, unless it repeats one just answered.

    The one who judges an answer says that it is of no use by asking again; that comes soon. A
    question that comes later is a new need.

    Parameters
    ----------
    first_s, cap_s : float   of the delays, which double: seconds
    memory_s : float         how long after an answer a question repeats it
    draw : random.Random     jitter of the delays
    """

    def __init__(self, first_s: float, cap_s: float, memory_s: float, draw: random.Random) -> None:
        self._first_s = first_s
        self._cap_s = cap_s
        self._memory_s = memory_s
        self._draw = draw
        self._backoffs: dict[K, Backoff] = {}
        self._answered: dict[K, float] = {}

    def delay_s(self, key: K) -> float:
        """Return how long the next question of a key waits, seconds, and count it."""
        backoff = self._backoffs.get(key)
        if backoff is None:
            backoff = self._backoffs[key] = Backoff(self._first_s, self._cap_s, self._draw)
        if self._now() - self._answered.get(key, float("-inf")) > self._memory_s:
            backoff.reset()
            return 0.0
        return backoff.next_s()

    def note_answered(self, key: K) -> None:
        """Note that a question of a key has just been answered, by a failure as well."""
        self._answered[key] = self._now()

    def _now(self) -> float:
        return asyncio.get_running_loop().time()
