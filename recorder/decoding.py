"""Lines on their way through the pipeline: behind the raw log, and never in its way.

Group commits that are on disk wait here for the writer's thread. When it falls behind by more than
memory should hold, what waits is let go and read back from the raw log, from where the writer
stands, until it has caught up: memory is bounded, nothing is lost, and no reader waits.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Protocol, TypeVar

from recorder.pipeline.output import Command
from recorder.raw_line import RawLine
from recorder.storage.raw_log import BEGINNING, RawPosition
from recorder.writer_death import WritersLife
from schemas.timestamps import NS_PER_S

WAITING_BYTES_MAX = 64 * 1024 * 1024
# One is worked on, one is ready when the thread is; other work of the thread waits for no more.
IN_FLIGHT_MAX = 2

T = TypeVar("T")


class Decoder(Protocol):
    """What the writer's thread does with lines."""

    def decode(self, lines: list[RawLine], position: RawPosition) -> Sequence[Command]:
        """Take in the next durable lines; `position` is the place behind them."""

    def read_on(self, end: RawPosition) -> tuple[list[RawLine], RawPosition]:
        """Read the lines behind what was decoded last, a group commit of them, none at `end`."""


@dataclass(frozen=True, slots=True)
class _Mark:
    """How far something has come."""

    position: RawPosition = BEGINNING
    ts_mono: int = 0  # of the line before the position, ns


@dataclass(frozen=True, slots=True)
class _Batch:
    lines: list[RawLine]
    size: int
    mark: _Mark


_Done = tuple[Sequence[Command], _Mark | None]  # what to do next, and how far it came


