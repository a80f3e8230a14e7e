"""A disk in memory that keeps its promises and no more.

What was synced survives everything. What was not survives the death of the process, and a loss of
power only as luck has it: bytes lost, torn or zeroed, names of files there or not there. A file has
content and names apart from each other, as on a real one.
"""

from __future__ import annotations

import errno
import io
import random
import sqlite3
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

from recorder.storage.disk import Appender, Disk, Lock, View
from tests.simulation.loop import Crashed

KILLED, POWER_LOSS = "killed", "power_loss"


@dataclass(eq=False)
class Inode:
    """What a file holds.

    Attributes
    ----------
    data : bytearray     as a process sees it
    synced : int         bytes of it that are durable
    before : bytes|None  what may come back of a file that was emptied or cut; None: it was not
    database : str       the name of an SQLite database, "" of a plain file
    """

    data: bytearray = field(default_factory=bytearray)
    synced: int = 0
    before: bytes | None = None
    database: str = ""

    def empty(self) -> None:
        if self.before is None:
            self.before = bytes(self.data[: self.synced])
        self.data.clear()
        self.synced = 0

    def sync(self) -> None:
        self.before = None
        self.synced = len(self.data)

    def lose_power(self, draw: random.Random) -> str:
        """Forget what was not synced, or part of it; return what became of it."""
        if self.database or (self.before is None and self.synced == len(self.data)):
            return ""
        if self.before is not None and draw.random() < 0.5:
            self.data[:] = self.before
            fate = "old content"
        else:
            tail = len(self.data) - self.synced
            fate = draw.choice(("lost", "torn", "zeroed", "kept"))
            if fate == "lost":
                del self.data[self.synced :]
            elif fate == "torn":
                del self.data[self.synced + draw.randrange(tail + 1) :]
            elif fate == "zeroed":
                self.data[self.synced :] = bytes(tail)
        self.sync()
        return fate


@dataclass(eq=False)
class Folder:
    """Names, as they are now; as they were synced; and what was done between."""

    entries: dict[str, Inode | Folder] = field(default_factory=dict)
    synced: dict[str, Inode | Folder] = field(default_factory=dict)
    unsynced: list[tuple[str | None, str | None, Inode | Folder]] = field(default_factory=list)

    def do(self, gone: str | None, name: str | None, node: Inode | Folder) -> None:
        """Take a name off, put one on; one step."""
        if gone is not None:
            self.entries.pop(gone, None)
        if name is not None:
            self.entries[name] = node
        self.unsynced.append((gone, name, node))

    def sync(self) -> None:
        self.synced = dict(self.entries)
        self.unsynced.clear()

    def lose_power(self, draw: random.Random) -> None:
        how = draw.choice(("none", "none", "some", "all"))
        names = dict(self.synced)
        for gone, name, node in self.unsynced:
            if how == "all" or (how == "some" and draw.random() < 0.5):
                if gone is not None:
                    names.pop(gone, None)
                if name is not None:
                    names[name] = node
        self.entries = names
        self.sync()
        for node in names.values():
            node.lose_power(draw)


@dataclass
class Troubles:
    """What the disk is to do to whoever uses it.

    Attributes
    ----------
    capacity : int | None   bytes of all files together
    eio : float             chance of each write and sync to fail
    slow : float            chance of each sync to take long
    slow_s : float          how long, at most
    crash_at : int | None   the step at which the process dies
    crash_kind : str
    """

    capacity: int | None = None
    eio: float = 0.0
    slow: float = 0.0
    slow_s: float = 0.0
    crash_at: int | None = None
    crash_kind: str = KILLED


