"""The collector against a scripted venue: what changes while it records, and what stays."""

from __future__ import annotations

import asyncio
import random
from collections import Counter, deque
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace

import pytest

from recorder.clock import stamp_line
from recorder.collector import Collector, rotation_age_s
from recorder.errors import ConfigError
from recorder.intake import Intake
from recorder.logs import get_log
from recorder.subscriptions import Plan
from recorder.transport import keeper, subscriber, websocket
from recorder.transport.rate_limit import open_budgets
from recorder.transport.rest import RestClient
from recorder.transport.session import open_session
from schemas.kucoin.profile import Limits, Rate
from schemas.kucoin.profiles.kucoin_2019 import KUCOIN_2019
from tests.support.fake_venue import FakeVenue, Script
from tests.support.memory_tape import MemoryTape

L2 = "/market/level2:"
FEEDS = ("level2", "match")
# As the real ones, in a shorter time.
LIMITS = replace(KUCOIN_2019.limits, connects=Rate(400, 10.0), uplink_messages=Rate(400, 10.0))


@dataclass
class Scene:
    """A collector at work."""

    venue: FakeVenue
    tape: MemoryTape
    collector: Collector

    def synced(self, *symbols: str) -> bool:
        """Return whether the books of all these symbols are in step."""
        status = self.tape.status()
        return all(
            status.get((symbol, "l2"), {}).get("state") in {"synced", "bridging"}
            for symbol in symbols
        )

    async def until(self, condition: Callable[[], object], what: str) -> None:
        """Wait until a condition holds; ten seconds are far more than any of these take."""
        for _ in range(1000):
            if condition():
                return
            await asyncio.sleep(0.01)
        pytest.fail(f"never happened: {what}")

    async def settled(self) -> None:
        """Wait until everything wanted is carried or refused."""

        def is_settled() -> bool:
            status = self.collector.status()
            return status.topics_carried + len(status.refused) == status.topics_wanted and all(
                connection.is_open for connection in status.connections
            )

        await self.until(is_settled, "everything wanted is carried")


