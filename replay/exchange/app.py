"""The aiohttp application: REST routes, websocket endpoint, the document's limits, the clock."""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field

from aiohttp import web

from replay.exchange.faults import FaultPlan
from replay.exchange.faulty_line import FaultyLine
from replay.exchange.hub import Hub
from replay.exchange.later_pushes import LATER_EVERY_NS, LaterPushes
from replay.exchange.periodic import (
    SNAPSHOT_EVERY_NS,
    TICKER_ALL_EVERY_NS,
    TICKER_EVERY_NS,
    SnapshotPushes,
    TickerPushes,
)
from replay.exchange.rate_limit import SlidingWindow
from replay.exchange.routes_later import LaterRoutes
from replay.exchange.routes_rest import (
    BAD_REQUEST,
    PARAMETER_ERROR,
    URL_NOT_FOUND,
    BadParameter,
    RestRoutes,
    error_response,
)
from replay.exchange.session import DENIED, Session, SessionLimits
from replay.exchange.source import Source
from replay.exchange.tokens import Tokens
from schemas.kucoin.control import ErrorMessage, format_control
from schemas.kucoin.profile import PUBLIC
from schemas.kucoin.profiles.kucoin_2019 import KUCOIN_2019

NS = 1_000_000_000
_TICK_S = 0.02

_HEARD_MAX = 1 << 20
"""Bytes in one message of a client; a longer one ends its connection with 1009."""

_CLOSE_WITHIN_S = 2.0
"""How long a closing connection waits for the client's half of the handshake."""

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, slots=True)
class ServerLimits:
    """What one address may do; None anywhere lifts that limit."""

    rest_per_10s: int | None = KUCOIN_2019.limits.rest[PUBLIC].count
    connections_max: int | None = KUCOIN_2019.limits.connections_max
    connects_per_minute: int | None = KUCOIN_2019.limits.connects.count
    session: SessionLimits = field(default_factory=SessionLimits)

    @classmethod
    def lifted(cls) -> "ServerLimits":
        """Return no limits but those that keep the server alive: the ping and the queue."""
        return cls(None, None, None, SessionLimits(None, None))


