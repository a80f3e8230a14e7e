"""Group commits: order, batches, room, failure."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from recorder.intake import IN_FLIGHT_MAX, LINE_OVERHEAD_BYTES, Intake
from recorder.raw_line import RawLine
from recorder.storage.raw_log import RawPosition
from recorder.writer_death import WriterDied, WritersLife


def line(number: int, size: int = 10) -> RawLine:
    return RawLine("recv", number, number, 1, b"x" * size)


class SlowDisk:
    """Commits that wait for a permit, and whoever is told of them."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.permits = threading.Semaphore(0)
        self.handed_over: list[tuple[list[int], int, int]] = []
        self.fails_at: int | None = None
        self.lines = 0

    def commit(self, lines: list[RawLine]) -> RawPosition:
        assert self.permits.acquire(timeout=10)
        if len(self.batches) == self.fails_at:
            self.fails_at = None
            raise OSError("disk broken")
        self.batches.append([line.ts_recv for line in lines])
        self.lines += len(lines)
        return RawPosition(1, 0, self.lines)

    def hand_over(self, lines: list[RawLine], size: int, position: RawPosition) -> None:
        self.handed_over.append(([line.ts_recv for line in lines], size, position.lines))


@pytest.fixture
async def worker() -> AsyncIterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(1) as executor:
        yield executor


def start(
    disk: SlowDisk, worker: ThreadPoolExecutor, interval_s: float, bytes_max: int
) -> tuple[Intake, WritersLife]:
    life = WritersLife()
    intake = Intake(disk.commit, disk.hand_over, interval_s, bytes_max, worker, life)
    intake.start()
    return intake, life


async def settle() -> None:
    await asyncio.sleep(0.05)


async def test_commits_everything_in_order_and_hands_over_what_is_on_disk(
    worker: ThreadPoolExecutor,
) -> None:
    disk = SlowDisk()
    disk.permits.release(100)
    intake, _ = start(disk, worker, 0.01, 1 << 20)
    for number in range(10):
        intake.append(line(number))
        await asyncio.sleep(0.003)
    await intake.drain()
    assert [number for batch in disk.batches for number in batch] == list(range(10))
    assert 1 < len(disk.batches) < 10, "in groups, by the interval"
    assert [lines for lines, _, _ in disk.handed_over] == disk.batches
    assert disk.handed_over[-1][2] == 10
    assert sum(size for _, size, _ in disk.handed_over) == 10 * (10 + LINE_OVERHEAD_BYTES)
    assert intake.lines_committed == 10


async def test_enough_bytes_do_not_wait_for_the_interval(worker: ThreadPoolExecutor) -> None:
    disk = SlowDisk()
    disk.permits.release(100)
    intake, _ = start(disk, worker, 3600, 1000)
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
    intake, _ = start(disk, worker, 0.001, 1000)
    number = 0
    while not intake.is_full and number < 50:
        intake.append(line(number, 1000))
        number += 1
        await asyncio.sleep(0.005)
    assert number == IN_FLIGHT_MAX + 1, "two on their way, one full behind them"
    assert disk.handed_over == [], "nothing is looked into before it is on disk"
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
    intake, life = start(disk, worker, 0.001, 100)
    for number in range(3):
        intake.append(line(number, 100))
        await asyncio.sleep(0.01)
    disk.permits.release(100)
    death = await asyncio.wait_for(asyncio.shield(life.failed), 5)
    intake.append(line(9))
    with pytest.raises(WriterDied, match="disk broken"):
        await intake.drain()
    await asyncio.wait_for(intake.settle(), 5)
    assert isinstance(death.__cause__, OSError)
    assert disk.batches == [], "a batch that was already on its way must not follow the hole"
    assert disk.handed_over == []
    await asyncio.wait_for(intake.wait_room(), 1)


async def test_the_end_of_another_thread_is_the_end_of_this_one(
    worker: ThreadPoolExecutor,
) -> None:
    disk = SlowDisk()
    intake, life = start(disk, worker, 0.001, 100)
    for number in range(4):
        intake.append(line(number, 100))
        await asyncio.sleep(0.005)
    assert intake.is_full
    life.end(OSError("no rows"))
    await asyncio.wait_for(intake.wait_room(), 1)
    settling = asyncio.create_task(intake.settle())
    await settle()
    assert not settling.done(), "the thread is still at its commit"
    disk.permits.release(100)
    await asyncio.wait_for(settling, 5)
    with pytest.raises(WriterDied, match="no rows"):
        await intake.drain()


async def test_what_comes_at_once_is_on_its_way_before_anybody_else_has_a_turn(
    worker: ThreadPoolExecutor,
) -> None:
    """A reader with thousands of frames at hand appends them without a pause."""
    disk = SlowDisk()
    disk.permits.release(100)
    bytes_max = 10 * (10 + LINE_OVERHEAD_BYTES)
    intake, _ = start(disk, worker, 60.0, bytes_max)
    for number in range(10 * IN_FLIGHT_MAX + 9):
        intake.append(line(number))
        assert intake.queue_bytes < bytes_max
    assert not intake.is_full
    intake.append(line(99))
    assert intake.is_full, "both places are taken, and a third batch is full"
    await intake.drain()
    assert [len(batch) for batch in disk.batches] == [10, 10, 10]
