"""`recorder verify`: files against catalog, ledger against itself, raw log against rows.

Rows are compared with what the pipeline makes of the raw log today, so a changed row is found
even where its file's sha256 and catalog entry were made to match. What retention removed, and said
so in the catalog, is no problem: it is told as not comparable where the raw log went with it.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from recorder.errors import RawLogDamaged
from recorder.recovery import replay_run
from recorder.row_comparison import RowSource, part_difference
from recorder.storage.archive_folder import ArchiveFolder
from recorder.storage.catalog_reader import CatalogReader
from recorder.storage.open_parts import RollRules
from recorder.storage.part_writer import sha256_of
from recorder.storage.raw_log import RawSegment, list_segments, missing_numbers, read_run
from recorder.storage.strays import set_aside_paths
from recorder.storage.trimming import trimmed
from schemas.archive_layout import SET_ASIDE, parse_raw_segment_name
from schemas.timestamps import format_iso

_LEDGER_COMPARED = {
    "coverage": ("ordinal_first", "ordinal_last", "ts_from", "ts_to", "sequence_first",
                 "sequence_last", "messages", "rows"),
    "gaps": ("ordinal_from", "reason", "ts_from", "ts_detected", "sequence_expected"),
    "audits": ("ts", "sequence", "result", "detail"),
}  # fmt: skip
# Of gaps that this run itself has ended: another run cannot have.
_HEALING = ("ordinal_from", "ts_from", "ts_to", "sequence_received", "healed_by")

# Gaps with these reasons stand between two runs: no single run's raw log knows of them.
_BETWEEN_RUNS = frozenset({"stopped", "crashed", "source"})
_BY_NEXT_RUN = frozenset({"next_run", "backfill"})


@dataclass(slots=True)
class Verification:
    """What was checked, and what did not hold.

    Attributes
    ----------
    problems : list[str]        each names the file or the rows, empty when everything holds
    not_comparable : list[str]  runs whose rows nothing is left to compare with, and why
    books : dict or None        the report of `replay verify`
    """

    parts: int = 0
    rows: int = 0
    lines: int = 0
    runs: int = 0
    problems: list[str] = field(default_factory=list)
    not_comparable: list[str] = field(default_factory=list)
    books: dict[str, Any] | None = None

    @property
    def holds(self) -> bool:
        """Whether nothing was found."""
        return not self.problems


def verify(archive: Path, *, with_books: bool = True) -> Verification:
    """Check an archive as a whole; it may be recorded into meanwhile.

    Parameters
    ----------
    with_books : bool   also have `replay verify` rebuild every book, in a process of its own

    Raises
    ------
    NotAnArchive   when there is no catalog
    """
    report = Verification()
    catalog = CatalogReader.open(archive)
    try:
        with catalog.moment():
            runs = catalog.runs()
            published = {
                run_id: _Published(catalog.parts_of_run(run_id), catalog.removed_rows(run_id))
                for run_id in runs
            }
        report.runs = len(runs)
        for run_published in published.values():
            _check_files(archive, catalog, run_published, report)
        aside = set_aside_paths(archive)
        if aside:
            report.problems.append(
                f"{len(aside)} parts lie in {SET_ASIDE}/: the catalog does not know them, and "
                f"nothing else is known to hold their rows, first {aside[0]}"
            )
        with catalog.moment():
            _check_ledger(catalog, runs, report)
        for run_id, run in runs.items():
            _check_rows(archive, catalog, run, published[run_id], report)
        left = sum(len(run_published.left) for run_published in published.values())
        if left:
            report.not_comparable.append(
                f"{left} parts left the archive while it was looked at, by compaction or "
                "retention: not comparable this time"
            )
    finally:
        catalog.close()
    if with_books:
        _check_books(archive, report)
    return report


@dataclass(slots=True)
class _Published:
    """What the catalog had of one run when the check began, and what was found of it.

    Attributes
    ----------
    parts : list        rows of the catalog's `parts`
    removed : dict      rows that retention had removed, by (dataset, symbol, stream)
    sound : set[str]    paths of the files that are what the catalog says
    left : set[str]     paths of the files that compaction or retention took since then
    """

    parts: list[dict[str, Any]]
    removed: dict[tuple[str, str, str], int]
    sound: set[str] = field(default_factory=set)
    left: set[str] = field(default_factory=set)


def _check_files(
    archive: Path, catalog: CatalogReader, published: _Published, report: Verification
) -> None:
    for part in published.parts:
        path = part["path"]
        try:
            if _check_file(archive, part, report):
                published.sound.add(path)
        except FileNotFoundError:
            if catalog.is_live(path):
                report.problems.append(f"part {path} is missing")
            else:
                published.left.add(path)


def _check_file(archive: Path, part: dict[str, Any], report: Verification) -> bool:
    """Check one part's file against its catalog entry.

    Raises
    ------
    FileNotFoundError
    """
    path = archive / part["path"]
    report.parts += 1
    if path.stat().st_size != part["bytes"] or sha256_of(path) != part["sha256"]:
        report.problems.append(
            f"part {part['path']} is not the file that was published: its sha256 differs"
        )
        return False
    try:
        rows = pq.read_metadata(path).num_rows
    except FileNotFoundError:
        raise
    except (OSError, pa.ArrowException) as error:
        report.problems.append(f"part {part['path']} cannot be read: {error}")
        return False
    if rows != part["rows"]:
        report.problems.append(f"part {part['path']} has {rows} rows, the catalog {part['rows']}")
        return False
    return True


def _check_ledger(
    catalog: CatalogReader, runs: dict[str, dict[str, Any]], report: Verification
) -> None:
    """Check that exactly one gap stands between two covered intervals of a stream."""
    intervals: dict[tuple[str, str], list[dict[str, Any]]] = {}
    gaps: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for run_id in runs:
        for row in catalog.rows_of("coverage", run_id):
            intervals.setdefault((row["symbol"], row["stream"]), []).append(row)
        for row in catalog.rows_of("gaps", run_id):
            gaps.setdefault((row["symbol"], row["stream"]), []).append(row)
    for key, rows in intervals.items():
        rows.sort(key=lambda row: (row["ts_from"], row["ts_to"], row["ordinal_first"]))
        for earlier, later in _neighbours(rows):
            between = [
                gap
                for gap in gaps.get(key, ())
                if gap["run_id"] == earlier["run_id"]
                and gap["ordinal_from"] == earlier["ordinal_last"]
                and gap["ts_to"] == later["ts_from"]
            ]
            if len(between) != 1:
                report.problems.append(
                    f"{key[0]} {key[1]}: {len(between)} gaps instead of one between "
                    f"{format_iso(earlier['ts_to'])} and {format_iso(later['ts_from'])}"
                )


def _neighbours(rows: list[dict[str, Any]]) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """Yield the pairs of covered intervals of a stream that a gap stands between.

    Those of one run, one after the other; and the last of a run with the first of the next, unless
    a run that began before covers that place.
    """
    runs: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        runs.setdefault(row["run_id"], []).append(row)
    reaching = rows[0]  # the end of the run that came furthest
    for number, intervals in enumerate(runs.values()):
        yield from pairwise(intervals)
        first, last = intervals[0], intervals[-1]
        if number and first["ts_from"] >= reaching["ts_to"]:
            yield reaching, first
        if last["ts_to"] >= reaching["ts_to"]:
            reaching = last


def _check_rows(
    archive: Path,
    catalog: CatalogReader,
    run: dict[str, Any],
    published: _Published,
    report: Verification,
) -> None:
    """Compare one run's rows and ledger with a rebuild from its raw log."""
    run_id = run["run_id"]
    while True:
        # Segments are looked up behind the checkpoint: a run that goes on opens new ones.
        checkpoint = catalog.checkpoint(run_id)
        segments = list_segments(archive).get(run_id, [])
        try:
            if _has_whole_log(catalog, run_id, checkpoint, segments, report):
                _compare_with_log(archive, catalog, run, published, segments, report)
            return
        except _SegmentGone as error:
            gone = error.path.relative_to(archive).as_posix()
            if gone not in catalog.removed_segments().get(run_id, set()):
                report.problems.append(f"segment {gone} went while it was read: nobody removed it")
                return


