"""Unlink files that left force long enough ago that no reader still works from them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from recorder.storage.catalog_writer import CatalogWriter
from recorder.storage.disk import disk
from schemas.timestamps import NS_PER_S


@dataclass(frozen=True, slots=True)
class Unlinked:
    """What went: files, and the bytes the catalog said they had."""

    files: int
    bytes: int


FILES_AT_ONCE = 500
"""Files of one call beside a recording, which waits for it: some tens of ms."""


def remove_replaced(
    archive: Path,
    catalog: CatalogWriter,
    ts_now: int,
    grace_s: float,
    files_max: int | None = None,
    *,
    twin_is_new: bool = False,
) -> Unlinked:
    """Unlink parts that compaction replaced or retention removed, then drop their entries.

    The Parquet twin is brought up to date first: it must not call a part in force whose file goes.
    A crash in between leaves entries without files; the next call drops those.

    Parameters
    ----------
    ts_now : int      ns UTC
    grace_s : float   s that a reader may work from one snapshot of the catalog
    files_max : int   files of this call; None: all
    twin_is_new : bool
        An earlier call with the same time has brought the twin up to date.
    """
    due = catalog.replaced_parts(ts_now - int(grace_s * NS_PER_S), files_max)
    if not due:
        return Unlinked(0, 0)
    if not twin_is_new:
        catalog.publish_parquet()
    for part in due:
        path = archive / part["path"]
        disk().unlink(path, missing_ok=True)
        remove_empty(path.parent, archive)
    with catalog.transaction():
        catalog.forget_parts([part["path"] for part in due])
    catalog.publish_parquet(sparing=True)
    return Unlinked(len(due), sum(part["bytes"] for part in due))


def remove_empty(folder: Path, root: Path) -> None:
    """Remove a folder and its parents below `root` as far as they are empty.

    For the thread that writes parts only: between making a folder and writing into it, no other
    may take it away.
    """
    while folder != root and folder.is_relative_to(root):
        try:
            folder.rmdir()
        except OSError:
            return
        folder = folder.parent
