"""Group commits: order, batches, room, failure."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from recorder.intake import IN_FLIGHT_MAX, Intake, WriterDied
from recorder.pipeline.output import ArmTimer, Command, RequestBook
from recorder.raw_line import RawLine


def line(number: int, size: int = 10) -> RawLine:
    return RawLine("recv", number, number, 1, b"x" * size)


class SlowDisk:
    """Commits that wait for a permit."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.permits = threading.Semaphore(0)
        self.commands: list[Command] = []
        self.fails_at: int | None = None

    def commit(self, lines: list[RawLine]) -> list[Command]:
        assert self.permits.acquire(timeout=10)
        if len(self.batches) == self.fails_at:
            self.fails_at = None
            raise OSError("disk full")
        self.batches.append([line.ts_recv for line in lines])
        return self.commands


@pytest.fixture
async def worker() -> AsyncIterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(1) as executor:
        yield executor


async def settle() -> None:
    await asyncio.sleep(0.05)


async def test_commits_everything_in_order_and_carries_commands_out(
    worker: ThreadPoolExecutor,
) -> None:
    disk = SlowDisk()
    disk.permits.release(100)
    disk.commands = [RequestBook("BTC-USDT", "l2", 1), ArmTimer("BTC-USDT", "l3", 2)]
    done: list[Command] = []
    intake = Intake(disk.commit, done.append, 0.01, 1 << 20, worker)
    intake.start()
    for number in range(10):
        intake.append(line(number))
        await asyncio.sleep(0.003)
    await intake.drain()
    assert [number for batch in disk.batches for number in batch] == list(range(10))
    assert 1 < len(disk.batches) < 10, "in groups, by the interval"
    assert done == disk.commands * len(disk.batches)
    assert intake.lines_committed == 10


async def test_enough_bytes_do_not_wait_for_the_interval(worker: ThreadPoolExecutor) -> None:
    disk = SlowDisk()
    disk.permits.release(100)
    intake = Intake(disk.commit, lambda _: None, 3600, 1000, worker)
    intake.start()
    intake.append(line(1, 500))
    await settle()
    assert disk.batches == []
    intake.append(line(2, 500))
    await settle()
    assert disk.batches == [[1, 2]]
    await intake.drain()


async def test_a_slow_disk_makes_readers_wait_and_loses_nothing(
    worker: ThreadPoolExecutor,
) -> None:
    disk = SlowDisk()
    intake = Intake(disk.commit, lambda _: None, 0.001, 1000, worker)
    intake.start()
    number = 0
    while not intake.is_full and number < 50:
        intake.append(line(number, 1000))
        number += 1
        await asyncio.sleep(0.005)
    assert number == IN_FLIGHT_MAX + 1, "two on their way, one full behind them"
    waiting = asyncio.create_task(intake.wait_room())
    await settle()
    assert not waiting.done()
    disk.permits.release(1)
    await asyncio.wait_for(waiting, 5)
    disk.permits.release(100)
    await intake.drain()
    assert disk.batches == [[n] for n in range(number)]


async def test_nothing_is_committed_behind_a_failure(worker: ThreadPoolExecutor) -> None:
    disk = SlowDisk()
    disk.fails_at = 0
    intake = Intake(disk.commit, lambda _: None, 0.001, 100, worker)
    intake.start()
    for number in range(3):
        intake.append(line(number, 100))
        await asyncio.sleep(0.01)
    disk.permits.release(100)
    death = await asyncio.wait_for(asyncio.shield(intake.failed), 5)
    intake.append(line(9))
    with pytest.raises(WriterDied, match="disk full"):
        await intake.drain()
    assert death.exit_code == 3
    assert isinstance(death.__cause__, OSError)
    assert disk.batches == [], "a batch that was already on its way must not follow the hole"
    await asyncio.wait_for(intake.wait_room(), 1)


async def test_other_work_of_the_writer_takes_its_turn(worker: ThreadPoolExecutor) -> None:
    disk = SlowDisk()
    disk.permits.release(100)
    intake = Intake(disk.commit, lambda _: None, 0.001, 1000, worker)
    assert await intake.run(lambda: 7) == 7

    def fail() -> None:
        raise OSError("no")

    with pytest.raises(WriterDied):
        await intake.run(fail)
    assert intake.failed.done()
