"""Merge parts: row group by row group into files that are read back before they get a name.

No catalog is touched: arguments and results can be sent to another process.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from recorder.errors import RecorderError
from recorder.storage.compaction import CompactionTask
from recorder.storage.content_hash import ContentHash
from recorder.storage.disk import disk
from recorder.storage.durable import beside, make_folder, publish_file
from recorder.storage.part_writer import ROW_GROUP_ROWS, Part, open_writer, sha256_of
from schemas.archive_layout import part_folder, part_path
from schemas.datasets import DATASETS


class CompactionRefused(RecorderError):
    """Parts that are not what the catalog says of them, or rows that did not read back.

    Attributes
    ----------
    path : str   the part, relative to the archive
    """

    exit_code = 1

    def __init__(self, path: str, problem: str) -> None:
        self.path = path
        super().__init__(
            f"part {path} is not compacted: {problem}",
            "`recorder verify` tells which parts are sound; the old parts stay in force",
        )


def merge(archive: Path, task: CompactionTask) -> list[Part]:
    """Write the rows of a task as few sorted parts and give those their names.

    The inputs must be the files that were published, by their sha256. The outputs are read back:
    row count, ordinals and the content of every column are those of the inputs. Memory is bounded
    by a few row groups, whatever the rows.

    Returns
    -------
    list[Part]   durable files that no catalog knows yet

    Raises
    ------
    CompactionRefused   when anything does not hold; no new file has a name then
    OSError             when the disk refuses
    """
    for part in task.parts:
        _check_input(archive, part)
    schema = DATASETS[task.parts[0]["dataset"]].schema
    read, written = ContentHash(schema), ContentHash(schema)
    merger = _Merger(archive, task, schema)
    try:
        for table in _tables(archive, task, schema):
            read.update(table)
            merger.add(table)
        outputs = merger.finish()
        _check_order(task, merger.rows)
        ordinals = _Ordinals(task)
        for output in outputs:
            for table in _row_groups(output.path, schema):
                written.update(table)
                ordinals.add(table)
        ordinals.check_whole()
        _check_content(task, read, written)
        return _all_named(archive, task, outputs)
    finally:
        merger.clear()


def _check_input(archive: Path, part: dict[str, Any]) -> None:
    path = archive / part["path"]
    try:
        sound = disk().size(path) == part["bytes"] and sha256_of(path) == part["sha256"]
    except FileNotFoundError:
        raise CompactionRefused(part["path"], "it is missing") from None
    if not sound:
        raise CompactionRefused(part["path"], "it is not the file that was published")


def _check_order(task: CompactionTask, rows: int) -> None:
    if rows != task.rows:
        raise CompactionRefused(
            task.parts[0]["path"], f"its day has {rows} rows, the catalog says {task.rows}"
        )


def _check_content(task: CompactionTask, read: ContentHash, written: ContentHash) -> None:
    ours, theirs = read.digests(), written.digests()
    wrong = [name for name, digest in ours.items() if theirs[name] != digest]
    if wrong:
        raise CompactionRefused(
            task.parts[0]["path"], f"column {wrong[0]} did not read back as it was"
        )


def _row_groups(path: Path, schema: pa.Schema) -> Iterator[pa.Table]:
    with disk().open(path) as content, pq.ParquetFile(content) as file:
        for group in range(file.num_row_groups):
            table = file.read_row_group(group, columns=schema.names, use_threads=False)
            yield table.cast(schema) if table.schema != schema else table


def _tables(archive: Path, task: CompactionTask, schema: pa.Schema) -> Iterator[pa.Table]:
    """Yield the rows of all parts in order; a full book of `book_snapshots` is never cut."""
    for part in task.parts:
        try:
            yield from _row_groups(archive / part["path"], schema)
        except (pa.ArrowException, KeyError) as error:
            raise CompactionRefused(part["path"], f"it cannot be read: {error}") from None


@dataclass(slots=True)
class _Output:
    """A file being written, and what the catalog will say of it."""

    path: Path
    first: int  # row of the task it begins with
    rows: int = 0
    ts_first: int = 0
    ts_last: int = 0
    ordinal_first: int = 0
    ordinal_last: int = 0
    sequence_first: int = 2**63 - 1
    sequence_last: int = -(2**63)
    full_books: list[dict[str, Any]] = field(default_factory=list)

    def describe(self, table: pa.Table) -> None:
        """Take in rows that were added."""
        recv, held, ordinal, sequence = (
            _ints(table, name) for name in ("ts_recv", "held_ns", "ordinal", "sequence")
        )
        if not self.rows:
            self.ts_first = int(recv[0] + held[0])
            self.ordinal_first = int(ordinal[0])
        self.ts_last = int(recv[-1] + held[-1])
        self.ordinal_last = int(ordinal[-1])
        self.sequence_first = min(self.sequence_first, int(sequence.min()))
        self.sequence_last = max(self.sequence_last, int(sequence.max()))
        self.rows += len(table)


class _Merger:
    """Cut rows into files of at most `rows_max` rows, in row groups of one size."""

    def __init__(self, archive: Path, task: CompactionTask, schema: pa.Schema) -> None:
        self.rows = 0
        self._task = task
        self._schema = schema
        first = task.parts[0]
        self._folder = archive / part_folder(first["dataset"], first["date"], first["symbol"])
        make_folder(self._folder)
        self._outputs: list[_Output] = []
        self._writer: pq.ParquetWriter | None = None
        self._file: BinaryIO | None = None
        self._pending: list[pa.Table] = []
        self._pending_rows = 0
        self._books = sorted(_books_by_row(task), key=lambda book: book[0])
        self._cuts = _cuts(task, [(row, book["rows"]) for row, book in self._books])

    def add(self, table: pa.Table) -> None:
        """Take in the next rows."""
        while len(table):
            room = self._cuts[0] - self.rows if self._cuts else len(table)
            piece = table.slice(0, room)
            table = table.slice(len(piece))
            self.rows += len(piece)
            self._pending.append(piece)
            self._pending_rows += len(piece)
            self._flush(whole=False)
            if self._cuts and self.rows == self._cuts[0]:
                self._cuts.pop(0)
                self._close()

    def finish(self) -> list[_Output]:
        """Write what is left and return the files, in order."""
        self._close()
        return self._outputs

    def clear(self) -> None:
        """Remove the files that got no name."""
        self._close_file()
        for output in self._outputs:
            disk().unlink(output.path, missing_ok=True)

    def _flush(self, *, whole: bool) -> None:
        while self._pending_rows >= ROW_GROUP_ROWS or (whole and self._pending_rows):
            joined = pa.concat_tables(self._pending)
            group, rest = joined.slice(0, ROW_GROUP_ROWS), joined.slice(ROW_GROUP_ROWS)
            self._write(group.unify_dictionaries().combine_chunks())
            self._pending, self._pending_rows = [rest], len(rest)

    def _write(self, group: pa.Table) -> None:
        if self._writer is None:
            first = self._task.parts[0]
            name = f"{first['stream']}-{first['run_id']}-{os.getpid()}-{len(self._outputs)}.parquet"
            begin = self._outputs[-1].first + self._outputs[-1].rows if self._outputs else 0
            self._outputs.append(_Output(beside(self._folder / name), begin))
            self._file = disk().create(self._outputs[-1].path)
            self._writer = open_writer(self._file, self._schema)
        self._outputs[-1].describe(group)
        self._writer.write_table(group, row_group_size=ROW_GROUP_ROWS)

    def _close(self) -> None:
        """End the file being written, with the books in it."""
        self._flush(whole=True)
        if self._writer is None:
            return
        self._close_file()
        output = self._outputs[-1]
        while self._books and self._books[0][0] < output.first + output.rows:
            row, book = self._books.pop(0)
            output.full_books.append({**book, "row_first": row - output.first})

    def _close_file(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None
        if self._file is not None:
            self._file.close()
            self._file = None


def _books_by_row(task: CompactionTask) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield each full book with the row of the whole task it begins at."""
    starts, row = {}, 0
    for part in task.parts:
        starts[part["path"]] = row
        row += part["rows"]
    for book in task.full_books:
        yield starts[book["path"]] + book["row_first"], book


