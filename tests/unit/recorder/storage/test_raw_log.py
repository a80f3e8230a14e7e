"""The raw log: what was fsynced comes back, a torn tail is cut, a bad frame costs itself."""

from __future__ import annotations

import errno
import os
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import zstandard

from recorder.errors import DiskFull, RawLogDamaged
from recorder.raw_line import RAW_LOG_DAMAGED, RawLine, encode_line
from recorder.storage import disk, raw_log
from recorder.storage.raw_log import (
    BEGINNING,
    RawLogWriter,
    RawPosition,
    RawSegment,
    cut_torn_tail,
    is_repacked,
    list_segments,
    missing_numbers,
    read_from,
    read_run,
    segment_content,
)
from schemas.timestamps import NS_PER_S
from tests.support.market_log import MIDNIGHT, T0

RUN = "20261122T100000.000000Z-test-1"


def commits(count: int = 4, start: int = T0, step: int = 1_000_000) -> list[list[RawLine]]:
    """Return group commits of text and binary lines."""
    return [
        [
            RawLine("recv", start + n * step, n, 1, f'{{"n":{n}}}'.encode() * 5),
            RawLine("recv", start + n * step + 1, n, 1, os.urandom(8) + b"\xff", {"opcode": 2}),
            RawLine("timer", start + n * step + 2, n),
        ]
        for n in range(count)
    ]


def write(archive: Path, batches: list[list[RawLine]], segment_bytes: int = 1 << 30) -> list[int]:
    """Write commits as one run; return where each ends in the last segment."""
    log = RawLogWriter(archive, RUN, segment_bytes)
    ends = []
    for batch in batches:
        log.append(batch)
        ends.append(log.bytes)
    log.close()
    return ends


def only_segment(archive: Path) -> RawSegment:
    """Return the run's single segment."""
    (segment,) = list_segments(archive)[RUN]
    return segment


def test_nothing_is_written_before_the_first_commit(tmp_path: Path) -> None:
    log = RawLogWriter(tmp_path, RUN, 1 << 30)
    assert (log.path, log.bytes, log.lines, log.fsync_s) == ("", 0, 0, 0.0)
    log.append(commits(1)[0])
    assert 0.0 < log.fsync_s < 60.0
    log.close()
    log.close()  # a second time does nothing


def test_each_frame_says_how_long_it_is_and_has_its_checksum(tmp_path: Path) -> None:
    first, _ = write(tmp_path, commits(2))
    data = only_segment(tmp_path).path.read_bytes()
    for start in (0, first):
        frame = zstandard.get_frame_parameters(data[start:])
        assert frame.has_checksum
        assert frame.content_size == sum(map(len, map(encode_line, commits(1)[0])))


def test_lines_come_back_commit_by_commit(tmp_path: Path) -> None:
    batches = commits()
    write(tmp_path, batches)
    assert list(read_run(list_segments(tmp_path)[RUN])) == batches


@pytest.mark.skipif(shutil.which("zstdcat") is None, reason="no zstdcat on this machine")
def test_zstdcat_reads_a_segment(tmp_path: Path) -> None:
    batches = commits()
    write(tmp_path, batches)
    done = subprocess.run(["zstdcat", only_segment(tmp_path).path], capture_output=True, check=True)
    assert done.stdout == b"".join(encode_line(line) for batch in batches for line in batch)


def test_a_tail_torn_at_any_byte_gives_exactly_the_commits_before(tmp_path: Path) -> None:
    batches = commits()
    ends = write(tmp_path, batches)
    segment = only_segment(tmp_path)
    whole = segment.path.read_bytes()
    assert len(whole) == ends[-1]
    for size in range(ends[-2], ends[-1]):
        segment.path.write_bytes(whole[:size])
        assert list(read_run([segment])) == batches[:-1]
        assert cut_torn_tail(segment) == size - ends[-2]
        assert segment.path.read_bytes() == whole[: ends[-2]]
        assert cut_torn_tail(segment) == 0
    segment.path.write_bytes(whole)
    assert cut_torn_tail(segment) == 0


def test_a_tail_of_zeros_is_a_torn_tail(tmp_path: Path) -> None:
    batches = commits()
    ends = write(tmp_path, batches)
    segment = only_segment(tmp_path)
    with segment.path.open("ab") as file:
        file.write(bytes(4096))
    assert list(read_run([segment])) == batches
    assert cut_torn_tail(segment) == 4096
    assert segment.path.stat().st_size == ends[-1]


