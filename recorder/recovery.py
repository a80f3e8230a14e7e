"""At start: finish what a crash left behind, from the raw log."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recorder.clock import wall_ns
from recorder.errors import RawLogDamaged
from recorder.logs import get_log
from recorder.pipeline.pipeline import PipelineError
from recorder.run_writer import RunWriter
from recorder.storage.archive_folder import ArchiveFolder
from recorder.storage.catalog_writer import CatalogWriter
from recorder.storage.disk import disk
from recorder.storage.open_parts import RollRules
from recorder.storage.raw_log import (
    RawSegment,
    cut_torn_tail,
    is_repacked,
    list_segments,
    missing_numbers,
    read_run,
)
from recorder.storage.strays import settle_strays
from schemas.archive_layout import parse_raw_segment_name


@dataclass(frozen=True, slots=True)
class Recovered:
    """What was done about one crashed run.

    Attributes
    ----------
    bytes_cut : int   torn tail of its raw log: never acknowledged
    lines : int       lines run through the pipeline again
    damage : str      what of its raw log cannot be read, "" when all can: the run then ends there
    """

    run_id: str
    bytes_cut: int
    lines: int
    damage: str = ""


def recover(archive: ArchiveFolder, rules: RollRules) -> list[Recovered]:
    """Publish the rows of crashed runs that no part holds, and end those runs as `crashed`.

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
    recovered = []
    for run_id, segments in list_segments(archive.path).items():
        known = runs.get(run_id)
        if known is None or known["ts_stop"] is None:
            run = _recover_run(archive, run_id, segments, rules)
            if run.damage:
                get_log("recorder").warning(
                    "the raw log of a crashed run is not all there", run=run_id, problem=run.damage
                )
            if run.lines or known is not None:
                recovered.append(run)
    if runs:
        catalog.publish_parquet()  # a crash may have come between it and the commit
    return recovered


def _recover_run(
    archive: ArchiveFolder, run_id: str, segments: list[RawSegment], rules: RollRules
) -> Recovered:
    catalog = archive.catalog
    checkpoint = catalog.checkpoint(run_id)
    last_number = 0
    if checkpoint is not None and checkpoint["raw_path"]:
        last_number = parse_raw_segment_name(Path(checkpoint["raw_path"]).name)[1]
    missing = missing_numbers(segments, last_number)
    cut, damage = 0, ""
    try:
        cut = cut_torn_tail(segments[-1], _durable_bytes(archive.path, segments[-1], checkpoint))
    except RawLogDamaged as error:
        damage = str(error)
    if missing:
        # What comes behind is another story: neither its rows nor their ordinals would be right.
        damage = f"segment {missing[0]} of the raw log of run {run_id} is gone"
        segments = [segment for segment in segments if segment.number < missing[0]]
    writer = RunWriter(archive.path, catalog, rules, catalog.published_rows(run_id))
    try:
        for commit in read_run(segments):
            writer.process(commit)
    except RawLogDamaged as error:
        damage = str(error)
    pipeline = writer.pipeline
    if damage and checkpoint is not None and writer.lines < checkpoint["lines"]:
        # What is published reaches further than what can be read: it stays as it is.
        with catalog.transaction():
            catalog.end_run(run_id, checkpoint["ts"], "crashed")
    elif not missing and pipeline.start.get("source") and not pipeline.stop_reason:
        _forget(archive, run_id, segments)
    elif writer.lines:
        writer.finish("crashed")
    return Recovered(run_id, cut, writer.lines, damage)


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
