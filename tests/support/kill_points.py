"""Every step of a job that reaches the disk, and death before the one with a given number.

In a process of its own the death is a SIGKILL: `python -m tests.support.kill_points ARCHIVE JOB N`.
"""

from __future__ import annotations

import os
import signal
import sqlite3
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from recorder.storage.archive_folder import ArchiveFolder
from tests.support.jobs_archive import run_job


class Killed(BaseException):
    """The process is gone."""


class KillPoints:
    """Count steps; at the one with a given number, and at each after it, die."""

    def __init__(
        self, patch: pytest.MonkeyPatch, dies_at: int = 0, die: Callable[[], None] | None = None
    ) -> None:
        self.steps = 0
        self._dies_at = dies_at
        self._die = die
        for owner, name in (
            (Path, "rename"),
            (Path, "unlink"),
            (Path, "rmdir"),
            (os, "fsync"),
            (pq.ParquetWriter, "write_table"),
        ):
            patch.setattr(owner, name, self._stepping(getattr(owner, name)))
        connect, points = sqlite3.connect, self

        class Connection(sqlite3.Connection):
            def __del__(self) -> None:  # what a killed process leaves open, the kernel closes
                self.close()

            def execute(self, sql: str, *values: Any) -> sqlite3.Cursor:
                if sql == "COMMIT":
                    points.step()
                if points.is_dead:
                    raise Killed
                cursor = super().execute(sql, *values)
                if sql == "COMMIT":
                    points.step()
                return cursor

        patch.setattr(
            sqlite3, "connect", lambda *a, **k: connect(*a, **{"factory": Connection, **k})
        )

    @property
    def is_dead(self) -> bool:
        """Whether it has come to that."""
        return 0 < self._dies_at <= self.steps

    def step(self) -> None:
        """Count one step."""
        self.steps += 1
        if self.is_dead:
            if self._die is not None:
                self._die()
            raise Killed

    def _stepping(self, real: Callable[..., Any]) -> Callable[..., Any]:
        def stepping(*values: Any, **words: Any) -> Any:
            self.step()
            return real(*values, **words)

        return stepping


def kill_myself() -> None:
    """Die as by `kill -9`."""
    os.kill(os.getpid(), signal.SIGKILL)


def main(archive: Path, job: str, dies_at: int) -> None:
    """Run a job of an archive until it is done or dead."""
    with pytest.MonkeyPatch.context() as patch:
        KillPoints(patch, dies_at, kill_myself)
        with ArchiveFolder(archive) as folder:
            run_job(folder, job)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]))
