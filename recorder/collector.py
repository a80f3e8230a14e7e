"""The asyncio shell: connections kept up, commands of the pipeline carried out.

It decides nothing about books. What it does decide, when to connect, when to ask and when to stop,
is in the raw log as the lines it leads to.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from recorder.auditor import Auditor, AuditRules
from recorder.backfill import Backfills
from recorder.book_requests import BookRequests
from recorder.clock import stamp_line
from recorder.intake import Intake
from recorder.logs import Log
from recorder.pipeline.auditing import AUDITED_STREAMS
from recorder.pipeline.output import ArmTimer, AskAudit, Backfill, Command, Resubscribe
from recorder.pipeline.routes import Key
from recorder.rest_log import LoggedRest
from recorder.subscriptions import Change, Plan, Topic, Wish
from recorder.transport.dialer import Dialer
from recorder.transport.keeper import Keeper, KeeperCounts, Rotation
from recorder.transport.rest import PoolStatus, RestClient
from recorder.transport.session import Session
from schemas.kucoin.profile import Profile
from schemas.kucoin.topics import STREAM_OF_FEED

# A token is replaced so long before it ends.
ROTATE_MARGIN_S = 3_600.0


@dataclass(frozen=True, slots=True)
class ConnectionStatus:
    """One websocket.

    Attributes
    ----------
    number : int       in the run, from 1: as in the raw log
    place : int        in the plan; two connections have the same during a handover
    topics : int       acknowledged
    opened_at : int    ns UTC; 0 before it is open
    last_frame : int   ns UTC; 0 before the first
    frames : int       received
    """

    number: int
    place: int
    is_open: bool
    topics: int
    opened_at: int
    last_frame: int
    frames: int


@dataclass(frozen=True, slots=True)
class CollectorStatus:
    """What the collector is about.

    Attributes
    ----------
    topics_wanted, topics_carried : int   planned; acknowledged by at least one connection
    refused : Mapping        (symbol, feed) → the venue's answer
    reconnects : Mapping     reason → connections that ended or never were
    rotations, rotations_failed : int   handovers to a connection with a new token
    rest : Mapping           pool → what it has spent and met with
    audit_interval_s : float   seconds between audits of a book; 0: none by schedule
    """

    connections: tuple[ConnectionStatus, ...]
    connections_planned: int
    connections_open: int
    topics_wanted: int
    topics_carried: int
    refused: Mapping[tuple[str, str], str]
    reconnects: Mapping[str, int]
    rotations: int
    rotations_failed: int
    rest: Mapping[str, PoolStatus]
    audit_interval_s: float = 0.0


class Collector:
    """Everything that talks to one venue while it is recorded.

    Parameters
    ----------
    profile : Profile
    plan : Plan           has been given the first symbols; changed by `set_symbols` only
    session : Session     owned by the caller
    client : RestClient
    first_update_timer_s : float   seconds from `ArmTimer` to the `timer` line
    draw : random.Random  jitter of every delay
    audits : AuditRules | None   when books are compared with the exchange's; None: never
    last_row : callable | None   when the newest row of a stream was received, ns; None: no row
    rotate_after_s : float   age at which a connection is replaced by one with a new token; 0: an
        hour before the profile's tokens end, never where they do not

    Attributes
    ----------
    refused : dict   (symbol, feed) → what the venue answered to its subscription
    is_paused : bool   nothing is connected, and nothing shall be
    """

    def __init__(
        self,
        profile: Profile,
        plan: Plan,
        session: Session,
        client: RestClient,
        first_update_timer_s: float,
        log: Log,
        draw: random.Random,
        *,
        audits: AuditRules | None = None,
        last_row: Callable[[Key], int | None] | None = None,
        rotate_after_s: float = 0.0,
    ) -> None:
        self._profile = profile
        self._plan = plan
        self._session = session
        self._client = client
        self._first_update_timer_s = first_update_timer_s
        self._log = log
        self._draw = draw
        self._rotation = Rotation(rotation_age_s(profile, rotate_after_s))
        self._counts = KeeperCounts()
        self._timers: dict[tuple[str, str], asyncio.TimerHandle] = {}
        self._keepers: dict[int, Keeper] = {}
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._finishing: set[asyncio.Task[None]] = set()
        self._wanted: set[Topic] = _topics_of(plan)
        self._intake: Intake | None = None
        self._books: BookRequests | None = None
        self._trades: Backfills | None = None
        self._audit_rules = audits or AuditRules()
        self._last_row = last_row or _no_row
        self._auditor: Auditor | None = None
        self._auditing: asyncio.Task[None] | None = None
        self._dialer: Dialer | None = None
        self._is_stopped = False
        self._crashed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.refused: dict[tuple[str, str], str] = {}
        self.is_paused = False

    @property
    def connections_open(self) -> int:
        """How many connections are open now."""
        return sum(
            live.connection.is_open for keeper in self._keepers.values() for live in keeper.lives
        )

    def start(self, intake: Intake) -> None:
        """Open every connection of the plan and keep it open; the intake carries out commands."""
        self._intake = intake
        rest = LoggedRest(self._client, intake.append)
        self._books = BookRequests(
            rest, self._profile, self._draw, self._log, signed=self._client.is_signed
        )
        self._trades = Backfills(rest, self._profile, self._draw, self._log)
        self._auditor = Auditor(
            rest,
            intake.append,
            self._profile,
            self._audits_wanted,
            self._last_row,
            lambda: 0 if self._books is None else self._books.waiting,
            self._audit_rules,
            self._draw,
            self._log,
            signed=self._client.is_signed,
        )
        self._auditing = asyncio.create_task(self._auditor.run(), name="audits")
        self._auditing.add_done_callback(self._note_crash)
        self._dialer = Dialer(
            self._profile, self._session, self._client, intake, self._log, self._note_answered
        )
        for place in self._plan.places:
            self._open(place)

    def set_symbols(self, symbols: Sequence[str], feeds: Sequence[str]) -> list[Change]:
        """Record these symbols with these feeds, and no others, from now on.

        Subscriptions follow by themselves. Topics that stay wanted are not touched.

        Parameters
        ----------
        symbols : sequence of str   the most important first

        Returns
        -------
        list[Change]   what changes on which connection; empty when nothing does

        Raises
        ------
        ConfigError   when more is wanted than the venue carries; nothing changes then
        """
        changes = self._plan.change(symbols, feeds)
        self._wanted = _topics_of(self._plan)
        for symbol, feed in list(self.refused):
            if (feed, symbol) not in self._wanted:
                del self.refused[symbol, feed]
        if self._dialer is None or self.is_paused:
            return changes
        for place in (change.place for change in changes):
            if place not in self._keepers:
                self._open(place)
            elif place in self._plan.places:
                self._keepers[place].want(self._plan.places[place])
            else:
                finishing = asyncio.create_task(self._finish(place))
                self._finishing.add(finishing)
                finishing.add_done_callback(self._finishing.discard)
        return changes

    def set_audits(self, rules: AuditRules) -> None:
        """Compare books by other rules from now on."""
        self._audit_rules = rules
        if self._auditor is not None:
            self._auditor.rules = rules

    def status(self) -> CollectorStatus:
        """Return what is connected, wanted, carried and refused now."""
        return CollectorStatus(
            connections=tuple(
                ConnectionStatus(
                    live.connection.number,
                    place,
                    live.connection.is_open,
                    live.connection.topics,
                    live.connection.opened_at,
                    live.connection.last_frame,
                    live.connection.frames,
                )
                for place, keeper in self._keepers.items()
                for live in keeper.lives
            ),
            connections_planned=len(self._plan.places),
            connections_open=self.connections_open,
            topics_wanted=len(self._wanted),
            topics_carried=sum(len(keeper.carried) for keeper in self._keepers.values()),
            refused=dict(self.refused),
            reconnects=dict(self._counts.reconnects),
            rotations=self._counts.rotations,
            rotations_failed=self._counts.rotations_failed,
            rest=self._client.status(),
            audit_interval_s=self._audit_rules.interval_s,
        )

    def carry_out(self, command: Command) -> None:
        """Do what the pipeline asks for; its outcome comes back as lines.

        What it asks for once all is stopped, being behind, is for the next run to ask.
        """
        if self._is_stopped:
            return
        if isinstance(command, ArmTimer):
            self._arm(command)
        elif isinstance(command, Backfill):
            assert self._trades is not None
            self._trades.request(command)
        elif isinstance(command, AskAudit):
            assert self._auditor is not None
            self._auditor.ask(command)
        elif isinstance(command, Resubscribe):
            self._resubscribe(command)
        else:
            assert self._books is not None
            self._books.request(command)

    async def pause(self) -> None:
        """Close every connection and open none; questions that are under way find their end."""
        self.is_paused = True
        await self._close_all()

    def resume(self) -> None:
        """Open every connection of the plan as it is now."""
        self.is_paused = False
        for place in self._plan.places:
            self._open(place)

    async def wait(self) -> None:
        """Wait until a task of ours ends, which only a mistake of ours brings about; raise it."""
        assert self._books is not None
        assert self._trades is not None
        assert self._auditor is not None
        asking = (self._books, self._trades, self._auditor)
        ends = {self._crashed, *(questions.crashed for questions in asking)}
        done, _ = await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        for end in done:
            end.result()

    async def stop(self) -> None:
        """Close every connection, with its `close` line, and ask for nothing more."""
        self._is_stopped = True
        if self._auditing is not None:
            self._auditing.cancel()
            await asyncio.gather(self._auditing, return_exceptions=True)
        for questions in (self._books, self._trades, self._auditor):
            if questions is not None:
                await questions.stop()
        await self._close_all()
        self._crashed.cancel()

    async def _close_all(self) -> None:
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()
        tasks = [*self._finishing, *self._tasks.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._keepers.clear()
        self._tasks.clear()

    def _open(self, place: int) -> None:
        """Begin to keep a place of the plan connected."""
        assert self._dialer is not None
        keeper = Keeper(
            self._plan.places[place],
            self._dialer,
            self._rotation,
            self._counts,
            self._draw,
            self._log.bind(place=place),
        )
        self._keepers[place] = keeper
        task = asyncio.create_task(keeper.run(), name=f"place {place}")
        task.add_done_callback(self._note_crash)
        self._tasks[place] = task

    async def _finish(self, place: int) -> None:
        """Close a connection nothing is wanted of."""
        await self._keepers[place].finish()
        task = self._tasks.pop(place)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        del self._keepers[place]

    def _note_crash(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) and not self._crashed.done():
            self._crashed.set_exception(error)

    def _audits_wanted(self) -> list[Key]:
        """Return the books and trades that are subscribed to, and not refused."""
        return [
            (symbol, STREAM_OF_FEED[feed])
            for feed, symbol in self._wanted
            if STREAM_OF_FEED[feed] in AUDITED_STREAMS and (symbol, feed) not in self.refused
        ]

    def _resubscribe(self, command: Resubscribe) -> None:
        """Subscribe to a stream anew on the connection that carries it and brings nothing."""
        self._log.warning(
            "a subscription is silent, subscribing anew",
            symbol=command.symbol,
            stream=command.stream,
        )
        for feed, symbol in self._wanted:
            if symbol == command.symbol and STREAM_OF_FEED[feed] == command.stream:
                for keeper in self._keepers.values():
                    keeper.renew((feed, symbol))

    def _arm(self, command: ArmTimer) -> None:
        key = (command.symbol, command.stream)
        if (earlier := self._timers.get(key)) is not None:
            earlier.cancel()
        loop = asyncio.get_running_loop()
        self._timers[key] = loop.call_later(self._first_update_timer_s, self._ring, command)

    def _ring(self, command: ArmTimer) -> None:
        assert self._intake is not None
        self._timers.pop((command.symbol, command.stream), None)
        self._intake.append(
            stamp_line(
                "timer",
                {
                    "symbol": command.symbol,
                    "stream": command.stream,
                    "timer_id": command.timer_id,
                },
            )
        )

    def _note_answered(self, wish: Wish, refusal: str | None) -> None:
        for symbol in wish.symbols:
            key = (symbol, wish.feed)
            if refusal is None or (wish.feed, symbol) not in self._wanted:
                self.refused.pop(key, None)
                continue
            if self.refused.get(key) != refusal:
                self._log.error(
                    "subscription refused, this stream is not recorded",
                    symbol=symbol,
                    feed=wish.feed,
                    answer=refusal,
                )
            self.refused[key] = refusal


def _no_row(key: Key) -> None:
    del key


def _topics_of(plan: Plan) -> set[Topic]:
    return {topic for topics in plan.places.values() for topic in topics}


def rotation_age_s(profile: Profile, rotate_after_s: float) -> float | None:
    """Return the age at which connections are replaced, seconds; None: never."""
    if rotate_after_s > 0:
        return rotate_after_s
    life_s = profile.limits.token_life_s
    return None if life_s is None else max(life_s - ROTATE_MARGIN_S, life_s / 2)
