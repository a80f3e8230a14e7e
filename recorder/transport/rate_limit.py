"""How fast we may ask: budgets below the venue's limits, pauses it orders, backoff of our own.

A leaky bucket with a burst allows, in the worst window, its burst plus a window of its rate. So
both are shares of the venue's limit that together stay below it, with a little left for whoever
else asks from this address.
"""

from __future__ import annotations

import asyncio
import random

from aiolimiter import AsyncLimiter

from schemas.kucoin.profile import Rate

BURST_SHARE = 0.25
SUSTAINED_SHARE = 0.7


class Budget:
    """So many actions a window; a pause holds all of them.

    Parameters
    ----------
    limit : Rate   what the venue allows
    """

    def __init__(self, limit: Rate) -> None:
        burst = max(1.0, limit.count * BURST_SHARE)
        rate_per_s = limit.count * SUSTAINED_SHARE / limit.window_s
        self._bucket = AsyncLimiter(burst, burst / rate_per_s)
        self._paused_until = 0.0

    async def take(self, weight: int = 1) -> None:
        """Wait until an action of this weight is allowed."""
        loop = asyncio.get_running_loop()
        while True:
            await self._bucket.acquire(weight)
            if (rest_s := self._paused_until - loop.time()) <= 0:
                return
            # The permit lapses with the wait: after a pause everyone queues anew.
            await asyncio.sleep(rest_s)

    def pause(self, seconds: float) -> None:
        """Hold every action for so many seconds from now; a longer pause in force stays."""
        until = asyncio.get_running_loop().time() + seconds
        self._paused_until = max(self._paused_until, until)

    @property
    def paused_s(self) -> float:
        """Seconds the pause in force still lasts; 0 when there is none."""
        return max(0.0, self._paused_until - asyncio.get_running_loop().time())


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
