"""An archive opened for writing: the folder, its lock, its catalog."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path
from types import TracebackType

from recorder.errors import (
    ArchiveLocked,
    ArchiveUnwritable,
    CatalogDamaged,
    DiskFull,
    NotAnArchive,
)
from recorder.storage.catalog_writer import CatalogWriter
from recorder.storage.disk import Lock, disk
from recorder.storage.durable import make_folder
from recorder.storage.room import is_disk_full
from schemas.archive_layout import CATALOG_DB, CHECKPOINTS, LOCK, RAW, UNFINISHED_SUFFIX
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
    DiskFull            when there is no room on the disk: nothing is wrong with the archive
    NotAnArchive        when it must exist and does not
    """

    def __init__(self, path: Path, *, must_exist: bool = False) -> None:
        self.path = path
        if must_exist and not disk().is_file(path / CATALOG_DB):
            raise NotAnArchive(str(path))
        try:
            make_folder(path.absolute())
            self._lock: Lock | None = disk().lock(path / LOCK, f"{os.getpid()}\n")
        except BlockingIOError as error:
            holder = f"process {error.filename}" if error.filename else "another process"
            raise ArchiveLocked(str(path), holder) from None
        except OSError as error:
            if is_disk_full(error):
                raise DiskFull(str(path), LOCK) from None
            raise ArchiveUnwritable(str(path), error.strerror or str(error)) from None
        try:
            self.catalog = CatalogWriter(path)
        except sqlite3.OperationalError as error:
            self._lock.release()
            if is_disk_full(error):
                raise DiskFull(str(path), CATALOG_DB) from None
            raise ArchiveUnwritable(str(path), f"{CATALOG_DB}: {error}") from None
        except sqlite3.DatabaseError as error:
            self._lock.release()
            raise CatalogDamaged(str(path), str(error)) from None
        except BaseException:
            self._lock.release()
            raise

    def close(self) -> None:
        """Give the archive free; a second time does nothing."""
        if self._lock is None:
            return
        self.catalog.close()
        self._lock.release()
        self._lock = None

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
        for folder, places in [*folders, (RAW, "*/*"), (CHECKPOINTS, "*/*")]:
            for path in disk().glob(self.path / folder, places + UNFINISHED_SUFFIX):
                disk().unlink(path)
                removed.append(path.relative_to(self.path).as_posix())
        return removed
