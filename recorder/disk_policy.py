"""What is done about a disk that fills up: parts wait first, the raw log goes on to the last.

ok → parts_held: below a limit no parts are published. Their rows are in the raw log; they wait in
memory, and where that is not enough they are made again later.
→ full: the raw log found no room. A reserve pays for the line that says so, connections are
closed, and nothing is recorded until there is room again; then everything is opened anew. What was
not recorded is a gap of every stream, which begins at its last row.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from recorder.clock import stamp_line
from recorder.decoding import Decoding
from recorder.errors import DiskFull
from recorder.intake import Intake
from recorder.logs import Log
from recorder.raw_line import PAUSED, RESUMED, RawLine
from recorder.storage.raw_log import RawPosition
from recorder.writer_death import WritersLife

OK, PARTS_HELD, FULL = "ok", "parts_held", "full"
STAGES = (OK, PARTS_HELD, FULL)

POLL_S = 1.0
# Parts that found no room are not tried again at once: something other than free bytes may be why.
HELD_AT_LEAST_S = 10.0
# A full disk is an operator's business until it is not: say it again.
TELL_AGAIN_S = 60.0


@dataclass(frozen=True, slots=True)
class DiskRules:
    """When to hold back and when to go on; bytes that are free, without the reserve.

    Attributes
    ----------
    reserve_bytes : int      kept for the last lines, and made again before recording goes on
    parts_stop_bytes : int   below it no parts are published
    resume_bytes : int       room beyond a limit before its stage ends
    """

    reserve_bytes: int
    parts_stop_bytes: int
    resume_bytes: int


class Shell(Protocol):
    """What talks to the exchange."""

    async def pause(self) -> None:
        """Close every connection, and open none."""

    def resume(self) -> None:
        """Open every connection."""


class HeldTape(Protocol):
    """What of a recording has to do with room."""

    @property
    def parts_held(self) -> bool:
        """Whether no parts are published just now."""

    def pause(self, lines: list[RawLine]) -> RawPosition:
        """Write last lines at the expense of the reserve; in the raw log's thread."""

    def resume(self, lines: list[RawLine]) -> RawPosition:
        """Make the reserve again, and write first lines; in the raw log's thread."""

    def hold_parts(self) -> None:
        """Publish no parts from now on; in the writer's thread."""

    def release_parts(self) -> RawPosition:
        """Publish parts again; return where to go on decoding; in the writer's thread."""


class DiskPolicy:
    """Watch the room, hold back and go on.

    Parameters
    ----------
    free_bytes : callable or None   asked in a thread; None: nothing is watched
    rules : callable                returns what is in force now

    Attributes
    ----------
    pauses : int   how often recording was paused
    """

    def __init__(
        self,
        tape: HeldTape,
        intake: Intake,
        decoding: Decoding,
        shell: Shell,
        life: WritersLife,
        rules: Callable[[], DiskRules],
        free_bytes: Callable[[], int] | None,
        log: Log,
    ) -> None:
        self._tape = tape
        self._intake = intake
        self._decoding = decoding
        self._shell = shell
        self._life = life
        self._rules = rules
        self._free_bytes = free_bytes
        self._log = log
        self._loop = asyncio.get_running_loop()
        self._is_told_full = asyncio.Event()
        self._held_since: float | None = None
        self._told_at = 0.0
        self.pauses = 0

    @property
    def stage(self) -> str:
        """One of `STAGES`."""
        if self._intake.is_paused:
            return FULL
        return PARTS_HELD if self._tape.parts_held else OK

    def note_full(self) -> None:
        """Hear that the raw log found no room; lines are dropped from here on."""
        self._is_told_full.set()

    async def run(self) -> None:
        """Look after the disk until cancelled.

        Raises
        ------
        WriterDied   when not even the line can be written that says recording is paused
        """
        while True:
            try:
                async with asyncio.timeout(POLL_S):
                    await self._is_told_full.wait()
            except TimeoutError:
                await self._look()
            else:
                self._is_told_full.clear()
                await self._pause()

    async def _look(self) -> None:
        """Compare what is free with what is needed."""
        if self._free_bytes is None:
            return
        try:
            free = await asyncio.to_thread(self._free_bytes)
        except OSError:
            return  # whether the writer suffers from it, the writer tells
        rules, now = self._rules(), self._loop.time()
        if self._intake.is_paused:
            if free >= rules.reserve_bytes + rules.resume_bytes:
                await self._resume()
            elif now - self._told_at >= TELL_AGAIN_S:
                self._tell_full(free)
            return
        if not self._tape.parts_held and free < rules.parts_stop_bytes:
            await self._decoding.run(self._tape.hold_parts)
        if not self._tape.parts_held:
            self._held_since = None
        elif self._held_since is None:
            self._held_since = now
            self._log.error(
                "parts are held back for want of room; the raw log goes on", free_bytes=free
            )
        elif (
            free >= rules.parts_stop_bytes + rules.resume_bytes
            and now - self._held_since >= HELD_AT_LEAST_S
        ):
            await self._decoding.rewind(self._tape.release_parts)
            self._held_since = None
            self._log.warning("room on the disk again, parts are published", free_bytes=free)

    async def _pause(self) -> None:
        """Say it in the raw log, where the reserve makes room, and close everything."""
        self.pauses += 1
        line = stamp_line("decision", {"what": PAUSED, "reason": "disk_full"})
        try:
            await self._intake.write_past(line, self._tape.pause)
        except DiskFull as error:
            raise self._life.end(error) from error
        self._tell_full(None)
        await self._shell.pause()
        await self._decoding.run(self._tape.hold_parts)

    async def _resume(self) -> None:
        """Take the reserve back, say it in the raw log, and open everything."""
        dropped = self._intake.lines_dropped
        line = stamp_line("decision", {"what": RESUMED, "lines_dropped": dropped})
        try:
            await self._intake.write_past(line, self._tape.resume)
        except DiskFull:
            return  # others were quicker
        self._intake.open_again()
        self._shell.resume()
        self._log.warning("room on the disk again, recording goes on", lines_dropped=dropped)

    def _tell_full(self, free: int | None) -> None:
        self._told_at = self._loop.time()
        self._log.critical(
            "the disk is full: recording is paused until there is room",
            lines_dropped=self._intake.lines_dropped,
            **({} if free is None else {"free_bytes": free}),
        )