class _SegmentGone(Exception):
    """A segment of the raw log is not there any more."""

    def __init__(self, path: Path) -> None:
        self.path = path
        super().__init__(str(path))


@contextmanager
def _reading(segments: list[RawSegment]) -> Iterator[None]:
    """Tell a segment that retention took from under us from any other file that is missing."""
    try:
        yield
    except FileNotFoundError:
        for segment in segments:
            if not segment.path.exists():
                raise _SegmentGone(segment.path) from None
        raise


def _compare_with_log(
    archive: Path,
    catalog: CatalogReader,
    run: dict[str, Any],
    published: _Published,
    segments: list[RawSegment],
    report: Verification,
) -> None:
    run_id = run["run_id"]
    with tempfile.TemporaryDirectory(prefix="booktape-verify-") as scratch:
        into = Path(scratch) / "archive"
        with ArchiveFolder(into) as folder:
            damage: list[RawLogDamaged] = []
            with _reading(segments):
                lines = replay_run(into, folder.catalog, segments, RollRules(), damage.append)
            report.lines += lines
            if damage:
                # Behind it ordinals are others: nothing more can be said of this run's rows.
                report.problems += [str(error) for error in damage]
                return
            rebuilt = folder.catalog.parts_of_run(run_id)
            is_over = run["ts_stop"] is not None
            _compare_streams(archive, catalog, published, into, rebuilt, report, is_over=is_over)
            if is_over:
                with catalog.moment():
                    _compare_ledgers(catalog, folder.catalog, run_id, report)


