"""Connections replaced while they record: no gap, no row twice, no limit exceeded."""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from dataclasses import replace
from typing import Any

import pytest

from recorder.collector import rotation_age_s
from recorder.transport import keeper
from recorder.transport.keeper import Keeper
from schemas.kucoin.profiles.kucoin_2019 import KUCOIN_2019
from tests.support.collecting import (
    FEEDS,
    LIMITS,
    assert_no_hole,
    collecting,
    rows_of,
    trading,
    wait_milliseconds,
)
from tests.support.fake_venue import FakeVenue, Script

L2 = "/market/level2:"


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    wait_milliseconds(monkeypatch)


async def test_rotation_under_load_loses_nothing_and_doubles_nothing() -> None:
    symbols = [f"S{n}-X" for n in range(6)]
    feeds = ("level2", "match", "ticker")
    # Each connection is another distance behind the market, sometimes ahead of the one it follows.
    lags = deque([0.02, 0.0, 0.0, 0.06, 0.05, 0.0, 0.03] * 10)
    async with (
        FakeVenue([], Script(lags_s=lags)) as venue,
        collecting(venue, symbols, feeds, topics_per_connection=9, rotate_after_s=0.6) as scene,
    ):
        async with trading(venue, symbols):
            await scene.until(lambda: scene.synced(*symbols), "all books")
            await scene.until(lambda: scene.collector.status().rotations >= 6, "six handovers")
        await asyncio.sleep(0.3)
        status = scene.collector.status()
        assert (status.rotations_failed, status.reconnects) == (0, {})
        assert scene.tape.gaps() == []
        for symbol in symbols:
            for dataset in ("l2_updates", "trades", "tickers"):
                assert_no_hole(rows_of(scene.tape, dataset, symbol))
        books = Counter(symbol for _, symbol, _ in venue.books_asked)
        assert set(books.values()) == {1}, "no book is asked for again"
        assert len(set(venue.tokens_used)) == len(venue.tokens_used) >= 8
        closes = scene.tape.of_kind("close")
        assert len(closes) >= 6
        assert all(line.fields == {"reason": "stopped", "rotated": True} for line in closes)


async def test_rotation_opens_one_connection_more_than_planned_and_no_other() -> None:
    symbols = ["A-X", "B-X", "C-X"]
    most = 0
    async with (
        FakeVenue([], Script(connections_max=4)) as venue,
        collecting(
            venue, symbols, ["level2"], topics_per_connection=1, rotate_after_s=0.3
        ) as scene,
    ):
        async with trading(venue, symbols):
            await scene.until(lambda: scene.synced(*symbols), "all books")
            while scene.collector.status().rotations < 6:
                most = max(most, len(venue.sockets))
                await asyncio.sleep(0.005)
        assert most == 4
        assert scene.collector.status().rotations_failed == 0
        assert scene.tape.gaps() == []


