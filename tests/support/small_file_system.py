"""A real file system of a few MiB that can be filled to the last byte."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

MIB = 1 << 20


def _run(*words: object) -> str:
    """Run a command; return what it complains of, "" when it is content."""
    done = subprocess.run([str(w) for w in words], capture_output=True, text=True, check=False)
    return (done.stderr.strip() or f"exit {done.returncode}") if done.returncode else ""


def _mount_ext4(folder: Path, mib: int) -> str:
    if shutil.which("mkfs.ext4") is None:
        return "no mkfs.ext4"
    image = folder.with_suffix(".img")
    with image.open("wb") as file:
        file.truncate(mib * MIB)
    # No room kept for root: full shall be full for everybody.
    return _run("mkfs.ext4", "-q", "-m", 0, image) or _run("mount", "-o", "loop", image, folder)


def _mount_tmpfs(folder: Path, mib: int) -> str:
    return _run("mount", "-t", "tmpfs", "-o", f"size={mib}m", "tmpfs", folder)


@contextmanager
def small_file_system(folder: Path, mib: int) -> Iterator[Path]:
    """Mount a file system of its own: ext4 in an image where that can be, else in memory.

    Skips the test where nothing may be mounted.
    """
    if os.geteuid() != 0:
        pytest.skip("only root may mount a small file system")
    folder.mkdir()
    problems = []
    for mount in (_mount_ext4, _mount_tmpfs):
        problem = mount(folder, mib)
        if not problem:
            break
        problems.append(problem)
    else:
        pytest.skip(f"no small file system can be mounted here: {'; '.join(problems)}"[:300])
    try:
        yield folder
    finally:
        for _ in range(50):  # a process that was just killed may hold it for a moment
            if not _run("umount", folder):
                break
            time.sleep(0.1)
        else:
            _run("umount", "-l", folder)


class Ballast:
    """A file that takes up room, for no other purpose."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "ballast"

    def leave(self, mib: float) -> None:
        """Leave so many MiB free for others; 0: not a byte."""
        disk = os.statvfs(self._path.parent)
        free = disk.f_bavail * disk.f_frsize
        with self._path.open("ab") as file:
            size = file.tell()
            wanted = size + free - round(mib * MIB)
            if mib:
                os.posix_fallocate(file.fileno(), size, wanted - size)
            else:
                self._fill(file.fileno())

    def _fill(self, descriptor: int) -> None:
        """Write ever smaller pieces until none fits."""
        for piece in (MIB, 4096, 1):
            try:
                while True:
                    os.write(descriptor, b"\0" * piece)
            except OSError as error:
                if error.errno != errno.ENOSPC:
                    raise

    def drop(self) -> None:
        """Give everything free."""
        self._path.unlink(missing_ok=True)
