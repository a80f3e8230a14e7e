"""What writes, as the live shell sees it, and how a configuration becomes one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from recorder.config import Config
from recorder.disk_policy import DiskRules
from recorder.meters import Meters
from recorder.pipeline.output import Command
from recorder.pipeline.routes import Key
from recorder.raw_line import RawLine
from recorder.recording import MIB, Recording, RecordingSettings
from recorder.recovery import Recovered
from recorder.storage.archive_folder import ArchiveFolder
from recorder.storage.open_parts import RollRules
from recorder.storage.raw_log import RawPosition


class Tape(Protocol):
    """A recording, or a stand-in under test.

    `append` is called in one thread, everything else in another.
    """

    @property
    def run_id(self) -> str:
        """Name of this run."""

    @property
    def recovered(self) -> Sequence[Recovered]:
        """Crashed runs that opening this archive has finished."""

    @property
    def meters(self) -> Meters:
        """What has been counted; its numbers may be read in any thread."""

    @property
    def archive(self) -> ArchiveFolder | None:
        """The folder that is written; None of a stand-in without a disk."""

    @property
    def decoded(self) -> RawPosition:
        """Behind the last line that was decoded; may be read in any thread."""

    def append(self, lines: list[RawLine]) -> RawPosition:
        """Make lines durable; return the place behind them."""

    def decode(self, lines: list[RawLine], position: RawPosition) -> Sequence[Command]:
        """Make rows of durable lines; return what the pipeline wants done."""

    def read_on(self, end: RawPosition) -> tuple[list[RawLine], RawPosition]:
        """Read back the group commit behind what was decoded; no lines at `end`."""

    def roll(self, ts_now: int, *, force: bool = False) -> int:
        """Publish the parts that are due, or all of them; return how many."""

    def set_rules(self, rules: RollRules) -> None:
        """Close parts by other rules from now on."""

    def pause(self, lines: list[RawLine]) -> RawPosition:
        """Make last lines durable at the expense of the reserve; in the thread of `append`."""

    def resume(self, lines: list[RawLine]) -> RawPosition:
        """Make the reserve again, then first lines durable; in the thread of `append`.

        Raises
        ------
        DiskFull   when there is not enough room
        """

    @property
    def parts_held(self) -> bool:
        """Whether no parts are published for want of room; may be read in any thread."""

    def hold_parts(self) -> None:
        """Publish no parts from now on."""

    def release_parts(self) -> RawPosition:
        """Publish parts again; return where decoding goes on, which may be an earlier place."""

    def close(self) -> bool:
        """Publish every open part and let go of the archive; say whether there was room for it."""

    def abandon(self) -> None:
        """Let go of the archive and publish nothing: the next start recovers."""

    def take_incidents(self) -> list[str]:
        """Return the stories of quarantined streams since the last call."""

    def status(self) -> Mapping[Key, Mapping[str, Any]]:
        """Return per (symbol, stream) what an operator asks first."""

    def counts(self) -> Mapping[str, int]:
        """Return lines by kind and frames by what became of them."""


def open_tape(config: Config) -> Recording:
    """Open the configured archive for a new run; crashed ones are finished first.

    Raises
    ------
    ArchiveLocked, ArchiveUnwritable, RawLogDamaged
    """
    settings = RecordingSettings(
        config.raw_log.segment_mib * MIB,
        roll_rules(config),
        reserve_bytes=config.disk.reserve_mib * MIB,
    )
    return Recording.create(config.archive, settings)


def disk_rules(config: Config) -> DiskRules:
    """Return when a disk that fills up holds things back, as configured."""
    rules = config.disk
    return DiskRules(rules.reserve_mib * MIB, rules.parts_stop_mib * MIB, rules.resume_mib * MIB)


def roll_rules(config: Config) -> RollRules:
    """Return when a part closes, as configured."""
    parts = config.parts
    return RollRules(
        rows_max=parts.rows_max,
        rows_min=parts.rows_min,
        roll_interval_s=parts.roll_interval_s,
        memory_max_bytes=parts.memory_max_mb * 1_000_000,
    )
