"""What changes while the collector records, and what stays."""

from __future__ import annotations

import asyncio
import random
from collections import deque
from dataclasses import replace

import pytest

from recorder.errors import ConfigError
from recorder.pipeline.output import ArmTimer, AskAudit, Backfill, RequestBook, Resubscribe
from recorder.transport import subscriber
from schemas.kucoin.profile import Rate
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


async def test_a_listing_adds_and_touches_nothing_else() -> None:
    async with (
        FakeVenue([]) as venue,
        collecting(venue, ["A-X", "B-X", "C-X"], topics_per_connection=4) as scene,
    ):
        async with trading(venue, ["A-X", "B-X", "C-X", "D-X", "E-X"]):
            await scene.until(lambda: scene.synced("A-X", "B-X", "C-X"), "three books")
            before = len(venue.subscriptions)
            changes = scene.collector.set_symbols(["E-X", "A-X", "B-X", "C-X", "D-X"], FEEDS)
            assert [change.place for change in changes] == [2, 3]
            await scene.until(lambda: scene.synced("D-X", "E-X"), "two more")
            await scene.settled()
        assert set(venue.subscriptions[before:]) == {
            f"/market/{feed}:{symbol}" for feed in FEEDS for symbol in ("D-X", "E-X")
        }
        assert venue.unsubscriptions == []
        assert len(scene.tape.of_kind("open")) == 3
        assert scene.tape.of_kind("close") == []
        assert scene.tape.gaps() == []
        status = scene.collector.status()
        assert (status.connections_planned, status.connections_open) == (3, 3)
        assert (status.topics_wanted, status.topics_carried) == (10, 10)
        assert [(c.number, c.topics) for c in status.connections] == [(1, 4), (2, 4), (3, 2)]
        assert all(c.frames > 0 and c.last_frame >= c.opened_at > 0 for c in status.connections)


async def test_a_delisting_removes_and_an_empty_connection_is_closed() -> None:
    async with (
        FakeVenue([]) as venue,
        collecting(venue, ["A-X", "B-X", "C-X"], topics_per_connection=4) as scene,
    ):
        async with trading(venue, ["A-X", "B-X", "C-X"]):
            await scene.until(lambda: scene.synced("A-X", "B-X", "C-X"), "three books")
            before = len(venue.subscriptions)
            scene.collector.set_symbols(["A-X"], FEEDS)
            await scene.until(lambda: scene.tape.of_kind("close"), "the empty connection closes")
            await scene.settled()
            await asyncio.sleep(0.1)
        assert len(venue.subscriptions) == before
        assert sorted(venue.unsubscriptions) == sorted(
            f"/market/{feed}:{symbol}" for feed in FEEDS for symbol in ("B-X", "C-X")
        )
        (close,) = scene.tape.of_kind("close")
        assert (close.connection, close.fields) == (2, {"reason": "stopped"})
        acks = [line for line in scene.tape.of_kind("recv") if b'"ack"' in (line.data or b"")]
        assert len(acks) == len(venue.subscriptions) + len(venue.unsubscriptions), "kept raw"
        states = scene.tape.status()
        assert [states[f"{name}-X", "l2"]["state"] for name in "ABC"] == ["synced", "down", "down"]
        assert {gap.symbol for gap in scene.tape.gaps()} <= {"B-X", "C-X"}
        assert_no_hole(rows_of(scene.tape, "l2_updates", "A-X"))
        status = scene.collector.status()
        assert (status.connections_planned, status.topics_wanted) == (1, 2)


async def test_a_stream_more_and_a_stream_less_leave_the_others_alone() -> None:
    async with FakeVenue([]) as venue, collecting(venue, ["A-X", "B-X"]) as scene:
        async with trading(venue, ["A-X", "B-X"]):
            await scene.until(lambda: scene.synced("A-X", "B-X"), "two books")
            scene.collector.set_symbols(["A-X", "B-X"], ("level2", "ticker"))
            await scene.until(lambda: rows_of(scene.tape, "tickers", "B-X"), "tickers are recorded")
            await scene.settled()
        assert venue.unsubscriptions == ["/market/match:A-X,B-X"]
        assert venue.subscriptions[-1] == "/market/ticker:A-X,B-X"
        assert len(scene.tape.of_kind("open")) == 1
        for symbol in ("A-X", "B-X"):
            assert_no_hole(rows_of(scene.tape, "l2_updates", symbol))


async def test_a_reconnect_asks_for_what_is_wanted_by_then() -> None:
    async with FakeVenue([]) as venue, collecting(venue, ["A-X", "B-X"], ["level2"]) as scene:
        await scene.settled()
        scene.collector.set_symbols(["B-X", "C-X"], ["level2"])
        await scene.settled()
        before = len(venue.subscriptions)
        await venue.sockets[0].close()
        await scene.until(lambda: len(venue.subscriptions) > before, "a subscription again")
        await scene.settled()
        assert venue.subscriptions[before:] == [f"{L2}B-X,C-X"]
        assert scene.collector.status().reconnects == {"disconnected": 1}


