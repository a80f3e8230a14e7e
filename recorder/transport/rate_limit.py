"""How fast we may ask: budgets below the venue's limits, pauses it orders, backoff of our own.

A leaky bucket with a burst allows, in the worst window, its burst plus a window of its rate. So
both are shares of the venue's limit that together stay below it, with a little left for whoever
else asks from this address.

When many wait, as after a reconnect, the order is that of need, not of arrival; but nobody waits
for ever.
"""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from aiolimiter import AsyncLimiter

from schemas.kucoin.profile import Limits, Rate

BURST_SHARE = 0.25
SUSTAINED_SHARE = 0.7
# Every so many turns go to whoever has waited longest, whatever its rank.
OLDEST_EVERY = 4

# The smaller goes first; asked for anew at every turn, because needs change while one waits.
Rank = Callable[[], tuple[int, int]]


def no_rank() -> tuple[int, int]:
    """Rank what neither hurries nor can be left for later."""
    return 1, 0


class Lane:
    """One at a time; who comes next is decided when the place becomes free.

    It is the one of the smallest rank, of equal ones the first that came; and at every fourth
    turn the first that came of all.
    """

    def __init__(self) -> None:
        self._is_taken = False
        self._turns = 0
        self._waiting: dict[asyncio.Future[None], Rank] = {}  # the oldest first

    @property
    def waiting(self) -> int:
        """How many wait for the place."""
        return len(self._waiting)

    @asynccontextmanager
    async def place(self, rank: Rank) -> AsyncIterator[None]:
        """Wait for the place and have it during the block."""
        await self._enter(rank)
        try:
            yield
        finally:
            self._leave()

    async def _enter(self, rank: Rank) -> None:
        if not self._is_taken:
            self._is_taken = True
            return
        given = asyncio.get_running_loop().create_future()
        self._waiting[given] = rank
        try:
            await given
        except asyncio.CancelledError:
            if not given.cancelled():  # it had been given, and is not taken up
                self._leave()
            raise
        finally:
            self._waiting.pop(given, None)

    def _leave(self) -> None:
        """Hand the place to whoever is next; it is free only when nobody waits."""
        waiting = {given: rank for given, rank in self._waiting.items() if not given.done()}
        self._is_taken = bool(waiting)
        if not waiting:
            return
        self._turns += 1
        is_oldest_turn = self._turns % OLDEST_EVERY == 0
        chosen = next(iter(waiting))
        if not is_oldest_turn:
            chosen = min(waiting, key=lambda given: waiting[given]())
        del self._waiting[chosen]
        chosen.set_result(None)


class Hold:
    """A time during which nothing is done."""

    def __init__(self) -> None:
        self._until = 0.0

    def pause(self, seconds: float) -> None:
        """Hold everything for so many seconds from now; a longer pause in force stays."""
        until = asyncio.get_running_loop().time() + seconds
        self._until = max(self._until, until)

    async def wait(self) -> None:
        """Wait for the end of the pause, which may be moved meanwhile."""
        while True:
            if (rest_s := self.paused_s) <= 0:
                return
            await asyncio.sleep(rest_s)

    @property
    def paused_s(self) -> float:
        """Seconds the pause in force still lasts; 0 when there is none."""
        return max(0.0, self._until - asyncio.get_running_loop().time())


class Budget(Hold):
    """So many actions a window; a pause holds all of them.

    Parameters
    ----------
    limit : Rate   what the venue allows

    Attributes
    ----------
    spent_total : int   weight, since it was made
    waiting : int       actions that wait to be allowed, whatever they wait for
    """

    def __init__(self, limit: Rate) -> None:
        super().__init__()
        burst = max(1.0, limit.count * BURST_SHARE)
        rate_per_s = limit.count * SUSTAINED_SHARE / limit.window_s
        self._limit = limit
        self._bucket = AsyncLimiter(burst, burst / rate_per_s)
        self._lane = Lane()
        self._spent: deque[tuple[float, int]] = deque()
        self._spent_weight = 0
        self.spent_total = 0
        self.waiting = 0

    async def take(
        self,
        weight: int = 1,
        *,
        urgent: bool = False,
        rank: Rank = no_rank,
        hold: Hold | None = None,
        room: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        """Wait until an action of this weight is allowed.

        Who waits is served by rank, see `Lane`. What is urgent does not queue behind the others:
        it shares what becomes free with the first of them.

        Parameters
        ----------
        rank : callable   of this action, while it waits
        hold : Hold       keeps back this action alone
        room : callable   awaited by the first of those who wait; urgent ones do without
        """
        self.waiting += 1
        try:
            await self._take_turn(weight, urgent, rank, hold, room)
        finally:
            self.waiting -= 1

    async def _take_turn(
        self,
        weight: int,
        urgent: bool,
        rank: Rank,
        hold: Hold | None,
        room: Callable[[], Awaitable[None]] | None,
    ) -> None:
        while True:
            if hold is not None:
                await hold.wait()
            if urgent:
                await self._take(weight)
            else:
                async with self._lane.place(rank):
                    # Who is to wait must not spend what those behind could use.
                    if hold is not None and hold.paused_s > 0:
                        continue
                    if room is not None:
                        await room()
                    await self._take(weight)
            if hold is None or hold.paused_s <= 0:
                return

    async def _take(self, weight: int) -> None:
        while True:
            # Unit by unit: the bucket prefers small wants to large ones for ever, and refuses at
            # once what is larger than its burst.
            for _ in range(weight):
                await self._bucket.acquire()
            if (rest_s := self.paused_s) <= 0:
                self._note(weight)
                return
            # The permit lapses with the wait: after a pause everyone queues anew.
            await asyncio.sleep(rest_s)

    @property
    def used_ratio(self) -> float:
        """Weight spent in the last window, as a share of what the venue allows in one."""
        self._forget_old()
        return self._spent_weight / self._limit.count

    def _note(self, weight: int) -> None:
        self._forget_old()
        self._spent.append((asyncio.get_running_loop().time(), weight))
        self._spent_weight += weight
        self.spent_total += weight

    def _forget_old(self) -> None:
        oldest = asyncio.get_running_loop().time() - self._limit.window_s
        while self._spent and self._spent[0][0] < oldest:
            self._spent_weight -= self._spent.popleft()[1]


def open_budgets(limits: Limits) -> dict[str, Budget]:
    """Return a full budget for each REST pool of a profile, for one process."""
    return {pool: Budget(rate) for pool, rate in limits.rest.items()}


class Backoff:
    """Delays that double up to a cap, with jitter so that many clients do not come back as one.

    Parameters
    ----------
    first_s, cap_s : float   the first delay and the longest, seconds
    draw : random.Random     the jitter: a delay is drawn from the upper half of its step
    """

    def __init__(self, first_s: float, cap_s: float, draw: random.Random) -> None:
        self._first_s = first_s
        self._cap_s = cap_s
        self._draw = draw
        self.attempts = 0

    def next_s(self) -> float:
        """Return the next delay, seconds, and count it."""
        # 2**attempts would overflow a float after a thousand attempts; the cap is met long before.
        step = min(self._cap_s, self._first_s * 2.0 ** min(self.attempts, 32))
        self.attempts += 1
        return step * self._draw.uniform(0.5, 1.0)

    def reset(self) -> None:
        """Begin again at the first delay: it worked."""
        self.attempts = 0
