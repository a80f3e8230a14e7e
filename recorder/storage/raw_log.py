"""The raw log: one zstd frame a group commit, appended and fsynced; torn tails are cut.

A segment is read with `zstdcat | jq`. A frame that does not decompress costs itself and nothing
behind it. A segment that was repacked begins with a skippable frame that says so.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import zstandard

from recorder.clock import monotonic_s
from recorder.errors import DiskFull, RawLogDamaged
from recorder.raw_line import (
    RAW_LOG_DAMAGED,
    RawLine,
    RawLineError,
    decode_line,
    encode_line,
)
from recorder.storage.disk import Appender, View, disk
from recorder.storage.durable import make_folder
from recorder.storage.room import is_disk_full
from schemas.archive_layout import RAW, RAW_SUFFIX, parse_raw_segment_name, raw_segment_path
from schemas.timestamps import NS_PER_S, date_of

LEVEL = 1  # the writer must keep up; repacking compresses further
SEGMENT_NS = 3600 * NS_PER_S
FRAME_MAGIC = b"\x28\xb5\x2f\xfd"
REPACKED = b"booktape repacked 1\n"
"""Content of the skippable frame at the head of a repacked segment."""
REPACKED_MARK = struct.pack("<II", 0x184D2A5B, len(REPACKED)) + REPACKED
_FIRST_BYTES = 4 * 1024  # about a group commit; longer ones are read in growing steps


@dataclass(frozen=True, slots=True)
class RawPosition:
    """A place between two frames of a run's raw log.

    Attributes
    ----------
    segment : int   number of a segment, from 1
    offset : int    bytes of that segment that lie before it
    lines : int     lines of the run that lie before it
    """

    segment: int
    offset: int
    lines: int


BEGINNING = RawPosition(1, 0, 0)
"""Where every run begins."""


class RawLogWriter:
    """Append group commits of one run.

    Parameters
    ----------
    archive : Path
    run_id : str
    segment_bytes : int   a segment closes at this size, or after an hour

    Attributes
    ----------
    lines : int           lines appended and fsynced
    path : str            the open segment, relative to the archive
    bytes : int           its durable size
    fsync_s : float       what the last fsync took
    """

    def __init__(self, archive: Path, run_id: str, segment_bytes: int) -> None:
        self.lines = 0
        self.path = ""
        self.bytes = 0
        self.fsync_s = 0.0
        self._archive = archive
        self._run_id = run_id
        self._segment_bytes = segment_bytes
        self._number = 0
        self._paths: dict[int, str] = {}
        self._opened_at = 0
        self._file: Appender | None = None
        self._failed = False
        self._compressor = zstandard.ZstdCompressor(
            level=LEVEL, write_checksum=True, write_content_size=True
        )

    def path_of(self, number: int) -> str:
        """Return the path of one of this run's segments, relative to the archive."""
        return self._paths[number]

    @property
    def position(self) -> RawPosition:
        """Behind everything that is durable."""
        return RawPosition(max(self._number, 1), self.bytes, self.lines)

    def append(self, lines: Sequence[RawLine]) -> int:
        """Append lines as one zstd frame and fsync.

        Returns
        -------
        int   bytes written

        Raises
        ------
        DiskFull  when there is no room; nothing of the frame is left, and others may come later
        OSError   when the disk refuses; nothing of the frame counts then, and none may follow it
        """
        if self._failed:
            raise OSError(f"raw log {self.path} failed before: a frame behind a torn one is lost")
        ts = lines[0].ts_recv
        frame = self._compressor.compress(b"".join(map(encode_line, lines)))
        try:
            if self._file is None or self._is_full(ts):
                self._file = self._open_segment(ts)
            self._file.write(frame)
            began = monotonic_s()
            self._file.sync()
            self.fsync_s = monotonic_s() - began
        except BaseException as error:
            self._failed = True
            if not is_disk_full(error):
                raise
            if self._file is not None:
                self._file.cut(self.bytes)
            self._failed = False
            raise DiskFull(str(self._archive / self.path), f"{len(frame)} bytes") from error
        self.bytes += len(frame)
        self.lines += len(lines)
        return len(frame)

    def close(self) -> None:
        """Close the open segment."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _is_full(self, ts: int) -> bool:
        return (
            self.bytes >= self._segment_bytes
            or ts - self._opened_at >= SEGMENT_NS
            or date_of(ts) != date_of(self._opened_at)
        )

    def _open_segment(self, ts: int) -> Appender:
        self.close()
        number = self._number + 1
        relative = raw_segment_path(date_of(ts), self._run_id, number)
        path = self._archive / relative
        make_folder(path.parent)
        file = disk().append_to(path)
        try:
            disk().sync_folder(path.parent)
        except OSError:
            file.close()
            disk().unlink(path)
            raise
        self._number, self._opened_at, self.bytes, self.path = number, ts, 0, relative
        self._paths[number] = relative
        return file


@dataclass(frozen=True, slots=True)
class RawSegment:
    """One segment on disk."""

    path: Path
    run_id: str
    number: int


def list_segments(archive: Path) -> dict[str, list[RawSegment]]:
    """Return the segments of every run, in order; runs sorted by name."""
    segments: dict[str, list[RawSegment]] = {}
    for path in disk().glob(archive / RAW, f"*/*{RAW_SUFFIX}"):
        run_id, number = parse_raw_segment_name(path.name)
        segments.setdefault(run_id, []).append(RawSegment(path, run_id, number))
    for run_segments in segments.values():
        run_segments.sort(key=lambda segment: segment.number)
    return dict(sorted(segments.items()))


def read_run(
    segments: Sequence[RawSegment], on_damage: Callable[[RawLogDamaged], None] | None = None
) -> Iterator[list[RawLine]]:
    """Read the lines of a run, a group commit at a time.

    A torn frame at the very end is what a crash leaves: it was never acknowledged, so it ends the
    run silently.

    Parameters
    ----------
    on_damage : callable or None
        Takes each damage; reading goes on with the next whole frame, and a `decision` line stands
        where lines are missing. None: the first damage is raised.

    Raises
    ------
    RawLogDamaged   for a frame that does not decompress anywhere else, or lines that are not ours
    """
    return _read(segments, 0, on_damage)


def read_from(segments: Sequence[RawSegment], position: RawPosition) -> Iterator[list[RawLine]]:
    """Read the lines of a run behind a place in it, a group commit at a time; see `read_run`.

    Parameters
    ----------
    segments : sequence of RawSegment   those before the place are passed over

    Raises
    ------
    RawLogDamaged
    """
    ahead = [segment for segment in segments if segment.number >= position.segment]
    begins_inside = bool(ahead) and ahead[0].number == position.segment
    return _read(ahead, position.offset if begins_inside else 0, None)


def _read(
    segments: Sequence[RawSegment], offset: int, on_damage: Callable[[RawLogDamaged], None] | None
) -> Iterator[list[RawLine]]:
    ts = 0
    for index, segment in enumerate(segments):
        is_last = index == len(segments) - 1
        start = 0 if index else offset
        for frame in _frames(segment.path, start, tolerate_torn_tail=is_last):
            damage = frame.damage
            try:
                lines = [decode_line(text) for text in frame.content.splitlines()]
            except RawLineError as error:
                damage = RawLogDamaged(str(segment.path), frame.start, str(error))
            if damage is not None:
                if on_damage is None:
                    raise damage
                on_damage(damage)
                lines = [RawLine("decision", ts, 0, fields={"what": RAW_LOG_DAMAGED})]
            ts = lines[-1].ts_recv
            yield lines


def segment_content(path: Path) -> Iterator[bytes]:
    """Yield the decompressed frames of a closed segment.

    Raises
    ------
    RawLogDamaged   for anything that is no whole frame
    """
    for frame in _frames(path, 0, tolerate_torn_tail=False):
        if frame.damage is not None:
            raise frame.damage
        yield frame.content


def is_repacked(path: Path) -> bool:
    """Say whether a segment has been repacked, by its first bytes."""
    with disk().open(path) as file:
        return file.read(len(REPACKED_MARK)) == REPACKED_MARK


def missing_numbers(segments: Sequence[RawSegment], last_number: int = 0) -> list[int]:
    """Return the numbers of a run's segments that are not there; the first has number 1.

    Parameters
    ----------
    last_number : int   a number the run is known to have come to
    """
    found = {segment.number for segment in segments}
    return sorted(set(range(1, max([*found, last_number]) + 1)) - found)


def cut_torn_tail(segment: RawSegment, durable_bytes: int = 0, start: int = 0) -> int:
    """Cut what a crash left half-written at the end of a segment, and make durable what stays.

    A process that was killed may have left lines that are seen and not yet synced, and one whose
    sync failed lines that a second sync would pass over: rows made of them must not outlive them.
    The segment's name is durable since before its first line.

    Parameters
    ----------
    durable_bytes : int   what is known to have been fsynced: never cut
    start : int           where a frame begins; what lies before it is not looked at

    Returns
    -------
    int   bytes cut

    Raises
    ------
    RawLogDamaged   when a whole frame follows the damage, or it is durable: that is no torn tail
    """
    good = start
    for frame in _frames(segment.path, start, tolerate_torn_tail=True):
        if frame.damage is not None:
            raise frame.damage
        good = frame.end
    if good < durable_bytes:
        raise RawLogDamaged(str(segment.path), good, f"{durable_bytes} bytes had been made durable")
    size = disk().size(segment.path)
    disk().settle_file(segment.path, start, good)
    return size - good


@dataclass(frozen=True, slots=True)
class _Frame:
    """One frame of a segment, or a stretch that is none and has no content."""

    start: int
    end: int
    content: bytes
    damage: RawLogDamaged | None = None


def _frames(path: Path, start: int, *, tolerate_torn_tail: bool) -> Iterator[_Frame]:
    """Yield each whole frame from `start` on, and each stretch of damage between two of them."""
    with disk().view(path) as data:
        size = len(data)  # 0: opened, and no commit got into it
        if not start and data[: len(REPACKED_MARK)] == REPACKED_MARK:
            start = len(REPACKED_MARK)
        while start < size:
            damage = None
            try:
                end, content = _read_frame(data, start)
            except _NoFrame as error:
                next_start = _next_frame(data, start + 1)
                if next_start is None and tolerate_torn_tail:
                    return
                end, content = size if next_start is None else next_start, b""
                damage = RawLogDamaged(str(path), start, str(error))
            yield _Frame(start, end, content, damage)
            start = end


class _NoFrame(Exception):
    """No whole frame begins here."""


def _read_frame(data: View, start: int) -> tuple[int, bytes]:
    """Return the end and the content of the frame that begins at `start`.

    Raises
    ------
    _NoFrame
    """
    frame = zstandard.ZstdDecompressor().decompressobj()
    content: list[bytes] = []
    at, step = start, _FIRST_BYTES
    try:
        while not frame.eof:
            chunk = data[at : at + step]
            if not chunk:
                raise _NoFrame("it ends in the middle of a frame")
            content.append(frame.decompress(chunk))
            at += len(chunk)
            step *= 4
    except zstandard.ZstdError as error:
        raise _NoFrame(str(error)) from None
    return at - len(frame.unused_data), b"".join(content)


def _next_frame(data: View, start: int) -> int | None:
    """Return where the next whole frame begins, at `start` or behind it."""
    found = data.find(FRAME_MAGIC, start)
    while found >= 0:
        try:
            _read_frame(data, found)
        except _NoFrame:
            found = data.find(FRAME_MAGIC, found + 1)
        else:
            return found
    return None
