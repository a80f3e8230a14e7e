"""Decoding behind the raw log: order, bounded memory, catching up, ends and failures."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from recorder import live
from recorder.decoding import Decoding
from recorder.health import monitor
from recorder.pipeline.output import ArmTimer, Command, RequestBook
from recorder.raw_line import RawLine
from recorder.rebuilding import rebuild
from recorder.run_writer import RunWriter
from recorder.storage.open_parts import RollRules
from recorder.storage.raw_log import RawPosition
from recorder.writer_death import WriterDied, WritersLife
from tests.support.archive_content import archive_rows, assert_same_content, table_rows
from tests.support.fake_venue import FakeVenue
from tests.support.live_recorder import BTC, LiveRecorder, live_recorder, make_config, until

SIZE = 100  # bytes of a batch in memory, as these tests say it


class SlowDecoder:
    """A raw log in memory, and a pipeline that waits for a permit before each batch."""

    def __init__(self) -> None:
        self.log: list[list[RawLine]] = []
        self.decoded: list[int] = []
        self.read_back: list[int] = []
        self.permits = threading.Semaphore(0)
        self.commands: list[Command] = []
        self.fails_at: int | None = None
        self.threads: set[int] = set()

    @property
    def lines(self) -> int:
        return sum(map(len, self.log))

    def append(self, lines: list[RawLine]) -> RawPosition:
        self.log.append(lines)
        return RawPosition(1, 0, self.lines)

    def decode(self, lines: list[RawLine], position: RawPosition) -> list[Command]:
        assert self.permits.acquire(timeout=10)
        self.threads.add(threading.get_ident())
        if self.fails_at is not None and len(self.decoded) >= self.fails_at:
            raise OSError("parts cannot be written")
        self.decoded += [line.ts_recv for line in lines]
        assert position.lines == len(self.decoded), "each line once, in order"
        return self.commands

    def read_on(self, end: RawPosition) -> tuple[list[RawLine], RawPosition]:
        at = 0
        for commit in self.log:
            if at == len(self.decoded) < end.lines:
                self.read_back += [line.ts_recv for line in commit]
                return commit, RawPosition(1, 0, at + len(commit))
            at += len(commit)
        return [], end


@pytest.fixture
async def worker() -> AsyncIterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(1) as executor:
        yield executor


class Feed:
    """Hands over commits of two lines, a millisecond apart."""

    def __init__(self, decoder: SlowDecoder, decoding: Decoding) -> None:
        self.decoder, self.decoding = decoder, decoding
        self.number = 0

    def commit(self) -> None:
        lines = []
        for _ in range(2):
            lines.append(RawLine("recv", self.number, (self.number + 1) * 1_000_000, 1, b"x"))
            self.number += 1
        self.decoding.hand_over(lines, SIZE, self.decoder.append(lines))


async def settle() -> None:
    await asyncio.sleep(0.03)


async def test_decodes_in_order_in_its_thread_and_carries_out_commands(
    worker: ThreadPoolExecutor,
) -> None:
    decoder, done = SlowDecoder(), []
    decoder.permits.release(100)
    decoder.commands = [RequestBook("BTC-USDT", "l2", 1), ArmTimer("BTC-USDT", "l3", 2)]
    decoding = Decoding(decoder, done.append, worker, WritersLife())
    feed = Feed(decoder, decoding)
    for _ in range(5):
        feed.commit()
        await asyncio.sleep(0.001)
    assert await decoding.drain(5)
    assert decoder.decoded == list(range(10))
    assert done == decoder.commands * 5
    assert decoder.threads.isdisjoint({threading.get_ident()})
    assert (decoding.lag_lines, decoding.lag_s, decoding.waiting_bytes) == (0, 0.0, 0)
    assert (decoding.catch_ups, decoder.read_back) == (0, [])
    assert await decoding.drain(0), "nothing is left"


async def test_falls_back_on_the_raw_log_and_comes_back_from_it(
    worker: ThreadPoolExecutor,
) -> None:
    decoder = SlowDecoder()
    decoding = Decoding(decoder, lambda _: None, worker, WritersLife(), bytes_max=5 * SIZE)
    feed = Feed(decoder, decoding)
    held = []
    for _ in range(50):
        feed.commit()
        held.append(decoding.waiting_bytes)
    assert max(held) == 5 * SIZE, "and no more"
    assert (decoding.is_reading_raw_log, decoding.catch_ups) == (True, 1)
    assert decoding.lag_lines == 100
    assert decoding.lag_s == pytest.approx(0.099)
    decoder.permits.release(20)
    await until(lambda: decoding.lag_lines == 60, "as many batches as permits")
    assert decoding.is_reading_raw_log
    decoder.permits.release(1000)
    await until(lambda: not decoding.is_reading_raw_log, "caught up")
    assert decoder.decoded == list(range(100))
    assert decoder.read_back == list(range(4, 100)), "two batches were on their way"
    for _ in range(3):
        feed.commit()
        await until(lambda: not decoding.lag_lines, "decoded")
    assert decoder.decoded == list(range(106))
    assert decoder.read_back[-1] == 99, "from memory again"
    assert decoding.waiting_bytes == 0


async def test_what_comes_once_it_has_caught_up_is_not_read_back_as_well(
    worker: ThreadPoolExecutor,
) -> None:
    decoder, goes_on = SlowDecoder(), threading.Event()
    decoding = Decoding(decoder, lambda _: None, worker, WritersLife(), bytes_max=1)
    feed = Feed(decoder, decoding)
    feed.commit()
    feed.commit()
    other = asyncio.create_task(decoding.run(lambda: goes_on.wait(10)))
    await asyncio.sleep(0)
    decoder.permits.release(2)
    # ... and another look waits behind the other work.
    await until(lambda: not decoding.is_reading_raw_log, "caught up")
    feed.commit()
    decoder.permits.release(10)
    goes_on.set()
    assert await decoding.drain(5)
    assert await other
    assert decoder.decoded == list(range(6))
    assert decoder.read_back == [2, 3]


async def test_a_batch_larger_than_the_bound_is_decoded_all_the_same(
    worker: ThreadPoolExecutor,
) -> None:
    decoder = SlowDecoder()
    decoding = Decoding(decoder, lambda _: None, worker, WritersLife(), bytes_max=1)
    feed = Feed(decoder, decoding)
    feed.commit()
    assert not decoding.is_reading_raw_log
    feed.commit()
    assert decoding.is_reading_raw_log
    decoder.permits.release(10)
    assert await decoding.drain(5)
    assert decoder.decoded == [0, 1, 2, 3]


async def test_other_work_waits_for_two_batches_and_no_more(worker: ThreadPoolExecutor) -> None:
    decoder = SlowDecoder()
    decoding = Decoding(decoder, lambda _: None, worker, WritersLife())
    feed = Feed(decoder, decoding)
    for _ in range(10):
        feed.commit()
    rolling = asyncio.create_task(decoding.run(lambda: list(decoder.decoded)))
    await settle()
    decoder.permits.release(2)
    assert await asyncio.wait_for(rolling, 5) == [0, 1, 2, 3]
    decoder.permits.release(100)
    assert await decoding.drain(5)


async def test_an_impatient_stop_leaves_the_rest_and_frees_the_thread(
    worker: ThreadPoolExecutor,
) -> None:
    decoder = SlowDecoder()
    decoding = Decoding(decoder, lambda _: None, worker, WritersLife())
    feed = Feed(decoder, decoding)
    for _ in range(10):
        feed.commit()
    draining = asyncio.create_task(decoding.drain(0.05))
    await asyncio.sleep(0.1)
    assert not draining.done(), "a batch is under way"
    decoder.permits.release(100)
    assert await asyncio.wait_for(draining, 5) is False
    assert decoder.decoded == [0, 1, 2, 3]
    assert decoding.lag_lines == 16
    assert await decoding.run(lambda: 7) == 7


@pytest.mark.parametrize("commits_before", [0, 3])
async def test_nothing_is_decoded_behind_a_failure(
    worker: ThreadPoolExecutor, commits_before: int
) -> None:
    decoder, life = SlowDecoder(), WritersLife()
    decoder.fails_at = 2 * commits_before
    decoding = Decoding(decoder, lambda _: None, worker, life, bytes_max=5 * SIZE)
    feed = Feed(decoder, decoding)
    for _ in range(10):
        feed.commit()
    decoder.permits.release(100)
    death = await asyncio.wait_for(asyncio.shield(life.failed), 5)
    assert isinstance(death.__cause__, OSError)
    feed.commit()
    await settle()
    with pytest.raises(WriterDied, match="parts cannot be written"):
        await decoding.drain(5)
    assert len(decoder.decoded) == 2 * commits_before


async def test_other_work_that_fails_is_the_end_as_well(worker: ThreadPoolExecutor) -> None:
    life = WritersLife()
    decoding = Decoding(SlowDecoder(), lambda _: None, worker, life)

    def fail() -> None:
        raise OSError("no")

    with pytest.raises(WriterDied):
        await decoding.run(fail)
    assert life.is_over


async def test_a_hang_shows_in_the_age_of_its_batch(worker: ThreadPoolExecutor) -> None:
    decoder = SlowDecoder()
    decoding = Decoding(decoder, lambda _: None, worker, WritersLife())
    feed = Feed(decoder, decoding)
    assert decoding.batch_age_s == 0.0
    feed.commit()
    await asyncio.sleep(0.05)
    assert decoding.batch_age_s >= 0.04
    decoder.permits.release(1)
    assert await decoding.drain(5)
    assert decoding.batch_age_s == 0.0


class StuckWriter:
    """Makes a run's writer wait before each batch, from `hold` until `let_go`."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._may_go_on = threading.Event()
        self.let_go()
        process = RunWriter.process

        def wait_first(writer: RunWriter, *values: Any, **named: Any) -> list[Command]:
            assert self._may_go_on.wait(60)
            return process(writer, *values, **named)

        monkeypatch.setattr(RunWriter, "process", wait_first)
        monkeypatch.setattr(live, "Decoding", partial(Decoding, bytes_max=4_000))
        monkeypatch.setattr(monitor, "STREAMS_FRESH_S", 0.0)
        monkeypatch.setattr(monitor, "WRITER_PATIENCE_S", 0.02)

    def hold(self) -> None:
        """Let no batch begin."""
        self._may_go_on.clear()

    def let_go(self) -> None:
        """Let every batch begin at once."""
        self._may_go_on.set()