@asynccontextmanager
async def collecting(
    venue: FakeVenue,
    symbols: Sequence[str],
    feeds: Sequence[str] = FEEDS,
    *,
    topics_per_connection: int = 95,
    limits: Limits = LIMITS,
    rotate_after_s: float = 0.0,
) -> AsyncIterator[Scene]:
    """Record with the real pipeline until the block ends; then stop cleanly."""
    profile = replace(KUCOIN_2019, limits=limits)
    plan = Plan(profile, topics_per_connection)
    plan.change(symbols, feeds)
    tape = MemoryTape()
    with ThreadPoolExecutor(1) as worker:
        async with open_session() as session:
            client = RestClient(session, venue.url, open_budgets(limits), limits)
            collector = Collector(
                profile,
                plan,
                session,
                client,
                0.05,
                get_log("test"),
                random.Random(7),
                rotate_after_s=rotate_after_s,
            )
            intake = Intake(tape.commit, collector.carry_out, 0.01, 1 << 20, worker)
            intake.append(stamp_line("run_start", {"run_id": tape.run_id, "profile": profile.name}))
            intake.start()
            collector.start(intake)
            watching = asyncio.create_task(collector.wait())
            try:
                yield Scene(venue, tape, collector)
                assert not watching.done(), watching
            finally:
                watching.cancel()
                await asyncio.gather(watching, return_exceptions=True)
                await collector.stop()
                await intake.drain()


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait milliseconds where the real world deserves seconds."""
    monkeypatch.setattr(keeper, "RECONNECT_FIRST_S", 0.02)
    monkeypatch.setattr(keeper, "ROTATE_AGAIN_FIRST_S", 0.1)
    monkeypatch.setattr(keeper, "HEARD_WITHIN_S", 0.2)
    monkeypatch.setattr(websocket, "CLOSE_TIMEOUT_S", 0.3)
    monkeypatch.setattr("recorder.book_requests.RETRY_FIRST_S", 0.02)


class Market:
    """Publishes changes, trades and tickers of some symbols until told to stop."""

    def __init__(self, venue: FakeVenue, symbols: Sequence[str]) -> None:
        self._venue = venue
        self.symbols = list(symbols)
        self.sequence = 1_000

    async def run(self) -> None:
        while True:
            self.sequence += 1
            for symbol in self.symbols:
                await self._venue.publish_l2(symbol)
                await self._venue.publish_match(symbol, self.sequence)
                await self._venue.publish_ticker(symbol, self.sequence)
            await asyncio.sleep(0.005)


@asynccontextmanager
async def trading(venue: FakeVenue, symbols: Sequence[str]) -> AsyncIterator[Market]:
    """Keep the market going during the block."""
    market = Market(venue, symbols)
    task = asyncio.create_task(market.run())
    try:
        yield market
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def rows_of(tape: MemoryTape, dataset: str, symbol: str) -> list[int]:
    """Return the sequences of all rows of a stream, in order."""
    return [
        int(sequence)
        for output in tape.outputs
        for rows in output.rows
        if (rows.dataset, rows.symbol) == (dataset, symbol)
        for sequence in rows.columns["sequence"]
    ]


def assert_no_hole(sequences: list[int]) -> None:
    assert sequences, "something was recorded"
    assert sequences == list(range(sequences[0], sequences[0] + len(sequences)))


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
        assert all(line.fields == {"reason": "disconnected", "rotated": True} for line in closes)


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
            await scene.until(lambda: scene.collector.status().rotations >= 1, "a handover")
        assert scene.tape.gaps() == []
        assert scene.collector.refused == {}


async def test_an_old_connection_that_dies_in_its_handover_is_followed_at_once() -> None:
    async with (
        FakeVenue([]) as venue,
        collecting(venue, ["A-X"], ["level2"], rotate_after_s=0.4) as scene,
    ):
        async with trading(venue, ["A-X"]):
            await scene.until(lambda: scene.synced("A-X"), "a book")
            venue.script.welcome_delay_s = 0.3
            await scene.until(lambda: len(venue.tokens_used) == 2, "the successor dials")
            await venue.sockets[0].close()
            await scene.until(
                lambda: scene.collector.status().reconnects == {"disconnected": 1}, "its end"
            )
            await scene.settled()
            await scene.until(lambda: scene.synced("A-X"), "a book again")
            assert len(venue.tokens_used) == 2, "the successor it is, no third one"
        assert {gap.reason for gap in scene.tape.gaps()} == {"disconnected"}


async def test_symbols_that_change_during_a_handover_are_right_after_it() -> None:
    async with (
        FakeVenue([]) as venue,
        collecting(venue, ["A-X", "B-X"], ["level2"], rotate_after_s=0.4) as scene,
    ):
        async with trading(venue, ["A-X", "B-X", "C-X"]):
            await scene.until(lambda: scene.synced("A-X", "B-X"), "two books")
            venue.script.welcome_delay_s = 0.2
            await scene.until(lambda: len(venue.tokens_used) == 2, "the successor dials")
            scene.collector.set_symbols(["A-X", "C-X"], ["level2"])
            await scene.until(lambda: scene.collector.status().rotations == 1, "a handover")
            await scene.settled()
            await scene.until(
                lambda: {f"{L2}A-X", f"{L2}C-X"} in venue.carried.values(), "these two only"
            )
        assert {gap.symbol for gap in scene.tape.gaps()} <= {"B-X"}
        assert_no_hole(rows_of(scene.tape, "l2_updates", "A-X"))


@pytest.mark.parametrize(
    ("life_s", "asked_s", "age_s"),
    [(None, 0.0, None), (None, 5.0, 5.0), (86_400, 0.0, 82_800.0), (86_400, 60.0, 60.0)],
)
async def test_when_tokens_are_replaced(
    life_s: int | None, asked_s: float, age_s: float | None
) -> None:
    profile = replace(KUCOIN_2019, limits=replace(LIMITS, token_life_s=life_s))
    assert rotation_age_s(profile, asked_s) == age_s
