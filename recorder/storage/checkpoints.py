"""Checkpoints of the run that is recorded: where a start goes on after a crash.

One is two files. The state is everything the writer knows behind a place in the raw log; the rows
are those that no part held then and no older checkpoint had written down. Every so often all open
rows are written anew, and what came before can go:

    1.rows  2.rows  3.rows (all open ones)  4.rows     rows of 4: those in 3.rows and 4.rows that
                                    3.state  4.state   no part holds by then

They can all be thrown away: without one that is sound, of this very code, and no further than the
catalog and the raw log, a start goes on at an older one, or at the first line.
"""

from __future__ import annotations

import io
from collections import deque
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any, BinaryIO, cast

import orjson
import zstandard

from recorder.clock import monotonic_s
from recorder.pipeline.output import Rows
from recorder.pipeline.state import StateRefused, put_away, state_version, take_up
from recorder.storage.catalog_reader import CatalogReader
from recorder.storage.disk import disk
from recorder.storage.durable import beside, make_folder, publish_file
from recorder.storage.open_parts import RowsKey, skip_rows
from recorder.storage.part_writer import join_rows
from recorder.storage.raw_log import RawPosition, RawSegment, is_repacked
from schemas.archive_layout import CHECKPOINTS

RowCounts = dict[RowsKey, int]

STATE_SUFFIX = ".state.zst"
ROWS_SUFFIX = ".rows.zst"
# Of these files, and of what the writer keeps beside the pipeline.
_FORMAT = 1
_LEVEL = 1  # the writer waits for it
_READ_BYTES = 256 * 1024
_KEPT = 2  # a damaged one has one before it
# All open rows are written anew once the files hold so many rows more than twice as many.
_ROWS_SLACK = 100_000


@dataclass(frozen=True, slots=True)
class CheckpointRules:
    """When the next one is due.

    Attributes
    ----------
    lines : int          lines since the last one
    interval_s : float   s since the last one, with any line in them
    spacing : int        pause behind one, in multiples of what it took: a twentieth of the
                         writer's time at most
    """

    lines: int = 50_000
    interval_s: float = 10.0
    spacing: int = 20


@dataclass(frozen=True, slots=True)
class OpenRows:
    """Consecutive open rows of one dataset, symbol and stream.

    Attributes
    ----------
    first : int   how many rows of the stream came before them in this run
    """

    key: RowsKey
    first: int
    batches: list[Rows]

    def __len__(self) -> int:
        """Return the number of rows."""
        return sum(map(len, self.batches))

    def since(self, index: int) -> OpenRows:
        """Return those with this number and higher ones."""
        skipped = max(index - self.first, 0)
        kept: list[Rows] = []
        left = len(self) - skipped
        for batch in reversed(self.batches):
            if left <= 0:
                break
            kept.append(skip_rows(batch, max(len(batch) - left, 0)))
            left -= len(batch)
        return OpenRows(self.key, self.first + skipped, kept[::-1])

    def joined(self) -> OpenRows:
        """Return the same rows in as few batches as can be: a full book stays by itself."""
        batches: list[Rows] = []
        for is_book, group in groupby(self.batches, lambda batch: batch.full_book is not None):
            found = list(group)
            batches += found if is_book or len(found) == 1 else [join_rows(found)]
        return OpenRows(self.key, self.first, batches)


@dataclass(frozen=True, slots=True)
class _Head:
    """The first line of a state: what must be known before it is taken up.

    Attributes
    ----------
    version : str            of the code that made it
    position : RawPosition   behind the last line it knows of
    published_lines : int    lines of the run when the catalog was last written
    made : list              rows made so far: dataset, symbol, stream, count
    rows : list[int]         numbers of the files with its open rows, in order
    """

    version: str
    run_id: str
    position: RawPosition
    published_lines: int
    made: list[tuple[str, str, str, int]]
    rows: list[int]


@dataclass(frozen=True, slots=True)
class Loaded:
    """A checkpoint that is sound and fits the archive.

    Attributes
    ----------
    position : RawPosition   where the raw log goes on behind it
    state : Any              as it was put away
    made : RowCounts         rows made before the position
    open_rows : list[Rows]   those of them that no part holds
    """

    position: RawPosition
    state: Any
    made: RowCounts
    open_rows: list[Rows] = field(repr=False)