def test_what_was_durable_is_never_cut(tmp_path: Path) -> None:
    ends = write(tmp_path, commits())
    segment = only_segment(tmp_path)
    whole = segment.path.read_bytes()
    segment.path.write_bytes(whole[:-3])
    with pytest.raises(RawLogDamaged) as raised:
        cut_torn_tail(segment, ends[-1])
    assert raised.value.offset == ends[-2]
    assert f": {ends[-1]} bytes had been made durable\n" in str(raised.value)
    assert segment.path.stat().st_size == len(whole) - 3


def test_reading_begins_at_any_place_between_two_frames(tmp_path: Path) -> None:
    batches = commits(9)
    log = RawLogWriter(tmp_path, RUN, 300)
    places = [log.position]
    for batch in batches:
        log.append(batch)
        places.append(log.position)
    log.close()
    segments = list_segments(tmp_path)[RUN]
    assert len(segments) > 2
    assert places[0] == BEGINNING
    for number, place in enumerate(places):
        assert place.lines == 3 * number
        assert list(read_from(segments, place)) == batches[number:]
        needed = [segment for segment in segments if segment.number >= place.segment]
        assert list(read_from(needed, place)) == batches[number:]
    # The end of a segment and the beginning of the next are one place.
    assert list(read_from(segments, RawPosition(2, 0, 0)))[-1] == batches[-1]
    # Where the segment of the place is gone, what follows is read whole.
    whole = [batch for batch in batches if batch in list(read_run(segments[1:]))]
    assert list(read_from(segments[1:], RawPosition(1, 8, 0))) == whole
    assert list(read_from([], RawPosition(1, 8, 0))) == []


def test_a_torn_tail_is_looked_for_from_a_place_on(tmp_path: Path) -> None:
    ends = write(tmp_path, commits())
    segment = only_segment(tmp_path)
    whole = bytearray(segment.path.read_bytes())
    whole[ends[0] + 6] ^= 0x40  # damage before the place is another's business
    segment.path.write_bytes(whole[:-3])
    with pytest.raises(RawLogDamaged):
        cut_torn_tail(segment)
    assert cut_torn_tail(segment, ends[1], ends[1]) == ends[3] - 3 - ends[2]
    assert segment.path.stat().st_size == ends[2]
    assert cut_torn_tail(segment, ends[2], ends[2]) == 0


@pytest.mark.parametrize("frame", [0, 1, 2])
def test_a_bad_frame_is_named_and_costs_only_itself(tmp_path: Path, frame: int) -> None:
    batches = commits()
    ends = write(tmp_path, batches)
    segment = only_segment(tmp_path)
    start = ends[frame - 1] if frame else 0
    whole = segment.path.read_bytes()
    for at in (start, start + 7, ends[frame] - 5):
        spoilt = bytearray(whole)
        spoilt[at] ^= 0x40
        segment.path.write_bytes(spoilt)
        with pytest.raises(RawLogDamaged) as raised:
            list(read_run([segment]))
        assert (raised.value.path, raised.value.offset) == (str(segment.path), start)
        with pytest.raises(RawLogDamaged):
            cut_torn_tail(segment)
        damage: list[RawLogDamaged] = []
        read = list(read_run([segment], damage.append))
        assert [error.offset for error in damage] == [start]
        assert "not a raw line" not in str(damage[0]), "what is no frame is not read as lines"
        assert read[:frame] + read[frame + 1 :] == batches[:frame] + batches[frame + 1 :]
        known = batches[frame - 1][-1].ts_recv if frame else 0
        assert read[frame] == [RawLine("decision", known, 0, fields={"what": RAW_LOG_DAMAGED})]


def test_bad_frames_in_a_row_are_one_stretch_of_damage(tmp_path: Path) -> None:
    batches = commits(5)
    ends = write(tmp_path, batches)
    segment = only_segment(tmp_path)
    spoilt = bytearray(segment.path.read_bytes())
    for frame in (1, 2, 3):
        spoilt[ends[frame] - 2] ^= 0x40  # of its checksum: the frame still begins like one
    segment.path.write_bytes(spoilt)
    damage: list[RawLogDamaged] = []
    read = list(read_run([segment], damage.append))
    assert [error.offset for error in damage] == [ends[0]]
    assert (read[0], read[2:]) == (batches[0], batches[4:])
    segment.path.write_bytes(spoilt[: ends[3]])
    assert list(read_run([segment])) == batches[:1]
    assert cut_torn_tail(segment) == ends[3] - ends[0]


