"""At start: finish what a crash left behind, from the raw log."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from recorder.run_writer import RowCounts, RunWriter
from recorder.storage.archive_folder import ArchiveFolder
from recorder.storage.catalog_writer import CatalogWriter
from recorder.storage.open_parts import RollRules
from recorder.storage.raw_log import RawSegment, cut_torn_tail, list_segments, read_run


@dataclass(frozen=True, slots=True)
class Recovered:
    """What was done about one crashed run.

    Attributes
    ----------
    bytes_cut : int   torn tail of its raw log: never acknowledged
    lines : int       lines run through the pipeline again
    """

    run_id: str
    bytes_cut: int
    lines: int


def recover(archive: ArchiveFolder, rules: RollRules) -> list[Recovered]:
    """Publish the rows of crashed runs that no part holds, and end those runs as `crashed`.

    An import that was cut off is removed as a whole: its file still exists and can be imported
    again.

    Raises
    ------
    RawLogDamaged   when a raw log is damaged elsewhere than at its very end
    """
    archive.remove_unfinished()
    runs = archive.catalog.runs()
    recovered = []
    for run_id, segments in list_segments(archive.path).items():
        known = runs.get(run_id)
        if known is not None and known["ts_stop"] is not None:
            continue
        cut = cut_torn_tail(segments[-1])
        published = archive.catalog.published_rows(run_id)
        try:
            lines = replay_run(archive.path, archive.catalog, segments, rules, published)
        except _CutImport:
            _forget(archive, run_id, segments)
            lines = 0
        recovered.append(Recovered(run_id, cut, lines))
    return recovered


class _CutImport(Exception):
    """The run is an import without its end."""


def replay_run(
    path: Path,
    catalog: CatalogWriter,
    segments: list[RawSegment],
    rules: RollRules,
    published: RowCounts | None = None,
) -> int:
    """Run a run's raw log through the pipeline into parts.

    Returns
    -------
    int   lines read
    """
    writer = RunWriter(path, catalog, rules, published)
    lines = 0
    if segments[-1].path.stat().st_size == 0:
        segments = segments[:-1]  # opened, and no commit got into it
    for commit in read_run(segments):
        writer.process(commit)
        lines += len(commit)
    if not lines:
        return 0
    if not writer.pipeline.stop_reason and writer.pipeline.start.get("source"):
        raise _CutImport
    writer.finish("crashed")
    return lines


def _forget(archive: ArchiveFolder, run_id: str, segments: list[RawSegment]) -> None:
    paths = [part["path"] for part in archive.catalog.parts_of_run(run_id)]
    with archive.catalog.transaction():
        archive.catalog.forget_run(run_id)
    for path in [*(archive.path / relative for relative in paths), *(s.path for s in segments)]:
        path.unlink(missing_ok=True)
