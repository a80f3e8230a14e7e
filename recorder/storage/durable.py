"""File names that survive power loss: write beside, fsync, rename, fsync the folder."""

from __future__ import annotations

import os
from pathlib import Path

from schemas.archive_layout import UNFINISHED_SUFFIX


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_folder(folder: Path) -> None:
    """Create a folder and its parents, each name durable."""
    if folder.is_dir():
        return
    make_folder(folder.parent)
    folder.mkdir(exist_ok=True)
    sync_folder(folder.parent)


def beside(path: Path) -> Path:
    """Return the name under which a file is written before it is whole."""
    return path.with_name(path.name + UNFINISHED_SUFFIX)


def publish_file(path: Path) -> None:
    """Give the finished file beside `path` its name, durably."""
    unfinished = beside(path)
    descriptor = os.open(unfinished, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    unfinished.rename(path)
    sync_folder(path.parent)


def write_file(path: Path, content: bytes) -> None:
    """Write a small file whole and durably, replacing what was there."""
    beside(path).write_bytes(content)
    publish_file(path)
