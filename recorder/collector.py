"""The asyncio shell: connections kept up, commands of the pipeline carried out.

It decides nothing about books. What it does decide, when to connect, when to ask and when to stop,
is in the raw log as the lines it leads to.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from itertools import count

from recorder.book_requests import BookRequests
from recorder.clock import stamp_line
from recorder.intake import Intake
from recorder.logs import Log
from recorder.pipeline.output import ArmTimer, Command, RequestBook
from recorder.rest_log import LoggedRest
from recorder.subscriptions import Wish
from recorder.transport.rate_limit import Backoff, Budget
from recorder.transport.rest import RestClient, RestFailed
from recorder.transport.session import Session
from recorder.transport.websocket import ConnectFailed, Connection
from schemas.kucoin.control import WireError
from schemas.kucoin.profile import Profile
from schemas.kucoin.rest import Bullet, parse_answer, parse_bullet

RECONNECT_FIRST_S = 0.25
# What is missed while we wait is lost for ever. The venue is spared by the budget of connects, so
# this only keeps a long outage from costing much more than itself.
RECONNECT_CAP_S = 10.0
# A connection that lived this long was a good one: the next reconnect is prompt again.
GOOD_AFTER_S = 10.0


class Collector:
    """Everything that talks to one venue while it is recorded.

    Parameters
    ----------
    profile : Profile
    plan : Sequence       one tuple of `Wish` a connection
    session : Session     owned by the caller
    client : RestClient
    first_update_timer_s : float   seconds from `ArmTimer` to the `timer` line
    draw : random.Random  jitter of every delay
    """

    def __init__(
        self,
        profile: Profile,
        plan: Sequence[tuple[Wish, ...]],
        session: Session,
        client: RestClient,
        first_update_timer_s: float,
        log: Log,
        draw: random.Random,
    ) -> None:
        self._profile = profile
        self._plan = plan
        self._session = session
        self._client = client
        self._first_update_timer_s = first_update_timer_s
        self._log = log
        self._draw = draw
        self._numbers = count(1)
        self._connects = Budget(profile.limits.connects)
        self._uplink = Budget(profile.limits.uplink_messages)
        self._timers: dict[tuple[str, str], asyncio.TimerHandle] = {}
        self._keepers: list[asyncio.Task[None]] = []
        self._intake: Intake | None = None
        self._books: BookRequests | None = None
        self._connections: dict[str, Connection] = {}
        self.refused: dict[tuple[str, str], str] = {}

    @property
    def connections_open(self) -> int:
        """How many connections of the plan are open now."""
        return sum(connection.is_open for connection in self._connections.values())

    def start(self, intake: Intake) -> None:
        """Open every connection of the plan and keep it open; the intake carries out commands."""
        self._intake = intake
        rest = LoggedRest(self._client, intake.append)
        self._books = BookRequests(rest, self._profile, self._draw, self._log)
        self._keepers = [
            asyncio.create_task(self._keep(f"connection {place}", wishes, intake))
            for place, wishes in enumerate(self._plan, start=1)
        ]

    def carry_out(self, command: Command) -> None:
        """Do what the pipeline asks for; its outcome comes back as lines."""
        if isinstance(command, RequestBook):
            assert self._books is not None
            self._books.request(command)
        else:
            self._arm(command)

    async def wait(self) -> None:
        """Wait until a task of ours ends, which only a mistake of ours brings about; raise it."""
        assert self._books is not None
        tasks = {*self._keepers, self._books.crashed}
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()

    async def stop(self) -> None:
        """Close every connection, with its `close` line, and ask for nothing more."""
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()
        if self._books is not None:
            await self._books.stop()
        for keeper in self._keepers:
            keeper.cancel()
        await asyncio.gather(*self._keepers, return_exceptions=True)

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

    async def _keep(self, name: str, wishes: tuple[Wish, ...], intake: Intake) -> None:
        """Keep one connection of the plan open for ever."""
        loop = asyncio.get_running_loop()
        backoff = Backoff(RECONNECT_FIRST_S, RECONNECT_CAP_S, self._draw)
        while True:
            await self._connects.take()
            number = next(self._numbers)
            log = self._log.bind(connection=number)
            try:
                # A token of an hour ago may have lapsed: each connection gets its own.
                bullet = await self._fetch_bullet()
                connection = Connection(
                    number, wishes, self._profile, intake, self._uplink, log, self._note_answered
                )
                self._connections[name] = connection
                # An attempt that hangs until it times out is no connection that lived.
                asked = loop.time()
                await connection.run(self._session, bullet)
                if loop.time() - asked >= GOOD_AFTER_S:
                    backoff.reset()
            except (ConnectFailed, RestFailed, WireError) as error:
                log.warning("no connection", problem=str(error))
            delay_s = backoff.next_s()
            log.info("reconnecting", delay_s=round(delay_s, 2))
            await asyncio.sleep(delay_s)

    async def _fetch_bullet(self) -> Bullet:
        await self._client.wait_turn(self._profile.bullet_path, urgent=True)
        reply = await self._client.post(self._profile.bullet_path)
        return parse_bullet(parse_answer(reply.body))

    def _note_answered(self, wish: Wish, refusal: str | None) -> None:
        for symbol in wish.symbols:
            if refusal is None:
                self.refused.pop((symbol, wish.feed), None)
                continue
            self.refused[symbol, wish.feed] = refusal
            self._log.error(
                "subscription refused, this stream is not recorded",
                symbol=symbol,
                feed=wish.feed,
                answer=refusal,
            )
