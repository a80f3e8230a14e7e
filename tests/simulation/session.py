"""What the recorder takes for its HTTP session: the few methods that the transport calls."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from types import TracebackType

import aiohttp
from multidict import CIMultiDict
from yarl import URL

from tests.simulation.network import Venue
from tests.simulation.sockets import SimulatedSocket


class SimulatedSession:
    """The recorder's HTTP session."""

    def __init__(self, venue: Venue) -> None:
        self._venue = venue

    async def __aenter__(self) -> SimulatedSession:
        return self

    async def __aexit__(self, *_: object) -> None:
        pass

    async def ws_connect(self, url: str, **_: object) -> SimulatedSocket:
        """Open a websocket."""
        return await self._venue.connect(url)

    def request(
        self, method: str, url: URL, *, headers: object, timeout: aiohttp.ClientTimeout
    ) -> AbstractAsyncContextManager[_Response]:
        """Ask by HTTP."""
        del method, headers
        return _Request(self._venue, url.raw_path_qs, timeout.total or 300.0)


class _Request:
    def __init__(self, venue: Venue, path: str, timeout_s: float) -> None:
        self._venue, self._path, self._timeout_s = venue, path, timeout_s

    async def __aenter__(self) -> _Response:
        return _Response(*await self._venue.rest.answer(self._path, self._timeout_s))

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        pass


class _Response:
    def __init__(self, status: int, headers: CIMultiDict[str], body: bytes) -> None:
        self.status = status
        self.headers = headers
        self._body = body

    async def read(self) -> bytes:
        return self._body
