"""What a disk does to whoever uses it: it fills up, fails, takes its time; and when they die of it.

Every touch of the disk is a step. So a crash can be planned before any of them, or behind it.
"""

from __future__ import annotations

import errno
import random
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import PurePath

from tests.simulation.inodes import Inode
from tests.simulation.loop import Crashed

KILLED, POWER_LOSS = "killed", "power_loss"


@dataclass
class Troubles:
    """What the disk is to do to whoever uses it.

    Attributes
    ----------
    capacity : int | None   bytes of all files together
    eio : float             chance of each write and sync to fail
    eio_at : int | None     the step that fails for certain
    slow : float            chance of each sync to take long
    slow_s : float          how long, at most
    crash_at : int | None   the step at which the process dies
    crash_kind : str
    """

    capacity: int | None = None
    eio: float = 0.0
    eio_at: int | None = None
    slow: float = 0.0
    slow_s: float = 0.0
    crash_at: int | None = None
    crash_kind: str = KILLED


class Troubled:
    """What is counted of a disk, and goes wrong with it.

    Parameters
    ----------
    draw : random.Random
    told : callable   takes the name of each fault that happens

    Attributes
    ----------
    troubles : Troubles
    steps : int            touches so far
    used : int             bytes of all files
    sync_sites : Counter   "file:line" of each call that syncs → how often
    skipped_site : str     syncs that come from here are left out
    """

    def __init__(self, draw: random.Random, told: Callable[[str], None]) -> None:
        super().__init__()
        self.troubles = Troubles()
        self.steps = 0
        self.used = 0
        self.sync_sites: Counter[str] = Counter()
        self.skipped_site = ""
        self.tell = told
        self._draw = draw
        self._owed_s = 0.0
        self._is_dead = False

    def owed_s(self) -> float:
        """Return the seconds that slow syncs have cost since this was asked."""
        owed, self._owed_s = self._owed_s, 0.0
        return owed

    @property
    def is_full(self) -> bool:
        """Whether not a byte more fits."""
        capacity = self.troubles.capacity
        return capacity is not None and self.used >= capacity

    def step(self) -> None:
        """Count a touch, and die before it, or behind it, where that is planned."""
        if self._is_dead:
            raise Crashed("after the crash")
        self.steps += 1
        if self.steps == self.troubles.crash_at:
            self.tell(f"crash_at_disk_{self.troubles.crash_kind}")
            raise Crashed(self.troubles.crash_kind)

    def fail_perhaps(self, path: object) -> None:
        """Fail, as often as the troubles say."""
        troubles = self.troubles
        if self.steps == troubles.eio_at or (troubles.eio and self._draw.random() < troubles.eio):
            self.tell("eio")
            raise OSError(errno.EIO, "simulated I/O error", str(path))

    def touch(self, path: object) -> None:
        """Take a step that writes."""
        self.step()
        self.fail_perhaps(path)

    def grow(self, inode: Inode, data: bytes, path: object) -> None:
        """Append what fits.

        Raises
        ------
        OSError   when not all of it did
        """
        capacity = self.troubles.capacity
        room = len(data) if capacity is None else max(0, capacity - self.used)
        fits = data[:room] if room < len(data) else data
        inode.data += fits
        self.used += len(fits)
        if len(fits) < len(data):
            self.tell("disk_full")
            raise OSError(errno.ENOSPC, "no space left on the simulated disk", str(path))

    def may_sync(self, depth: int) -> bool:
        """Note who syncs, and say whether it is to have an effect.

        Parameters
        ----------
        depth : int   calls between this one and the site that asks for the sync, and one
        """
        frame = sys._getframe(depth)
        site = f"{_file_name(frame.f_code.co_filename)}:{frame.f_lineno}"
        self.sync_sites[site] += 1
        if self.troubles.slow and self._draw.random() < self.troubles.slow:
            self.tell("slow_sync")
            self._owed_s += self._draw.uniform(0, self.troubles.slow_s)
        return site != self.skipped_site


@cache
def _file_name(path: str) -> str:
    return PurePath(path).name