async def fall_behind(recorder: LiveRecorder, venue: FakeVenue) -> int:
    """Publish until the raw log is read back; return the book's sequence."""
    for _ in range(400):
        last = await venue.publish_l2(BTC)
        await asyncio.sleep(0.002)
        if last % 20:
            continue
        if (await recorder.status())["decode"]["from_raw_log"]:
            return last
    pytest.fail("it never fell behind")


async def test_a_slow_writer_costs_neither_durability_nor_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive, writer = tmp_path / "archive", StuckWriter(monkeypatch)
    async with FakeVenue([BTC]) as venue:
        async with live_recorder(make_config(venue.url, archive)) as recorder:
            writer.hold()
            await fall_behind(recorder, venue)
            frames = (await recorder.status())["connections"][0]["frames"]
            for _ in range(50):
                last = await venue.publish_l2(BTC)

            async def acknowledged() -> bool:
                connection = (await recorder.status())["connections"][0]
                return bool(connection["durable"] == connection["frames"] >= frames + 50)

            await until(acknowledged, "everything durable all the same")
            decode = (await recorder.status())["decode"]
            assert decode["lag_lines"] >= 50
            assert decode["lag_s"] > 0
            assert decode["catch_ups"] == 1
            writer.let_go()

            async def caught_up() -> bool:
                status = await recorder.status()
                is_there = (await recorder.stream(BTC))["sequence"] == last
                return is_there and not status["decode"]["from_raw_log"]

            await until(caught_up, "the newest change")
            assert len(venue.sockets) == 1
        assert len(venue.connected_at) == 1, "the connection never noticed"
    assert table_rows(archive, "gaps") == []
    rebuild(archive, tmp_path / "rebuilt", RollRules())
    assert_same_content(tmp_path / "rebuilt", archive)


