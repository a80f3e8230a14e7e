"""Reading a raw log that is being written: everything durable, in order, and nothing behind it."""

from __future__ import annotations

import io
from pathlib import Path
from typing import BinaryIO

import pytest
import zstandard

from recorder.errors import RawLogDamaged
from recorder.raw_line import RawLine
from recorder.storage import raw_follower
from recorder.storage.disk import Disk, use_disk
from recorder.storage.raw_follower import RawLogFollower
from recorder.storage.raw_log import BEGINNING, REPACKED_MARK, RawLogWriter, RawPosition
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


@pytest.fixture(params=[1, 7, raw_follower.CHUNK_BYTES])
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


def test_a_place_in_a_repacked_segment_is_where_reading_begins(tmp_path: Path) -> None:
    log = RawLogWriter(tmp_path, RUN, segment_bytes=1 << 20)
    log.append(commit(0))
    between = log.bytes
    log.append(commit(1))
    path = tmp_path / log.path_of(1)
    path.write_bytes(REPACKED_MARK + path.read_bytes())
    mark = len(REPACKED_MARK)
    follower = follow(tmp_path, log, RawPosition(1, mark + between, 2))
    end = RawPosition(1, mark + log.bytes, 4)
    assert follower.read(end) == commit(1)
    assert follower.position == end
    follower.close()
    log.close()


class WatchedFile(io.BytesIO):
    """Knows how far it was read."""

    read_to = 0

    def read(self, size: int | None = -1) -> bytes:
        content = super().read(size)
        self.read_to = max(self.read_to, self.tell())
        return content


class WatchedDisk(Disk):
    """Keeps the file that was opened last."""

    file = WatchedFile()

    def open(self, path: Path) -> BinaryIO:
        self.file = WatchedFile(path.read_bytes())
        return self.file


@pytest.mark.usefixtures("_chunks")
def test_bytes_behind_the_durable_end_are_not_even_read(tmp_path: Path) -> None:
    log = RawLogWriter(tmp_path, RUN, segment_bytes=1 << 20)
    ends = []
    for number in range(4):
        log.append(commit(number))
        ends.append(log.position)
    log.close()
    follower, watched = follow(tmp_path, log), WatchedDisk()
    with use_disk(watched):
        for number in range(3):
            assert follower.read(ends[number]) == commit(number)
            assert watched.file.read_to == ends[number].offset
    follower.close()


class NotingDisk(Disk):
    """Keeps what was opened for reading."""

    def __init__(self) -> None:
        super().__init__()
        self.opened: list[BinaryIO] = []

    def open(self, path: Path) -> BinaryIO:
        self.opened.append(super().open(path))
        return self.opened[-1]


def test_each_segment_is_opened_once_and_closed(tmp_path: Path) -> None:
    log = RawLogWriter(tmp_path, RUN, segment_bytes=200)
    for number in range(8):
        log.append(commit(number))
    log.close()
    follower, noting = follow(tmp_path, log), NotingDisk()
    follower.close()  # nothing is open yet
    with use_disk(noting):
        while follower.read(log.position):
            assert not noting.opened[-1].closed
        assert len(noting.opened) == log.position.segment > 2
    assert [file.closed for file in noting.opened[:-1]] == [True] * (log.position.segment - 1)
    follower.close()
    follower.close()
    assert noting.opened[-1].closed


def test_a_place_behind_what_was_made_durable_is_damage(tmp_path: Path) -> None:
    log = RawLogWriter(tmp_path, RUN, segment_bytes=1 << 20)
    log.append(commit(0))
    log.append(commit(1))
    log.close()
    follower = follow(tmp_path, log, RawPosition(1, log.bytes, 2))
    with pytest.raises(RawLogDamaged, match="it ends before what was made durable\n"):
        follower.read(RawPosition(1, log.bytes - 5, 4))
    follower.close()


def test_lines_that_are_none_of_ours_are_damage(tmp_path: Path) -> None:
    path = tmp_path / "segment"
    path.write_bytes(zstandard.ZstdCompressor().compress(b'{"kind":"quote"}\n'))
    follower = RawLogFollower(lambda _: path, BEGINNING)
    with pytest.raises(RawLogDamaged, match="quote") as raised:
        follower.read(RawPosition(1, path.stat().st_size, 1))
    assert (raised.value.path, raised.value.offset) == (str(path), 0)
    follower.close()


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
        (changed, ".*checksum"),
    ):
        path.write_bytes(damaged)
        follower = follow(tmp_path, log)
        assert follower.read(log.position) == commit(0)
        with pytest.raises(RawLogDamaged, match=f"{problem}\n") as raised:
            follower.read(log.position)
        assert raised.value.offset == first.offset
        follower.close()
