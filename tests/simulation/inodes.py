"""Files and folders, content and names apart from each other, and what a loss of power leaves.

What was synced stays. Of the rest, bytes may be lost, torn or zeroed, and names there or not there.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path


@dataclass(eq=False)
class Inode:
    """What a file holds.

    Attributes
    ----------
    data : bytearray     as a process sees it
    synced : int         bytes of it that are durable
    before : bytes|None  what may come back of a file that was emptied or cut; None: it was not
    passed_over : tuple|None   begin and end of bytes whose sync failed: no other makes them durable
    database : str       the name of an SQLite database, "" of a plain file
    """

    data: bytearray = field(default_factory=bytearray)
    synced: int = 0
    before: bytes | None = None
    passed_over: tuple[int, int] | None = None
    database: str = ""

    def empty(self) -> None:
        """Take all bytes off; until the next sync they may come back."""
        if self.before is None:
            self.before = bytes(self.data[: self.synced])
        self.data.clear()
        self.synced = 0
        self.passed_over = None

    def cut(self, size: int) -> None:
        """Take off what lies behind `size` bytes; it may have come to the disk already."""
        if self.before is None:
            self.before = bytes(self.data)
        del self.data[size:]
        self.synced = min(self.synced, size)
        if self.passed_over is not None:
            begin, end = self.passed_over
            self.passed_over = (begin, min(end, size)) if begin < size else None

    def fail_sync(self) -> None:
        """Fail to make the content durable: the system forgets that it is not."""
        if self.synced < len(self.data):
            begin = self.synced if self.passed_over is None else self.passed_over[0]
            self.passed_over = (begin, len(self.data))

    def write_again(self, start: int) -> None:
        """Write what lies behind `start` once more: it is to be synced again."""
        self.synced = min(self.synced, start)
        if self.passed_over is not None and self.passed_over[0] >= start:
            self.passed_over = None

    def sync(self) -> None:
        """Make the content durable, but for what a sync that failed has left behind."""
        self.before = None
        self.synced = len(self.data)

    def lose_power(self, draw: random.Random) -> str:
        """Forget what was not synced, or part of it; return what became of it."""
        if self.passed_over is not None:
            begin, end = self.passed_over
            self.data[begin:end] = bytes(end - begin)
            self.passed_over = None
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
        """Make the names durable."""
        self.synced = dict(self.entries)
        self.unsynced.clear()

    def lose_power(self, draw: random.Random) -> None:
        """Forget names, or part of what was done with them, and what their files had."""
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

    def files(self, path: str) -> Iterator[tuple[str, Inode]]:
        """Yield every file below by its path, in order.

        Parameters
        ----------
        path : str   the folder's own
        """
        for name, node in sorted(self.entries.items()):
            below = f"{path.rstrip('/')}/{name}"
            if isinstance(node, Folder):
                yield from node.files(below)
            else:
                yield below, node

    def match(self, parts: tuple[str, ...], path: Path) -> Iterator[Path]:
        """Yield what lies below and has names like these, one a level.

        Parameters
        ----------
        parts : tuple of str   patterns; `**` stands for any number of levels
        path : Path            the folder's own
        """
        first, rest = parts[0], parts[1:]
        for name, node in self.entries.items():
            if first == "**":
                if isinstance(node, Folder):
                    yield from node.match(parts, path / name)
                if rest and fnmatchcase(name, rest[0]):
                    yield path / name
            elif fnmatchcase(name, first):
                if not rest:
                    yield path / name
                elif isinstance(node, Folder):
                    yield from node.match(rest, path / name)
