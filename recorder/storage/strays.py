"""Parts on disk that the catalog does not name: what a crash left, or what an old catalog forgot.

A crash leaves rows that the raw log or other parts hold as well: those files go. A catalog that was
restored from a copy made before a compaction does not know the merged parts, and the parts it knows
are gone: then the merged ones take their place. Whatever is neither may be the only copy of its
rows: it is set aside, out of the readers' way, and told.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from recorder.storage.catalog_writer import CatalogWriter
from recorder.storage.disk import disk
from recorder.storage.durable import move_file
from recorder.storage.part_writer import sha256_of
from recorder.storage.raw_log import list_segments, missing_numbers
from schemas.archive_layout import SET_ASIDE, UNFINISHED_SUFFIX, symbol_of_folder
from schemas.datasets import DATASETS

_UNIT = ("dataset", "date", "symbol", "stream", "run_id")
_Unit = tuple[str, ...]


@dataclass(slots=True)
class Strays:
    """What became of them; paths relative to the archive.

    Attributes
    ----------
    removed : list[str]    their rows are in the raw log, or in parts that are there
    taken_in : list[str]   in force now instead of parts that are gone
    set_aside : list[str]  where they were; they lie at the same path below `set_aside/` now
    """

    removed: list[str] = field(default_factory=list)
    taken_in: list[str] = field(default_factory=list)
    set_aside: list[str] = field(default_factory=list)


def settle_strays(archive: Path, catalog: CatalogWriter, ts_now: int) -> Strays:
    """Deal with every named part that the catalog does not know, before crashed runs are finished.

    Parameters
    ----------
    ts_now : int   ns UTC
    """
    settled = Strays()
    found = list(_unknown(archive, catalog.part_paths()))
    if not found:
        return settled
    live: dict[_Unit, list[dict[str, Any]]] = {}
    for part in catalog.live_parts():
        live.setdefault(_unit(part), []).append(part)
    described = [(path, _describe(archive, path)) for path in found]
    settled.set_aside += [path for path, row in described if row is None]
    strays = sorted((row for _, row in described if row is not None), key=_in_order)
    from_raw_log = _runs_to_be_finished(archive, catalog)
    for unit, group in groupby(strays, key=_unit):
        rows = list(group)
        gone = [part for part in live.get(unit, []) if not disk().is_file(archive / part["path"])]
        taken_in = _take_in(catalog, rows, live.get(unit, []), gone, ts_now)
        settled.taken_in += taken_in
        paths = [row["path"] for row in rows if row["path"] not in taken_in]
        is_whole = bool(taken_in) or not gone
        if is_whole and (rows[0]["run_id"] in from_raw_log or _is_held(catalog, unit, live)):
            settled.removed += paths
        else:
            settled.set_aside += paths
    for path in settled.removed:
        disk().unlink(archive / path)
    for path in settled.set_aside:
        move_file(archive / path, archive / SET_ASIDE / path)
    return settled


def set_aside_paths(archive: Path) -> list[str]:
    """Return the paths of the parts that lie set aside, relative to the archive."""
    folder = archive / SET_ASIDE
    files = (path for path in disk().glob(folder, "**/*") if disk().is_file(path))
    return [path.relative_to(archive).as_posix() for path in files]


def _unknown(archive: Path, known: set[str]) -> Iterator[str]:
    for dataset in DATASETS:
        for path in disk().glob(archive / dataset, "date=*/symbol=*/*"):
            relative = path.relative_to(archive).as_posix()
            if relative not in known and not relative.endswith(UNFINISHED_SUFFIX):
                yield relative


def _runs_to_be_finished(archive: Path, catalog: CatalogWriter) -> set[str]:
    """Return the runs whose rows are made again from a raw log that is all there."""
    runs = catalog.runs()
    return {
        run_id
        for run_id, segments in list_segments(archive).items()
        if (run_id not in runs or runs[run_id]["ts_stop"] is None) and not missing_numbers(segments)
    }


def _is_held(catalog: CatalogWriter, unit: _Unit, live: dict[_Unit, list[dict[str, Any]]]) -> bool:
    """Say whether the parts in force hold all rows of a unit, or retention removed it.

    Of a run that has ended every row was published: what else turns up are the same rows merged.
    """
    run = catalog.runs().get(unit[-1])
    if run is None or run["ts_stop"] is None:
        return False
    if unit in live:
        return True
    return unit in {_unit(row) for row in catalog.rows_of("removals", unit[-1]) if row["symbol"]}


def _take_in(
    catalog: CatalogWriter,
    strays: list[dict[str, Any]],
    live: list[dict[str, Any]],
    gone: list[dict[str, Any]],
    ts_now: int,
) -> list[str]:
    """Put strays in force for parts of a unit that are gone, where they hold the same rows.

    Returns
    -------
    list[str]   the strays taken in
    """
    for parts in (gone, live) if gone else ():
        first, last = parts[0]["ordinal_first"], parts[-1]["ordinal_last"]
        inside = [s for s in strays if s["ordinal_first"] >= first and s["ordinal_last"] <= last]
        if inside and _extent(inside) == _extent(parts):
            books = list(_moved_books(catalog, parts, inside))
            with catalog.transaction():
                catalog.swap_parts([part["path"] for part in parts], inside, books, ts_now)
            return [stray["path"] for stray in inside]
    return []


def _extent(parts: list[dict[str, Any]]) -> tuple[int, ...]:
    """Return what rows in order and their merged likeness have in common."""
    return (
        sum(part["rows"] for part in parts),
        parts[0]["ordinal_first"],
        parts[-1]["ordinal_last"],
        parts[0]["ts_first"],
        parts[-1]["ts_last"],
        min(part["sequence_first"] for part in parts),
        max(part["sequence_last"] for part in parts),
    )


def _moved_books(
    catalog: CatalogWriter, gone: list[dict[str, Any]], strays: list[dict[str, Any]]
) -> Iterator[dict[str, Any]]:
    """Yield the full books of the parts that are gone, with their places in the strays."""
    first = gone[0]
    starts = dict(_starts(gone))
    places = list(_starts(strays))
    for book in catalog.full_books_of(first["symbol"], first["stream"], first["run_id"]):
        if book["path"] in starts:
            row = starts[book["path"]] + book["row_first"]
            path, start = max((p for p in places if p[1] <= row), key=lambda place: place[1])
            yield {**book, "path": path, "row_first": row - start}


def _starts(parts: Iterable[dict[str, Any]]) -> Iterator[tuple[str, int]]:
    row = 0
    for part in parts:
        yield part["path"], row
        row += part["rows"]


def _describe(archive: Path, path: str) -> dict[str, Any] | None:
    """Return the row of `parts` for a file, None for one that is no part of ours, or not whole."""
    dataset, date, symbol, name = path.split("/")
    sha256 = sha256_of(archive / path)
    if not name.endswith(f"-{sha256[:12]}.parquet"):
        return None
    wanted = ["ts_recv", "held_ns", "ordinal", "sequence", "run_id"]
    wanted += ["book"] if dataset == "book_snapshots" else []
    try:
        with disk().open(archive / path) as file:
            table = pq.read_table(file, columns=wanted)
    except (pa.ArrowException, OSError):
        return None
    if not len(table):
        return None
    known = pc.add(table["ts_recv"].cast(pa.int64()), table["held_ns"])
    sequences = pc.min_max(table["sequence"])
    return {
        "path": path,
        "dataset": dataset,
        "date": date.removeprefix("date="),
        "symbol": symbol_of_folder(symbol),
        "stream": table["book"][0].as_py() if "book" in wanted else DATASETS[dataset].streams[0],
        "run_id": table["run_id"][0].as_py(),
        "rows": len(table),
        "bytes": disk().size(archive / path),
        "sha256": sha256,
        "ts_first": known[0].as_py(),
        "ts_last": known[-1].as_py(),
        "ordinal_first": table["ordinal"][0].as_py(),
        "ordinal_last": table["ordinal"][-1].as_py(),
        "sequence_first": sequences["min"].as_py(),
        "sequence_last": sequences["max"].as_py(),
        "ts_published": None,
        "ts_replaced": None,
    }


def _unit(row: dict[str, Any]) -> _Unit:
    return tuple(row[name] for name in _UNIT)


def _in_order(row: dict[str, Any]) -> tuple[Any, ...]:
    return (_unit(row), row["ordinal_first"], row["ts_first"], row["ordinal_last"])
