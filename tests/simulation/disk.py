"""A disk in memory that keeps its promises and no more: the twin of the one that recording touches.

What was synced survives everything. What was not survives the death of the process, and a loss of
power only as luck has it.
"""

from __future__ import annotations

import errno
import io
import random
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

from recorder.storage.disk import Appender, Disk, Lock, View
from tests.simulation.database import Database, SimulatedConnection
from tests.simulation.inodes import Folder, Inode
from tests.simulation.troubles import POWER_LOSS, Troubled


class SimulatedDisk(Troubled, Disk):
    """The disk of one run, over all its processes.

    Attributes
    ----------
    broken_promises : list[str]   what a loss of power took that nothing may take
    """

    def __init__(self, draw: random.Random, told: Callable[[str], None]) -> None:
        super().__init__(draw, told)
        self.broken_promises: list[str] = []
        self._root = Folder()
        self._root.do(None, "archives", Folder())
        self._root.sync()
        self._locks: dict[str, str] = {}
        self._databases: dict[str, Database] = {}
        self._open_connections: list[SimulatedConnection] = []

    # For whoever runs the simulation

    @property
    def root(self) -> Path:
        """The folder archives are made in."""
        return Path("/archives")

    def crash(self, kind: str) -> None:
        """End the process that uses the disk; after a power loss much is forgotten."""
        self._is_dead = True
        for connection in self._open_connections:
            connection.let_go()
        self._open_connections.clear()
        self._locks.clear()
        if kind == POWER_LOSS:
            self._lose_power()

    def start(self) -> None:
        """Let a new process use the disk."""
        self._is_dead = False
        self.folders_synced.clear()

    def close(self) -> None:
        """Let go of the databases."""
        for database in self._databases.values():
            database.close()

    def files(self) -> dict[str, bytes]:
        """Return every file by its path."""
        return {path: bytes(node.data) for path, node in self._root.files("/")}

    def database(self, path: Path) -> Database | None:
        """Return what SQLite has at a path."""
        node = self._find(path)
        return self._databases.get(node.database) if isinstance(node, Inode) else None

    def _lose_power(self) -> None:
        self._root.lose_power(self._draw)
        there = {node.database for _, node in self._root.files("/")}
        for name, database in list(self._databases.items()):
            if name not in there:
                if database.commits:
                    self.broken_promises.append(f"{name}: gone with {database.commits} commits")
                database.close()
                del self._databases[name]
            elif database.lose_power():
                self.tell("commit_lost")
        self.used = sum(len(node.data) for _, node in self._root.files("/"))

    # Names

    def _descend(self, names: tuple[str, ...]) -> Inode | Folder | None:
        """Return what has a path, as its parts; None where there is nothing."""
        node: Inode | Folder | None = self._root
        for name in names[1:]:
            if not isinstance(node, Folder):
                return None
            node = node.entries.get(name)
        return node

    def _folder(self, path: Path) -> Folder:
        return _as_folder(self._descend(path.parts), path)

    def _parent(self, path: Path) -> Folder:
        """Return the folder that has, or is to have, the last name of a path."""
        node = self._descend(path.parts[:-1])
        return node if isinstance(node, Folder) else _as_folder(node, path.parent)

    def _find(self, path: Path) -> Inode | Folder | None:
        return self._descend(path.parts)

    def _file(self, path: Path) -> Inode:
        node = self._find(path)
        if not isinstance(node, Inode):
            raise FileNotFoundError(errno.ENOENT, "no such file", str(path))
        return node

    # Files

    def append_to(self, path: Path) -> Appender:
        self.step()
        folder = self._parent(path)
        if path.name in folder.entries:
            raise FileExistsError(errno.EEXIST, "there is one", str(path))
        inode = Inode()
        folder.do(None, path.name, inode)
        return Appending(self, inode, path)

    def create(self, path: Path) -> BinaryIO:
        self.touch(path)
        folder = self._parent(path)
        inode = folder.entries.get(path.name)
        if isinstance(inode, Inode):
            self.used -= len(inode.data)
            inode.empty()
        else:
            inode = Inode()
            folder.do(None, path.name, inode)
        return _Writing(self, inode, path)

    def open(self, path: Path) -> BinaryIO:
        self.step()
        return io.BufferedReader(_Reading(self._file(path)))

    def read(self, path: Path) -> bytes:
        self.step()
        return bytes(self._file(path).data)

    @contextmanager
    def view(self, path: Path) -> Iterator[View]:
        self.step()
        yield bytes(self._file(path).data)

    def size(self, path: Path) -> int:
        self.step()
        return len(self._file(path).data)

    def sync_file(self, path: Path) -> None:
        self.step()
        inode = self._file(path)
        with _noting(inode):
            self.fail_perhaps(path)
        if self.may_sync(2):
            inode.sync()

    def settle_file(self, path: Path, start: int, size: int) -> None:
        self.touch(path)
        inode = self._file(path)
        self.used -= len(inode.data) - size
        if size < len(inode.data):
            inode.cut(size)
        inode.write_again(start)
        if self.may_sync(2):
            inode.sync()

    def allocate(self, path: Path, size: int) -> None:
        self.step()
        inode = Inode()
        self.grow(inode, bytes(size), path)
        self._parent(path).do(None, path.name, inode)

    def free_bytes(self, folder: Path) -> int:
        self.step()
        capacity = self.troubles.capacity
        return 1 << 40 if capacity is None else max(0, capacity - self.used)

    # Folders

    def sync_folder(self, folder: Path) -> None:
        self.step()
        node = self._folder(folder)
        self.fail_perhaps(folder)
        if self.may_sync(2):
            node.sync()

    def rename(self, path: Path, target: Path) -> None:
        self.step()
        source, into = self._parent(path), self._parent(target)
        if path.name not in source.entries:
            raise FileNotFoundError(errno.ENOENT, "no such file", str(path))
        node = source.entries[path.name]
        replaced = into.entries.get(target.name)
        if isinstance(replaced, Inode):
            self.used -= len(replaced.data)
        if source is into:
            source.do(path.name, target.name, node)
        else:
            into.do(None, target.name, node)
            source.do(path.name, None, node)

    def unlink(self, path: Path, *, missing_ok: bool = False) -> None:
        self.step()
        node = self._find(path)
        if not isinstance(node, Inode):
            if missing_ok:
                return
            raise FileNotFoundError(errno.ENOENT, "no such file", str(path))
        self.used -= len(node.data)
        self._parent(path).do(path.name, None, node)

    def make_folder(self, folder: Path) -> None:
        self.step()
        parent = self._parent(folder)
        if folder.name not in parent.entries:
            parent.do(None, folder.name, Folder())

    def remove_tree(self, folder: Path) -> None:
        self.step()
        node = self._find(folder)
        if not isinstance(node, Folder):
            return
        self.used -= sum(len(inode.data) for _, inode in node.files("/"))
        self._parent(folder).do(folder.name, None, node)

    def names(self, folder: Path) -> list[str]:
        self.step()
        try:
            return sorted(self._folder(folder).entries)
        except FileNotFoundError:
            return []

    def glob(self, folder: Path, pattern: str) -> list[Path]:
        self.step()
        node = self._find(folder)
        if not isinstance(node, Folder):
            return []
        return sorted(node.match(PurePosixPath(pattern).parts, folder))

    def is_file(self, path: Path) -> bool:
        self.step()
        return isinstance(self._find(path), Inode)

    def is_folder(self, path: Path) -> bool:
        self.step()
        return isinstance(self._find(path), Folder)

    # Locks and databases

    def lock(self, path: Path, text: str) -> Lock:
        self.step()
        if str(path) in self._locks:
            raise BlockingIOError(errno.EAGAIN, "locked", self._locks[str(path)])
        folder = self._parent(path)
        if path.name not in folder.entries:
            folder.do(None, path.name, Inode())
        self._locks[str(path)] = text
        return _Lock(lambda: self._locks.pop(str(path), None))

    def connect(self, path: Path) -> sqlite3.Connection:
        self.step()
        folder = self._parent(path)
        inode = folder.entries.get(path.name)
        if not isinstance(inode, Inode):
            inode = Inode(database=f"database-{id(self)}-{self.steps}")
            folder.do(None, path.name, inode)
            self._databases[inode.database] = Database(inode.database)
        connection = self._databases[inode.database].connect(self)
        self._open_connections.append(connection)
        return connection


