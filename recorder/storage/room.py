"""Room on the disk: what the error of a full one looks like, and a reserve for the last lines."""

from __future__ import annotations

import errno
import sqlite3
from pathlib import Path

from recorder.errors import DiskFull
from recorder.storage.disk import disk
from schemas.archive_layout import RESERVE

_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT})


def is_disk_full(error: BaseException) -> bool:
    """Say whether an error means that there is no room, which passes, and not a broken disk."""
    if isinstance(error, sqlite3.OperationalError):
        return error.sqlite_errorcode == sqlite3.SQLITE_FULL
    return isinstance(error, DiskFull) or (isinstance(error, OSError) and error.errno in _NO_ROOM)


class Reserve:
    """A file that takes up room, to be given back when the last lines of a full disk need it.

    Parameters
    ----------
    archive : Path
    size : int   bytes; 0: none is kept
    """

    def __init__(self, archive: Path, size: int) -> None:
        self._path = archive / RESERVE
        self._size = size

    def make(self) -> None:
        """Take up the room, unless it is taken up.

        Raises
        ------
        DiskFull   when there is no such room; none is taken then
        """
        if not self._size:
            return
        if disk().is_file(self._path) and disk().size(self._path) == self._size:
            return
        try:
            disk().allocate(self._path, self._size)
        except OSError as error:
            if is_disk_full(error):
                raise DiskFull(str(self._path), f"{self._size} bytes in reserve") from error
            raise

    def release(self) -> None:
        """Give the room back."""
        disk().unlink(self._path, missing_ok=True)
