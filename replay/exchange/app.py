"""The aiohttp application: REST routes, websocket endpoint, the document's limits, the clock."""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace

from aiohttp import web

from replay.exchange.api_keys import ApiKeys, Unauthorized
from replay.exchange.dialect import Dialect
from replay.exchange.dialects import DIALECTS
from replay.exchange.events import EventPlan
from replay.exchange.faults import FaultPlan
from replay.exchange.faulty_line import FaultyLine
from replay.exchange.frame_log import FrameLog
from replay.exchange.hub import Hub
from replay.exchange.later_pushes import LATER_EVERY_NS, LaterPushes
from replay.exchange.periodic import (
    SNAPSHOT_EVERY_NS,
    TICKER_ALL_EVERY_NS,
    TICKER_EVERY_NS,
    SnapshotPushes,
    TickerPushes,
)
from replay.exchange.quotas import Admission
from replay.exchange.rate_limit import SlidingWindow
from replay.exchange.request_log import RequestLog
from replay.exchange.responses import (
    BAD_REQUEST,
    PARAMETER_ERROR,
    URL_NOT_FOUND,
    BadParameter,
    error_response,
    refusal,
)
from replay.exchange.routes_later import LaterRoutes
from replay.exchange.routes_rest import RestRoutes
from replay.exchange.session import DENIED, TOKEN_ENDED, Session, SessionLimits
from replay.exchange.source import Source
from replay.exchange.tokens import LIFE_NS, Tokens
from schemas.kucoin.control import ErrorMessage, format_control
from schemas.kucoin.profile import PUBLIC, Limits, Rate
from schemas.kucoin.profiles.kucoin_2019 import KUCOIN_2019
from schemas.kucoin.signing import KEY_HEADER

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

    connections_max: int | None = KUCOIN_2019.limits.connections_max
    connects: Rate | None = KUCOIN_2019.limits.connects
    rest: Mapping[str, Rate] | None = field(default_factory=lambda: KUCOIN_2019.limits.rest)
    session: SessionLimits = field(default_factory=SessionLimits)

    @classmethod
    def of(cls, limits: Limits) -> "ServerLimits":
        """Return what a profile allows."""
        return cls(limits.connections_max, limits.connects, limits.rest, SessionLimits.of(limits))

    @classmethod
    def lifted(cls) -> "ServerLimits":
        """Return no limits but those that keep the server alive: the ping and the queue."""
        return cls(None, None, None, SessionLimits(None, None, None))


