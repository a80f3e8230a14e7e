"""`recorder verify`: files against catalog, ledger against itself, raw log against rows.

Rows are compared with what the pipeline makes of the raw log today, so a changed row is found
even where its file's sha256 and catalog entry were made to match.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from recorder.errors import RawLogDamaged
from recorder.recovery import replay_run
from recorder.storage.archive_folder import ArchiveFolder
from recorder.storage.catalog_reader import CatalogReader
from recorder.storage.open_parts import RollRules
from recorder.storage.part_writer import sha256_of
from recorder.storage.raw_log import RawSegment, list_segments
from schemas.timestamps import format_iso

_LEDGER_COMPARED = {
    "coverage": ("ordinal_first", "ordinal_last", "ts_from", "ts_to", "sequence_first",
                 "sequence_last", "messages", "rows"),
    "gaps": ("ordinal_from", "reason", "ts_from", "ts_detected", "sequence_expected"),
}  # fmt: skip

# Gaps with these reasons stand between two runs: no single run's raw log knows of them.
_BETWEEN_RUNS = frozenset({"stopped", "crashed", "source"})


@dataclass(slots=True)
class Verification:
    """What was checked, and what did not hold.

    Attributes
    ----------
    problems : list[str]   each names the file or the rows, empty when everything holds
    books : dict or None   the report of `replay verify`
    """

    parts: int = 0
    rows: int = 0
    lines: int = 0
    runs: int = 0
    problems: list[str] = field(default_factory=list)
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
        runs = catalog.runs()
        report.runs = len(runs)
        parts = {run_id: catalog.parts_of_run(run_id) for run_id in runs}
        sound = {
            part["path"]
            for run_parts in parts.values()
            for part in run_parts
            if _check_file(archive, part, report)
        }
        _check_ledger(catalog, runs, report)
        segments = list_segments(archive)
        for run_id, run in runs.items():
            _check_rows(
                archive, catalog, run, parts[run_id], sound, segments.get(run_id, []), report
            )
    finally:
        catalog.close()
    if with_books:
        _check_books(archive, report)
    return report


def _check_file(archive: Path, part: dict[str, Any], report: Verification) -> bool:
    """Check one part's file against its catalog entry."""
    path = archive / part["path"]
    report.parts += 1
    if not path.is_file():
        report.problems.append(f"part {part['path']} is missing")
        return False
    if path.stat().st_size != part["bytes"] or sha256_of(path) != part["sha256"]:
        report.problems.append(
            f"part {part['path']} is not the file that was published: its sha256 differs"
        )
        return False
    try:
        rows = pq.read_metadata(path).num_rows
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
        for earlier, later in pairwise(rows):
            between = [
                gap
                for gap in gaps.get(key, ())
                if gap["run_id"] == earlier["run_id"]
                and gap["ordinal_from"] == earlier["ordinal_last"]
                and gap["ts_to"] == later["ts_from"]
            ]
            overlap = later["ts_from"] < earlier["ts_to"] and later["run_id"] != earlier["run_id"]
            if len(between) != 1 and not overlap:
                report.problems.append(
                    f"{key[0]} {key[1]}: {len(between)} gaps instead of one between "
                    f"{format_iso(earlier['ts_to'])} and {format_iso(later['ts_from'])}"
                )


def _check_rows(
    archive: Path,
    catalog: CatalogReader,
    run: dict[str, Any],
    parts: list[dict[str, Any]],
    sound: set[str],
    segments: list[RawSegment],
    report: Verification,
) -> None:
    """Compare one run's rows and ledger with a rebuild from its raw log."""
    run_id = run["run_id"]
    if not segments:
        report.problems.append(f"run {run_id} has no raw log: its rows cannot be proven")
        return
    with tempfile.TemporaryDirectory(prefix="booktape-verify-") as scratch:
        into = Path(scratch) / "archive"
        with ArchiveFolder(into) as folder:
            damage: list[RawLogDamaged] = []
            report.lines += replay_run(into, folder.catalog, segments, RollRules(), damage.append)
            if damage:
                # Behind it ordinals are others: nothing more can be said of this run's rows.
                report.problems += [str(error) for error in damage]
                return
            rebuilt = folder.catalog.parts_of_run(run_id)
            is_over = run["ts_stop"] is not None
            _compare_streams(archive, parts, sound, into, rebuilt, report, is_over=is_over)
            if is_over:
                _compare_ledgers(catalog, folder.catalog, run_id, report)


