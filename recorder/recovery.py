"""At start: finish what a crash left behind, from the raw log."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recorder.clock import wall_ns
from recorder.errors import RawLogDamaged
from recorder.logs import get_log
from recorder.pipeline.pipeline import PipelineError
from recorder.raw_line import RawLine
from recorder.run_writer import RunWriter
from recorder.storage.archive_folder import ArchiveFolder
from recorder.storage.catalog_writer import CatalogWriter
from recorder.storage.checkpoints import keep_checkpoints, load_checkpoint
from recorder.storage.disk import disk
from recorder.storage.open_parts import RollRules
from recorder.storage.raw_log import (
    BEGINNING,
    RawSegment,
    cut_torn_tail,
    is_repacked,
    list_segments,
    missing_numbers,
    read_from,
    read_run,
)
from recorder.storage.strays import settle_strays
from schemas.archive_layout import parse_raw_segment_name

# A group commit of a whole exchange brings each of a thousand symbols a row or none, and each
# of them costs as much as hundreds of rows: together they go many times as fast.
_LINES_AT_ONCE = 10_000


@dataclass(frozen=True, slots=True)
class Recovered:
    """What was done about one crashed run.

    Attributes
    ----------
    bytes_cut : int          torn tail of its raw log: never acknowledged
    lines : int              lines run through the pipeline again
    damage : str             what of its raw log cannot be read, "" when all can: the run then ends
                             there
    checkpoint_lines : int   lines that a checkpoint stood for, before the others
    """

    run_id: str
    bytes_cut: int
    lines: int
    damage: str = ""
    checkpoint_lines: int = 0


def recover(archive: ArchiveFolder, rules: RollRules) -> list[Recovered]:
    """Publish the rows of crashed runs that no part holds, and end those runs as `crashed`.

    Each goes on at its newest checkpoint that can be used, without one at its first line.

    An import that was cut off is removed as a whole: its file still exists and can be imported
    again. A raw log damaged in its middle ends its run there; nothing of it is removed, and a
    rebuild reads what follows.
    """
    archive.remove_unfinished()
    catalog = archive.catalog
    strays = settle_strays(archive.path, catalog, wall_ns())
    if strays.taken_in or strays.set_aside:
        get_log("recorder").warning(
            "parts on disk that the catalog did not know: it is older than they are",
            taken_in=len(strays.taken_in),
            set_aside=len(strays.set_aside),
        )
    runs = catalog.runs()
    found = list_segments(archive.path)
    crashed = [run_id for run_id in found if run_id not in runs or runs[run_id]["ts_stop"] is None]
    keep_checkpoints(archive.path, crashed)
    recovered = []
    for run_id in crashed:
        known = runs.get(run_id)
        run = _recover_run(archive, run_id, found[run_id], rules)
        if run.damage:
            get_log("recorder").warning(
                "the raw log of a crashed run is not all there", run=run_id, problem=run.damage
            )
        if run.lines or run.checkpoint_lines or known is not None:
            recovered.append(run)
    keep_checkpoints(archive.path, ())
    if runs:
        catalog.publish_parquet()  # a crash may have come between it and the commit
    return recovered


def _recover_run(
    archive: ArchiveFolder, run_id: str, segments: list[RawSegment], rules: RollRules
) -> Recovered:
    catalog = archive.catalog
    row = catalog.checkpoint(run_id)
    loaded = load_checkpoint(
        archive.path, catalog, run_id, segments, lambda why: _tell_refused(run_id, why)
    )
    begin = BEGINNING if loaded is None else loaded.position
    last_number = 0
    if row is not None and row["raw_path"]:
        last_number = parse_raw_segment_name(Path(row["raw_path"]).name)[1]
    missing = [n for n in missing_numbers(segments, last_number) if n >= begin.segment]
    cut, damage = 0, ""
    last = segments[-1]
    try:
        cut = cut_torn_tail(
            last,
            _durable_bytes(archive.path, last, row),
            begin.offset if last.number == begin.segment else 0,
        )
    except RawLogDamaged as error:
        damage = str(error)
    if missing:
        # What comes behind is another story: neither its rows nor their ordinals would be right.
        damage = f"segment {missing[0]} of the raw log of run {run_id} is gone"
        if missing[0] == 1:
            damage += ", and no checkpoint can take its place: what no part holds is lost"
        segments = [segment for segment in segments if segment.number < missing[0]]
    if loaded is None:
        writer = RunWriter(archive.path, catalog, rules, catalog.published_rows(run_id))
    else:
        writer = RunWriter.resume(archive.path, catalog, rules, loaded)
        loaded.open_rows.clear()  # the writer has them; parts that close give their memory free
    if row is not None:
        writer.raw_position = (row["raw_path"], row["raw_bytes"])
    try:
        for lines in _gathered(read_from(segments, begin)):
            writer.process(lines)
    except RawLogDamaged as error:
        damage = str(error)
    except PipelineError as error:
        # One run that nobody can read must not keep the archive from being recorded into.
        damage = damage or str(error)
    pipeline = writer.pipeline
    if damage and row is not None and writer.lines < row["lines"]:
        # What is published reaches further than what can be read: it stays as it is.
        with catalog.transaction():
            catalog.end_run(run_id, row["ts"], "crashed")
    elif not missing and pipeline.start.get("source") and not pipeline.stop_reason:
        _forget(archive, run_id, segments)
    elif writer.lines:
        writer.finish("crashed")
    return Recovered(run_id, cut, writer.lines - begin.lines, damage, begin.lines)


def _gathered(commits: Iterator[list[RawLine]]) -> Iterator[list[RawLine]]:
    """Yield the lines of many group commits at once: how they are batched changes no row.

    What comes before a damage is yielded before it is raised.
    """
    held: list[RawLine] = []
    try:
        for commit in commits:
            held += commit
            if len(held) >= _LINES_AT_ONCE:
                yield held
                held = []
    except RawLogDamaged:
        if held:
            yield held
        raise
    if held:
        yield held


def _tell_refused(run_id: str, why: str) -> None:
    get_log("recorder").warning("a checkpoint is of no use", run=run_id, problem=why)


def _durable_bytes(path: Path, segment: RawSegment, checkpoint: dict[str, Any] | None) -> int:
    if checkpoint is None or path / checkpoint["raw_path"] != segment.path:
        return 0
    if is_repacked(segment.path):
        return 0  # its bytes are others now, and it was whole when it got its name
    return int(checkpoint["raw_bytes"])


def replay_run(
    path: Path,
    catalog: CatalogWriter,
    segments: list[RawSegment],
    rules: RollRules,
    on_damage: Callable[[RawLogDamaged], None],
) -> int:
    """Run all of a run's raw log that can be read through the pipeline into parts.

    Returns
    -------
    int   lines read
    """
    missing = missing_numbers(segments)
    if missing and missing[0] == 1:
        # Without its first line nobody knows whose lines these are, nor what the books were.
        first = segments[0]
        on_damage(
            RawLogDamaged(str(first.path), 0, f"{first.number - 1} segments before it are gone")
        )
        return 0
    writer = RunWriter(path, catalog, rules)
    try:
        for commit in read_run(segments, on_damage):
            writer.process(commit)
    except PipelineError as error:
        # Without its first line nobody knows whose lines these are.
        on_damage(RawLogDamaged(str(segments[0].path), 0, str(error)))
        return 0
    if writer.lines:
        writer.finish("crashed")
    return writer.lines


def _forget(archive: ArchiveFolder, run_id: str, segments: list[RawSegment]) -> None:
    paths = archive.catalog.paths_of_run(run_id)
    with archive.catalog.transaction():
        archive.catalog.forget_run(run_id)
    archive.catalog.publish_parquet()
    for path in [*(archive.path / relative for relative in paths), *(s.path for s in segments)]:
        disk().unlink(path, missing_ok=True)
