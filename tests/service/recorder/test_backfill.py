"""Missed trades on request: one question at a time of a symbol, spaced when asked again."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from itertools import pairwise
from typing import Any

import pytest

from recorder import backfill
from recorder.backfill import Backfills
from recorder.logs import get_log
from recorder.pipeline.output import Backfill
from recorder.transport.rate_limit import Rank
from recorder.transport.rest import RestFailed, RestReply
from schemas.kucoin.profiles.kucoin_2019 import KUCOIN_2019
from tests.support.jumping_clock import in_jumping_time


class FakeRest:
    """Answers after a while, or fails."""

    def __init__(self) -> None:
        self.waiting: list[str] = []
        self.ranks: list[tuple[int, int]] = []
        self.asked: list[tuple[str, float]] = []
        self.fields: list[dict[str, Any]] = []
        self.under_way: Counter[str] = Counter()
        self.most_of_one = 0
        self.delay_s = 0.0
        self.error: Exception | None = None
        self.was_asked = asyncio.Event()
        self.turn = asyncio.Event()
        self.turn.set()

    async def wait_turn(self, path: str, *, signed: bool = False, rank: Rank) -> None:
        assert not signed
        self.waiting.append(path)
        self.ranks.append(rank())
        await self.turn.wait()

    async def ask_now(self, path: str, *, signed: bool = False, **fields: Any) -> RestReply:
        assert not signed
        self.fields.append(fields)
        self.asked.append((path, asyncio.get_running_loop().time()))
        self.was_asked.set()
        self.under_way[path] += 1
        self.most_of_one = max(self.most_of_one, self.under_way[path])
        await asyncio.sleep(self.delay_s)
        self.under_way[path] -= 1
        if self.error is not None:
            raise self.error
        return RestReply(path, 200, b"")


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backfill, "RETRY_FIRST_S", 0.04)
    monkeypatch.setattr(backfill, "RETRY_CAP_S", 0.16)
    monkeypatch.setattr(backfill, "RETRY_MEMORY_S", 0.3)


def make(rest: FakeRest) -> Backfills:
    return Backfills(rest, KUCOIN_2019, random.Random(1), get_log("test"))  # type: ignore[arg-type]


async def until(wanted: int, rest: FakeRest) -> None:
    async with asyncio.timeout(5):
        while len(rest.asked) < wanted:
            rest.was_asked.clear()
            await rest.was_asked.wait()


@in_jumping_time
async def test_a_question_names_its_symbol_and_its_purpose() -> None:
    rest = FakeRest()
    trades = make(rest)
    trades.request(Backfill("A&B"))
    await until(1, rest)
    assert rest.asked[0][0] == "/api/v1/market/histories?symbol=A%26B"
    assert rest.fields == [{"symbol": "A&B", "purpose": "backfill"}]
    assert rest.ranks == [(3, 0)]
    await trades.stop()
    assert trades.crashed.cancelled()


@in_jumping_time
async def test_what_is_wished_for_while_it_waits_is_one_question() -> None:
    rest = FakeRest()
    rest.turn.clear()
    trades = make(rest)
    for _ in range(3):
        trades.request(Backfill("A-B"))
        await asyncio.sleep(0.01)
    rest.turn.set()
    await asyncio.sleep(0.05)
    assert len(rest.asked) == 1
    await trades.stop()


@in_jumping_time
async def test_of_a_symbol_one_question_is_on_its_way_and_the_next_is_asked_behind_it() -> None:
    rest = FakeRest()
    rest.delay_s = 0.03
    trades = make(rest)
    trades.request(Backfill("A-B"))
    await until(1, rest)
    trades.request(Backfill("A-B"))
    await until(2, rest)
    await asyncio.sleep(0.05)
    assert (len(rest.asked), rest.most_of_one) == (2, 1)
    await trades.stop()


@in_jumping_time
async def test_asking_again_is_spaced_longer_each_time_and_a_new_need_is_not() -> None:
    rest = FakeRest()
    rest.error = RestFailed("url", None, "timeout", refused=False)
    trades = make(rest)
    for asked in range(1, 5):
        trades.request(Backfill("A-B"))
        await until(asked, rest)
        await asyncio.sleep(0.002)
    times = [at for _, at in rest.asked]
    gaps = [later - earlier for earlier, later in pairwise(times)]
    assert gaps[0] >= 0.02
    assert gaps[1] >= 0.04
    assert gaps[2] >= 0.08
    await asyncio.sleep(0.35)
    before = asyncio.get_running_loop().time()
    trades.request(Backfill("A-B"))
    await until(5, rest)
    assert rest.asked[-1][1] - before < 0.02
    await trades.stop()


@in_jumping_time
async def test_few_questions_stand_before_a_book_at_any_time() -> None:
    rest = FakeRest()
    rest.turn.clear()
    trades = make(rest)
    for number in range(50):
        trades.request(Backfill(f"A{number}-B"))
    await asyncio.sleep(0.05)
    assert len(rest.waiting) == backfill.AT_ONCE
    rest.turn.set()
    await until(50, rest)
    assert len({path for path, _ in rest.asked}) == 50
    await trades.stop()


@in_jumping_time
async def test_a_mistake_of_ours_is_told() -> None:
    rest = FakeRest()
    rest.error = ZeroDivisionError()
    trades = make(rest)
    trades.request(Backfill("A-B"))
    with pytest.raises(ZeroDivisionError):
        await asyncio.wait_for(asyncio.shield(trades.crashed), 5)
    await trades.stop()
