"""Lines on their way to disk: a pending list, group commits, and room for no more than three.

Readers append and go on. Every interval, or sooner when enough bytes wait, everything pending goes
to the one worker thread that writes. At most two batches are on their way; when a third is full
readers wait, the sockets fill, and TCP makes the venue wait: memory is bounded and nothing is
dropped here.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from recorder.errors import RecorderError
from recorder.pipeline.output import Command
from recorder.raw_line import RawLine

IN_FLIGHT_MAX = 2
# What a line costs beside its payload, about: the object, its clocks, its JSON.
LINE_OVERHEAD_BYTES = 150

T = TypeVar("T")


class WriterDied(RecorderError):
    """Writing failed: nothing that arrives from now on would be kept."""

    exit_code = 3

    def __init__(self, error: BaseException) -> None:
        super().__init__(
            f"the writer failed, recording stops at once: {type(error).__name__}: {error}",
            "what was acknowledged before is on disk; mend the cause and start again, "
            "the next start recovers the rest",
        )


class Intake:
    """Collect lines and commit them in groups.

    Parameters
    ----------
    commit : callable        list of lines → commands; runs in the worker, one call at a time
    carry_out : callable     each command, on the loop
    interval_s : float       seconds between commits
    bytes_max : int          bytes that bring a commit forward
    worker : ThreadPoolExecutor   of exactly one thread: order and SQLite both need it

    Attributes
    ----------
    failed : asyncio.Future   resolved with `WriterDied` when a commit raises; never otherwise
    """

    def __init__(
        self,
        commit: Callable[[list[RawLine]], Sequence[Command]],
        carry_out: Callable[[Command], None],
        interval_s: float,
        bytes_max: int,
        worker: ThreadPoolExecutor,
    ) -> None:
        self._commit = commit
        self._carry_out = carry_out
        self._interval_s = interval_s
        self._bytes_max = bytes_max
        self._worker = worker
        self._loop = asyncio.get_running_loop()
        self._has_failed = False  # written and read in the worker only
        self._pending: list[RawLine] = []
        self._pending_bytes = 0
        self._in_flight = 0
        self._in_flight_lines = 0
        self._submitted: deque[float] = deque()  # when each batch on its way was handed over
        self._wake = asyncio.Event()
        self._landed = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()
        self._ticker: asyncio.Task[None] | None = None
        self.failed: asyncio.Future[WriterDied] = self._loop.create_future()
        self.lines_committed = 0

    def start(self) -> None:
        """Begin to commit."""
        self._ticker = asyncio.create_task(self._tick(), name="group commit")

    def append(self, line: RawLine) -> None:
        """Take one line; it is kept in the order of these calls."""
        self._pending.append(line)
        self._pending_bytes += LINE_OVERHEAD_BYTES
        if line.data is not None:
            self._pending_bytes += len(line.data)
        if self._pending_bytes >= self._bytes_max:
            self._wake.set()
            if self._in_flight >= IN_FLIGHT_MAX:
                self._room.clear()

    @property
    def queue_lines(self) -> int:
        """Lines that are not on disk yet."""
        return len(self._pending) + self._in_flight_lines

    @property
    def queue_bytes(self) -> int:
        """Bytes that wait for a commit, about; those on their way are not counted."""
        return self._pending_bytes

    @property
    def commit_age_s(self) -> float:
        """Seconds since the oldest batch on its way was handed to the writer; 0 without one."""
        return self._loop.time() - self._submitted[0] if self._submitted else 0.0

    @property
    def is_full(self) -> bool:
        """True while readers are to wait."""
        return not self._room.is_set()

    async def wait_room(self) -> None:
        """Wait until there is room for another batch."""
        await self._room.wait()

    async def run(self, work: Callable[[], T]) -> T:
        """Run other work of the writer between two commits, in its thread.

        Raises
        ------
        WriterDied   when it raises; nothing is committed afterwards
        """
        try:
            return await self._loop.run_in_executor(self._worker, work)
        except Exception as error:
            raise self._fail(error) from error

    async def drain(self) -> None:
        """Commit everything pending and wait until it is on disk; then no more is committed.

        Raises
        ------
        WriterDied   when that fails, or had failed before
        """
        if self._ticker is not None:
            self._ticker.cancel()
            await asyncio.gather(self._ticker, return_exceptions=True)
        while (self._pending or self._in_flight) and not self.failed.done():
            self._submit()
            await self._wait_landed()
        if self.failed.done():
            raise self.failed.result()

    async def _tick(self) -> None:
        while not self.failed.done():
            try:
                async with asyncio.timeout(self._interval_s):
                    await self._wake.wait()
            except TimeoutError:
                pass
            while self._in_flight >= IN_FLIGHT_MAX and not self.failed.done():
                await self._wait_landed()
            self._submit()

    async def _wait_landed(self) -> None:
        self._landed.clear()
        if self._in_flight:
            await self._landed.wait()

    def _submit(self) -> None:
        """Send everything pending to the worker, if there is any and a place for it."""
        if not self._pending or self._in_flight >= IN_FLIGHT_MAX or self.failed.done():
            return
        batch, self._pending = self._pending, []
        self._pending_bytes = 0
        self._wake.clear()
        self._in_flight += 1
        self._in_flight_lines += len(batch)
        self._submitted.append(self._loop.time())
        self._room.set()
        future = self._loop.run_in_executor(self._worker, self._commit_unless_failed, batch)
        future.add_done_callback(lambda done: self._land(done, len(batch)))

    def _commit_unless_failed(self, batch: list[RawLine]) -> Sequence[Command]:
        """Commit, in the worker. A batch behind one that failed would leave a hole before it."""
        if self._has_failed:
            return ()
        try:
            return self._commit(batch)
        except BaseException:
            self._has_failed = True
            raise

    def _land(self, done: asyncio.Future[Sequence[Command]], lines: int) -> None:
        self._in_flight -= 1
        self._in_flight_lines -= lines
        self._submitted.popleft()  # one thread: they land in the order they were handed over
        self._landed.set()
        self._room.set()
        if done.cancelled():
            return
        error = done.exception()
        if error is not None:
            self._fail(error)
            return
        if self.failed.done():
            return
        self.lines_committed += lines
        for command in done.result():
            self._carry_out(command)

    def _fail(self, error: BaseException) -> WriterDied:
        if self.failed.done():
            return self.failed.result()
        death = WriterDied(error)
        death.__cause__ = error
        self.failed.set_result(death)
        # Whoever waits shall run into the failure instead of waiting for ever.
        self._landed.set()
        self._room.set()
        return death
