"""The schedule of audits: spread, silent books first, inside the budget, behind healing."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from itertools import pairwise
from typing import Any

import pytest

from recorder.auditor import HEALING_MAX, UNHEARD_MAX, UNHEARD_S, Auditor, AuditRules
from recorder.logs import Log
from recorder.pipeline.output import AskAudit
from recorder.raw_line import AUDIT, RawLine
from schemas.kucoin.profiles import profile_named

PROFILE = profile_named("kucoin-2019")  # 100 requests in 10 seconds, each of weight 1


class Schedule:
    """An auditor whose time is ours."""

    def __init__(self, books: int, rules: AuditRules) -> None:
        self.keys = [(f"S{n:03}-B", "l2") for n in range(books)]
        self.is_heard = True
        self.rows: dict[tuple[str, str], int] = {}
        self.healing = 0
        self.lines: list[RawLine] = []
        self.now = 1_000.0
        unused: Any = None
        log: Log = unused
        self.auditor = Auditor(
            unused,
            self.lines.append,
            PROFILE,
            lambda: self.keys,
            self.last_row,
            lambda: self.healing,
            rules,
            random.Random(1),
            log,
        )

    def last_row(self, key: tuple[str, str]) -> int | None:
        """Return when the newest row of a book came."""
        return self.rows.get(key)

    def pass_time(self, seconds: int, *, trading: bool = True) -> list[tuple[int, str]]:
        """Let seconds pass; return (second, symbol) of each audit begun."""
        begun = []
        for second in range(seconds):
            self.now += 1.0
            if trading:
                self.rows = dict.fromkeys(self.keys, int(self.now))
            before = len(self.lines)
            self.auditor.decide(self.now, 1.0)
            begun += [(second, line.fields["symbol"]) for line in self.lines[before:]]
            if self.is_heard:  # the pipeline takes up each decision within a second
                self.auditor._unheard.clear()
        return begun


async def test_each_book_once_an_interval_and_spread_over_it() -> None:
    schedule = Schedule(60, AuditRules(interval_s=600.0, stale_after_s=60.0))
    begun = schedule.pass_time(1_200)
    times = Counter(symbol for _, symbol in begun)
    assert [times[symbol] for symbol, _ in schedule.keys] == [2] * 60
    by_minute = [sum(60 * n <= second < 60 * (n + 1) for second, _ in begun) for n in range(20)]
    assert max(by_minute) <= 14
    line = schedule.lines[0]
    assert line.kind == "decision"
    assert (line.fields["what"], line.fields["stream"]) == (AUDIT, "l2")


async def test_no_more_than_the_share_of_the_budget() -> None:
    schedule = Schedule(500, AuditRules(interval_s=10.0, rest_share=0.1))
    begun = schedule.pass_time(100)
    assert 95 <= len(begun) <= 101, "one a second is a tenth of a hundred in ten"
    assert len({symbol for _, symbol in begun}) == len(begun), "the longest unaudited first"


async def test_a_silent_book_is_asked_about_first_and_ever_more_rarely() -> None:
    schedule = Schedule(1, AuditRules(interval_s=3_600.0, stale_after_s=60.0))
    schedule.auditor._draw = random.Random(3)
    schedule.pass_time(1)
    at = [second for second, _ in schedule.pass_time(2_000, trading=False)]
    assert at[0] == pytest.approx(59, abs=2)
    steps = [later - earlier for earlier, later in pairwise(at)]
    assert steps == [120, 240, 480, 960]
    # A row ends the silence, and the next one is asked about as soon as the first.
    schedule.pass_time(1)
    at = [second for second, _ in schedule.pass_time(100, trading=False)]
    assert at[0] == pytest.approx(59, abs=2)


async def test_a_topic_that_never_brought_anything_is_silent_too() -> None:
    schedule = Schedule(1, AuditRules(stale_after_s=60.0))
    assert [second for second, _ in schedule.pass_time(100, trading=False)] == [60]


async def test_nothing_is_asked_where_nothing_is_configured() -> None:
    schedule = Schedule(3, AuditRules())
    assert schedule.pass_time(5_000, trading=False) == []


async def test_audits_wait_while_many_books_heal() -> None:
    schedule = Schedule(50, AuditRules(interval_s=50.0))
    schedule.healing = HEALING_MAX + 1
    assert schedule.pass_time(200) == []
    schedule.healing = HEALING_MAX
    assert schedule.pass_time(50) != []


async def test_a_pipeline_that_is_behind_is_given_no_backlog_of_audits() -> None:
    schedule = Schedule(500, AuditRules(interval_s=10.0))
    schedule.is_heard = False
    assert len(schedule.pass_time(50)) == UNHEARD_MAX
    assert len(schedule.pass_time(250)) <= UNHEARD_MAX * 250 / UNHEARD_S
    schedule.is_heard = True
    schedule.pass_time(60)
    assert len(schedule.pass_time(50)) >= 45


async def test_a_book_that_is_wanted_no_more_is_forgotten() -> None:
    schedule = Schedule(2, AuditRules(interval_s=10.0))
    schedule.pass_time(20)
    schedule.keys = schedule.keys[:1]
    assert {symbol for _, symbol in schedule.pass_time(30)} == {"S000-B"}
    assert len(schedule.auditor._books) == 1


class Answering:
    """Lets questions through one by one, and fails where told to."""

    def __init__(self) -> None:
        self.turns = asyncio.Semaphore(0)
        self.asked: list[str] = []
        self.error: Exception | None = None

    async def wait_turn(self, path: str, **_: Any) -> None:
        """Wait until the test lets a question out."""
        await self.turns.acquire()

    async def ask_now(self, path: str, **fields: Any) -> None:
        """Note a question."""
        self.asked.append(fields["symbol"])
        if self.error is not None:
            raise self.error

    async def let(self) -> None:
        """Let a question out, and what follows from it happen."""
        self.turns.release()
        for _ in range(10):
            await asyncio.sleep(0)


def asking() -> tuple[Auditor, Answering]:
    """Return an auditor, and where it asks."""
    auditor, rest = Schedule(1, AuditRules()).auditor, Answering()
    auditor._rest = rest  # type: ignore[assignment]
    return auditor, rest


async def test_a_book_audited_again_before_its_turn_came_is_asked_for_once() -> None:
    auditor, rest = asking()
    for _ in range(2):
        auditor.ask(AskAudit("A-B", "l2"))
        await asyncio.sleep(0)
    await rest.let()
    await rest.let()
    assert rest.asked == ["A-B"]
    auditor.ask(AskAudit("A-B", "l2"))
    await rest.let()
    assert rest.asked == ["A-B", "A-B"]
    await auditor.stop()


async def test_a_mistake_of_ours_in_a_question_is_told() -> None:
    auditor, rest = asking()
    rest.error = KeyError("ours")
    auditor.ask(AskAudit("A-B", "l2"))
    await rest.let()
    with pytest.raises(KeyError):
        await asyncio.wait_for(auditor.crashed, 1)
    await auditor.stop()