class Decoding:
    """Feed durable lines to the writer's thread and carry out what the pipeline wants done.

    Parameters
    ----------
    decoder : Decoder    used in the worker only
    carry_out : callable     each command, on the loop
    worker : ThreadPoolExecutor   of exactly one thread: order and SQLite both need it
    life : WritersLife       ended when decoding raises
    bytes_max : int          bytes in memory, about, beyond which the raw log is read instead

    Attributes
    ----------
    catch_ups : int              how often the raw log had to be read
    is_reading_raw_log : bool    it is being read now
    """

    def __init__(
        self,
        decoder: Decoder,
        carry_out: Callable[[Command], None],
        worker: ThreadPoolExecutor,
        life: WritersLife,
        bytes_max: int = WAITING_BYTES_MAX,
    ) -> None:
        self._decoder = decoder
        self._carry_out = carry_out
        self._worker = worker
        self._life = life
        self._bytes_max = bytes_max
        self._loop = asyncio.get_running_loop()
        self._waiting: deque[_Batch] = deque()
        self._waiting_bytes = 0  # of what waits and of what is on its way
        self._submitted: deque[float] = deque()
        self._end = _Mark()  # of what is durable
        self._decoded = _Mark()
        self._is_stopped = False
        self._landed = asyncio.Event()
        self.catch_ups = 0
        self.is_reading_raw_log = False
        life.failed.add_done_callback(lambda _: self._landed.set())

    @property
    def lag_lines(self) -> int:
        """Durable lines that have not been decoded."""
        return self._end.position.lines - self._decoded.position.lines

    @property
    def lag_s(self) -> float:
        """Seconds between the receipt of the newest durable line and of the last decoded one."""
        if not self.lag_lines:
            return 0.0
        return max(self._end.ts_mono - self._decoded.ts_mono, 0) / NS_PER_S

    @property
    def batch_age_s(self) -> float:
        """Seconds since the oldest batch on its way was handed to the thread; 0 without one."""
        return self._loop.time() - self._submitted[0] if self._submitted else 0.0

    @property
    def waiting_bytes(self) -> int:
        """Bytes of lines held in memory, about."""
        return self._waiting_bytes

    def hand_over(self, lines: list[RawLine], size: int, position: RawPosition) -> None:
        """Take a group commit that is on disk; returns at once.

        Parameters
        ----------
        size : int               bytes it takes in memory, about
        position : RawPosition   behind it
        """
        if not self._decoded.ts_mono:
            self._decoded = _Mark(self._decoded.position, lines[0].ts_mono)
        self._end = _Mark(position, lines[-1].ts_mono)
        if not self.is_reading_raw_log:
            if self._waiting_bytes and self._waiting_bytes + size > self._bytes_max:
                self._fall_behind()
            else:
                self._waiting.append(_Batch(lines, size, self._end))
                self._waiting_bytes += size
        self._go_on()

    async def run(self, work: Callable[[], T]) -> T:
        """Run other work of the writer between two batches, in its thread.

        Raises
        ------
        WriterDied   when it raises; nothing is written afterwards
        """
        try:
            return await self._loop.run_in_executor(self._worker, work)
        except Exception as error:
            raise self._life.end(error) from error

    async def rewind(self, work: Callable[[], RawPosition]) -> None:
        """Run work that may take the writer back to an earlier place, and go on from there.

        Parameters
        ----------
        work : callable   returns the place, in the thread; no batch is on its way meanwhile

        Raises
        ------
        WriterDied   when it raises
        """
        self._is_stopped = True
        try:
            while self._submitted and not self._life.is_over:
                self._landed.clear()
                await self._landed.wait()
            position = await self.run(work)
        finally:
            self._is_stopped = False
        if position.lines < self._decoded.position.lines:
            self._decoded = _Mark(position, self._decoded.ts_mono)
            self._fall_behind()
        self._go_on()

    async def drain(self, patience_s: float) -> bool:
        """Decode everything that was handed over.

        Returns
        -------
        bool   False when patience ended before; the thread is free then all the same

        Raises
        ------
        WriterDied   when that fails, or had failed before
        """
        until = self._loop.time() + patience_s
        while (self.lag_lines or self._submitted) and not self._life.is_over:
            if self._loop.time() >= until:
                self._is_stopped = True
            if self._is_stopped and not self._submitted:
                return False
            self._landed.clear()
            try:
                async with asyncio.timeout_at(None if self._is_stopped else until):
                    await self._landed.wait()
            except TimeoutError:
                pass
        if self._life.is_over:
            raise self._life.failed.result()
        return True

    def _fall_behind(self) -> None:
        """Let go of what waits; the batches on their way are decoded, and reading begins there."""
        self._waiting_bytes -= sum(batch.size for batch in self._waiting)
        self._waiting.clear()
        if not self.is_reading_raw_log:
            self.is_reading_raw_log = True
            self.catch_ups += 1

    def _go_on(self) -> None:
        """Keep the thread busy while there is something to decode."""
        while len(self._submitted) < IN_FLIGHT_MAX and not self._is_stopped:
            if self._life.is_over:
                return
            if self.is_reading_raw_log:
                # The end as it is now: what is handed over once this has caught up is not its.
                self._submit(partial(self._read_on, self._end.position), 0)
            elif self._waiting:
                batch = self._waiting.popleft()
                self._submit(partial(self._decode, batch), batch.size)
            else:
                return

    def _submit(self, work: Callable[[], _Done], size: int) -> None:
        self._submitted.append(self._loop.time())
        future = self._loop.run_in_executor(self._worker, self._life.guarded, work)
        future.add_done_callback(lambda done: self._land(done, size))

    def _decode(self, batch: _Batch) -> _Done:
        """Decode lines that waited in memory, in the thread."""
        return self._decoder.decode(batch.lines, batch.mark.position), batch.mark

    def _read_on(self, end: RawPosition) -> _Done:
        """Decode lines read back from the raw log, in the thread; none when it has caught up."""
        lines, position = self._decoder.read_on(end)
        if not lines:
            return (), None
        return self._decoder.decode(lines, position), _Mark(position, lines[-1].ts_mono)

    def _land(self, done: asyncio.Future[_Done], size: int) -> None:
        self._submitted.popleft()
        self._waiting_bytes -= size
        self._landed.set()
        if done.cancelled():
            return
        error = done.exception()
        if error is not None:
            self._life.end(error)
            return
        if self._life.is_over:
            return
        commands, mark = done.result()
        if mark is not None:
            self._decoded = mark
        if self.is_reading_raw_log and not self.lag_lines:
            self.is_reading_raw_log = False
        for command in commands:
            self._carry_out(command)
        self._go_on()