async def test_a_stop_far_behind_leaves_the_rest_to_the_next_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive, writer = tmp_path / "archive", StuckWriter(monkeypatch)

    async def drain_and_let_go(decoding: Decoding, _patience_s: float) -> bool:
        asyncio.get_running_loop().call_soon(writer.let_go)  # once patience has ended
        return await drain(decoding, 0.0)

    drain = Decoding.drain
    monkeypatch.setattr(Decoding, "drain", drain_and_let_go)
    async with FakeVenue([BTC]) as venue:
        config = make_config(venue.url, archive)
        with capture_logs() as said:
            async with live_recorder(config) as recorder:
                writer.hold()
                last = await fall_behind(recorder, venue)
        (told,) = [line for line in said if line["log_level"] == "critical"]
        assert told["lines_left"] > 0
        monkeypatch.setattr(Decoding, "drain", drain)
        rebuild(archive, tmp_path / "rebuilt", RollRules())
        async with live_recorder(config):
            pass
    rows = archive_rows(archive)
    for key, table in archive_rows(tmp_path / "rebuilt").items():
        assert rows[key].equals(table)
    sequences = [n for key, t in rows.items() if key[0] == "l2_updates" for n in t["sequence"]]
    assert last in [n.as_py() for n in sequences]
    assert [run["stop_reason"] for run in table_rows(archive, "runs")] == ["stopped"] * 2
