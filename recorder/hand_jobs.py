"""A job by hand, without a recorder: the archive is opened, tended, and given free again."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from recorder.archive_jobs import ArchiveJobs, TendingRules
from recorder.config import Config
from recorder.errors import RecorderError
from recorder.jobs import Done, Job, JobRun, Jobs
from recorder.logs import get_log
from recorder.recovery import recover
from recorder.storage.archive_folder import ArchiveFolder
from recorder.storage.open_parts import RollRules
from recorder.tape import roll_rules

# Jobs that ask the exchange: what it answers is recorded, by a recorder.
ASKING = ("instruments", "status")

T = TypeVar("T")


class NeedsRecorder(RecorderError):
    """A job that only a running recorder can do."""

    exit_code = 1

    def __init__(self, job: str, archive: Path) -> None:
        super().__init__(
            f"job {job} asks the exchange, and no recorder runs on {archive}",
            "start it with `recorder run CONFIG`; what the exchange answers is then recorded",
        )


async def run_by_hand(archive: Path, name: str, config: Config | None) -> JobRun:
    """Run a job on an archive that nobody writes.

    A crashed run is finished first, as every start does: no job shall meet half of one.

    Parameters
    ----------
    config : Config or None   None: the defaults, which remove nothing

    Raises
    ------
    UnknownJob      naming those there are
    NeedsRecorder   for a job that asks the exchange
    ArchiveLocked, NotAnArchive
    """
    rules = TendingRules.of(config) if config is not None else TendingRules()
    if name in ASKING:
        raise NeedsRecorder(name, archive)
    with ArchiveFolder(archive, must_exist=True) as folder:
        jobs = _jobs(folder, rules)
        if name in jobs.names:
            recover(folder, roll_rules(config) if config is not None else RollRules())
        return await jobs.run(name)


def _jobs(folder: ArchiveFolder, rules: TendingRules) -> Jobs:
    async def in_writer(work: Callable[[], T]) -> T:
        return work()  # nobody else writes

    async def keep(run: JobRun) -> None:
        with folder.catalog.transaction():
            folder.catalog.put_job(run.row)
        folder.catalog.publish_parquet()

    log = get_log("recorder")
    tending = ArchiveJobs(folder, lambda: rules, in_writer, log).jobs()
    jobs = [Job("roll", _nothing_open), *tending, *(Job(name, _refuse) for name in ASKING)]
    return Jobs({job.name: job for job in jobs}, keep, log)


async def _nothing_open() -> Done:
    return Done("no recorder runs here: every part is published", is_nothing=True)


async def _refuse() -> Done:
    raise AssertionError("refused before the archive is opened")
