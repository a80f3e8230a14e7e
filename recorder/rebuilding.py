"""`recorder rebuild`: the raw log alone makes the archive anew, after a parser fix for one."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from recorder.errors import NotAnArchive, RecorderError
from recorder.recovery import replay_run
from recorder.storage.archive_folder import ArchiveFolder
from recorder.storage.durable import beside, make_folder, publish_file
from recorder.storage.open_parts import RollRules
from recorder.storage.raw_log import RawSegment, list_segments
from schemas.archive_layout import CATALOG_DB


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """What came of a rebuild.

    Attributes
    ----------
    damage : list[str]   stretches of the raw log that cannot be read; gaps stand in their place
    """

    runs: int
    lines: int
    damage: list[str]


def rebuild(archive: Path, into: Path, rules: RollRules, *, with_raw_log: bool = True) -> Rebuilt:
    """Run every raw log of an archive through the pipeline into another archive.

    Parameters
    ----------
    archive : Path   only its raw log is read
    into : Path      must hold no archive yet
    with_raw_log : bool   copy the raw log too, so that the other archive is whole

    Raises
    ------
    NotAnArchive    when there is no raw log to rebuild from
    RecorderError   when `into` is already an archive
    """
    runs = list_segments(archive)
    if not runs:
        raise NotAnArchive(str(archive))
    if (into / CATALOG_DB).exists():
        raise RecorderError(
            f"{into} already holds an archive",
            "name an empty folder: a rebuild starts from nothing",
        )
    lines = 0
    damage: list[str] = []
    with ArchiveFolder(into) as folder:
        for segments in runs.values():
            if with_raw_log:
                for segment in segments:
                    _copy(archive, into, segment)
            lines += replay_run(
                into, folder.catalog, segments, rules, lambda error: damage.append(str(error))
            )
    return Rebuilt(len(runs), lines, damage)


def _copy(archive: Path, into: Path, segment: RawSegment) -> None:
    target = into / segment.path.relative_to(archive)
    make_folder(target.parent)
    shutil.copyfile(segment.path, beside(target))
    publish_file(target)
