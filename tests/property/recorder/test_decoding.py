"""However slow decoding is, and however often it falls back on the raw log: the same archive."""

from __future__ import annotations

import asyncio
import random
import time
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path

import pytest

from recorder import recording
from recorder.decoding import Decoding
from recorder.intake import Intake
from recorder.pipeline.output import Command
from recorder.raw_line import RawLine
from recorder.recording import Recording, RecordingSettings
from recorder.storage.open_parts import RollRules
from recorder.storage.raw_log import RawPosition, list_segments
from recorder.writer_death import WritersLife
from tests.support.archive_content import assert_same_content
from tests.support.market_log import RUN, Story, market_log, split_batches

RULES = RollRules(rows_min=1, roll_interval_s=0.2, rows_max=150)
SETTINGS = RecordingSettings(segment_bytes=6_000, rules=RULES)


@cache
def _lines() -> list[RawLine]:
    return market_log(Story(11, steps=80, chance=0.03, symbols=("BTC-USDT",)))


@pytest.fixture(autouse=True)
def _one_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recording, "new_run_id", lambda: RUN)


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return what one thread makes of the same lines."""
    archive = tmp_path_factory.mktemp("expected")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(recording, "new_run_id", lambda: RUN)
        tape = Recording.create(archive, SETTINGS)
        for batch in split_batches(_lines(), random.Random(1), 20):
            tape.commit(batch)
        tape.close()
    return archive


class Uneven:
    """A recording whose decoding takes a different time for each batch."""

    def __init__(self, tape: Recording, draw: random.Random, slow_s: float) -> None:
        self._tape, self._draw, self._slow_s = tape, draw, slow_s
        self.read_back = 0

    def decode(self, lines: list[RawLine], position: RawPosition) -> list[Command]:
        time.sleep(self._slow_s * self._draw.random() ** 3)
        return self._tape.decode(lines, position)

    def read_on(self, end: RawPosition) -> tuple[list[RawLine], RawPosition]:
        lines, position = self._tape.read_on(end)
        self.read_back += len(lines)
        return lines, position


async def _record(archive: Path, seed: int) -> tuple[int, bool]:
    """Record the lines at some pace; return lines read back, and whether all was decoded."""
    draw = random.Random(seed)
    slow_s = draw.choice((0.0, 0.002, 0.01))
    bytes_max = draw.choice((1, 3_000, 20_000, 100_000))
    patience_s = draw.choice((0.0, 60.0))
    tape = Recording.create(archive, SETTINGS)
    uneven = Uneven(tape, random.Random(seed), slow_s)
    with ThreadPoolExecutor(1) as worker, ThreadPoolExecutor(1) as appender:
        life = WritersLife()
        decoding = Decoding(uneven, lambda _: None, worker, life, bytes_max)
        intake = Intake(tape.append, decoding.hand_over, 0.002, 4_000, appender, life)
        intake.start()
        for number, line in enumerate(_lines()):
            intake.append(line)
            if not number % 30:
                await asyncio.sleep(draw.choice((0.0, 0.001, 0.004)))
            if not number % 200:
                await decoding.run(lambda: tape.roll(line.ts_recv, force=True))  # noqa: B023
        await intake.drain()
        is_done = await decoding.drain(patience_s)
        await decoding.run(tape.close if is_done else tape.abandon)
    assert decoding.waiting_bytes == 0 or not is_done
    return uneven.read_back, is_done


def test_rows_do_not_depend_on_speed_memory_or_a_stop_far_behind(
    tmp_path: Path, expected: Path
) -> None:
    read_back = unfinished = segments = 0
    for seed in range(12):
        archive = tmp_path / str(seed)
        lines, is_done = asyncio.run(_record(archive, seed))
        read_back += lines
        if not is_done:
            unfinished += 1
            Recording.create(archive, SETTINGS).close()  # the next start
        assert_same_content(archive, expected)
        segments = max(segments, len(list_segments(archive)[RUN]))
    assert read_back > 1_000, "the raw log was read in earnest"
    assert unfinished >= 2
    assert segments > 3
