"""Budgets on a real loop."""

from __future__ import annotations

import asyncio

import pytest

from recorder.transport.rate_limit import OLDEST_EVERY, Budget, Hold, Lane
from schemas.kucoin.profile import Rate
from tests.support.jumping_clock import in_jumping_time


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


@in_jumping_time
async def test_no_window_holds_more_than_the_limit() -> None:
    limit, window_s = 40, 0.5
    taken = await take_many(Budget(Rate(limit, window_s)), 1.2)
    fullest = max(sum(at <= t < at + window_s for t in taken) for at in taken)
    assert limit * 0.7 < fullest <= limit


@in_jumping_time
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


@in_jumping_time
async def test_who_waits_is_counted_whatever_it_waits_for() -> None:
    budget, hold = Budget(Rate(4, 10.0)), Hold()
    hold.pause(60.0)
    held = asyncio.create_task(budget.take(hold=hold))
    others = [asyncio.create_task(budget.take(urgent=n == 3)) for n in range(4)]
    await asyncio.sleep(0.02)
    assert (sum(task.done() for task in others), budget.waiting) == (1, 4)
    for task in (held, *others):
        task.cancel()
    await asyncio.gather(held, *others, return_exceptions=True)
    assert budget.waiting == 0


async def queue_up(lane: Lane, ranks: list[tuple[int, int]]) -> list[int]:
    """Have so many wait at a lane that is taken; return in which order they got the place."""
    served: list[int] = []

    async def wait(number: int) -> None:
        async with lane.place(lambda: ranks[number]):
            served.append(number)

    async with lane.place(lambda: (0, 0)):
        tasks = [asyncio.create_task(wait(number)) for number in range(len(ranks))]
        await asyncio.sleep(0)
        assert lane.waiting == len(ranks)
    await asyncio.gather(*tasks)
    return served


@in_jumping_time
async def test_the_smallest_rank_goes_first_and_equal_ones_as_they_came() -> None:
    ranks = [(1, 0), (0, -5), (1, 0)]
    assert await queue_up(Lane(), ranks) == [1, 0, 2]


@in_jumping_time
async def test_nobody_waits_for_ever() -> None:
    ranks = [(9, 0), *[(0, -number) for number in range(40)]]
    served = await queue_up(Lane(), ranks)
    assert served.index(0) == OLDEST_EVERY - 1, "the first that came, whatever its rank"
    by_rank = [n for turn, n in enumerate(served, 1) if turn % OLDEST_EVERY]
    assert by_rank == sorted(by_rank, reverse=True)
    assert sorted(served) == list(range(41))


@in_jumping_time
async def test_a_rank_counts_as_it_is_when_the_place_becomes_free() -> None:
    lane, ranks, served = Lane(), [(1, 0), (2, 0)], list[int]()

    async def wait(number: int) -> None:
        async with lane.place(lambda: ranks[number]):
            served.append(number)

    async with lane.place(lambda: (0, 0)):
        tasks = [asyncio.create_task(wait(number)) for number in range(2)]
        await asyncio.sleep(0)
        ranks[1] = (0, 0)
    await asyncio.gather(*tasks)
    assert served == [1, 0]


@pytest.mark.parametrize("is_given", [False, True])
@in_jumping_time
async def test_who_gives_up_while_waiting_keeps_nobody_from_the_place(is_given: bool) -> None:
    lane = Lane()
    async with lane.place(lambda: (0, 0)):
        first = asyncio.create_task(queue_of_one(lane))
        second = asyncio.create_task(queue_of_one(lane))
        await asyncio.sleep(0)
        if not is_given:
            first.cancel()
    if is_given:
        first.cancel()  # the place is its own, and it never learns of it
    with pytest.raises(asyncio.CancelledError):
        await first
    await asyncio.wait_for(second, 1)
    assert lane.waiting == 0
    await asyncio.wait_for(queue_of_one(lane), 1)


async def queue_of_one(lane: Lane) -> None:
    async with lane.place(lambda: (1, 0)):
        await asyncio.sleep(0)