class SimulatedDisk(Disk):
    """The disk of one run, over all its processes.

    Parameters
    ----------
    draw : random.Random
    told : callable   takes the name of each fault that happens

    Attributes
    ----------
    troubles : Troubles
    steps : int            touches so far
    sync_sites : Counter   "file:line" of each call that syncs → how often
    skipped_site : str     syncs that come from here are left out
    """

    def __init__(self, draw: random.Random, told: Callable[[str], None]) -> None:
        super().__init__()
        self.troubles = Troubles()
        self.steps = 0
        self.sync_sites: Counter[str] = Counter()
        self.skipped_site = ""
        self.broken_promises: list[str] = []
        self._draw = draw
        self._told = told
        self._root = Folder()
        self._root.do(None, "archives", Folder())
        self._root.sync()
        self._used = 0
        self._owed_s = 0.0
        self._is_dead = False
        self._locks: dict[str, str] = {}
        self._databases: dict[str, Database] = {}
        self._open_connections: list[SimulatedConnection] = []

    # For whoever runs the simulation

    @property
    def root(self) -> Path:
        """The folder archives are made in."""
        return Path("/archives")

    @property
    def used(self) -> int:
        """Bytes of all files."""
        return self._used

    def owed_s(self) -> float:
        """Return the seconds that slow syncs have cost since this was asked."""
        owed, self._owed_s = self._owed_s, 0.0
        return owed

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
        return {str(path): bytes(node.data) for path, node in self._walk("/", self._root)}

    def database(self, path: Path) -> Database | None:
        """Return what SQLite has at a path."""
        node = self._find(path)
        return self._databases.get(node.database) if isinstance(node, Inode) else None

    def _lose_power(self) -> None:
        self._root.lose_power(self._draw)
        there = {node.database for _, node in self._walk("/", self._root)}
        for name, database in list(self._databases.items()):
            if name not in there:
                if database.commits:
                    self.broken_promises.append(f"{name}: gone with {database.commits} commits")
                database.close()
                del self._databases[name]
            elif database.lose_power():
                self._told("commit_lost")
        self._used = sum(len(node.data) for _, node in self._walk("/", self._root))

    def _walk(self, path: str, folder: Folder) -> Iterator[tuple[str, Inode]]:
        for name, node in sorted(folder.entries.items()):
            below = f"{path.rstrip('/')}/{name}"
            if isinstance(node, Folder):
                yield from self._walk(below, node)
            else:
                yield below, node

    # Steps

    def _step(self) -> None:
        """Count a touch, and die before it, or behind it, where that is planned."""
        if self._is_dead:
            raise Crashed("after the crash")
        self.steps += 1
        if self.steps == self.troubles.crash_at:
            self._told(f"crash_at_disk_{self.troubles.crash_kind}")
            raise Crashed(self.troubles.crash_kind)

    def _fail_perhaps(self, path: object) -> None:
        if self.troubles.eio and self._draw.random() < self.troubles.eio:
            self._told("eio")
            raise OSError(errno.EIO, "simulated I/O error", str(path))

    def _grow(self, inode: Inode, data: bytes, path: object) -> None:
        """Append what fits.

        Raises
        ------
        OSError   when not all of it did
        """
        capacity = self.troubles.capacity
        room = len(data) if capacity is None else max(0, capacity - self._used)
        fits = data[:room] if room < len(data) else data
        inode.data += fits
        self._used += len(fits)
        if len(fits) < len(data):
            self._told("disk_full")
            raise OSError(errno.ENOSPC, "no space left on the simulated disk", str(path))

    def _may_sync(self, depth: int) -> bool:
        """Note who syncs, and say whether it is to have an effect."""
        frame = sys._getframe(depth)
        site = f"{Path(frame.f_code.co_filename).name}:{frame.f_lineno}"
        self.sync_sites[site] += 1
        if self.troubles.slow and self._draw.random() < self.troubles.slow:
            self._told("slow_sync")
            self._owed_s += self._draw.uniform(0, self.troubles.slow_s)
        return site != self.skipped_site

    # Names

    def _folder(self, path: Path) -> Folder:
        node: Inode | Folder = self._root
        for name in path.parts[1:]:
            if not isinstance(node, Folder) or name not in node.entries:
                raise FileNotFoundError(errno.ENOENT, "no such folder", str(path))
            node = node.entries[name]
        if not isinstance(node, Folder):
            raise NotADirectoryError(errno.ENOTDIR, "not a folder", str(path))
        return node

    def _find(self, path: Path) -> Inode | Folder | None:
        try:
            return self._folder(path.parent).entries.get(path.name) if path.name else self._root
        except (FileNotFoundError, NotADirectoryError):
            return None

    def _file(self, path: Path) -> Inode:
        node = self._find(path)
        if not isinstance(node, Inode):
            raise FileNotFoundError(errno.ENOENT, "no such file", str(path))
        return node

    # The disk's own methods

    def append_to(self, path: Path) -> Appender:
        self._step()
        folder = self._folder(path.parent)
        if path.name in folder.entries:
            raise FileExistsError(errno.EEXIST, "there is one", str(path))
        inode = Inode()
        folder.do(None, path.name, inode)
        return Appending(self, inode, path)

    def create(self, path: Path) -> BinaryIO:
        self._step()
        self._fail_perhaps(path)
        folder = self._folder(path.parent)
        inode = folder.entries.get(path.name)
        if isinstance(inode, Inode):
            self._used -= len(inode.data)
            inode.empty()
        else:
            inode = Inode()
            folder.do(None, path.name, inode)
        return _Writing(self, inode, path)

    def open(self, path: Path) -> BinaryIO:
        self._step()
        return io.BytesIO(bytes(self._file(path).data))

    def read(self, path: Path) -> bytes:
        self._step()
        return bytes(self._file(path).data)

    @contextmanager
    def view(self, path: Path) -> Iterator[View]:
        self._step()
        yield bytes(self._file(path).data)

    def sync_file(self, path: Path) -> None:
        self._step()
        inode = self._file(path)
        self._fail_perhaps(path)
        if self._may_sync(2):
            inode.sync()

    def sync_folder(self, folder: Path) -> None:
        self._step()
        node = self._folder(folder)
        self._fail_perhaps(folder)
        if self._may_sync(2):
            node.sync()

    def rename(self, path: Path, target: Path) -> None:
        self._step()
        source, into = self._folder(path.parent), self._folder(target.parent)
        if path.name not in source.entries:
            raise FileNotFoundError(errno.ENOENT, "no such file", str(path))
        node = source.entries[path.name]
        replaced = into.entries.get(target.name)
        if isinstance(replaced, Inode):
            self._used -= len(replaced.data)
        if source is into:
            source.do(path.name, target.name, node)
        else:
            into.do(None, target.name, node)
            source.do(path.name, None, node)

    def unlink(self, path: Path, *, missing_ok: bool = False) -> None:
        self._step()
        node = self._find(path)
        if not isinstance(node, Inode):
            if missing_ok:
                return
            raise FileNotFoundError(errno.ENOENT, "no such file", str(path))
        self._used -= len(node.data)
        self._folder(path.parent).do(path.name, None, node)

    def make_folder(self, folder: Path) -> None:
        self._step()
        parent = self._folder(folder.parent)
        if folder.name not in parent.entries:
            parent.do(None, folder.name, Folder())

    def remove_tree(self, folder: Path) -> None:
        self._step()
        node = self._find(folder)
        if not isinstance(node, Folder):
            return
        self._used -= sum(len(inode.data) for _, inode in self._walk("/", node))
        self._folder(folder.parent).do(folder.name, None, node)

    def cut(self, path: Path, size: int) -> None:
        self._step()
        self._fail_perhaps(path)
        _cut(self, self._file(path), size, 3)

    def names(self, folder: Path) -> list[str]:
        self._step()
        try:
            return sorted(self._folder(folder).entries)
        except FileNotFoundError:
            return []

    def glob(self, folder: Path, pattern: str) -> list[Path]:
        self._step()
        node = self._find(folder)
        if not isinstance(node, Folder):
            return []
        found: list[Path] = []
        _match(node, PurePosixPath(pattern).parts, folder, found)
        return sorted(found)

    def is_file(self, path: Path) -> bool:
        self._step()
        return isinstance(self._find(path), Inode)

    def is_folder(self, path: Path) -> bool:
        self._step()
        return isinstance(self._find(path), Folder)

    def size(self, path: Path) -> int:
        self._step()
        return len(self._file(path).data)

    def free_bytes(self, folder: Path) -> int:
        self._step()
        capacity = self.troubles.capacity
        return 1 << 40 if capacity is None else max(0, capacity - self._used)

    def allocate(self, path: Path, size: int) -> None:
        self._step()
        inode = Inode()
        self._grow(inode, bytes(size), path)
        self._folder(path.parent).do(None, path.name, inode)

    def lock(self, path: Path, text: str) -> Lock:
        self._step()
        if str(path) in self._locks:
            raise BlockingIOError(errno.EAGAIN, "locked", self._locks[str(path)])
        folder = self._folder(path.parent)
        if path.name not in folder.entries:
            folder.do(None, path.name, Inode())
        self._locks[str(path)] = text
        return _Lock(lambda: self._locks.pop(str(path), None))

    def connect(self, path: Path) -> sqlite3.Connection:
        self._step()
        folder = self._folder(path.parent)
        inode = folder.entries.get(path.name)
        if not isinstance(inode, Inode):
            inode = Inode(database=f"database-{id(self)}-{self.steps}")
            folder.do(None, path.name, inode)
            self._databases[inode.database] = Database(inode.database)
        connection = self._databases[inode.database].connect(self)
        self._open_connections.append(connection)
        return connection

    # For what the disk has handed out

    def touch(self, path: object) -> None:
        """Take a step that writes."""
        self._step()
        self._fail_perhaps(path)

    def grow(self, inode: Inode, data: bytes, path: object) -> None:
        """Append what fits."""
        self._grow(inode, data, path)

    def may_sync(self, depth: int) -> bool:
        """Say whether a sync is to have an effect."""
        return self._may_sync(depth + 1)

    def shrink(self, by: int) -> None:
        """Count bytes as free again."""
        self._used -= by

    @property
    def is_full(self) -> bool:
        """Whether not a byte more fits."""
        capacity = self.troubles.capacity
        return capacity is not None and self._used >= capacity

    def tell(self, fault: str) -> None:
        """Count a fault."""
        self._told(fault)