def _has_whole_log(
    catalog: CatalogReader,
    run_id: str,
    checkpoint: dict[str, Any] | None,
    segments: list[RawSegment],
    report: Verification,
) -> bool:
    """Say whether a run's raw log is all there; tell what is missing and whether it may be."""
    removed = {
        parse_raw_segment_name(path.rpartition("/")[2])[1]
        for path in catalog.removed_segments().get(run_id, set())
    }
    last_number = max(removed, default=0)
    if checkpoint is not None and checkpoint["raw_path"]:
        name = checkpoint["raw_path"].rpartition("/")[2]
        last_number = max(last_number, parse_raw_segment_name(name)[1])
    left = [segment for segment in segments if segment.number not in removed]
    lost = set(missing_numbers(left, last_number)) - removed
    if not segments and not removed:
        report.problems.append(f"run {run_id} has no raw log: its rows cannot be proven")
        return False
    if lost:
        report.problems.append(
            f"run {run_id} lacks segment {min(lost)} of its raw log, which nobody removed: "
            "its rows cannot be proven"
        )
        return False
    if not removed:
        return True
    # What came first is gone, so the rest means nothing as rows. It must still be readable.
    damage: list[RawLogDamaged] = []
    with _reading(left):
        lines = sum(map(len, read_run(left, damage.append)))
    report.lines += lines
    report.not_comparable.append(
        f"run {run_id}: {len(removed)} of {len(removed) + len(left)} segments of its raw log are "
        "not comparable, removed by retention"
    )
    report.problems += [str(error) for error in damage]
    return False


def _compare_streams(
    archive: Path,
    catalog: CatalogReader,
    published: _Published,
    into: Path,
    rebuilt: list[dict[str, Any]],
    report: Verification,
    *,
    is_over: bool,
) -> None:
    streams: dict[tuple[str, str, str], tuple[list[dict[str, Any]], list[dict[str, Any]]]] = {}
    for side, rows in enumerate((published.parts, rebuilt)):
        for part in rows:
            key = (part["dataset"], part["symbol"], part["stream"])
            streams.setdefault(key, ([], []))[side].append(part)
    for (dataset, symbol, stream), (ours, theirs) in sorted(streams.items()):
        source = RowSource(into, theirs)
        source.skip(published.removed.get((dataset, symbol, stream), 0))
        for part in ours:
            report.rows += part["rows"]
            if part["path"] not in published.sound:
                source.skip(part["rows"])
                continue
            try:
                difference = part_difference(archive / part["path"], source)
            except FileNotFoundError:  # opened before any row was taken
                source.skip(part["rows"])
                if not catalog.is_live(part["path"]):
                    published.left.add(part["path"])
                    continue
                difference = "it is missing now"
            if difference:
                report.problems.append(
                    f"part {part['path']} is not what the raw log says: {difference}"
                )
        left = source.remaining
        if left and is_over:
            report.problems.append(
                f"{symbol} {stream}: {left} rows of {dataset} in the raw log are in no part"
            )


