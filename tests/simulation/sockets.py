"""One websocket in memory, both ends of it: what is sent, held up, lost and ended."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Any

import aiohttp

if TYPE_CHECKING:
    from tests.simulation.network import Venue


class _Frame:
    """What a socket hands out."""

    __slots__ = ("data", "type")

    def __init__(self, kind: aiohttp.WSMsgType, data: Any) -> None:
        self.type = kind
        self.data = data


class SimulatedSocket:
    """One websocket, both ends of it.

    Attributes
    ----------
    number : int         of the connection in its process, from 1
    delivered : list     frames the client has been handed, in order; None: one it refused
    troubles : list      faults that may end it
    silent : set         (feed, symbol) that are acknowledged, and nothing comes of
    ever_silent : set    that were
    closed_ts : int      wall clock when the client let go of it, ns
    """

    def __init__(self, venue: Venue, number: int) -> None:
        self.number = number
        self.delivered: list[bytes | None] = []
        self.troubles: list[str] = []
        self.closed_ts = 0
        self.topics: set[tuple[str, str]] = set()
        self.silent: set[tuple[str, str]] = set()
        self.ever_silent: set[tuple[str, str]] = set()
        self.is_open = True
        self.is_mute = False
        self.has_pong = True
        self.close_code: int | None = None
        self._venue = venue
        self._queue: deque[_Frame] = deque()
        self._waiting: asyncio.Future[None] | None = None
        self._blocked: list[_Frame] | None = None
        self._is_reset = False

    # The client's end

    async def receive(self) -> _Frame:
        """Return the next frame, or what there is instead."""
        while not self._queue:
            self._waiting = asyncio.get_running_loop().create_future()
            try:
                await self._waiting
            finally:
                self._waiting = None
        frame = self._queue.popleft()
        if frame.type in {aiohttp.WSMsgType.TEXT, aiohttp.WSMsgType.BINARY}:
            self.delivered.append(frame.data)
        elif frame.type is aiohttp.WSMsgType.ERROR:
            self.delivered.append(None)
        return frame

    async def send_str(self, text: str) -> None:
        """Send a message to the venue."""
        if self._is_reset or not self.is_open:
            raise aiohttp.ClientConnectionResetError("cannot write to closing transport")
        self._venue.hear(self, text)

    async def close(self) -> bool:
        """Close it."""
        self.closed_ts = self._venue.now_ns()
        if self._venue.faults.strikes("slow_close"):
            await asyncio.sleep(5.0)
        self.leave()
        return True

    # The venue's end

    def push(self, data: bytes, *, binary: bool = False) -> None:
        """Send a frame to the client."""
        if self.is_mute or not self.is_open:
            return
        kind = aiohttp.WSMsgType.BINARY if binary else aiohttp.WSMsgType.TEXT
        self._put(_Frame(kind, data))

    def end(self, kind: aiohttp.WSMsgType, data: Any, code: int | None) -> None:
        """End it from this side; what was sent before is still read."""
        if self.is_open:
            self.is_open = False
            self.close_code = code
            self._put(_Frame(kind, data))
            self._venue.forget(self)

    def reset(self) -> None:
        """End it at once: what is on its way is lost, and a send fails."""
        if self.is_open:
            self._is_reset = True
            self._queue.clear()
            if self._blocked is not None:
                self._blocked.clear()
            self.end(aiohttp.WSMsgType.CLOSED, None, 1006)

    def leave(self) -> None:
        """Take it off the venue's list."""
        self.is_open = False
        self._venue.forget(self)

    def block(self, seconds: float) -> None:
        """Hold everything up for a while; order stays."""
        if self._blocked is None:
            self._blocked = []
            asyncio.get_running_loop().call_later(seconds, self._unblock)

    def _unblock(self) -> None:
        held, self._blocked = self._blocked or [], None
        for frame in held:
            self._put(frame)

    def _put(self, frame: _Frame) -> None:
        if self._blocked is not None:
            self._blocked.append(frame)
            return
        self._queue.append(frame)
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)