class Appending:
    """A file that grows."""

    def __init__(self, disk: SimulatedDisk, inode: Inode, path: Path) -> None:
        self._disk, self._inode, self._path = disk, inode, path

    def write(self, data: bytes) -> None:
        self._disk.touch(self._path)
        self._disk.grow(self._inode, data, self._path)

    def sync(self) -> None:
        self._disk.touch(self._path)
        if self._disk.may_sync(2):
            self._inode.sync()

    def cut(self, size: int) -> None:
        self._disk.touch(self._path)
        _cut(self._disk, self._inode, size, 3)

    def touch(self) -> None:
        """Take a step, as a sync does."""
        self._disk.touch(self._path)

    def close(self) -> None:
        """Close it."""


class _Writing(io.BytesIO):
    """A file that is written whole: what was written reaches it when it is closed."""

    def __init__(self, disk: SimulatedDisk, inode: Inode, path: Path) -> None:
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


class Database:
    """What SQLite keeps: in memory, and as it was at the last commit that is durable."""

    def __init__(self, name: str) -> None:
        self._uri = f"file:{name}?mode=memory&cache=shared"
        self._anchor = sqlite3.connect(self._uri, uri=True, isolation_level=None)
        self._durable: bytes | None = None
        self.commits = 0

    def connect(self, disk: SimulatedDisk) -> SimulatedConnection:
        connection = sqlite3.connect(
            self._uri,
            uri=True,
            isolation_level=None,
            check_same_thread=False,
            factory=SimulatedConnection,
        )
        connection.attach(disk, self)
        return connection

    def before_commit(self, *, is_durable: bool) -> None:
        """Keep what is on the disk when a commit is not to be."""
        if is_durable:
            self._durable = None
        elif self._durable is None:
            self._durable = self._anchor.serialize()
        self.commits += 1

    def lose_power(self) -> bool:
        """Go back to the last durable commit; say whether one is lost."""
        if self._durable is None:
            return False
        image = sqlite3.connect(":memory:", isolation_level=None)
        image.deserialize(self._durable)
        image.backup(self._anchor)
        image.close()
        self._durable = None
        return True

    def rows(self, query: str) -> list[dict[str, Any]]:
        """Return the rows of a query, as committed."""
        cursor = self._anchor.execute(query)
        names = [column[0] for column in cursor.description]
        return [dict(zip(names, row, strict=True)) for row in cursor]

    def close(self) -> None:
        self._anchor.close()