class Appending:
    """A file that grows."""

    def __init__(self, disk: Troubled, inode: Inode, path: Path) -> None:
        self._disk, self._inode, self._path = disk, inode, path

    def write(self, data: bytes) -> None:
        self._disk.touch(self._path)
        self._disk.grow(self._inode, data, self._path)

    def sync(self) -> None:
        with _noting(self._inode):
            self._disk.touch(self._path)
        if self._disk.may_sync(2):
            self._inode.sync()

    def cut(self, size: int) -> None:
        self._disk.touch(self._path)
        self._disk.used -= len(self._inode.data) - size
        self._inode.cut(size)
        if self._disk.may_sync(2):
            self._inode.sync()

    def touch(self) -> None:
        """Take a step, as a sync does."""
        self._disk.touch(self._path)

    def close(self) -> None:
        """Do nothing: what was written has reached the file."""


class _Reading(io.RawIOBase):
    """A file that is read: what is appended meanwhile can be read, too."""

    def __init__(self, inode: Inode) -> None:
        super().__init__()
        self._inode = inode
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: len(self._inode.data)}
        self._at = base[whence] + offset
        return self._at

    def readinto(self, buffer: Any) -> int:
        chunk = self._inode.data[self._at : self._at + len(buffer)]
        buffer[: len(chunk)] = chunk
        self._at += len(chunk)
        return len(chunk)


class _Writing(io.BytesIO):
    """A file that is written whole: what was written reaches it when it is closed."""

    def __init__(self, disk: Troubled, inode: Inode, path: Path) -> None:
        super().__init__()
        self._disk, self._inode, self._path = disk, inode, path

    def close(self) -> None:
        if self.closed:
            return
        content = self.getvalue()
        super().close()
        self._disk.touch(self._path)
        self._disk.grow(self._inode, content, self._path)


class _Lock:
    def __init__(self, release: Callable[[], object]) -> None:
        self._release = release

    def release(self) -> None:
        self._release()


@contextmanager
def _noting(inode: Inode) -> Iterator[None]:
    """Let a file know that its sync has failed."""
    try:
        yield
    except OSError:
        inode.fail_sync()
        raise


def _as_folder(node: Inode | Folder | None, path: Path) -> Folder:
    if isinstance(node, Folder):
        return node
    if node is None:
        raise FileNotFoundError(errno.ENOENT, "no such folder", str(path))
    raise NotADirectoryError(errno.ENOTDIR, "not a folder", str(path))