class ExchangeServer:
    """Everything behind one port.

    Parameters
    ----------
    source : Source
        The market.
    faults : FaultPlan or None
        What goes wrong on purpose.
    limits : ServerLimits or None
        The dialect's unless told otherwise.
    seed : int
        For the tokens.
    dialect : Dialect or None
        What is spoken; None: that of 2019. The source must tell its events alike.
    events : EventPlan or None
        What happens to the list of symbols and to the exchange, and when.
    keys : ApiKeys or None
        Who may ask for what is signed; None: nobody.
    token_life_ns : int or None
        Age at which tokens and connections end; None: as the dialect has it.
    request_log : RequestLog or None
        Where everything clients ask is written down.
    frame_log : FrameLog or None
        Numbers everything websocket clients are sent.
    ping_interval_ms : int or None
        Told to clients by bullet-public; None: as the dialect has it.
    ping_timeout_ms : int
        Likewise.
    """

    def __init__(
        self,
        source: Source,
        *,
        faults: FaultPlan | None = None,
        limits: ServerLimits | None = None,
        seed: int = 1,
        dialect: Dialect | None = None,
        events: EventPlan | None = None,
        keys: ApiKeys | None = None,
        token_life_ns: int | None = None,
        request_log: RequestLog | None = None,
        frame_log: FrameLog | None = None,
        ping_interval_ms: int | None = None,
        ping_timeout_ms: int = 10_000,
    ) -> None:
        self.source = source
        self.dialect = dialect or DIALECTS[KUCOIN_2019.name]
        self.events = events or EventPlan()
        self.faults = faults or FaultPlan()
        self.hub = Hub()
        self.sessions: dict[Session, str] = {}
        self.cuts: dict[str, int] = {}
        self.failed = asyncio.Event()
        self.failure: BaseException | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._connections = 0
        self._limits = limits or ServerLimits.of(self.dialect.profile.limits)
        if token_life_ns is not None:
            session_limits = replace(self._limits.session, life_ns=token_life_ns)
            self._limits = replace(self._limits, session=session_limits)
        self._tokens = Tokens(seed, token_life_ns or LIFE_NS)
        self._tickers = TickerPushes(source, self.hub)
        self._snapshots = SnapshotPushes(source, self.hub, self.dialect.snapshots)
        self._later = LaterPushes(source, self.hub)
        self._log = request_log or RequestLog()
        self._frame_log = frame_log if frame_log is not None and frame_log.is_wanted else None
        rest = self._limits.rest or self.dialect.profile.limits.rest
        self._quotas = {pool: self.dialect.quota(rate) for pool, rate in rest.items()}
        self._connect_windows: dict[str, SlidingWindow] = {}
        self._rest = RestRoutes(
            source,
            self._tokens,
            self.faults,
            keys or ApiKeys(),
            self.dialect.ticker_row,
            ping_interval_ms=ping_interval_ms or self.dialect.ping_interval_ms,
            ping_timeout_ms=ping_timeout_ms,
        )

    def app(self) -> web.Application:
        """Return the application; the market begins to trade when it starts up."""

        @web.middleware
        async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
            return await self._guard(request, handler)

        app = web.Application(middlewares=[middleware])
        later = LaterRoutes(self.source, self._rest)
        for method, path, handler in self.dialect.routes(self._rest, later):
            app.router.add_route(method, path, handler)
        app.router.add_get("/endpoint", self._endpoint)
        app.on_startup.append(self._start)
        # Before the handlers are waited for: they would serve their websockets for ever.
        app.on_shutdown.append(self._stop)
        return app

    async def _start(self, _app: web.Application) -> None:
        """Begin to trade and to tick."""
        self.faults.start(self.source.now())
        self.events.start(self.source.now())
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
        if request.path == "/endpoint":
            return await handler(request)
        now = self.source.now()
        pool, weight = self.dialect.pool(request.path), self._weight(request.path)
        spell = self.faults.refusal(now)
        if spell is not None:
            kind, left_ns = spell
            self.faults.write(kind, now, path=request.path_qs)
            admission = self._quotas[pool].refuse(left_ns)
            answer: web.StreamResponse = refusal(kind, admission.headers)
        else:
            admission = self._admit(request, pool, weight, now)
            answer = (
                await self._answer(request, handler)
                if admission.allowed
                else refusal("429", admission.headers)
            )
            answer.headers.update(admission.headers)
        self._log.write(
            "rest",
            now,
            method=request.method,
            path=request.path_qs,
            status=answer.status,
            pool=pool,
            weight=weight,
            remaining=admission.remaining,
        )
        return answer

    def _weight(self, path: str) -> int:
        return self.dialect.profile.limits.weight(path)

    def _admit(self, request: web.Request, pool: str, weight: int, now: int) -> Admission:
        """Count a request against its pool: by address where it is public, else by key."""
        if self._limits.rest is None:
            return Admission(allowed=True)
        address = request.remote or ""
        who = address if pool == PUBLIC else request.headers.get(KEY_HEADER, address)
        return self._quotas[pool].admit(who, weight, now)

    async def _answer(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            return await handler(request)
        except BadParameter as problem:
            return error_response(400, PARAMETER_ERROR, str(problem))
        except Unauthorized as problem:
            return error_response(401, problem.code, problem.message)
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
        if (limits.connections_max is not None and here >= limits.connections_max) or not (
            limits.connects is None or self._may_connect(remote, limits.connects, now)
        ):
            self._log.write("refused", now)
            return refusal("429", {})
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
            notice = ErrorMessage(connection, DENIED, "token is invalid or expired")
            await socket.send_str(format_control(notice).decode())
            await socket.close(code=TOKEN_ENDED, message=b"token is invalid")
            return socket
        line = None
        if self.faults.strikes_messages:
            # Clients may all call themselves the same: the log tells them apart.
            line = FaultyLine(f"{connection}#{self._connections}", self.faults)
        assert request.transport is not None, "the socket was just upgraded on it"
        session = Session(
            connection,
            socket,
            request.transport,
            self.source,
            self.hub,
            self.dialect,
            limits.session,
            line,
            self._log,
            self._frame_log,
        )
        self.sessions[session] = remote
        self._log.write("open", now, connection=connection)
        try:
            await session.serve(now)
        finally:
            del self.sessions[session]
            why = session.ended_because
            if why is not None:
                self.cuts[why] = self.cuts.get(why, 0) + 1
            self._log.write("close", self.source.now(), connection=connection, reason=why)
        return socket

    def _may_connect(self, remote: str, connects: Rate, now: int) -> bool:
        """Count a connection of an address; False if it is one too many."""
        window = self._connect_windows.get(remote)
        if window is None:
            window = SlidingWindow(connects.count, round(connects.window_s * NS))
            self._connect_windows[remote] = window
        return window.allow(now)

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
            for event in self.events.due(now):
                self.source.carry_out(event)
                what = {"symbol": event.symbol, "name": event.name, "status": event.status}
                self.faults.write(event.kind, now, **{k: v for k, v in what.items() if v})
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
