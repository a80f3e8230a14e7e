"""A file of JSON lines, compressed when its name says so, complete once closed."""

import io
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, cast

import orjson
import zstandard

from replay.exchange.errors import UnwritableFile


class LineFile:
    """Write JSON lines to `path`; zstd when it ends in ``.zst``.

    Raises
    ------
    UnwritableFile
        The file cannot be created.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            raw: BinaryIO = path.open("wb")
        except OSError as problem:
            raise UnwritableFile(path, problem.strerror or str(problem)) from problem
        if path.suffix == ".zst":
            compressor = zstandard.ZstdCompressor(level=3, write_checksum=True)
            # stream_writer hands over small pieces otherwise: one lock and call for every line.
            stream = cast(io.RawIOBase, compressor.stream_writer(raw, closefd=True))
            self._file: BinaryIO = io.BufferedWriter(stream, 1 << 18)
        else:
            self._file = raw
        self.lines = 0

    def write(self, row: dict[str, Any]) -> None:
        """Append one row."""
        self._file.write(orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE))
        self.lines += 1

    def flush(self) -> None:
        """Hand everything written so far to the operating system."""
        self._file.flush()

    def close(self) -> None:
        """End the file; writing afterwards is an error."""
        self._file.close()

    def __enter__(self) -> "LineFile":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
