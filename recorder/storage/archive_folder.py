"""An archive opened for writing: the folder, its lock, its catalog."""

from __future__ import annotations

import errno
import fcntl
import os
import sqlite3
from pathlib import Path
from types import TracebackType

from recorder.errors import ArchiveLocked, ArchiveUnwritable, CatalogDamaged, NotAnArchive
from recorder.storage.catalog_writer import CatalogWriter
from recorder.storage.durable import make_folder
from schemas.archive_layout import CATALOG_DB, LOCK, RAW, UNFINISHED_SUFFIX
from schemas.datasets import DATASETS


class ArchiveFolder:
    """Hold an archive for writing; a context manager.

    Parameters
    ----------
    path : Path
    must_exist : bool   refuse to create one

    Raises
    ------
    ArchiveLocked       when another process holds it
    ArchiveUnwritable   when the folder cannot be made or written
    CatalogDamaged      when SQLite cannot read the catalog
    OSError             when there is no room on the disk: nothing is wrong with the archive
    NotAnArchive        when it must exist and does not
    """

    def __init__(self, path: Path, *, must_exist: bool = False) -> None:
        self.path = path
        if must_exist and not (path / CATALOG_DB).is_file():
            raise NotAnArchive(str(path))
        try:
            make_folder(path.absolute())
            self._lock = os.open(path / LOCK, os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise ArchiveUnwritable(str(path), error.strerror or str(error)) from None
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(self._lock, 64, 0).decode(errors="replace").strip()
            os.close(self._lock)
            raise ArchiveLocked(
                str(path), f"process {holder}" if holder else "another process"
            ) from None
        os.ftruncate(self._lock, 0)
        os.pwrite(self._lock, f"{os.getpid()}\n".encode(), 0)
        try:
            self.catalog = CatalogWriter(path)
        except sqlite3.OperationalError as error:
            os.close(self._lock)
            if getattr(error, "sqlite_errorname", "") == "SQLITE_FULL":
                raise OSError(errno.ENOSPC, "No space left", str(path / CATALOG_DB)) from None
            raise ArchiveUnwritable(str(path), f"{CATALOG_DB}: {error}") from None
        except sqlite3.DatabaseError as error:
            os.close(self._lock)
            raise CatalogDamaged(str(path), str(error)) from None
        except BaseException:
            os.close(self._lock)
            raise

    def close(self) -> None:
        """Give the archive free; a second time does nothing."""
        if self._lock < 0:
            return
        self.catalog.close()
        os.ftruncate(self._lock, 0)
        os.close(self._lock)
        self._lock = -1

    def __enter__(self) -> ArchiveFolder:
        """Return the open archive."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close it."""
        self.close()

    def remove_unfinished(self) -> list[str]:
        """Remove files that a crash left without the name they were to have.

        Their rows are in the raw log, where recovery finds them, or in the parts they were merged
        from.

        Returns
        -------
        list[str]   paths removed, relative to the archive
        """
        folders = [(dataset, "date=*/symbol=*/*") for dataset in DATASETS]
        removed = []
        for folder, places in [*folders, (RAW, "*/*")]:
            for path in sorted((self.path / folder).glob(places + UNFINISHED_SUFFIX)):
                path.unlink()
                removed.append(path.relative_to(self.path).as_posix())
        return removed
