"""Reading a raw log that is being written: everything durable, in order, and nothing behind it."""

from __future__ import annotations

from pathlib import Path

import pytest

from recorder.errors import RawLogDamaged
from recorder.raw_line import RawLine
from recorder.storage import raw_follower
from recorder.storage.raw_follower import RawLogFollower
from recorder.storage.raw_log import BEGINNING, RawLogWriter, RawPosition
from recorder.storage.repacking import repack
from tests.support.market_log import T0

RUN = "20261122T100000.000000Z-test-1"


def commit(number: int, lines: int = 2) -> list[RawLine]:
    return [
        RawLine("recv", T0 + number, n, 1, f'{{"commit":{number},"line":{n}}}'.encode())
        for n in range(lines)
    ]


def follow(archive: Path, log: RawLogWriter, position: RawPosition = BEGINNING) -> RawLogFollower:
    return RawLogFollower(lambda number: archive / log.path_of(number), position)


@pytest.fixture(params=[7, raw_follower.CHUNK_BYTES])
def _chunks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(raw_follower, "CHUNK_BYTES", request.param)


@pytest.mark.usefixtures("_chunks")
def test_follows_a_log_that_grows_and_rolls_over(tmp_path: Path) -> None:
    log = RawLogWriter(tmp_path, RUN, segment_bytes=300)
    follower = follow(tmp_path, log)
    assert follower.read(log.position) == []
    positions = []
    for number in range(12):
        log.append(commit(number, 1 + number % 3))
        positions.append(log.position)
        if number % 5 == 4:
            for read in range(number - 4, number + 1):
                assert follower.read(log.position) == commit(read, 1 + read % 3)
                assert follower.position == positions[read]
            assert follower.read(log.position) == []
    assert log.position.segment > 2
    assert log.position.lines == log.lines
    log.close()
    follower.close()
    later = follow(tmp_path, log, positions[3])
    assert later.read(log.position) == commit(4, 2), "from any place between two commits"
    later.close()


def test_never_looks_behind_the_durable_end(tmp_path: Path) -> None:
    log = RawLogWriter(tmp_path, RUN, segment_bytes=1 << 20)
    log.append(commit(0))
    end = log.position
    log.append(commit(1))
    path = tmp_path / log.path_of(1)
    content = path.read_bytes()
    follower = follow(tmp_path, log)
    for cut in (len(content), len(content) - 1, end.offset + 1, end.offset):
        path.write_bytes(content[:cut])
        follower = follow(tmp_path, log)
        assert follower.read(end) == commit(0)
        assert follower.read(end) == []
        follower.close()
    log.close()


def test_a_segment_that_was_repacked_is_read_from_its_beginning(tmp_path: Path) -> None:
    log = RawLogWriter(tmp_path, RUN, segment_bytes=200)
    for number in range(8):
        log.append(commit(number))
    assert log.position.segment > 2
    repack(tmp_path / log.path_of(1))
    follower, lines = follow(tmp_path, log), []
    while got := follower.read(log.position):
        lines += got
    assert lines == [line for number in range(8) for line in commit(number)]
    follower.close()
    log.close()


def test_what_was_durable_and_does_not_read_back_is_damage(tmp_path: Path) -> None:
    log = RawLogWriter(tmp_path, RUN, segment_bytes=1 << 20)
    log.append(commit(0))
    first = log.position
    log.append(commit(1))
    log.close()
    path = tmp_path / log.path_of(1)
    content = path.read_bytes()
    changed = content[:-4] + bytes([content[-4] ^ 1]) + content[-3:]
    for damaged, problem in (
        (content[:-2], "middle of a frame"),
        (content[: first.offset], "before what was made durable"),
        (changed, "checksum"),
    ):
        path.write_bytes(damaged)
        follower = follow(tmp_path, log)
        assert follower.read(log.position) == commit(0)
        with pytest.raises(RawLogDamaged, match=problem) as raised:
            follower.read(log.position)
        assert raised.value.offset == first.offset
        follower.close()
