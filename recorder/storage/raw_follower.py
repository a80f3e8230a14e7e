"""Read a raw log while it is being written: never further than what is known to be durable."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import zstandard

from recorder.errors import RawLogDamaged
from recorder.raw_line import RawLine, RawLineError, decode_line
from recorder.storage.disk import disk
from recorder.storage.raw_log import REPACKED_MARK, RawPosition

# Some group commits of a quiet market, a part of one of a busy market.
CHUNK_BYTES = 64 * 1024


class RawLogFollower:
    """Read the group commits of the run that is being recorded.

    Bytes behind the end that is named are not looked at: they may be half a frame, or cut again.
    Segments from the position on must not be repacked meanwhile.

    Parameters
    ----------
    path_of : callable        number of a segment → its file
    position : RawPosition    where to begin

    Attributes
    ----------
    position : RawPosition   behind what has been read
    """

    def __init__(self, path_of: Callable[[int], Path], position: RawPosition) -> None:
        self.position = position
        self._path_of = path_of
        self._file: BinaryIO | None = None

    def read(self, end: RawPosition) -> list[RawLine]:
        """Return the lines of the next group commit; none at the end.

        Parameters
        ----------
        end : RawPosition   behind what is durable

        Raises
        ------
        RawLogDamaged   when what was made durable does not read back
        OSError
        """
        while self.position.lines < end.lines:
            file = self._open()
            at = self.position
            limit = end.offset - at.offset if at.segment == end.segment else None
            found = self._read_frame(file, limit)
            if found is not None:
                content, size = found
                lines = self._decode(content)
                self.position = RawPosition(at.segment, at.offset + size, at.lines + len(lines))
                return lines
            if at.segment >= end.segment:
                raise self._damaged("it ends before what was made durable")
            self.close()
            self.position = RawPosition(at.segment + 1, 0, at.lines)
        return []

    def close(self) -> None:
        """Close the open segment."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _open(self) -> BinaryIO:
        """Return the segment of the position, open."""
        if self._file is None:
            self._file = disk().open(self._path_of(self.position.segment))
            if not self.position.offset and self._file.read(len(REPACKED_MARK)) == REPACKED_MARK:
                at = self.position
                self.position = RawPosition(at.segment, len(REPACKED_MARK), at.lines)
        return self._file

    def _read_frame(self, file: BinaryIO, limit: int | None) -> tuple[bytes, int] | None:
        """Return the frame at the position and its size in the file; None where the file ends.

        Parameters
        ----------
        limit : int or None   bytes that may be looked at; None: all there are
        """
        file.seek(self.position.offset)
        frame = zstandard.ZstdDecompressor().decompressobj()
        content: list[bytes] = []
        taken = 0
        try:
            while not frame.eof:
                wanted = CHUNK_BYTES if limit is None else min(CHUNK_BYTES, limit - taken)
                chunk = file.read(wanted) if wanted > 0 else b""
                if not chunk:
                    if not taken:
                        return None
                    raise self._damaged("it ends in the middle of a frame")
                content.append(frame.decompress(chunk))
                taken += len(chunk)
        except zstandard.ZstdError as error:
            raise self._damaged(str(error)) from None
        return b"".join(content), taken - len(frame.unused_data)

    def _decode(self, content: bytes) -> list[RawLine]:
        try:
            return [decode_line(text) for text in content.splitlines()]
        except RawLineError as error:
            raise self._damaged(str(error)) from None

    def _damaged(self, problem: str) -> RawLogDamaged:
        at = self.position
        return RawLogDamaged(str(self._path_of(at.segment)), at.offset, problem)
