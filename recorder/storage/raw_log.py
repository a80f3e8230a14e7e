"""The raw log: one zstd frame a group commit, appended and fsynced; torn tails are cut.

A segment is read with `zstdcat | jq`. A frame that does not decompress costs itself and, where
the next frame can be found, nothing behind it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import zstandard

from recorder.errors import RawLogDamaged
from recorder.raw_line import RawLine, RawLineError, decode_line, encode_line
from recorder.storage.durable import make_folder, sync_folder
from schemas.archive_layout import RAW, RAW_SUFFIX, parse_raw_segment_name, raw_segment_path
from schemas.timestamps import NS_PER_S, date_of

LEVEL = 1  # the writer must keep up; repacking compresses further
SEGMENT_NS = 3600 * NS_PER_S
FRAME_MAGIC = b"\x28\xb5\x2f\xfd"
_READ_BYTES = 4 * 1024 * 1024


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
    """

    def __init__(self, archive: Path, run_id: str, segment_bytes: int) -> None:
        self.lines = 0
        self.path = ""
        self.bytes = 0
        self._archive = archive
        self._run_id = run_id
        self._segment_bytes = segment_bytes
        self._number = 0
        self._opened_at = 0
        self._descriptor = -1
        self._compressor = zstandard.ZstdCompressor(
            level=LEVEL, write_checksum=True, write_content_size=True
        )

    def append(self, lines: Sequence[RawLine]) -> int:
        """Append lines as one zstd frame and fsync.

        Returns
        -------
        int   bytes written

        Raises
        ------
        OSError   when the disk refuses; nothing of the frame counts then
        """
        ts = lines[0].ts_recv
        if self._descriptor < 0 or self._is_full(ts):
            self._open_segment(ts)
        frame = self._compressor.compress(b"".join(map(encode_line, lines)))
        written = 0
        while written < len(frame):
            written += os.write(self._descriptor, frame[written:])
        os.fsync(self._descriptor)
        self.bytes += len(frame)
        self.lines += len(lines)
        return len(frame)

    def close(self) -> None:
        """Close the open segment."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _is_full(self, ts: int) -> bool:
        return (
            self.bytes >= self._segment_bytes
            or ts - self._opened_at >= SEGMENT_NS
            or date_of(ts) != date_of(self._opened_at)
        )

    def _open_segment(self, ts: int) -> None:
        self.close()
        self._number += 1
        self._opened_at = ts
        self.bytes = 0
        self.path = raw_segment_path(date_of(ts), self._run_id, self._number)
        path = self._archive / self.path
        make_folder(path.parent)
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o644)
        sync_folder(path.parent)


@dataclass(frozen=True, slots=True)
class RawSegment:
    """One segment on disk."""

    path: Path
    run_id: str
    number: int


def list_segments(archive: Path) -> dict[str, list[RawSegment]]:
    """Return the segments of every run, in order; runs sorted by name."""
    segments: dict[str, list[RawSegment]] = {}
    for path in sorted((archive / RAW).glob(f"*/*{RAW_SUFFIX}")):
        run_id, number = parse_raw_segment_name(path.name)
        segments.setdefault(run_id, []).append(RawSegment(path, run_id, number))
    for run_segments in segments.values():
        run_segments.sort(key=lambda segment: segment.number)
    return dict(sorted(segments.items()))


def read_run(segments: Sequence[RawSegment]) -> Iterator[list[RawLine]]:
    """Read the lines of a run, a group commit at a time.

    A torn frame at the very end is what a crash leaves: it was never acknowledged, so it ends the
    run silently.

    Raises
    ------
    RawLogDamaged   for a frame that does not decompress anywhere else, or lines that are not ours
    """
    for index, segment in enumerate(segments):
        is_last = index == len(segments) - 1
        for offset, content in _frames(segment.path, tolerate_torn_tail=is_last):
            try:
                yield [decode_line(text) for text in content.splitlines()]
            except RawLineError as error:
                raise RawLogDamaged(str(segment.path), offset, str(error)) from None


def cut_torn_tail(segment: RawSegment) -> int:
    """Cut what a crash left half-written at the end of a segment.

    Returns
    -------
    int   bytes cut

    Raises
    ------
    RawLogDamaged   when a whole frame follows the damage: that is no torn tail
    """
    good = 0
    for offset, _content in _frames(segment.path, tolerate_torn_tail=True):
        good = offset
    size = segment.path.stat().st_size
    if good < size:
        with segment.path.open("r+b") as file:
            file.truncate(good)
            os.fsync(file.fileno())
    return size - good


def _frames(path: Path, *, tolerate_torn_tail: bool) -> Iterator[tuple[int, bytes]]:
    """Yield (offset behind the frame, its content) for each whole frame."""
    decompressor = zstandard.ZstdDecompressor()
    with path.open("rb") as file:
        pending = b""
        start = 0
        while True:
            frame = decompressor.decompressobj()
            content: list[bytes] = []
            consumed = 0
            chunk = pending
            try:
                while not frame.eof:
                    if not chunk:
                        chunk = file.read(_READ_BYTES)
                        if not chunk:
                            break
                    content.append(frame.decompress(chunk))
                    consumed += len(chunk)
                    chunk = b""
            except zstandard.ZstdError as error:
                if tolerate_torn_tail and not _has_frame_after(path, start + 1):
                    return
                raise RawLogDamaged(str(path), start, str(error)) from None
            if not frame.eof:
                if consumed and not tolerate_torn_tail:
                    raise RawLogDamaged(str(path), start, "the last frame is torn")
                return
            pending = frame.unused_data
            start += consumed - len(pending)
            yield start, b"".join(content)


def _has_frame_after(path: Path, offset: int) -> bool:
    """Say whether a whole frame begins anywhere after an offset."""
    decompressor = zstandard.ZstdDecompressor()
    data = path.read_bytes()
    found = data.find(FRAME_MAGIC, offset)
    while found >= 0:
        candidate = decompressor.decompressobj()
        try:
            candidate.decompress(data[found:])
        except zstandard.ZstdError:
            pass
        else:
            if candidate.eof:
                return True
        found = data.find(FRAME_MAGIC, found + 1)
    return False
