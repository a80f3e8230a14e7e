"""A collector at work against the scripted venue, its lines in the real pipeline."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace

import pytest

from recorder.clock import stamp_line
from recorder.collector import Collector
from recorder.decoding import Decoding
from recorder.intake import Intake
from recorder.logs import get_log
from recorder.subscriptions import Plan
from recorder.transport.rate_limit import open_budgets
from recorder.transport.rest import RestClient
from recorder.transport.session import open_session
from recorder.writer_death import WritersLife
from schemas.kucoin.profile import Limits, Rate
from schemas.kucoin.profiles.kucoin_2019 import KUCOIN_2019
from tests.support.fake_venue import FakeVenue
from tests.support.memory_tape import MemoryTape

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

    def rotate_no_more(self) -> None:
        """Let connections grow old from now on; a handover under way goes on."""
        self.collector._rotation.after_s = None

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
    with ThreadPoolExecutor(1) as worker, ThreadPoolExecutor(1) as appender:
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
            life = WritersLife()
            decoding = Decoding(tape, collector.carry_out, worker, life)
            intake = Intake(tape.append, decoding.hand_over, 0.01, 1 << 20, appender, life)
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
                assert await decoding.drain(10)


def wait_milliseconds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait milliseconds where the real world deserves seconds."""
    for name, value in (
        ("keeper.RECONNECT_FIRST_S", 0.02),
        ("keeper.ROTATE_AGAIN_FIRST_S", 0.1),
        ("keeper.HEARD_WITHIN_S", 0.2),
        ("websocket.CLOSE_TIMEOUT_S", 0.3),
    ):
        monkeypatch.setattr(f"recorder.transport.{name}", value)
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
