"""Where the lines of a connection go, and how those of a new one wait for the old one.

A connection that takes over may be ahead of the one it follows: what it brings would leave a hole
that the old one is about to fill. So its lines wait, as they were stamped, until the old one has
been read up to there.
"""

from __future__ import annotations

import asyncio
from typing import Protocol

from recorder.raw_line import RawLine

# A handover takes a round trip or two; beyond this the socket is to hold what comes.
HELD_BYTES_MAX = 16 << 20
LINE_OVERHEAD_BYTES = 150


class Sink(Protocol):
    """Where lines go."""

    def append(self, line: RawLine) -> None:
        """Take one line."""

    @property
    def is_full(self) -> bool:
        """True while no more should be read."""

    async def wait_room(self) -> None:
        """Wait while `is_full`."""


class HeldLines:
    """Lines that wait in the order they came.

    Parameters
    ----------
    sink : Sink   where they go in the end
    """

    def __init__(self, sink: Sink) -> None:
        self.sink = sink
        self._lines: list[RawLine] = []
        self._bytes = 0
        self._released = asyncio.Event()

    def append(self, line: RawLine) -> None:
        """Take one line."""
        self._lines.append(line)
        self._bytes += LINE_OVERHEAD_BYTES + len(line.data or b"")

    @property
    def is_full(self) -> bool:
        """True while no more should be read."""
        return self._bytes >= HELD_BYTES_MAX

    async def wait_room(self) -> None:
        """Wait for the release."""
        await self._released.wait()

    def release(self) -> None:
        """Let everything go."""
        for line in self._lines:
            self.sink.append(line)
        self._lines.clear()
        self._bytes = 0
        self._released.set()