def _compare_streams(
    archive: Path,
    parts: list[dict[str, Any]],
    sound: set[str],
    into: Path,
    rebuilt: list[dict[str, Any]],
    report: Verification,
    *,
    is_over: bool,
) -> None:
    streams: dict[tuple[str, str, str], tuple[list[dict[str, Any]], list[dict[str, Any]]]] = {}
    for side, rows in enumerate((parts, rebuilt)):
        for part in rows:
            key = (part["dataset"], part["symbol"], part["stream"])
            streams.setdefault(key, ([], []))[side].append(part)
    for (dataset, symbol, stream), (ours, theirs) in sorted(streams.items()):
        source = _Rows(into, theirs)
        for part in ours:
            expected = source.take(part["rows"])
            report.rows += part["rows"]
            if part["path"] not in sound:
                continue
            found = _plain(pq.read_table(archive / part["path"], partitioning=None))
            difference = _difference(found, expected)
            if difference:
                report.problems.append(
                    f"part {part['path']} is not what the raw log says: {difference}"
                )
        left = source.remaining
        if left and is_over:
            report.problems.append(
                f"{symbol} {stream}: {left} rows of {dataset} in the raw log are in no part"
            )


class _Rows:
    """Rows of one stream in order, taken in runs of any length."""

    def __init__(self, archive: Path, parts: list[dict[str, Any]]) -> None:
        self._archive = archive
        self._parts = deque(parts)
        self._table: pa.Table | None = None
        self.remaining = sum(part["rows"] for part in parts)

    def take(self, count: int) -> pa.Table | None:
        """Return the next rows, fewer at the end."""
        taken: list[pa.Table] = []
        while count:
            if self._table is None or not self._table.num_rows:
                if not self._parts:
                    break
                path = self._archive / self._parts.popleft()["path"]
                self._table = _plain(pq.read_table(path, partitioning=None))
            piece = self._table.slice(0, count)
            self._table = self._table.slice(piece.num_rows)
            taken.append(piece)
            count -= piece.num_rows
            self.remaining -= piece.num_rows
        return pa.concat_tables(taken) if taken else None


def _plain(table: pa.Table) -> pa.Table:
    """Return the table with words as text: dictionaries differ from part to part."""
    fields = [
        pa.field(f.name, pa.string() if pa.types.is_dictionary(f.type) else f.type)
        for f in table.schema
    ]
    return table.cast(pa.schema(fields)).replace_schema_metadata(None)


def _difference(found: pa.Table, expected: pa.Table | None) -> str:
    """Return the first difference in words, "" when there is none."""
    if expected is None or expected.num_rows < found.num_rows:
        rows = expected.num_rows if expected is not None else 0
        return f"{found.num_rows - rows} rows more than the raw log gives"
    if found.equals(expected):
        return ""
    for row in _differing_rows(found, expected):
        left, right = _row(found, row), _row(expected, row)
        names = [name for name in found.column_names if left.get(name) != right.get(name)]
        if names:
            name = names[0]
            return (
                f"row {row} (ordinal {left['ordinal']}), column {name}: "
                f"{left[name]!r} in the part, {right[name]!r} from the raw log"
            )
    return "its columns differ"


def _row(table: pa.Table, row: int) -> dict[str, Any]:
    """Return one row as plain values, times as ns: pyarrow hands out no ns without pandas."""
    piece = table.slice(row, 1)
    return {
        name: (column.cast(pa.int64()) if pa.types.is_timestamp(column.type) else column)[0].as_py()
        for name, column in zip(piece.column_names, piece.columns, strict=True)
    }


def _differing_rows(found: pa.Table, expected: pa.Table) -> Iterator[int]:
    """Yield candidates for the first differing row, by halving."""
    low, high = 0, found.num_rows
    while high - low > 1:
        middle = (low + high) // 2
        if found.slice(low, middle - low).equals(expected.slice(low, middle - low)):
            low = middle
        else:
            high = middle
    yield low


def _compare_ledgers(
    catalog: CatalogReader, rebuilt: CatalogReader, run_id: str, report: Verification
) -> None:
    for table, names in _LEDGER_COMPARED.items():
        ours, theirs = (
            sorted(
                (row["symbol"], row["stream"], *(row[name] for name in names))
                for row in source.rows_of(table, run_id)
                if row.get("healed_by") != "next_run" or row.get("reason") not in _BETWEEN_RUNS
            )
            for source in (catalog, rebuilt)
        )
        if ours != theirs:
            only_here = [row for row in ours if row not in theirs]
            only_there = [row for row in theirs if row not in ours]
            report.problems.append(
                f"{table} of run {run_id} differ from the raw log's: "
                f"only in the catalog {only_here[:1]}, only in the raw log {only_there[:1]}"
            )


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
