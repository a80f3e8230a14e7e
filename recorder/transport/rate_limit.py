"""How fast we may ask: budgets below the venue's limits, pauses it orders, backoff of our own.

A leaky bucket with a burst allows, in the worst window, its burst plus a window of its rate. So
both are shares of the venue's limit that together stay below it, with a little left for whoever
else asks from this address.
"""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Awaitable, Callable

from aiolimiter import AsyncLimiter

from schemas.kucoin.profile import Limits, Rate

BURST_SHARE = 0.25
SUSTAINED_SHARE = 0.7


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
    """

    def __init__(self, limit: Rate) -> None:
        super().__init__()
        burst = max(1.0, limit.count * BURST_SHARE)
        rate_per_s = limit.count * SUSTAINED_SHARE / limit.window_s
        self._limit = limit
        self._bucket = AsyncLimiter(burst, burst / rate_per_s)
        self._lane = asyncio.Lock()
        self._spent: deque[tuple[float, int]] = deque()
        self._spent_weight = 0
        self.spent_total = 0

    async def take(
        self,
        weight: int = 1,
        *,
        urgent: bool = False,
        hold: Hold | None = None,
        room: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        """Wait until an action of this weight is allowed.

        Who waits is served in order. What is urgent does not queue behind the others: it shares
        what becomes free with the first of them.

        Parameters
        ----------
        hold : Hold       keeps back this action alone
        room : callable   awaited by the first of those who wait; urgent ones do without
        """
        while True:
            if hold is not None:
                await hold.wait()
            if urgent:
                await self._take(weight)
            else:
                async with self._lane:
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
