"""How a connection comes to be: a permit, a token of its own, a number, a task that lives it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import count

from recorder.logs import Log
from recorder.subscriptions import Topic
from recorder.transport.rate_limit import Budget
from recorder.transport.rest import RestClient
from recorder.transport.session import Session
from recorder.transport.sink import Sink
from recorder.transport.subscriber import OnAnswered
from recorder.transport.websocket import Connection
from schemas.kucoin.profile import Profile
from schemas.kucoin.rest import Bullet, parse_answer, parse_bullet


@dataclass(frozen=True, slots=True, eq=False)
class Live:
    """A connection that opens, is open, or has just ended.

    Attributes
    ----------
    task : asyncio.Task   results in the reason of its end, or `ConnectFailed`
    dialed_at : float     loop time at which its token was had
    """

    connection: Connection
    task: asyncio.Task[str]
    dialed_at: float


class Dialer:
    """Open connections of one run, inside the venue's budgets.

    Parameters
    ----------
    session : Session        owned by the caller
    client : RestClient      for tokens
    sink : Sink              of every line
    on_answered : callable   see `Subscriber`
    """

    def __init__(
        self,
        profile: Profile,
        session: Session,
        client: RestClient,
        sink: Sink,
        log: Log,
        on_answered: OnAnswered,
    ) -> None:
        self._profile = profile
        self._session = session
        self._client = client
        self._sink = sink
        self._log = log
        self._on_answered = on_answered
        self._connects = Budget(profile.limits.connects)
        self._uplink = Budget(profile.limits.uplink_messages)
        self._numbers = count(1)

    async def dial(
        self, topics: Sequence[Topic], listen_for: Iterable[Topic] = (), *, held: bool = False
    ) -> Live:
        """Wait for a permit, fetch a token and begin to connect; see `Connection`.

        Raises
        ------
        RestFailed, WireError   when there is no token
        """
        await self._connects.take()
        # A token of an hour ago may have lapsed: each connection gets its own.
        bullet = await self._fetch_bullet()
        number = next(self._numbers)
        connection = Connection(
            number,
            topics,
            self._profile,
            self._sink,
            self._uplink,
            self._log.bind(connection=number),
            self._on_answered,
            listen_for,
            held=held,
        )
        task = asyncio.create_task(
            connection.run(self._session, bullet), name=f"connection {number}"
        )
        return Live(connection, task, asyncio.get_running_loop().time())

    async def _fetch_bullet(self) -> Bullet:
        path = self._profile.bullet_path
        # Without a token nothing is recorded: it waits behind no book.
        await self._client.wait_turn(path, urgent=True)
        reply = await self._client.post(path)
        return parse_bullet(parse_answer(reply.body))