async def test_a_stop_in_the_middle_of_a_handover_leaves_no_gap_and_no_row_twice(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    becomes_ready, is_ready = Keeper._becomes_ready, asyncio.Event()

    async def and_goes_no_further(*values: Any) -> bool:
        assert await becomes_ready(*values)
        is_ready.set()
        return await asyncio.Event().wait()

    monkeypatch.setattr(Keeper, "_becomes_ready", and_goes_no_further)
    monkeypatch.setattr(keeper, "STOP_WITHIN_S", 10.0)
    feeds = ("level2", "match", "ticker")
    async with FakeVenue([], Script(lags_s=deque([0.06, 0.0]))) as venue:
        async with trading(venue, ["A-X"]):
            async with collecting(venue, ["A-X"], feeds, rotate_after_s=0.4) as scene:
                await scene.until(lambda: scene.synced("A-X"), "a book")
                await scene.until(is_ready.is_set, "both are subscribed")
                assert sum(map(len, venue.carried.values())) == 6
            assert scene.collector.status().rotations == 0
        assert len(scene.tape.of_kind("open")) == 2
        assert scene.tape.gaps() == []
        for dataset in ("l2_updates", "trades", "tickers"):
            assert_no_hole(rows_of(scene.tape, dataset, "A-X"))


async def test_rotation_that_fails_leaves_the_old_connection_and_tries_again() -> None:
    async with (
        FakeVenue([], Script(connections_max=1)) as venue,
        collecting(venue, ["A-X"], ["level2"], rotate_after_s=0.3) as scene,
    ):
        async with trading(venue, ["A-X"]):
            await scene.until(lambda: scene.synced("A-X"), "a book")
            await scene.until(
                lambda: scene.collector.status().rotations_failed >= 2, "two refusals"
            )
            assert len(scene.tape.of_kind("open")) == 1
            assert scene.collector.status().rotations == 0
            venue.script.connections_max = 2
            await scene.until(lambda: scene.collector.status().rotations >= 1, "a handover")
        assert scene.tape.gaps() == []
        assert scene.collector.status().reconnects == {}
        assert_no_hole(rows_of(scene.tape, "l2_updates", "A-X"))


async def test_a_topic_the_new_connection_is_refused_keeps_the_old_one() -> None:
    async with (
        FakeVenue([]) as venue,
        collecting(venue, ["A-X", "B-X"], ["level2"], rotate_after_s=0.3) as scene,
    ):
        async with trading(venue, ["A-X", "B-X"]):
            await scene.until(lambda: scene.synced("A-X", "B-X"), "two books")
            venue.script.bad_symbols.add("B-X")
            await scene.until(lambda: scene.collector.status().rotations_failed >= 1, "a refusal")
            venue.script.bad_symbols.clear()
            before = scene.collector.status().rotations
            await scene.until(lambda: scene.collector.status().rotations > before, "a handover")
            scene.rotate_no_more()
            await scene.until(lambda: scene.collector.refused == {}, "nothing is refused now")
        assert scene.tape.gaps() == []


async def test_an_old_connection_that_dies_in_its_handover_is_followed_at_once() -> None:
    async with (
        FakeVenue([]) as venue,
        collecting(venue, ["A-X"], ["level2"], rotate_after_s=0.4) as scene,
    ):
        async with trading(venue, ["A-X"]):
            await scene.until(lambda: scene.synced("A-X"), "a book")
            venue.script.welcomes.clear()
            used = len(venue.tokens_used)
            await scene.until(lambda: len(venue.tokens_used) == used + 1, "the successor dials")
            scene.rotate_no_more()
            await venue.sockets[0].close()
            await scene.until(
                lambda: scene.collector.status().reconnects == {"disconnected": 1}, "its end"
            )
            venue.script.welcomes.set()
            await scene.settled()
            await scene.until(lambda: scene.synced("A-X"), "a book again")
            assert len(venue.tokens_used) == used + 1, "the successor it is, no third one"
        assert {gap.reason for gap in scene.tape.gaps()} == {"disconnected"}


async def test_symbols_that_change_during_a_handover_are_right_after_it() -> None:
    async with (
        FakeVenue([]) as venue,
        collecting(venue, ["A-X", "B-X"], ["level2"], rotate_after_s=0.4) as scene,
    ):
        async with trading(venue, ["A-X", "B-X", "C-X"]):
            await scene.until(lambda: scene.synced("A-X", "B-X"), "two books")
            venue.script.welcomes.clear()
            used = len(venue.tokens_used)
            await scene.until(lambda: len(venue.tokens_used) == used + 1, "the successor dials")
            before = scene.collector.status().rotations
            scene.rotate_no_more()
            scene.collector.set_symbols(["A-X", "C-X"], ["level2"])
            venue.script.welcomes.set()
            await scene.until(
                lambda: scene.collector.status().rotations == before + 1, "a handover"
            )
            await scene.settled()
            await scene.until(
                lambda: {f"{L2}A-X", f"{L2}C-X"} in venue.carried.values(), "these two only"
            )
            await scene.until(lambda: rows_of(scene.tape, "l2_updates", "A-X"), "rows")
        assert scene.tape.gaps() == []
        assert_no_hole(rows_of(scene.tape, "l2_updates", "A-X"))


@pytest.mark.parametrize("dies", [False, True])
async def test_what_goes_once_the_new_connection_has_it_ends_once(dies: bool) -> None:
    """The new one's acknowledgement waits among its lines, and must not come after the end."""
    async with (
        FakeVenue([], Script(lags_s=deque([0.0, 0.3]))) as venue,
        collecting(venue, ["A-X", "B-X"], rotate_after_s=0.4) as scene,
    ):
        async with trading(venue, ["A-X", "B-X", "C-X"]):
            await scene.until(lambda: scene.synced("A-X", "B-X"), "two books")
            await scene.until(
                lambda: sum(map(len, venue.carried.values())) == 8, "both are subscribed"
            )
            scene.rotate_no_more()
            scene.collector.set_symbols(["A-X", "C-X"], FEEDS)
            if dies:
                await venue.sockets[0].close()
            await scene.until(lambda: len(scene.tape.of_kind("close")) == 1, "the handover's end")
            await scene.until(lambda: scene.synced("C-X"), "the book that came")
            await scene.until(
                lambda: scene.tape.status()["B-X", "l2"]["state"] == "down", "the end of the other"
            )
        if not dies:
            assert scene.tape.gaps() == []
            assert_no_hole(rows_of(scene.tape, "l2_updates", "A-X"))
        assert {gap.reason for gap in scene.tape.gaps()} <= {"disconnected"}
        wanted = {f"/market/{feed}:{name}" for feed in FEEDS for name in ("A-X", "C-X")}
        await scene.until(lambda: list(venue.carried.values()) == [wanted], "these two only")


async def test_a_place_that_empties_in_its_handover_ends_once() -> None:
    async with (
        FakeVenue([], Script(lags_s=deque([0.0, 0.0, 0.3, 0.3]))) as venue,
        collecting(venue, ["A-X", "B-X"], topics_per_connection=2, rotate_after_s=0.5) as scene,
    ):
        async with trading(venue, ["A-X", "B-X"]):
            await scene.until(lambda: scene.synced("A-X", "B-X"), "two books")
            await scene.until(
                lambda: sum(map(len, venue.carried.values())) == 6, "one is handed over"
            )
            scene.rotate_no_more()
            leaving = next(
                symbol
                for symbol in ("A-X", "B-X")
                if sum(f"{L2}{symbol}" in topics for topics in venue.carried.values()) == 2
            )
            stays = {"A-X": "B-X", "B-X": "A-X"}[leaving]
            scene.collector.set_symbols([stays], FEEDS)
            await scene.settled()
            await scene.until(
                lambda: scene.tape.status()[leaving, "l2"]["state"] == "down", "its end"
            )
        assert scene.tape.gaps() == []
        assert_no_hole(rows_of(scene.tape, "l2_updates", stays))


async def test_a_subscription_the_venue_will_not_end_ends_by_a_handover() -> None:
    async with (
        FakeVenue([], Script(kept_symbols={"B-X"})) as venue,
        collecting(venue, ["A-X", "B-X", "C-X"], ["level2", "match"]) as scene,
    ):
        async with trading(venue, ["A-X", "B-X", "C-X"]):
            await scene.until(lambda: scene.synced("A-X", "B-X", "C-X"), "three books")
            scene.collector.set_symbols(["A-X"], ["level2", "match"])
            await scene.until(lambda: scene.collector.status().rotations == 1, "a handover")
            await scene.settled()
            states = scene.tape.status
            await scene.until(
                lambda: (
                    [states()[f"{n}-X", "l2"]["state"] for n in "ABC"] == ["synced", "down", "down"]
                ),
                "one book goes on",
            )
        assert venue.unsubscriptions == [
            f"/market/{feed}:{names}"
            for feed in ("level2", "match")
            for names in ("B-X,C-X", "B-X", "C-X")
        ]
        assert {gap.symbol for gap in scene.tape.gaps()} <= {"B-X", "C-X"}
        assert_no_hole(rows_of(scene.tape, "l2_updates", "A-X"))
        assert len(scene.tape.of_kind("open")) == 2


@pytest.mark.parametrize(
    ("life_s", "asked_s", "age_s"),
    [(None, 0.0, None), (None, 5.0, 5.0), (86_400, 0.0, 82_800.0), (86_400, 60.0, 60.0)],
)
async def test_when_tokens_are_replaced(
    life_s: int | None, asked_s: float, age_s: float | None
) -> None:
    profile = replace(KUCOIN_2019, limits=replace(LIMITS, token_life_s=life_s))
    assert rotation_age_s(profile, asked_s) == age_s
