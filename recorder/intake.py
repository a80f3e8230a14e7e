"""Lines on their way to disk: a pending list, group commits, and room for no more than three.

Readers append and go on. Every interval, or sooner when enough bytes wait, everything pending goes
to the one thread that appends to the raw log. At most two batches are on their way; when a third
is full readers wait, the sockets fill, and TCP makes the venue wait: memory is bounded and nothing
is dropped here. What is on disk is handed over to be looked into, which holds up nobody here.

A disk without room is no failure. What was on its way is dropped and counted, and so is what still
comes, until recording is opened again: none of it was ever acknowledged.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Protocol

from recorder.errors import DiskFull
from recorder.raw_line import RawLine
from recorder.storage.raw_log import RawPosition
from recorder.writer_death import WritersLife

IN_FLIGHT_MAX = 2
# What a line costs beside its payload, about: the object, its clocks, its JSON.
LINE_OVERHEAD_BYTES = 150


class HandOver(Protocol):
    """Takes what has become durable, on the loop, without ever waiting."""

    def __call__(self, lines: list[RawLine], size: int, position: RawPosition) -> None:
        """Take a group commit, its bytes in memory, about, and the place behind it."""


class Intake:
    """Collect lines and commit them in groups.

    Parameters
    ----------
    commit : callable        list of lines → the place behind them; runs in the worker, one call
        at a time
    hand_over : HandOver     each group commit, in order, once it is on disk
    interval_s : float       seconds between commits
    bytes_max : int          bytes that bring a commit forward
    worker : ThreadPoolExecutor   of exactly one thread: order needs it
    life : WritersLife       ended when a commit raises
    on_full : callable       called on the loop when the disk is found full, and lines are dropped
        from then on

    Attributes
    ----------
    lines_committed : int   on disk
    lines_dropped : int     for want of room; never acknowledged
    is_paused : bool        lines are dropped
    """

    def __init__(
        self,
        commit: Callable[[list[RawLine]], RawPosition],
        hand_over: HandOver,
        interval_s: float,
        bytes_max: int,
        worker: ThreadPoolExecutor,
        life: WritersLife,
        on_full: Callable[[], None] | None = None,
    ) -> None:
        self._on_full = on_full
        self._commit = commit
        self._hand_over = hand_over
        self._interval_s = interval_s
        self._bytes_max = bytes_max
        self._worker = worker
        self._life = life
        self._loop = asyncio.get_running_loop()
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
        self.lines_committed = 0
        self.lines_dropped = 0
        self.is_paused = False
        # Whoever waits shall run into the failure instead of waiting for ever.
        life.failed.add_done_callback(lambda _: self._landed.set())
        life.failed.add_done_callback(lambda _: self._room.set())

    def start(self) -> None:
        """Begin to commit."""
        self._ticker = asyncio.create_task(self._tick(), name="group commit")

    def append(self, line: RawLine) -> None:
        """Take one line; it is kept in the order of these calls."""
        if self.is_paused:
            self.lines_dropped += 1
            return
        self._pending.append(line)
        self._pending_bytes += LINE_OVERHEAD_BYTES
        if line.data is not None:
            self._pending_bytes += len(line.data)
        if self._pending_bytes < self._bytes_max:
            return
        if self._in_flight < IN_FLIGHT_MAX:
            self._submit()  # here and now: a reader may have thousands of frames to append at once
        else:
            self._wake.set()
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
        """Seconds since the oldest batch on its way was handed to the thread; 0 without one."""
        return self._loop.time() - self._submitted[0] if self._submitted else 0.0

    @property
    def is_full(self) -> bool:
        """True while readers are to wait."""
        return not self._room.is_set()

    async def wait_room(self) -> None:
        """Wait until there is room for another batch."""
        await self._room.wait()

    async def drain(self) -> None:
        """Commit everything pending and wait until it is on disk; then no more is committed.

        Raises
        ------
        WriterDied   when that fails, or had failed before
        """
        await self._stop_ticking()
        while (self._pending or self._in_flight) and not self._life.is_over:
            self._submit()
            await self._wait_landed()
        if self._life.is_over:
            raise self._life.failed.result()

    async def write_past(
        self, line: RawLine, write: Callable[[list[RawLine]], RawPosition]
    ) -> None:
        """Write one line while everything else is dropped, behind what was on its way.

        Parameters
        ----------
        write : callable   makes it durable, in the thread

        Raises
        ------
        DiskFull     when there is no room for it
        WriterDied   when writing fails, or had failed before
        """
        while self._in_flight:
            await self._wait_landed()
        future = self._send([line], LINE_OVERHEAD_BYTES, write)
        await asyncio.wait({future})  # whoever gives up waiting leaves it to land by itself
        error = future.exception()
        if isinstance(error, DiskFull):
            raise error
        if self._life.is_over:
            raise self._life.failed.result()

    def open_again(self) -> None:
        """Take lines again."""
        self.is_paused = False

    async def settle(self) -> None:
        """Wait, after a failure, until the thread has let go of the raw log."""
        await self._stop_ticking()
        while self._in_flight:
            await self._wait_landed()

    async def _stop_ticking(self) -> None:
        if self._ticker is not None:
            self._ticker.cancel()
            await asyncio.gather(self._ticker, return_exceptions=True)

    async def _tick(self) -> None:
        while not self._life.is_over:
            try:
                async with asyncio.timeout(self._interval_s):
                    await self._wake.wait()
            except TimeoutError:
                pass
            while self._in_flight >= IN_FLIGHT_MAX and not self._life.is_over:
                await self._wait_landed()
            self._submit()

    async def _wait_landed(self) -> None:
        self._landed.clear()
        if self._in_flight:
            await self._landed.wait()

    def _submit(self) -> None:
        """Send everything pending to the thread, if there is any and a place for it."""
        if not self._pending or self._in_flight >= IN_FLIGHT_MAX or self._life.is_over:
            return
        batch, self._pending = self._pending, []
        size, self._pending_bytes = self._pending_bytes, 0
        self._wake.clear()
        self._send(batch, size, self._commit)

    def _send(
        self, batch: list[RawLine], size: int, commit: Callable[[list[RawLine]], RawPosition]
    ) -> asyncio.Future[RawPosition]:
        """Send a batch to the thread."""
        self._in_flight += 1
        self._in_flight_lines += len(batch)
        self._submitted.append(self._loop.time())
        self._room.set()
        future = self._loop.run_in_executor(
            self._worker, self._life.guarded, partial(commit, batch)
        )
        future.add_done_callback(lambda done: self._land(done, batch, size))
        return future

    def _land(self, done: asyncio.Future[RawPosition], batch: list[RawLine], size: int) -> None:
        self._in_flight -= 1
        self._in_flight_lines -= len(batch)
        self._submitted.popleft()  # one thread: they land in the order they were handed over
        self._landed.set()
        self._room.set()
        if done.cancelled():
            return
        error = done.exception()
        if isinstance(error, DiskFull) and self._on_full is not None:
            self._pause(batch)
            return
        if error is not None:
            self._life.end(error)
            return
        self.lines_committed += len(batch)
        self._hand_over(batch, size, done.result())

    def _pause(self, batch: list[RawLine]) -> None:
        """Drop a batch that found no room, and everything behind it."""
        assert self._on_full is not None
        self.lines_dropped += len(self._pending) + sum(line.kind != "decision" for line in batch)
        self._pending, self._pending_bytes = [], 0
        self._wake.clear()
        if not self.is_paused:
            self.is_paused = True
            self._on_full()