def _cuts(task: CompactionTask, books: list[tuple[int, int]]) -> list[int]:
    """Return the rows at which a new file begins: every `rows_max`, never inside a full book."""
    if task.parts[0]["dataset"] != "book_snapshots":
        return list(range(task.rows_max, task.rows, task.rows_max))
    # Every row of the dataset belongs to a full book, so a book's beginning is a place to cut.
    cuts: list[int] = []
    begin = 0
    for row, rows in books:
        if row > begin and row + rows - begin > task.rows_max:
            cuts.append(row)
            begin = row
    return cuts


class _Ordinals:
    """Check that ordinals ascend over everything read back, and that none is missing."""

    def __init__(self, task: CompactionTask) -> None:
        self._task = task
        self._shared = task.parts[0]["dataset"] == "book_snapshots"
        self._first: int | None = None
        self._last = 0
        self._rows = 0

    def add(self, table: pa.Table) -> None:
        """Take in the next rows."""
        ordinals = _ints(table, "ordinal")
        steps = np.diff(ordinals)
        if self._first is not None:
            steps = np.append(steps, ordinals[0] - self._last)
        else:
            self._first = int(ordinals[0])
        self._last = int(ordinals[-1])
        self._rows += len(ordinals)
        least = 0 if self._shared else 1
        if len(steps) and int(steps.min()) < least:
            raise self._refused("its day's rows are not in the order of their ordinals")

    def check_whole(self) -> None:
        """Check that every ordinal of the range has its row, or its REST book."""
        if self._shared or self._first is None:
            return
        missing = self._last - self._first + 1 - self._rows - self._task.rest_books
        if missing:
            raise self._refused(f"its day lacks {missing} rows between its first and last ordinal")

    def _refused(self, problem: str) -> CompactionRefused:
        return CompactionRefused(self._task.parts[0]["path"], problem)