def test_a_frame_of_other_lines_is_damage(tmp_path: Path) -> None:
    batches = commits(2)
    write(tmp_path, batches)
    segment = only_segment(tmp_path)
    alien = raw_log.zstandard.ZstdCompressor().compress(b'{"kind":"quote"}\n')
    whole = segment.path.read_bytes()
    segment.path.write_bytes(whole + alien)
    with pytest.raises(RawLogDamaged) as raised:
        list(read_run([segment]))
    assert raised.value.offset == len(whole)


def test_a_torn_segment_that_is_not_the_last_is_damage(tmp_path: Path) -> None:
    write(tmp_path, commits(4), segment_bytes=1)
    segments = list_segments(tmp_path)[RUN]
    assert [segment.number for segment in segments] == [1, 2, 3, 4]
    segments[1].path.write_bytes(segments[1].path.read_bytes()[:-1])
    with pytest.raises(RawLogDamaged):
        list(read_run(segments))
    damage: list[RawLogDamaged] = []
    assert len(list(read_run(segments, damage.append))) == 4
    assert len(damage) == 1


def test_an_empty_last_segment_is_no_damage(tmp_path: Path) -> None:
    batches = commits()
    write(tmp_path, batches)
    segment = only_segment(tmp_path)
    empty = segment.path.with_name(segment.path.name.replace("000001", "000002"))
    empty.touch()
    segments = list_segments(tmp_path)[RUN]
    assert list(read_run(segments)) == batches
    assert cut_torn_tail(segments[-1]) == 0


def test_a_frame_longer_than_one_read_comes_back(tmp_path: Path) -> None:
    batches = [[RawLine("recv", T0 + n, n, 1, os.urandom(50_000)) for n in range(3)]]
    write(tmp_path, batches)
    assert list(read_run(list_segments(tmp_path)[RUN])) == batches


def test_a_segment_closes_after_an_hour_at_midnight_and_when_full(tmp_path: Path) -> None:
    times = [T0, T0 + 3599 * NS_PER_S, T0 + 3600 * NS_PER_S, MIDNIGHT - 1, MIDNIGHT]
    log = RawLogWriter(tmp_path, RUN, 1 << 30)
    paths = []
    for ts in times:
        log.append([RawLine("timer", ts, 0)])
        paths.append(log.path)
    log.close()
    assert paths == [
        f"raw/2026-11-22/{RUN}-000001.jsonl.zst",
        f"raw/2026-11-22/{RUN}-000001.jsonl.zst",
        f"raw/2026-11-22/{RUN}-000002.jsonl.zst",
        f"raw/2026-11-22/{RUN}-000003.jsonl.zst",
        f"raw/2026-11-23/{RUN}-000004.jsonl.zst",
    ]
    assert [line.ts_recv for batch in read_run(list_segments(tmp_path)[RUN]) for line in batch] == (
        times
    )


def test_nothing_is_written_behind_a_frame_that_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    batches = commits(3)
    log = RawLogWriter(tmp_path, RUN, 1 << 30)
    log.append(batches[0])
    real = os.write

    monkeypatch.setattr(disk.os, "write", _fails_after(real, 10))
    with pytest.raises(OSError, match="Input/output error"):
        log.append(batches[1])
    monkeypatch.setattr(disk.os, "write", real)
    assert (log.lines, log.bytes) == (3, only_segment(tmp_path).path.stat().st_size - 10)
    with pytest.raises(OSError, match="failed before") as refused:
        log.append(batches[2])
    assert str(refused.value) == (
        f"raw log {log.path} failed before: a frame behind a torn one is lost"
    )
    log.close()
    assert list(read_run(list_segments(tmp_path)[RUN])) == batches[:1]


