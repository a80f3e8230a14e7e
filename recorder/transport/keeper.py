"""One place of the plan, connected for ever: reconnects, and hands over before a token ends.

Also where the venue refuses to end a subscription: another connection never has it.
A handover leaves no gap and doubles nothing:
1. a new connection subscribes while the old one goes on; its lines wait;
2. the old one is read up to a ping sent after that: nothing from before is missing now;
3. the lines of the new one follow, the first of them repeats;
4. the old one is read no more, and counts as a carrier until the new one has been read up to a
   ping sent after that: only repeats were to come.
What is wanted meanwhile waits for the end of it: the old one would give a topic up before the held
lines of the new one say that it has it.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from recorder.logs import Log
from recorder.subscriptions import Topic
from recorder.transport.dialer import Dialer, Live
from recorder.transport.endings import DISCONNECTED, SILENT
from recorder.transport.rate_limit import Backoff
from recorder.transport.rest import RestFailed
from recorder.transport.websocket import ConnectFailed
from schemas.datasets import BOOK_STREAMS
from schemas.kucoin.control import WireError
from schemas.kucoin.topics import STREAM_OF_FEED

RECONNECT_FIRST_S = 0.25
# What is missed while we wait is lost for ever. The venue is spared by the budget of connects, so
# this only keeps a long outage from costing much more than itself.
RECONNECT_CAP_S = 10.0
# A connection that lived this long was a good one: the next reconnect is prompt again.
GOOD_AFTER_S = 10.0

# Opened together, connections are replaced apart: this share of their life is drawn by lot.
ROTATE_SPREAD = 0.1
ROTATE_SPREAD_MAX_S = 600.0
# A handover that failed leaves most of an hour for more tries.
ROTATE_AGAIN_FIRST_S, ROTATE_AGAIN_CAP_S = 5.0, 300.0
# All its subscriptions are a few messages; a budget spent elsewhere may hold them up.
READY_WITHIN_S = 120.0
# A book that is quiet for longer has nothing to show.
HEARD_WITHIN_S = 5.0
# An unsubscription that is not answered does not hold up the end of an empty connection.
FINISH_WITHIN_S = 5.0
# A stop in the middle of a handover waits so long for what the old connection has to say.
STOP_WITHIN_S = 1.0

NO_TOKEN, NOT_OPENED = "no_token", "not_opened"
# Every word a connection that ended, or never was, is counted under.
RECONNECT_REASONS = (NO_TOKEN, NOT_OPENED, DISCONNECTED, SILENT)


@dataclass(slots=True)
class Rotation:
    """What the places of one plan share about handovers.

    Attributes
    ----------
    after_s : float | None   age at which a connection is replaced; None: never
    turn : asyncio.Lock      one at a time: only one connection more than planned is ever open
    """

    after_s: float | None
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)


@dataclass(slots=True)
class KeeperCounts:
    """What became of the connections of all places.

    Attributes
    ----------
    reconnects : Counter   connections that ended or never were, by reason
    rotations, rotations_failed : int
    """

    reconnects: Counter[str] = field(default_factory=Counter)
    rotations: int = 0
    rotations_failed: int = 0


class Keeper:
    """Keep one place of the plan connected.

    Parameters
    ----------
    topics : iterable     wanted at first, in the order to ask for them
    dialer : Dialer
    rotation : Rotation   shared by all places
    counts : KeeperCounts   shared by all places; written
    draw : random.Random  jitter of every delay

    Attributes
    ----------
    lives : list   the connections it has, the one in charge first
    """

    def __init__(
        self,
        topics: Iterable[Topic],
        dialer: Dialer,
        rotation: Rotation,
        counts: KeeperCounts,
        draw: random.Random,
        log: Log,
    ) -> None:
        self._topics = tuple(topics)
        self._dialer = dialer
        self._rotation = rotation
        self._counts = counts
        self._draw = draw
        self._log = log
        self._backoff = Backoff(RECONNECT_FIRST_S, RECONNECT_CAP_S, draw)
        self._rotate_backoff = Backoff(ROTATE_AGAIN_FIRST_S, ROTATE_AGAIN_CAP_S, draw)
        self._again: tuple[Live, float] | None = None
        self._holds_lines = False
        self.lives: list[Live] = []

    @property
    def carried(self) -> frozenset[Topic]:
        """The topics that at least one connection of the place carries."""
        empty: frozenset[Topic] = frozenset()
        return empty.union(
            *(live.connection.carried for live in self.lives if live.connection.is_open)
        )

    def want(self, topics: Iterable[Topic]) -> None:
        """Want these topics, and no others, from now on; in a handover, from its end on."""
        self._topics = tuple(topics)
        if not self._holds_lines:
            self._tell_wishes()

    def renew(self, topic: Topic) -> None:
        """Subscribe to a topic anew that brings nothing; in a handover its end does that."""
        if not self._holds_lines:
            for live in self.lives:
                live.connection.renew(topic)

    async def run(self) -> None:
        """Keep the place connected for ever; cancelling it closes what is open."""
        try:
            while True:
                live = await self._dial()
                while live is not None:
                    live = await self._tend(live)
                delay_s = self._backoff.next_s()
                self._log.info("reconnecting", delay_s=round(delay_s, 2))
                await asyncio.sleep(delay_s)
        finally:
            await self._release_in_order()
            for live in self.lives:
                live.task.cancel()
            await asyncio.gather(*(live.task for live in self.lives), return_exceptions=True)

    async def finish(self) -> None:
        """Unsubscribe from everything, as far as the venue answers; then `run` may be cancelled."""
        self.want(())
        open_ones = [live.connection for live in self.lives if live.connection.is_open]
        with suppress(TimeoutError):
            async with asyncio.timeout(FINISH_WITHIN_S):
                await asyncio.gather(*(each.wait_settled() for each in open_ones))

    async def _dial(self, listen_for: Iterable[Topic] = (), *, held: bool = False) -> Live | None:
        """Begin to connect; None when there is no token."""
        try:
            live = await self._dialer.dial(self._topics, listen_for, held=held)
        except (RestFailed, WireError) as error:
            self._log.warning("no connection", problem=str(error))
            self._counts.reconnects[NO_TOKEN] += 1
            return None
        # More may be wanted than when its turn came.
        live.connection.want(self._topics)
        self.lives.append(live)
        self._holds_lines = held
        return live

    async def _tend(self, live: Live) -> Live | None:
        """Wait for the end of a connection or its replacement; return who goes on, if anybody."""
        await self._wait_end_or_turn(live)
        if live.task.done():
            self._note_end(live)
            return None
        successor = await self._hand_over(live)
        if successor is live:
            self._again = (live, asyncio.get_running_loop().time() + self._rotate_backoff.next_s())
        else:
            self._rotate_backoff.reset()
        return successor

    async def _wait_end_or_turn(self, live: Live) -> None:
        """Wait for the end of a connection, or until it is to be replaced."""
        rotate_at = self._rotate_at(live)
        now = asyncio.get_running_loop().time()
        rest_s = None if rotate_at is None else max(0.0, rotate_at - now)
        ends: set[asyncio.Future[Any]] = {live.task}
        stuck = asyncio.create_task(live.connection.wait_stuck())
        try:
            if self._again is None or self._again[0] is not live:
                ends.add(stuck)
            await asyncio.wait(ends, timeout=rest_s, return_when=asyncio.FIRST_COMPLETED)
        finally:
            stuck.cancel()

    def _rotate_at(self, live: Live) -> float | None:
        """Return the loop time at which a connection is to be replaced."""
        if self._again is not None and self._again[0] is live:
            return self._again[1]
        if self._rotation.after_s is None:
            return None
        spread_s = min(ROTATE_SPREAD_MAX_S, self._rotation.after_s * ROTATE_SPREAD)
        return live.dialed_at + self._rotation.after_s - self._draw.uniform(0.0, spread_s)

    async def _hand_over(self, old: Live) -> Live | None:
        """Replace a connection; return who goes on: the new one, the old one, or nobody."""
        replacing = asyncio.create_task(self._replace(old))
        try:
            await asyncio.wait({old.task, replacing}, return_when=asyncio.FIRST_COMPLETED)
            if old.connection.is_retired:
                await asyncio.wait({replacing})
            if replacing.done():
                replacing.result()
        finally:
            replacing.cancel()
            await asyncio.gather(replacing, return_exceptions=True)
        self._release_all()
        if old.task.done():
            self._note_end(old)
        elif len(self.lives) > 1:
            await self._drop_others(old)
        self._holds_lines = False
        self._tell_wishes()
        # Also one that is not ready yet, when the old one is gone: it is the quickest to be.
        return self.lives[0] if self.lives else None

    async def _replace(self, old: Live) -> None:
        """Open another connection and let it take over, or leave everything as it was."""
        async with self._rotation.turn:
            books = [t for t in self._topics if STREAM_OF_FEED[t[0]] in BOOK_STREAMS]
            successor = await self._dial(listen_for=books, held=True)
            is_ready = successor is not None and await self._becomes_ready(successor, old)
            if successor is not None:
                with suppress(TimeoutError, aiohttp.ClientError, OSError):
                    await old.connection.catch_up()
            if successor is None or not is_ready or successor.task.done():
                self._counts.rotations_failed += 1
                self._log.warning("token not replaced, the old connection goes on")
                return
            successor.connection.release()
            old.connection.retire(successor.connection.catch_up)
            await asyncio.wait({old.task})
            self._counts.rotations += 1

    async def _becomes_ready(self, successor: Live, old: Live) -> bool:
        """Wait until a new connection carries what the old one does."""
        ready = asyncio.create_task(successor.connection.wait_ready(HEARD_WITHIN_S))
        try:
            await asyncio.wait(
                {ready, successor.task},
                timeout=READY_WITHIN_S,
                return_when=asyncio.FIRST_COMPLETED,
            )
            still_wanted = old.connection.carried.intersection(self._topics)
            return (
                ready.done()
                and not successor.task.done()
                and still_wanted <= successor.connection.carried
            )
        finally:
            ready.cancel()

    async def _release_in_order(self) -> None:
        """Let the lines of a handover go that a stop has found in its middle."""
        if len(self.lives) > 1 and self.lives[0].connection.is_open:
            with suppress(TimeoutError, aiohttp.ClientError, OSError):
                async with asyncio.timeout(STOP_WITHIN_S):
                    await self.lives[0].connection.catch_up()
        self._release_all()

    def _tell_wishes(self) -> None:
        for live in self.lives:
            live.connection.want(self._topics)

    def _release_all(self) -> None:
        for live in self.lives:
            live.connection.release()

    async def _drop_others(self, live: Live) -> None:
        """Close every connection but one."""
        others = [other for other in self.lives if other is not live]
        for other in others:
            other.task.cancel()
        self.lives = [live]
        ends = await asyncio.gather(*(other.task for other in others), return_exceptions=True)
        for end in ends:
            if isinstance(end, Exception) and not isinstance(end, ConnectFailed):
                raise end

    def _note_end(self, live: Live) -> None:
        """Take an ended connection off the list; raise when a mistake of ours ended it."""
        self.lives.remove(live)
        try:
            reason = live.task.result()
        except ConnectFailed as error:
            self._log.warning("no connection", problem=str(error))
            reason = NOT_OPENED
        else:
            # An attempt that hangs until it times out is no connection that lived.
            if asyncio.get_running_loop().time() - live.dialed_at >= GOOD_AFTER_S:
                self._backoff.reset()
        if not live.connection.is_retired:
            self._counts.reconnects[reason] += 1