async def test_wishes_that_change_while_they_are_asked_for_end_in_what_is_wanted() -> None:
    async with (
        FakeVenue([], Script(lags_s=deque([0.03]))) as venue,
        collecting(venue, ["A-X"], ["level2"]) as scene,
    ):
        draw = random.Random(3)
        names = [f"{name}-X" for name in "ABCDEFGH"]
        for _ in range(20):
            wanted = draw.sample(names, draw.randint(1, 8))
            scene.collector.set_symbols(wanted, draw.choice([["level2"], FEEDS]))
            await asyncio.sleep(draw.choice([0, 0.01, 0.05]))
        scene.collector.set_symbols(["C-X", "D-X"], ["level2"])
        await scene.settled()
        await scene.until(
            lambda: list(venue.carried.values()) == [{f"{L2}C-X", f"{L2}D-X"}], "these two only"
        )
        assert len(scene.tape.of_kind("open")) == 1


async def test_more_than_the_venue_carries_changes_nothing() -> None:
    async with FakeVenue([]) as venue, collecting(venue, ["A-X"], ["level2"]) as scene:
        await scene.settled()
        with pytest.raises(ConfigError):
            scene.collector.set_symbols([f"S{n}-X" for n in range(1001)], ["level2"])
        await asyncio.sleep(0.05)
        assert venue.subscriptions == [f"{L2}A-X"]
        assert scene.collector.status().topics_wanted == 1


async def test_a_refused_symbol_is_told_and_forgotten_once_it_is_not_wanted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(subscriber, "REFUSED_AGAIN_S", 0.1)
    async with (
        FakeVenue([], Script(bad_symbols={"B-X"})) as venue,
        collecting(venue, ["A-X", "B-X", "C-X"], ["level2"]) as scene,
    ):
        await scene.settled()
        assert scene.collector.status().refused == {
            ("B-X", "level2"): "code 404 topic is not found"
        }
        await scene.until(lambda: venue.subscriptions.count(f"{L2}B-X") >= 3, "asked again")
        scene.collector.set_symbols(["A-X", "C-X"], ["level2"])
        assert scene.collector.refused == {}
        await scene.settled()
        await asyncio.sleep(0.15)
        asked = len(venue.subscriptions)
        await asyncio.sleep(0.3)
        assert len(venue.subscriptions) == asked, "nobody asks for it any more"
        assert scene.collector.refused == {}
        assert venue.unsubscriptions == [], "what was never carried needs no end"


async def test_a_token_that_expires_in_band_is_a_reconnect_with_a_fresh_one() -> None:
    async with FakeVenue([]) as venue, collecting(venue, ["A-X"], ["level2"]) as scene:
        await scene.settled()
        await venue.expire_tokens()
        await scene.until(lambda: len(venue.tokens_used) == 2, "a second connection")
        await scene.settled()
        assert len(set(venue.tokens_used)) == 2
        assert scene.collector.status().reconnects == {"disconnected": 1}


async def test_a_reconnect_storm_stays_within_the_venue_s_limit_of_connects() -> None:
    limits = replace(LIMITS, connects=Rate(8, 1.0), topics_per_connection=1)
    symbols = [f"S{n}-X" for n in range(8)]
    async with (
        FakeVenue([]) as venue,
        collecting(venue, symbols, ["level2"], limits=limits) as scene,
    ):
        await scene.settled()
        for socket in list(venue.sockets):
            await socket.close()
        await scene.until(lambda: len(venue.connected_at) == 16, "everything anew")
        await scene.settled()
        times = venue.connected_at
        fullest = max(sum(at <= t < at + 1.0 for t in times) for at in times)
        assert 5 <= fullest <= 8
        assert scene.collector.status().reconnects == {"disconnected": 8}


async def test_what_is_asked_for_behind_the_end_is_left_to_the_next_run() -> None:
    """A disk that stalls while the run ends lets old lines be decoded behind its last one."""
    async with FakeVenue([]) as venue, collecting(venue, ["A-X"]) as scene:
        await scene.settled()
        intake = scene.collector._intake
    assert intake is not None
    for command in (
        RequestBook("A-X", "l2", 9),
        ArmTimer("A-X", "l2", 9),
        Backfill("A-X"),
        AskAudit("A-X", "l2"),
        Resubscribe("A-X", "l2"),
    ):
        scene.collector.carry_out(command)
    await asyncio.sleep(0.3)
    assert intake.queue_lines == 0