def test_a_frame_that_finds_no_room_is_taken_back_and_others_may_follow(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    batches = commits(4)
    log = RawLogWriter(tmp_path, RUN, 1 << 30)
    log.append(batches[0])
    place, real, sync = log.position, os.write, os.fsync
    for fails in ("write", "fsync"):
        with monkeypatch.context() as patch:
            if fails == "write":
                patch.setattr(disk.os, "write", _fails_after(real, 10, errno.ENOSPC))
            else:
                patch.setattr(disk.os, "fsync", _fails_once(sync, errno.EDQUOT))
            with pytest.raises(DiskFull) as caught:
                log.append(batches[1])
            assert caught.value.exit_code == 3
            assert re.search(r"/raw/2026-11-22/\S+ for \d+ bytes\n", str(caught.value))
        assert log.position == place
        assert only_segment(tmp_path).path.stat().st_size == place.offset
    log.append(batches[2])
    assert log.position.lines == 6
    with monkeypatch.context() as patch:
        patch.setattr(disk.os, "write", _fails_after(real, 10, errno.ENOSPC))
        patch.setattr(disk.os, "ftruncate", _fails_once(os.ftruncate, errno.EIO))
        with pytest.raises(OSError, match="Input/output error"):
            log.append(batches[1])
    with pytest.raises(OSError, match="failed before"):
        log.append(batches[3])
    log.close()
    assert list(read_run(list_segments(tmp_path)[RUN])) == [batches[0], batches[2]]


@pytest.mark.parametrize("fails", ["open", "fsync"])
def test_a_segment_that_finds_no_room_to_begin_begins_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails: str
) -> None:
    batches = commits(3)
    log = RawLogWriter(tmp_path, RUN, segment_bytes=1)
    log.append(batches[0])
    place = log.position
    with monkeypatch.context() as patch:
        patch.setattr(disk.os, fails, _fails_once(getattr(os, fails), errno.ENOSPC))
        with pytest.raises(DiskFull):
            log.append(batches[1])
    assert log.position == place
    log.append(batches[1])
    log.append(batches[2])
    log.close()
    segments = list_segments(tmp_path)[RUN]
    assert [segment.number for segment in segments] == [1, 2, 3]
    assert list(read_run(segments)) == batches


class NotingDisk(disk.Disk):
    """Notes what is made durable, closed and given up, in order."""

    def __init__(self, fails: str = "") -> None:
        super().__init__()
        self.notes: list[str] = []
        self._fails = fails

    def note(self, what: str, path: Path) -> None:
        self.notes.append(f"{what} {path.name.removeprefix(RUN)}")
        if self._fails == self.notes[-1]:
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    def append_to(self, path: Path) -> disk.Appender:
        self.note("create", path)
        return _NotingAppender(self, path, super().append_to(path))

    def sync_folder(self, folder: Path) -> None:
        super().sync_folder(folder)
        self.note("sync folder", folder)

    def settle_file(self, path: Path, start: int, size: int) -> None:
        super().settle_file(path, start, size)
        self.note(f"settle {start} to {size} of", path)

    def unlink(self, path: Path, *, missing_ok: bool = False) -> None:
        super().unlink(path, missing_ok=missing_ok)
        self.note("unlink", path)


class _NotingAppender:
    def __init__(self, noting: NotingDisk, path: Path, real: disk.Appender) -> None:
        self._noting, self._path, self._real = noting, path, real

    def write(self, data: bytes) -> None:
        self._noting.note("write", self._path)
        self._real.write(data)

    def sync(self) -> None:
        self._noting.note("sync", self._path)
        self._real.sync()

    def cut(self, size: int) -> None:
        self._noting.note("take back", self._path)
        self._real.cut(size)

    def close(self) -> None:
        self._noting.note("close", self._path)
        self._real.close()


def test_a_segment_is_durable_by_name_before_its_first_line_and_closed_behind_the_last(
    tmp_path: Path,
) -> None:
    noting = NotingDisk()
    with disk.use_disk(noting):
        write(tmp_path, commits(2), segment_bytes=1)
    made = ["create", "write", "sync", "close"]
    first, second = ([f"{what} -00000{n}.jsonl.zst" for what in made] for n in (1, 2))
    for segment in (first, second):
        segment.insert(1, "sync folder 2026-11-22")
    at = noting.notes.index(first[0])
    assert noting.notes[at:] == [*first, *second]
    assert noting.notes[at - 1] == "sync folder raw"


def test_a_segment_whose_name_is_not_durable_is_closed_and_given_up(tmp_path: Path) -> None:
    noting = NotingDisk(fails="sync folder 2026-11-22")
    log = RawLogWriter(tmp_path, RUN, 1 << 30)
    with disk.use_disk(noting), pytest.raises(OSError, match="Input/output error"):
        log.append(commits(1)[0])
    assert noting.notes[-3:] == [
        "sync folder 2026-11-22",
        "close -000001.jsonl.zst",
        "unlink -000001.jsonl.zst",
    ]
    assert (log.path, log.position) == ("", BEGINNING)


def test_what_stays_of_a_segment_is_durable(tmp_path: Path) -> None:
    write(tmp_path, commits())
    segment = only_segment(tmp_path)
    with segment.path.open("ab") as file:
        file.write(b"torn")
    noting = NotingDisk()
    with disk.use_disk(noting):
        size = segment.path.stat().st_size - 4
        assert cut_torn_tail(segment) == 4
        assert cut_torn_tail(segment, start=size) == 0
    assert noting.notes == [f"settle {start} to {size} of -000001.jsonl.zst" for start in (0, size)]


