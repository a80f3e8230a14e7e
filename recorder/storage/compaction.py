"""Compaction: the parts of a closed UTC day into one sorted run of rows a stream.

Planning and publishing ask and tell the catalog and are quick; the merge between them (module
`merging`) touches no catalog and may run in a process of its own.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

from recorder.storage.catalog_reader import CatalogReader
from recorder.storage.catalog_writer import CatalogWriter
from recorder.storage.disk import disk
from recorder.storage.part_writer import Part
from schemas.datasets import BOOK_STREAMS

ROWS_MAX = 8_000_000
"""Rows of one compacted part: some 70 MB of level-2 updates, which any tool still opens at once."""

_UNIT = ("dataset", "date", "symbol", "stream", "run_id")


@dataclass(frozen=True, slots=True)
class CompactionTask:
    """Parts of one dataset, UTC day, symbol, stream and run that shall become one.

    Attributes
    ----------
    parts : tuple[dict]        rows of the catalog's `parts`, in the order of their rows
    full_books : tuple[dict]   rows of the catalog's `full_books` that lie in them
    rest_books : int           ordinals in their range that a REST book took, so that no row has it
    rows_max : int             rows of a part; only a full book larger than that makes one larger
    """

    parts: tuple[dict[str, Any], ...]
    full_books: tuple[dict[str, Any], ...]
    rest_books: int
    rows_max: int = ROWS_MAX

    @property
    def name(self) -> str:
        """What is compacted, for the log."""
        return " ".join(str(self.parts[0][name]) for name in _UNIT)

    @property
    def rows(self) -> int:
        """Rows of all parts together."""
        return sum(int(part["rows"]) for part in self.parts)

    @property
    def bytes(self) -> int:
        """Bytes of all parts together."""
        return sum(int(part["bytes"]) for part in self.parts)


def plan(
    catalog: CatalogReader, before_date: str, rows_max: int = ROWS_MAX
) -> list[CompactionTask]:
    """Return what is worth compacting of the UTC days before a date, oldest first.

    A unit that is as few parts as it can be is left alone. One that gets late rows, from a
    recovery or an import, is due again; parts that are full already stay as they are.

    Parameters
    ----------
    before_date : str   the first UTC day that is still open, as 2026-11-22
    """
    tasks = []
    live = (part for part in catalog.live_parts() if part["date"] < before_date)
    for _, group in groupby(live, key=lambda part: tuple(part[name] for name in _UNIT)):
        parts = list(group)
        while parts and parts[0]["rows"] >= rows_max:
            parts.pop(0)
        rows = sum(part["rows"] for part in parts)
        if len(parts) > max(1, -(-rows // rows_max)):
            tasks.append(_task(catalog, parts, rows_max))
    return sorted(tasks, key=lambda task: (task.parts[0]["date"], task.name))


def _task(catalog: CatalogReader, parts: list[dict[str, Any]], rows_max: int) -> CompactionTask:
    first, last = parts[0], parts[-1]
    if first["stream"] not in BOOK_STREAMS:
        return CompactionTask(tuple(parts), (), 0, rows_max)
    books = catalog.full_books_of(first["symbol"], first["stream"], first["run_id"])
    if first["dataset"] == "book_snapshots":
        paths = {part["path"] for part in parts}
        inside = tuple(book for book in books if book["path"] in paths)
        return CompactionTask(tuple(parts), inside, 0, rows_max)
    rest_books = sum(
        book["origin"] == "rest"
        and first["ordinal_first"] <= book["ordinal"] <= last["ordinal_last"]
        for book in books
    )
    return CompactionTask(tuple(parts), (), rest_books, rows_max)


def publish(
    archive: Path, catalog: CatalogWriter, task: CompactionTask, parts: list[Part], ts_now: int
) -> bool:
    """Put merged parts in force in place of those they were made of, in one transaction.

    Parameters
    ----------
    parts : list[Part]   what `merging.merge` made of the task
    ts_now : int         ns UTC

    Returns
    -------
    bool   False when one of the old parts had left the archive meanwhile: nothing changed then,
           and the merged files are gone again
    """
    with catalog.transaction():
        swapped = catalog.swap_parts(
            [part["path"] for part in task.parts],
            [part.row for part in parts],
            [book for part in parts for book in part.full_books],
            ts_now,
        )
    if not swapped:
        for path in _unpublished(catalog, parts):
            disk().unlink(archive / path, missing_ok=True)
        return False
    catalog.publish_parquet(sparing=True)
    return True


def _unpublished(catalog: CatalogReader, parts: list[Part]) -> Iterator[str]:
    known = catalog.part_paths()
    return (part.row["path"] for part in parts if part.row["path"] not in known)
