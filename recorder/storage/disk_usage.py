"""How much room an archive takes: its raw log as files, its parts as the catalog has them."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from schemas.archive_layout import CATALOG_DB, CHECKPOINTS, RAW


def archive_bytes(archive: Path) -> int:
    """Return the bytes of raw log, checkpoints, parts and catalog.

    Parts are many, and the catalog knows their sizes; what else there is, is looked at. Replaced
    parts count until they are gone.
    """
    with closing(
        sqlite3.connect(f"{(archive / CATALOG_DB).absolute().as_uri()}?mode=ro", uri=True)
    ) as db:
        parts = int(db.execute("SELECT coalesce(sum(bytes), 0) FROM parts").fetchone()[0])
    folders = sum(sum(_sizes(archive / name)) for name in (RAW, CHECKPOINTS))
    return parts + folders + sum(_sizes(archive, deep=False))


def _sizes(folder: Path, *, deep: bool = True) -> Iterator[int]:
    """Yield the sizes of files; one that goes away meanwhile takes no room."""
    try:
        entries = list(os.scandir(folder))
    except FileNotFoundError:
        return
    for entry in entries:
        try:
            if entry.is_dir(follow_symlinks=False):
                if deep:
                    yield from _sizes(Path(entry.path))
            else:
                yield entry.stat(follow_symlinks=False).st_size
        except FileNotFoundError:
            continue
