"""A copy of the catalog beside it: consistent, checked, and named only when it is whole."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from recorder.storage.durable import beside, make_folder, publish_file
from schemas.archive_layout import BACKUP_SUFFIX, CATALOG_BACKUP, CATALOG_DB, UNFINISHED_SUFFIX
from schemas.timestamps import NS_PER_S


@dataclass(frozen=True, slots=True)
class BackupResult:
    """What was written, and how many older copies went for it."""

    path: Path
    bytes: int
    removed: int


def backup(archive: Path, keep: int, ts_now: int) -> BackupResult:
    """Copy the catalog into `catalog.backup/` and keep the newest copies.

    It reads through a connection of its own, so it may run in another thread or process while the
    catalog is written; the copy is the catalog at one moment, a single file without a log.

    Parameters
    ----------
    keep : int     copies that stay, this one included; at least 1
    ts_now : int   ns UTC, for the name

    Raises
    ------
    sqlite3.Error   when the catalog cannot be read or the copy does not hold; nothing is named
    OSError         when the disk refuses
    """
    folder = archive / CATALOG_BACKUP
    make_folder(folder)
    for left_behind in folder.glob(f"*{UNFINISHED_SUFFIX}*"):
        left_behind.unlink(missing_ok=True)
    target = folder / f"{_name(ts_now)}{BACKUP_SUFFIX}"
    unfinished = beside(target)
    try:
        _copy(archive / CATALOG_DB, unfinished)
        publish_file(target)
    finally:
        for path in folder.glob(f"{unfinished.name}*"):
            path.unlink(missing_ok=True)
    copies = sorted(folder.glob(f"*{BACKUP_SUFFIX}"))
    old = copies[: max(0, len(copies) - max(1, keep))]
    for path in old:
        path.unlink(missing_ok=True)
    return BackupResult(target, target.stat().st_size, len(old))


def _copy(source: Path, target: Path) -> None:
    """Copy a database in one step and check the copy.

    In one step: a copy in many begins again with every transaction of the writer.
    """
    reading = sqlite3.connect(f"{source.absolute().as_uri()}?mode=ro", uri=True, timeout=60)
    try:
        writing = sqlite3.connect(target, isolation_level=None)
        try:
            reading.backup(writing, pages=-1)
            writing.execute("PRAGMA journal_mode=DELETE")
            found = writing.execute("PRAGMA integrity_check").fetchone()[0]
            if found != "ok":
                raise sqlite3.DatabaseError(f"the copy of {source} is not sound: {found}")
        finally:
            writing.close()
    finally:
        reading.close()


def _name(ts: int) -> str:
    seconds, fraction = divmod(ts, NS_PER_S)
    moment = datetime.fromtimestamp(seconds, UTC)
    return f"{moment:%Y%m%dT%H%M%S}.{fraction // 1000:06d}Z"