def test_a_commit_says_how_long_it_is_and_a_segment_closes_at_its_size(tmp_path: Path) -> None:
    batches = commits(3)
    sizes = [
        RawLogWriter(tmp_path / str(n), RUN, 1 << 30).append(batch)
        for n, batch in enumerate(batches)
    ]
    log = RawLogWriter(tmp_path / "all", RUN, segment_bytes=sizes[0] + sizes[1])
    assert [log.append(batch) for batch in batches] == sizes
    assert (log.position.segment, log.bytes) == (2, sizes[2])
    log.close()
    log.append(batches[0])
    assert log.position.segment == 3, "what was closed is not gone on with"
    log.close()


def test_segments_are_in_order_though_the_clock_went_back_over_midnight(tmp_path: Path) -> None:
    late, early = commits(1, MIDNIGHT), commits(1, MIDNIGHT - NS_PER_S)
    write(tmp_path, late + early, segment_bytes=1)
    segments = list_segments(tmp_path)[RUN]
    assert [segment.number for segment in segments] == [1, 2]
    assert [segment.path.parent.name for segment in segments] == ["2026-11-23", "2026-11-22"]
    assert list(read_run(segments)) == late + early


def test_a_repacked_segment_is_known_by_its_first_bytes_and_read_from_any_place(
    tmp_path: Path,
) -> None:
    # As it stands in archives: other versions must know it, and zstd must pass it over.
    mark = b"\x5b\x2a\x4d\x18\x14\x00\x00\x00booktape repacked 1\n"
    batches = commits()
    ends = write(tmp_path, batches)
    segment = only_segment(tmp_path)
    whole = segment.path.read_bytes()
    assert not is_repacked(segment.path)
    segment.path.write_bytes(mark + whole)
    assert is_repacked(segment.path)
    assert list(read_run([segment])) == batches
    assert cut_torn_tail(segment) == 0
    place = RawPosition(1, len(mark) + ends[1], 6)
    assert list(read_from([segment], place)) == batches[2:]


def test_the_content_of_a_closed_segment_is_whole_or_damage(tmp_path: Path) -> None:
    batches = commits()
    ends = write(tmp_path, batches)
    path = only_segment(tmp_path).path
    assert list(segment_content(path)) == [b"".join(map(encode_line, batch)) for batch in batches]
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(RawLogDamaged) as raised:
        list(segment_content(path))
    assert raised.value.offset == ends[2]
    assert ": it ends in the middle of a frame\n" in str(raised.value)


def test_numbers_that_are_missing_between_the_first_and_the_last_known(tmp_path: Path) -> None:
    write(tmp_path, commits(5), segment_bytes=1)
    segments = list_segments(tmp_path)[RUN]
    assert missing_numbers(segments) == []
    assert missing_numbers([]) == []
    assert missing_numbers([], 2) == [1, 2]
    assert missing_numbers([segments[1], segments[3]]) == [1, 3]
    assert missing_numbers([segments[1], segments[3]], 3) == [1, 3]
    assert missing_numbers([segments[1], segments[3]], 6) == [1, 3, 5, 6]


def test_reading_goes_on_right_behind_a_byte_that_is_too_many(tmp_path: Path) -> None:
    batches = commits(2)
    ends = write(tmp_path, batches)
    segment = only_segment(tmp_path)
    whole = segment.path.read_bytes()
    segment.path.write_bytes(whole[: ends[0]] + b"?" + whole[ends[0] :])
    damage: list[RawLogDamaged] = []
    read = list(read_run([segment], damage.append))
    assert [error.offset for error in damage] == [ends[0]]
    assert (read[0], read[2:]) == (batches[0], batches[1:])


def _fails_once(real: Callable[..., Any], error: int) -> Callable[..., Any]:
    calls = []

    def fail(*values: Any) -> Any:
        if not calls:
            calls.append(1)
            raise OSError(error, os.strerror(error))
        return real(*values)

    return fail


def _fails_after(real: object, size: int, error: int = errno.EIO) -> object:
    """Return a write that takes `size` bytes and then no more."""
    calls = []

    def write_some(descriptor: int, data: bytes) -> int:
        if calls:
            raise OSError(error, os.strerror(error))
        calls.append(1)
        return real(descriptor, data[:size])  # type: ignore[operator]

    return write_some
