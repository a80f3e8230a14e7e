"""Repack closed segments of the raw log: larger frames, compressed harder, the same bytes inside.

A group commit compresses little, because it must be quick and knows nothing of the one before. A
repacked segment begins with a skippable frame that zstd ignores: it is recognised by its first
bytes, also in a copy.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import zstandard

from recorder.errors import RawLogDamaged
from recorder.storage.catalog_reader import CatalogReader
from recorder.storage.checkpoints import first_needed_segment
from recorder.storage.disk import disk
from recorder.storage.durable import beside, publish_file
from recorder.storage.raw_log import (
    REPACKED_MARK,
    is_repacked,
    list_segments,
    segment_content,
)

FRAME_BYTES = 4 * 1024 * 1024
LEVEL = 9


@dataclass(frozen=True, slots=True)
class RepackResult:
    """What became of one segment; sizes in bytes of the file."""

    path: Path
    bytes_before: int
    bytes_after: int


def plan(
    archive: Path, catalog: CatalogReader, reading: tuple[str, int] | None = None
) -> list[Path]:
    """Return the segments that are closed and not yet repacked, oldest run first.

    The last segment of a run that has not ended may be open, or end in a torn frame; places in
    those from its oldest checkpoint on are written down.

    Parameters
    ----------
    reading : tuple or None
        Run and number of the segment that a decoder may read on from: places in it, and in what
        follows, must stay what they are.
    """
    runs = catalog.runs()
    removed = catalog.removed_segments()
    found = []
    for run_id, segments in list_segments(archive).items():
        run = runs.get(run_id)
        closed = segments
        if run is None or run["ts_stop"] is None:
            placed = first_needed_segment(archive, run_id, default=math.inf)
            closed = [segment for segment in segments[:-1] if segment.number < placed]
        gone = removed.get(run_id, set())
        found += [
            segment.path
            for segment in closed
            if segment.path.relative_to(archive).as_posix() not in gone
            and not (reading and run_id == reading[0] and segment.number >= reading[1])
            and disk().size(segment.path)
            and not is_repacked(segment.path)
        ]
    return found


def repack(path: Path) -> RepackResult:
    """Write a segment anew beside itself, compare the contents, and swap it in by its name.

    Frames hold whole group commits, so lines never straddle two of them.

    Raises
    ------
    RawLogDamaged       for a segment that cannot be read as a whole: it stays as it is
    FileNotFoundError   when retention took it meanwhile
    OSError             when the disk refuses; the segment stays as it is
    """
    before = disk().size(path)
    compressor = zstandard.ZstdCompressor(level=LEVEL, write_checksum=True, write_content_size=True)
    unfinished = beside(path)
    digest = hashlib.sha256()
    try:
        with disk().create(unfinished) as file:
            file.write(REPACKED_MARK)
            for content in _joined(segment_content(path)):
                digest.update(content)
                file.write(compressor.compress(content))
        written = hashlib.sha256()
        for content in segment_content(unfinished):
            written.update(content)
        if written.digest() != digest.digest():
            raise RawLogDamaged(str(unfinished), 0, "it did not read back as it was written")
        if not disk().is_file(path):
            raise FileNotFoundError(f"{path} went while it was repacked")
        publish_file(path)
    finally:
        disk().unlink(unfinished, missing_ok=True)
    return RepackResult(path, before, disk().size(path))


def _joined(frames: Iterator[bytes]) -> Iterator[bytes]:
    """Join frames up to `FRAME_BYTES`; a larger one stays by itself."""
    held: list[bytes] = []
    size = 0
    for content in frames:
        if held and size + len(content) > FRAME_BYTES:
            yield b"".join(held)
            held, size = [], 0
        held.append(content)
        size += len(content)
    if held:
        yield b"".join(held)