class ExchangeServer:
    """Everything behind one port.

    Parameters
    ----------
    source : Source
        The market.
    faults : FaultPlan or None
        What goes wrong on purpose.
    limits : ServerLimits or None
        The document's unless told otherwise.
    seed : int
        For the tokens.
    ping_interval_ms, ping_timeout_ms : int
        Told to clients by bullet-public.
    """

    def __init__(
        self,
        source: Source,
        *,
        faults: FaultPlan | None = None,
        limits: ServerLimits | None = None,
        seed: int = 1,
        ping_interval_ms: int = 50_000,
        ping_timeout_ms: int = 10_000,
    ) -> None:
        self.source = source
        self.faults = faults or FaultPlan()
        self.hub = Hub()
        self.sessions: dict[Session, str] = {}
        self.cuts: dict[str, int] = {}
        self.failed = asyncio.Event()
        self.failure: BaseException | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._connections = 0
        self._limits = limits or ServerLimits()
        self._tokens = Tokens(seed)
        self._tickers = TickerPushes(source, self.hub)
        self._snapshots = SnapshotPushes(source, self.hub)
        self._later = LaterPushes(source, self.hub)
        self._rest_windows: dict[str, SlidingWindow] = {}
        self._connect_windows: dict[str, SlidingWindow] = {}
        self._rest = RestRoutes(
            source,
            self._tokens,
            self.faults,
            ping_interval_ms=ping_interval_ms,
            ping_timeout_ms=ping_timeout_ms,
        )

    def app(self) -> web.Application:
        """Return the application; the market begins to trade when it starts up."""

        @web.middleware
        async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
            return await self._guard(request, handler)

        app = web.Application(middlewares=[middleware])
        self._rest.add_to(app.router)
        LaterRoutes(self.source, self._rest).add_to(app.router)
        app.router.add_get("/endpoint", self._endpoint)
        app.on_startup.append(self._start)
        # Before the handlers are waited for: they would serve their websockets for ever.
        app.on_shutdown.append(self._stop)
        return app

    async def _start(self, _app: web.Application) -> None:
        """Begin to trade and to tick."""
        self.faults.start(self.source.now())
        self._tasks = [
            asyncio.create_task(self.source.run(self.hub)),
            asyncio.create_task(self._tick()),
        ]
        for task in self._tasks:
            task.add_done_callback(self._note_failure)

    async def _stop(self, _app: web.Application) -> None:
        """Stop trading, send what is still to be sent, say goodbye to every client."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self.source.close()
        await asyncio.gather(*(session.close() for session in list(self.sessions)))

    def _note_failure(self, task: asyncio.Task[None]) -> None:
        """Wake whoever waits in `failed` when the market itself breaks: that is our mistake."""
        if not task.cancelled() and (problem := task.exception()) is not None:
            self.failure = problem
            self.failed.set()

    async def _guard(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Apply the limits and turn what goes wrong into the exchange's own words."""
        now = self.source.now()
        if request.path != "/endpoint":
            if self.faults.too_many_requests(now):
                self.faults.write("429", now, path=request.path_qs)
                return _too_many_requests()
            limit = self._limits.rest_per_10s
            if not _allow(self._rest_windows, request.remote, limit, 10 * NS, now):
                return _too_many_requests()
        try:
            return await handler(request)
        except BadParameter as problem:
            return error_response(400, PARAMETER_ERROR, str(problem))
        except web.HTTPNotFound:
            return error_response(404, URL_NOT_FOUND, f"Url Not Found: {request.path}")
        except web.HTTPBadRequest as problem:
            return error_response(400, BAD_REQUEST, problem.text or problem.reason)
        except web.HTTPMethodNotAllowed as problem:
            return error_response(405, "405000", f"Method Not Allowed: {problem.method}")

    async def _endpoint(self, request: web.Request) -> web.StreamResponse:
        """Serve one websocket connection from its upgrade to its end."""
        now = self.source.now()
        remote = request.remote or ""
        limits = self._limits
        here = sum(address == remote for address in self.sessions.values())
        if limits.connections_max is not None and here >= limits.connections_max:
            return _too_many_requests()
        if not _allow(self._connect_windows, remote, limits.connects_per_minute, 60 * NS, now):
            return _too_many_requests()
        token = request.query.get("token", "")
        self._connections += 1
        connection = request.query.get("connectId") or f"connection{self._connections}"
        socket = web.WebSocketResponse(
            compress=False, max_msg_size=_HEARD_MAX, timeout=_CLOSE_WITHIN_S
        )
        try:
            await socket.prepare(request)
        except ConnectionError:
            # Gone before it was upgraded: there is nobody to answer, and nothing of ours is wrong.
            return web.Response()
        if not self._tokens.is_valid(token, now):
            # As the exchange does it: in band, then the connection ends.
            refusal = ErrorMessage(connection, DENIED, "token is invalid or expired")
            await socket.send_str(format_control(refusal).decode())
            await socket.close(code=4401, message=b"token is invalid")
            return socket
        line = None
        if self.faults.strikes_messages:
            # Clients may all call themselves the same: the log tells them apart.
            line = FaultyLine(f"{connection}#{self._connections}", self.faults)
        assert request.transport is not None, "the socket was just upgraded on it"
        session = Session(
            connection, socket, request.transport, self.source, self.hub, limits.session, line
        )
        self.sessions[session] = remote
        try:
            await session.serve(now)
        finally:
            del self.sessions[session]
            if session.cut_because is not None:
                self.cuts[session.cut_because] = self.cuts.get(session.cut_because, 0) + 1
        return socket

    async def _tick(self) -> None:
        """Do what the clock brings about: periodic pushes, timed faults, missed pings."""
        now = self.source.now()
        due_ticker, due_all, due_snapshot, due_later = now, now, now, now
        while True:
            now = self.source.now()
            if now >= due_ticker:
                due_ticker = now + TICKER_EVERY_NS
                self._tickers.push_symbols()
            if now >= due_all:
                due_all = now + TICKER_ALL_EVERY_NS
                self._tickers.push_all()
            if now >= due_snapshot:
                due_snapshot = now + SNAPSHOT_EVERY_NS
                self._snapshots.push()
            if now >= due_later:
                due_later = now + LATER_EVERY_NS
                self._later.push()
            self._strike(now)
            for session in list(self.sessions):
                session.tick(now)
            await asyncio.sleep(_TICK_S)

    def _strike(self, now: int) -> None:
        """Carry out the faults that strike connections at a time."""
        for fault in self.faults.due("disconnect", now):
            chosen = [
                session
                for session in self.sessions
                if (fault.topic is None and fault.symbol is None)
                or any(fault.covers(*topic) for topic in session.topics)
            ]
            for session in chosen[: fault.count]:
                self.faults.write(
                    "disconnect",
                    now,
                    connection=session.line.connection if session.line else session.connection,
                    topic=fault.topic,
                    symbol=fault.symbol,
                )
                session.cut("fault")
        for fault in self.faults.due("silence", now):
            for session in self.sessions:
                assert session.line is not None, "a silence is a fault of messages"
                session.line.fall_silent(fault, now)


def _allow(
    windows: dict[str, SlidingWindow],
    remote: str | None,
    limit: int | None,
    window_ns: int,
    now: int,
) -> bool:
    """Count a request of an address; False if it is one too many."""
    if limit is None:
        return True
    window = windows.get(remote or "")
    if window is None:
        window = windows[remote or ""] = SlidingWindow(limit, window_ns)
    return window.allow(now)


def _too_many_requests() -> web.Response:
    return error_response(429, "429000", "Too Many Requests")


@contextlib.asynccontextmanager
async def listening(
    server: ExchangeServer,
    host: str = "127.0.0.1",
    port: int = 0,
    tls: ssl.SSLContext | None = None,
) -> AsyncIterator[int]:
    """Serve on an address for as long as the context lasts; gives the port.

    With `tls` the addresses are https and wss: some clients cannot do without.

    Raises
    ------
    OSError
        The address cannot be bound.
    """
    runner = web.AppRunner(server.app(), access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port, ssl_context=tls).start()
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()