def _compare_ledgers(
    catalog: CatalogReader, rebuilt: CatalogReader, run_id: str, report: Verification
) -> None:
    for table, names in _LEDGER_COMPARED.items():
        ours, theirs = (
            sorted(
                ((row["symbol"], row["stream"], *(row[name] for name in names)) for row in rows),
                key=repr,
            )
            for rows in (
                _comparable(source.rows_of(table, run_id), table, catalog, run_id)
                for source in (catalog, rebuilt)
            )
        )
        if ours != theirs:
            only_here = [row for row in ours if row not in theirs]
            only_there = [row for row in theirs if row not in ours]
            report.problems.append(
                f"{table} of run {run_id} differ from the raw log's: "
                f"only in the catalog {only_here[:1]}, only in the raw log {only_there[:1]}"
            )
    _compare_healing(catalog, rebuilt, run_id, report)


def _compare_healing(
    catalog: CatalogReader, rebuilt: CatalogReader, run_id: str, report: Verification
) -> None:
    """Check that gaps inside a run ended when and how its raw log says.

    One that is said to be filled in is taken for covered.
    """
    ours, theirs = (
        {
            (row["symbol"], row["stream"], row["ordinal_from"], row["ts_from"]): [
                row[name] for name in _HEALING
            ]
            for row in source.rows_of("gaps", run_id)
        }
        for source in (catalog, rebuilt)
    )
    ended = [key for key, gap in theirs.items() if gap[_HEALING.index("ts_to")] is not None]
    for key in ended:
        if key in ours and ours[key] != theirs[key]:
            report.problems.append(
                f"gaps of run {run_id} ended otherwise than the raw log says: {key[0]} {key[1]} "
                f"{dict(zip(_HEALING, ours[key], strict=True))}, in the raw log "
                f"{dict(zip(_HEALING, theirs[key], strict=True))}"
            )
            return


def _comparable(
    rows: list[dict[str, Any]], table: str, catalog: CatalogReader, run_id: str
) -> Iterator[dict[str, Any]]:
    """Yield the rows of a ledger that a run's raw log and the catalog must agree on.

    Both are brought to what retention left of each stream, as the archive's catalog has it.
    """
    for row in rows:
        floor = catalog.floor_of(row["symbol"], row["stream"], run_id)
        if table == "coverage":
            left = trimmed(row, floor)
            if left is not None:
                yield left
        elif table == "audits":
            yield row
        elif row["healed_by"] not in _BY_NEXT_RUN or row["reason"] not in _BETWEEN_RUNS:
            begins = catalog.gaps_begin(row["symbol"], row["stream"]) if floor else 0
            if row["ts_from"] >= begins:
                yield row


def _check_books(archive: Path, report: Verification) -> None:
    """Let the other package rebuild every book, as a process of its own."""
    command = [sys.executable, "-m", "replay.cli", "verify", str(archive), "--json"]
    done = subprocess.run(command, capture_output=True, check=False)
    if done.returncode not in {0, 1}:
        report.problems.append(
            f"replay verify could not run: {done.stderr.decode(errors='replace').strip()}"
        )
        return
    try:
        report.books = orjson.loads(done.stdout)
    except orjson.JSONDecodeError:
        report.problems.append(f"replay verify said nothing readable: {done.stdout[:200]!r}")
        return
    if done.returncode:
        report.problems.append("replay verify: rebuilt books are not equal (see `books`)")
