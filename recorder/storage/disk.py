"""Every touch of a file that recording depends on, in one place.

A file is durable when its bytes are synced and the folder that names it is synced after: nothing
else may be counted on after a power loss. The simulation puts a disk of its own in this one's
place, which forgets at a crash whatever was not.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Protocol

# What a look at a file gives: bytes by their place, and where some are.
View = mmap.mmap | bytes

_SETTLED_AT_ONCE = 1024 * 1024


class Appender(Protocol):
    """A file that only grows, open for writing."""

    def write(self, data: bytes) -> None:
        """Append all of the bytes."""

    def sync(self) -> None:
        """Make what was appended durable; not the file's name."""

    def cut(self, size: int) -> None:
        """Take back what lies behind `size` bytes, durably."""

    def close(self) -> None:
        """Close it; a second time does nothing."""


class Lock(Protocol):
    """A lock that dies with its process."""

    def release(self) -> None:
        """Give it free."""


class Disk:
    """The file system.

    Attributes
    ----------
    folders_synced : set[Path]   those whose names this process has made durable
    """

    def __init__(self) -> None:
        self.folders_synced: set[Path] = set()

    def append_to(self, path: Path) -> Appender:
        """Create a file that is appended to.

        Raises
        ------
        FileExistsError   when there is one
        """
        return _Appender(path)

    def create(self, path: Path) -> BinaryIO:
        """Create a file, or empty one, and open it for writing."""
        return path.open("wb")

    def open(self, path: Path) -> BinaryIO:
        """Open a file for reading."""
        return path.open("rb")

    def read(self, path: Path) -> bytes:
        """Return the whole content of a file."""
        return path.read_bytes()

    @contextmanager
    def view(self, path: Path) -> Iterator[View]:
        """Look at the content of a file without reading all of it."""
        size = path.stat().st_size
        if not size:
            yield b""
            return
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            yield data

    def sync_file(self, path: Path) -> None:
        """Make the content of a file durable."""
        _sync(path, os.O_RDONLY)

    def sync_folder(self, folder: Path) -> None:
        """Make the names in a folder durable."""
        _sync(folder, os.O_RDONLY | os.O_DIRECTORY)

    def rename(self, path: Path, target: Path) -> None:
        """Give a file another name, in place of what has it."""
        path.rename(target)

    def unlink(self, path: Path, *, missing_ok: bool = False) -> None:
        """Remove a file."""
        path.unlink(missing_ok=missing_ok)

    def make_folder(self, folder: Path) -> None:
        """Make one folder, whose parent is there."""
        folder.mkdir(exist_ok=True)

    def remove_tree(self, folder: Path) -> None:
        """Remove a folder with all it holds, as far as that can be done."""
        shutil.rmtree(folder, ignore_errors=True)

    def settle_file(self, path: Path, start: int, size: int) -> None:
        """Make the first `size` bytes of a file all there is of it, durably.

        What lies behind `start` is written again as it reads. A sync that failed leaves bytes that
        can be read and will never reach the disk: the system takes them for written, and another
        sync succeeds without them.
        """
        descriptor = os.open(path, os.O_RDWR)
        try:
            os.ftruncate(descriptor, size)
            at = start
            while at < size:
                chunk = os.pread(descriptor, min(_SETTLED_AT_ONCE, size - at), at)
                at += os.pwrite(descriptor, chunk, at)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def names(self, folder: Path) -> list[str]:
        """Return the names in a folder, sorted; none where there is no folder."""
        try:
            return sorted(path.name for path in folder.iterdir())
        except FileNotFoundError:
            return []

    def glob(self, folder: Path, pattern: str) -> list[Path]:
        """Return the paths below a folder that match, sorted; `**` is any depth."""
        return sorted(folder.glob(pattern))

    def is_file(self, path: Path) -> bool:
        """Say whether there is a file of this name."""
        return path.is_file()

    def is_folder(self, path: Path) -> bool:
        """Say whether there is a folder of this name."""
        return path.is_dir()

    def size(self, path: Path) -> int:
        """Return the bytes in a file."""
        return path.stat().st_size

    def free_bytes(self, folder: Path) -> int:
        """Return what can still be written beside the files of a folder."""
        return shutil.disk_usage(folder).free

    def allocate(self, path: Path, size: int) -> None:
        """Make a file that takes up its room on the disk.

        Raises
        ------
        OSError   when there is no such room; no file is left then
        """
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
        try:
            os.posix_fallocate(descriptor, 0, size)  # no sync: the room is taken from here on
        except OSError:
            path.unlink(missing_ok=True)
            raise
        finally:
            os.close(descriptor)

    def lock(self, path: Path, text: str) -> Lock:
        """Hold a lock file and write into it who does.

        Raises
        ------
        BlockingIOError   when another process does; its `filename` is what that one wrote
        """
        return _Lock(path, text)

    def connect(self, path: Path) -> sqlite3.Connection:
        """Open an SQLite database for writing."""
        return sqlite3.connect(path, isolation_level=None, check_same_thread=False)


class _Appender:
    """An open descriptor."""

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o644)

    def write(self, data: bytes) -> None:
        written = os.write(self._descriptor, data)
        while written < len(data):
            written += os.write(self._descriptor, data[written:])

    def sync(self) -> None:
        os.fsync(self._descriptor)

    def cut(self, size: int) -> None:
        os.ftruncate(self._descriptor, size)
        os.fsync(self._descriptor)

    def close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


class _Lock:
    """An open descriptor that is locked."""

    def __init__(self, path: Path, text: str) -> None:
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = os.pread(self._descriptor, 64, 0).decode(errors="replace").strip()
            os.close(self._descriptor)
            raise BlockingIOError(error.errno, "locked", holder) from None
        try:
            os.ftruncate(self._descriptor, 0)
            os.pwrite(self._descriptor, text.encode(), 0)
        except OSError:
            os.close(self._descriptor)  # another try must not meet a lock of our own
            raise

    def release(self) -> None:
        os.ftruncate(self._descriptor, 0)
        os.close(self._descriptor)


def _sync(path: Path, flags: int) -> None:
    descriptor = os.open(path, flags)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class _InUse:
    disk = Disk()


def disk() -> Disk:
    """Return the disk in use."""
    return _InUse.disk


@contextmanager
def use_disk(twin: Disk) -> Iterator[None]:
    """Put another disk in place for a while; of this process, in every thread."""
    before, _InUse.disk = _InUse.disk, twin
    try:
        yield
    finally:
        _InUse.disk = before
