"""Budgets on a real loop."""

from __future__ import annotations

import asyncio

from recorder.transport.rate_limit import Budget
from schemas.kucoin.profile import Rate


async def take_many(budget: Budget, seconds: float) -> list[float]:
    """Take as often as allowed; return when."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    taken: list[float] = []
    try:
        async with asyncio.timeout(seconds):
            while True:
                await budget.take()
                taken.append(loop.time() - began)
    except TimeoutError:
        return taken


async def test_no_window_holds_more_than_the_limit() -> None:
    limit, window_s = 40, 0.5
    taken = await take_many(Budget(Rate(limit, window_s)), 1.2)
    fullest = max(sum(at <= t < at + window_s for t in taken) for at in taken)
    assert limit * 0.7 < fullest <= limit


async def test_a_pause_holds_everybody_and_ends() -> None:
    loop = asyncio.get_running_loop()
    budget = Budget(Rate(100, 1.0))
    budget.pause(0.2)
    budget.pause(0.05)  # a shorter one does not cut it
    assert 0.15 < budget.paused_s <= 0.2
    began = loop.time()
    await asyncio.gather(*(budget.take() for _ in range(5)))
    assert 0.19 <= loop.time() - began < 1.0
    assert budget.paused_s == 0.0