class Checkpoints:
    """Write the checkpoints of one run and remove those that are not needed any more.

    Parameters
    ----------
    archive : Path
    run_id : str
    rules : CheckpointRules

    Attributes
    ----------
    lines : int        lines of the run before the last one
    written : int      how many
    failures : int     how many the disk refused
    seconds : float    what the last one took
    """

    def __init__(self, archive: Path, run_id: str, rules: CheckpointRules | None = None) -> None:
        self.lines = 0
        self._tried_lines = 0
        self.written = 0
        self.failures = 0
        self.seconds = 0.0
        self._folder = _folder(archive, run_id)
        self._run_id = run_id
        self._rules = rules or CheckpointRules()
        self._ended = monotonic_s()
        self._number = max((_number(name) for name in disk().names(self._folder)), default=0)
        self._in_files: RowCounts = {}  # up to which row the files of `_chain` have them
        self._chain: list[int] = []
        self._chain_rows = 0
        self._kept: deque[tuple[Path, list[int]]] = deque(
            (self._folder / name, _chain_of(self._folder / name)) for name in _states(self._folder)
        )

    def begin_anew(self, lines: int) -> None:
        """Note that the writer goes on behind so many lines; the next one holds all open rows."""
        self._tried_lines = lines
        self._in_files, self._chain, self._chain_rows = {}, [], 0

    def is_due(self, lines: int) -> bool:
        """Say whether to write one behind so many lines of the run."""
        more = lines - self._tried_lines
        pause = monotonic_s() - self._ended
        rules = self._rules
        is_time = more >= rules.lines or (more > 0 and pause >= rules.interval_s)
        return is_time and pause >= rules.spacing * self.seconds

    def write(
        self,
        position: RawPosition,
        state: object,
        made: Mapping[RowsKey, int],
        published_lines: int,
        open_rows: Sequence[OpenRows],
    ) -> None:
        """Write one durably, then remove what it makes needless.

        Parameters
        ----------
        position : RawPosition   behind the lines that the state knows of
        state : object           for `put_away`
        made : mapping           rows made so far, by dataset, symbol and stream
        published_lines : int    lines of the run when the catalog was last written
        open_rows : sequence     all rows that no part holds

        Raises
        ------
        OSError   when the disk refuses; those before it still stand
        """
        began = monotonic_s()
        self._tried_lines = position.lines
        try:
            self._write(position, state, made, published_lines, open_rows)
        except OSError:
            self.failures += 1
            raise
        finally:
            self._ended = monotonic_s()
            self.seconds = self._ended - began

    def _write(
        self,
        position: RawPosition,
        state: object,
        made: Mapping[RowsKey, int],
        published_lines: int,
        open_rows: Sequence[OpenRows],
    ) -> None:
        self._number += 1
        make_folder(self._folder)
        total = sum(map(len, open_rows))
        fresh = [rows.since(self._in_files.get(rows.key, 0)) for rows in open_rows]
        chain, held = list(self._chain), self._chain_rows + sum(map(len, fresh))
        if held > 2 * total + _ROWS_SLACK:
            fresh, chain, held = list(open_rows), [], total
        if any(map(len, fresh)):
            chain.append(self._number)
            self._write_rows([rows for rows in fresh if len(rows)])
        head = _Head(
            _version(),
            self._run_id,
            position,
            published_lines,
            [(*key, count) for key, count in made.items()],
            chain,
        )
        path = self._folder / f"{self._number:06d}-{position.segment:06d}{STATE_SUFFIX}"
        with _packed(path) as file:
            file.write(orjson.dumps(asdict(head), option=orjson.OPT_APPEND_NEWLINE))
            put_away(state, file)
        self._in_files = dict(made)
        self._chain, self._chain_rows = chain, held
        self.lines = position.lines
        self.written += 1
        self._kept.append((path, chain))
        self._remove_old()

    def _write_rows(self, streams: list[OpenRows]) -> None:
        """Write one stream after the other: joining them all at once would hold them twice."""
        with _packed(_rows_path(self._folder, self._number)) as file:
            file.write(b"%d\n" % len(streams))
            for rows in streams:
                put_away((rows.key, rows.first, rows.joined().batches), file)

    def remove(self) -> None:
        """Remove them all: the run has ended."""
        disk().remove_tree(self._folder)
        self._kept.clear()

    def _remove_old(self) -> None:
        while len(self._kept) > _KEPT:
            disk().unlink(self._kept.popleft()[0], missing_ok=True)
        needed = {number for _, chain in self._kept for number in chain}
        for name in disk().names(self._folder):
            if name.endswith(ROWS_SUFFIX) and _number(name) not in needed:
                disk().unlink(self._folder / name, missing_ok=True)


def first_needed_segment(archive: Path, run_id: str, *, default: float) -> float:
    """Return the number of the first raw-log segment in which a checkpoint of a run has its place.

    Parameters
    ----------
    default : float   for a run that has no checkpoint
    """
    segments = [int(name[7:13]) for name in _states(_folder(archive, run_id))]
    return min(segments, default=default)


def load_checkpoint(
    archive: Path,
    catalog: CatalogReader,
    run_id: str,
    segments: Sequence[RawSegment],
    refused: Callable[[str], None],
) -> Loaded | None:
    """Return the newest checkpoint of a run that is sound and fits catalog and raw log.

    Parameters
    ----------
    segments : sequence of RawSegment   the run's raw log
    refused : callable                  takes the reason for each that is passed over
    """
    folder = _folder(archive, run_id)
    for name in reversed(_states(folder)):
        try:
            return _load(folder, name, catalog, run_id, segments)
        except (StateRefused, OSError, ValueError, zstandard.ZstdError) as error:
            refused(f"{CHECKPOINTS}/{run_id}/{name}: {error}")
    return None