def _all_named(archive: Path, task: CompactionTask, outputs: list[_Output]) -> list[Part]:
    """Give every checked file its name, or none."""
    parts: list[Part] = []
    try:
        parts += (_named(archive, task, output) for output in outputs)
    except BaseException:
        for part in parts:
            disk().unlink(archive / part.row["path"], missing_ok=True)
        raise
    return parts


def _named(archive: Path, task: CompactionTask, output: _Output) -> Part:
    """Give a checked file its name, durably."""
    first = task.parts[0]
    sha256 = sha256_of(output.path)
    relative = part_path(
        first["dataset"],
        first["date"],
        first["symbol"],
        output.ts_first,
        output.ts_last,
        sha256[:12],
    )
    target = archive / relative
    disk().rename(output.path, beside(target))
    output.path = beside(target)
    publish_file(target)
    row = {
        **first,
        "path": relative,
        "rows": output.rows,
        "bytes": disk().size(target),
        "sha256": sha256,
        "ts_first": output.ts_first,
        "ts_last": output.ts_last,
        "ordinal_first": output.ordinal_first,
        "ordinal_last": output.ordinal_last,
        "sequence_first": output.sequence_first,
        "sequence_last": output.sequence_last,
        "ts_published": None,
        "ts_replaced": None,
    }
    return Part(row, [{**book, "path": relative} for book in output.full_books])


def _ints(table: pa.Table, name: str) -> Any:
    column = table.column(name)
    if pa.types.is_timestamp(column.type):
        column = column.cast(pa.int64())
    return column.to_numpy()
