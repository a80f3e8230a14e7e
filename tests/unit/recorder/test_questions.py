"""Questions under way: one a key, every crash told, and spaced only where they repeat one."""

from __future__ import annotations

import asyncio
import random

from recorder.questions import Questions, Spacing


class Asker:
    """Asks as long as something is wanted, when it is let."""

    def __init__(self) -> None:
        self.wanted: dict[str, int] = {}
        self.asked: list[str] = []
        self.turns = asyncio.Semaphore(0)
        self.error: Exception | None = None
        self.questions = Questions("test", self.serve)

    async def serve(self, key: str) -> None:
        """Ask while anything is wanted of a key."""
        while self.wanted.get(key, 0):
            await self.turns.acquire()
            self.wanted[key] -= 1
            self.asked.append(key)
            if self.error is not None:
                raise self.error

    def want(self, key: str) -> None:
        """Note a wish and have it served."""
        self.wanted[key] = self.wanted.get(key, 0) + 1
        self.questions.begin(key)

    async def let(self) -> None:
        """Let a question go out, and all that follows from it happen."""
        self.turns.release()
        for _ in range(10):
            await asyncio.sleep(0)


async def test_a_key_is_served_by_one_task_and_keys_do_not_wait_for_each_other() -> None:
    asker = Asker()
    for key in ("a", "a", "b"):
        asker.want(key)
    assert asker.questions.under_way == 2
    await asyncio.sleep(0)  # both wait for their turn
    await asker.let()
    await asker.let()
    assert asker.asked == ["a", "b"]
    assert asker.questions.under_way == 1, "a is wanted once more"
    await asker.let()
    assert asker.asked == ["a", "b", "a"]
    assert asker.questions.under_way == 0


async def test_a_key_that_was_served_can_be_wanted_again() -> None:
    asker = Asker()
    for _ in range(3):
        asker.want("a")
        await asker.let()
    assert asker.asked == ["a"] * 3


async def test_the_first_crash_is_told_and_others_go_on() -> None:
    asker = Asker()
    asker.error = KeyError("ours")
    asker.want("a")
    await asker.let()
    assert isinstance(asker.questions.crashed.exception(), KeyError)
    asker.error = ValueError("a later one")
    asker.want("b")
    await asker.let()
    assert isinstance(asker.questions.crashed.exception(), KeyError)
    asker.error = None
    asker.want("c")
    await asker.let()
    assert asker.asked == ["a", "b", "c"]


async def test_stopping_gives_up_what_is_under_way_and_is_no_crash() -> None:
    asker = Asker()
    asker.want("a")
    await asyncio.sleep(0)
    await asker.questions.stop()
    await asker.let()
    assert asker.asked == []
    assert asker.questions.under_way == 0
    assert asker.questions.crashed.cancelled()


class Clock(Spacing[str]):
    """Spacing whose time is ours."""

    def __init__(self) -> None:
        super().__init__(1.0, 4.0, 10.0, random.Random(1))
        self.now = 0.0

    def _now(self) -> float:
        return self.now


def test_what_repeats_one_just_answered_waits_longer_each_time_up_to_the_cap() -> None:
    spacing = Clock()
    assert spacing.delay_s("a") == 0.0
    for step in (1.0, 2.0, 4.0, 4.0):
        spacing.note_answered("a")
        spacing.now += 9.0
        assert step / 2 <= spacing.delay_s("a") <= step
    assert spacing.delay_s("b") == 0.0, "another key has its own"


def test_what_comes_later_is_a_new_need_and_begins_anew() -> None:
    spacing = Clock()
    for _ in range(3):
        spacing.note_answered("a")
        spacing.delay_s("a")
    spacing.now += 10.0
    assert spacing.delay_s("a") > 0.0, "not longer than the memory"
    spacing.now += 0.1
    assert spacing.delay_s("a") == 0.0
    spacing.note_answered("a")
    assert spacing.delay_s("a") <= 1.0