def keep_checkpoints(archive: Path, run_ids: Collection[str]) -> None:
    """Remove the checkpoints of all runs but these."""
    for run_id in disk().names(archive / CHECKPOINTS):
        if run_id not in run_ids:
            disk().remove_tree(_folder(archive, run_id))


def _load(
    folder: Path,
    name: str,
    catalog: CatalogReader,
    run_id: str,
    segments: Sequence[RawSegment],
) -> Loaded:
    """Read one.

    Raises
    ------
    StateRefused   saying why it is of no use
    OSError        when it cannot be read
    """
    with _unpacked(folder / name) as file:
        head = _read_head(file)
        if head.version != _version():
            raise StateRefused("another version of the recorder wrote it")
        if head.run_id != run_id:
            raise StateRefused(f"it is of run {head.run_id}")
        _check_raw_log(head.position, segments)
        row = catalog.checkpoint(run_id)
        if head.published_lines > (row["lines"] if row is not None else 0):
            raise StateRefused("the catalog is older than it is")
        published = catalog.published_rows(run_id)
        made = {(dataset, symbol, stream): count for dataset, symbol, stream, count in head.made}
        state = take_up(file)
        _check_end(file)
    files = [_read_rows(folder, number) for number in head.rows]
    return Loaded(head.position, state, made, _unpublished(files, made, published))


def _read_head(file: BinaryIO) -> _Head:
    try:
        fields = orjson.loads(file.readline())
        return _Head(**{**fields, "position": RawPosition(**fields["position"])})
    except (TypeError, KeyError) as error:
        raise StateRefused(f"its head is not one: {error}") from None


def _chain_of(path: Path) -> list[int]:
    """Return the numbers of the files with a state's open rows, none for a damaged one."""
    try:
        with _unpacked(path) as file:
            return _read_head(file).rows
    except (OSError, ValueError, zstandard.ZstdError):
        return []


def _check_raw_log(position: RawPosition, segments: Sequence[RawSegment]) -> None:
    found = {segment.number: segment.path for segment in segments}
    path = found.get(position.segment)
    if path is None:
        raise StateRefused(f"segment {position.segment} of the raw log is gone")
    if is_repacked(path) or disk().size(path) < position.offset:
        raise StateRefused(f"its place in segment {position.segment} of the raw log is gone")


def _read_rows(folder: Path, number: int) -> list[OpenRows]:
    with _unpacked(_rows_path(folder, number)) as file:
        rows = [OpenRows(*take_up(file)) for _ in range(int(file.readline()))]
        _check_end(file)
    return rows


def _check_end(file: BinaryIO) -> None:
    """Read to the very end, where the checksum is."""
    if file.read(1):
        raise StateRefused("something follows what it should hold")


def _unpublished(
    files: list[list[OpenRows]], made: RowCounts, published: Mapping[RowsKey, int]
) -> list[Rows]:
    """Return the rows that were made and that no part holds.

    Raises
    ------
    StateRefused   when one of them is nowhere
    """
    needed = {key: published.get(key, 0) for key in made}
    found: list[Rows] = []
    for rows in (rows for file in files for rows in file):
        first = needed[rows.key]
        if rows.first > first:  # parts held those between, and do not any more
            raise StateRefused(f"rows {first} to {rows.first} of {'/'.join(rows.key)} are gone")
        found += rows.since(first).batches
        needed[rows.key] = max(first, rows.first + len(rows))
    for key, count in made.items():
        if needed[key] < count:
            raise StateRefused(f"rows {needed[key]} to {count} of {'/'.join(key)} are gone")
    return found


@contextmanager
def _packed(path: Path) -> Iterator[BinaryIO]:
    """Write a file as one zstd frame with its checksum, and give it its name when it is whole."""
    compressor = zstandard.ZstdCompressor(level=_LEVEL, write_checksum=True)
    try:
        with (
            disk().create(beside(path)) as file,
            compressor.stream_writer(file, closefd=False) as packed,
        ):
            yield cast("BinaryIO", packed)
        publish_file(path)
    except OSError:
        with suppress(OSError):  # what could not be written takes no room
            disk().unlink(beside(path), missing_ok=True)
        raise


@contextmanager
def _unpacked(path: Path) -> Iterator[BinaryIO]:
    """Read what `_packed` wrote."""
    decompressor = zstandard.ZstdDecompressor()
    with disk().open(path) as file, decompressor.stream_reader(file, closefd=False) as packed:
        yield cast("BinaryIO", io.BufferedReader(cast("io.RawIOBase", packed), _READ_BYTES))


def _version() -> str:
    return f"{_FORMAT}-{state_version()}"


def _folder(archive: Path, run_id: str) -> Path:
    return archive / CHECKPOINTS / run_id


def _rows_path(folder: Path, number: int) -> Path:
    return folder / f"{number:06d}{ROWS_SUFFIX}"


def _states(folder: Path) -> list[str]:
    return [name for name in disk().names(folder) if name.endswith(STATE_SUFFIX)]


def _number(name: str) -> int:
    return int(name[:6]) if name[:6].isdecimal() else 0