class SimulatedConnection(sqlite3.Connection):
    """One process's connection: a COMMIT is a step of the disk."""

    _disk: SimulatedDisk
    _database: Database
    _is_full_sync = False

    def attach(self, disk: SimulatedDisk, database: Database) -> None:
        self._disk, self._database = disk, database

    def execute(self, sql: str, parameters: Any = (), /) -> sqlite3.Cursor:
        if sql == "COMMIT":
            self._disk.touch("catalog.db")
            if self._disk.is_full:
                self._disk.tell("catalog_full")
                raise sqlite3.OperationalError("database or disk is full")
            self._database.before_commit(is_durable=self._is_full_sync)
            cursor = super().execute(sql)
            self._disk.touch("catalog.db")  # and behind it
            return cursor
        if sql == "PRAGMA synchronous=FULL":
            self._is_full_sync = self._disk.may_sync(2)
        return super().execute(sql, parameters)

    def let_go(self) -> None:
        """End with the process: what was not committed is rolled back."""
        super().close()


def _cut(disk: SimulatedDisk, inode: Inode, size: int, depth: int) -> None:
    disk.shrink(len(inode.data) - size)
    if inode.before is None:
        inode.before = bytes(inode.data)  # what is cut off may have come to the disk already
    del inode.data[size:]
    inode.synced = min(inode.synced, size)
    if disk.may_sync(depth):
        inode.sync()


def _match(folder: Folder, parts: tuple[str, ...], path: Path, found: list[Path]) -> None:
    first, rest = parts[0], parts[1:]
    for name, node in folder.entries.items():
        if first == "**":
            if isinstance(node, Folder):
                _match(node, parts, path / name, found)
            if rest and fnmatchcase(name, rest[0]):
                found.append(path / name)
        elif fnmatchcase(name, first):
            if not rest:
                found.append(path / name)
            elif isinstance(node, Folder):
                _match(node, rest, path / name, found)
