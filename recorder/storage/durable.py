"""File names that survive power loss: write beside, fsync, rename, fsync the folder."""

from __future__ import annotations

from pathlib import Path

from recorder.storage.disk import disk
from schemas.archive_layout import UNFINISHED_SUFFIX

# A whole exchange has some thousands a day; what runs for months forgets them, and syncs again.
_FOLDERS_REMEMBERED = 10_000


def make_folder(folder: Path) -> None:
    """Create a folder and its parents, each name durable.

    One that is there already may have been made by a process that was killed before it could sync
    the name: it is seen, and a power loss would take it with all that has been put in since. So the
    first time each process meets a folder its name is synced again.
    """
    met = disk().folders_synced
    is_there = disk().is_folder(folder)
    if is_there and folder in met:
        return
    if not is_there:
        make_folder(folder.parent)
        disk().make_folder(folder)
    try:
        disk().sync_folder(folder.parent)
    except PermissionError:
        if not is_there:
            raise  # where others make the folders, they see to the names
    if len(met) >= _FOLDERS_REMEMBERED:
        met.clear()
    met.add(folder)


def beside(path: Path) -> Path:
    """Return the name under which a file is written before it is whole."""
    return path.with_name(path.name + UNFINISHED_SUFFIX)


def publish_file(path: Path) -> None:
    """Give the finished file beside `path` its name, durably."""
    unfinished = beside(path)
    disk().sync_file(unfinished)
    disk().rename(unfinished, path)
    disk().sync_folder(path.parent)


def write_file(path: Path, content: bytes) -> None:
    """Write a small file whole and durably, replacing what was there."""
    with disk().create(beside(path)) as file:
        file.write(content)
    publish_file(path)


def move_file(path: Path, target: Path) -> None:
    """Move a file to another folder of the archive, its new name durable.

    After a power loss the old name may be there as well.
    """
    make_folder(target.parent)
    disk().rename(path, target)
    disk().sync_folder(target.parent)
