"""A live recording: group commits into the raw log, and behind it through the pipeline to parts."""

from __future__ import annotations

import os
import re
import socket
import sqlite3
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from recorder.clock import monotonic_s, wall_ns
from recorder.errors import DiskFull
from recorder.meters import Meters
from recorder.pipeline.output import Command
from recorder.pipeline.routes import Key
from recorder.raw_line import RawLine
from recorder.recovery import Recovered, recover
from recorder.run_writer import RunWriter
from recorder.storage.archive_folder import ArchiveFolder
from recorder.storage.checkpoints import CheckpointRules, Checkpoints, load_checkpoint
from recorder.storage.open_parts import RollRules
from recorder.storage.raw_follower import RawLogFollower
from recorder.storage.raw_log import BEGINNING, RawLogWriter, RawPosition, list_segments
from recorder.storage.room import Reserve, is_disk_full
from schemas.timestamps import NS_PER_S

MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class RecordingSettings:
    """What the storage needs of the configuration.

    Attributes
    ----------
    segment_bytes : int   a raw-log segment closes at this size
    reserve_bytes : int   kept for the last lines of a full disk while a run goes on
    """

    segment_bytes: int = 256 * MIB
    rules: RollRules = field(default_factory=RollRules)
    checkpoints: CheckpointRules = field(default_factory=CheckpointRules)
    reserve_bytes: int = 0


def new_run_id(now: datetime | None = None) -> str:
    """Return `YYYYMMDDTHHMMSS.ffffffZ-<host>-<pid>`."""
    moment = (now or datetime.fromtimestamp(wall_ns() / NS_PER_S, UTC)).astimezone(UTC)
    host = re.sub(r"[^A-Za-z0-9.-]", "_", socket.gethostname()) or "host"
    return f"{moment:%Y%m%dT%H%M%S.%f}Z-{host}-{os.getpid()}"


class Recording:
    """Everything between the shell and the disk.

    `append` is for one thread and all else for another: they share no state but counters that
    only the one adds to.

    Attributes
    ----------
    run_id : str
    recovered : list[Recovered]   crashed runs that were finished at the start
    archive : ArchiveFolder       what is recorded into; its catalog is this thread's as well
    meters : Meters               what has been counted
    decoded : RawPosition         behind the last line that was looked into
    """

    def __init__(
        self, archive: ArchiveFolder, settings: RecordingSettings, recovered: list[Recovered]
    ) -> None:
        self.run_id = new_run_id()
        self.recovered = recovered
        self.archive = archive
        self.meters = Meters()
        self.decoded = BEGINNING
        self._follower: RawLogFollower | None = None
        self._raw_log = RawLogWriter(archive.path, self.run_id, settings.segment_bytes)
        self._is_full = False  # in the raw log's thread
        self._reserve = Reserve(archive.path, settings.reserve_bytes)
        self._reserve.make()
        self._rules = settings.rules
        self._refused: list[str] = []
        self._told_before = BEGINNING  # up to here commands and incidents have been handed on
        self._checkpoints = Checkpoints(archive.path, self.run_id, settings.checkpoints)
        self._writer = RunWriter(
            archive.path,
            archive.catalog,
            settings.rules,
            meters=self.meters,
            checkpoints=self._checkpoints,
        )
        self._writer.may_wait = True

    @classmethod
    def create(cls, archive: Path, settings: RecordingSettings) -> Recording:
        """Open an archive for a new run; finish crashed ones first.

        Raises
        ------
        ArchiveLocked, ArchiveUnwritable, RawLogDamaged
        """
        folder = ArchiveFolder(archive)
        try:
            return cls(folder, settings, recover(folder, settings.rules))
        except BaseException:
            folder.close()
            raise

    def append(self, lines: list[RawLine]) -> RawPosition:
        """Make lines durable; in one thread, beside the one that decodes.

        Returns
        -------
        RawPosition   behind them

        Raises
        ------
        DiskFull  when there is no room, and until `resume` finds some; nothing of them is kept
        OSError   when the disk refuses: the run must end, nothing may be recorded into the void
        """
        if self._is_full:
            raise DiskFull(str(self.archive.path), "lines, and recording is paused")
        try:
            return self._append(lines)
        except DiskFull:
            self._is_full = True
            raise

    def pause(self, lines: list[RawLine]) -> RawPosition:
        """Make last lines durable at the expense of the reserve; in the thread of `append`.

        Raises
        ------
        DiskFull   when even that is not enough, or the line that begins the run found no room: a
            run without it could not be read, now or at any later start
        """
        self._is_full = True
        if not self._raw_log.lines:
            raise DiskFull(str(self.archive.path), "the first lines of a run")
        self._reserve.release()
        return self._append(lines)

    def resume(self, lines: list[RawLine]) -> RawPosition:
        """Make the reserve again, then first lines durable; in the thread of `append`.

        Raises
        ------
        DiskFull   when there is not enough room
        """
        self._reserve.make()
        try:
            position = self._append(lines)
        except DiskFull:
            self._reserve.release()
            raise
        self._is_full = False
        return position

    def _append(self, lines: list[RawLine]) -> RawPosition:
        began = monotonic_s()
        raw_bytes = self._raw_log.append(lines)
        self.meters.commit_s.add(monotonic_s() - began)
        self.meters.fsync_s.add(self._raw_log.fsync_s)
        self.meters.count_durable(lines, raw_bytes)
        return self._raw_log.position

    def decode(self, lines: list[RawLine], position: RawPosition) -> list[Command]:
        """Look inside lines that are durable.

        Parameters
        ----------
        position : RawPosition   behind them

        Returns
        -------
        list[Command]   what the shell should do next
        """
        self._writer.raw_position = (self._raw_log.path_of(position.segment), position.offset)
        writer, is_told = self._writer, position.lines <= self._told_before.lines
        if not is_told:
            writer.meters = self.meters
        commands = writer.process(lines, position)
        self.decoded = position
        if is_told:
            writer.incidents.clear()
            commands = []
        if (
            writer.is_waiting
            and not writer.is_held
            and writer.open_bytes > self._rules.memory_max_bytes
        ):
            writer.hold()
        return commands

    @property
    def parts_held(self) -> bool:
        """Whether no parts are published for want of room; may be read in any thread."""
        return self._writer.is_waiting

    def hold_parts(self) -> None:
        """Publish no parts from now on: open rows wait, those too many for memory are let go.

        They are in the raw log, and are made again by `release_parts`.
        """
        self._writer.is_waiting = True

    def release_parts(self) -> RawPosition:
        """Publish parts again.

        Returns
        -------
        RawPosition   where decoding goes on: an earlier place where rows had to be let go
        """
        self._writer.is_waiting = False
        if self._writer.is_held:
            self._go_back()
        return self.decoded

    def _go_back(self) -> None:
        """Take the writer up again where its rows are still known, to make them anew."""
        catalog, path = self.archive.catalog, self.archive.path
        self._told_before = max(self._told_before, self.decoded, key=lambda place: place.lines)
        self._leave_raw_log()
        segments = list_segments(path)[self.run_id]
        refused: list[str] = []
        loaded = load_checkpoint(path, catalog, self.run_id, segments, refused.append)
        if loaded is None:
            self._writer = RunWriter(
                path,
                catalog,
                self._rules,
                catalog.published_rows(self.run_id),
                checkpoints=self._checkpoints,
            )
            self.decoded = BEGINNING
        else:
            self._writer = RunWriter.resume(
                path, catalog, self._rules, loaded, checkpoints=self._checkpoints
            )
            loaded.open_rows.clear()
            self.decoded = loaded.position
        self._writer.may_wait = True
        self._refused += [f"a checkpoint is of no use: {why}" for why in refused]

    def read_on(self, end: RawPosition) -> tuple[list[RawLine], RawPosition]:
        """Read the group commit behind what was decoded last, from the raw log.

        Parameters
        ----------
        end : RawPosition   behind what is durable; nothing is read there

        Returns
        -------
        lines, position   none at the end; the place behind them

        Raises
        ------
        RawLogDamaged, OSError   when what was made durable does not read back
        """
        follower = self._follower
        if follower is None or follower.position != self.decoded:
            self._leave_raw_log()
            path = self.archive.path
            follower = self._follower = RawLogFollower(
                lambda number: path / self._raw_log.path_of(number), self.decoded
            )
        lines = follower.read(end)
        position = follower.position
        if position.lines == end.lines:
            self._leave_raw_log()
        return lines, position

    def commit(self, lines: list[RawLine]) -> list[Command]:
        """Make lines durable, then look inside them, where one thread does both."""
        return self.decode(lines, self.append(lines)) if lines else []

    def _leave_raw_log(self) -> None:
        if self._follower is not None:
            self._follower.close()
            self._follower = None

    def roll(self, ts_now: int, *, force: bool = False) -> int:
        """Publish the parts due at `ts_now` (ns UTC), or all; return how many."""
        if not self._writer.pipeline.run_id:
            return 0  # its first line is still on its way
        return self._writer.roll(ts_now, force=force)

    def set_rules(self, rules: RollRules) -> None:
        """Close parts by other rules from now on."""
        self._rules = rules
        self._writer.set_rules(rules)

    def close(self) -> bool:
        """Publish everything and give the archive free.

        A run that committed no `run_stop` line ends as crashed, as a rebuild will see it.

        Returns
        -------
        bool   False where there was no room for it: the next start does it, from the raw log
        """
        try:
            if not self._writer.pipeline.run_id:
                return True
            if self._writer.is_held:
                return False
            self._writer.finish("crashed")
        except (OSError, sqlite3.OperationalError) as error:
            if not is_disk_full(error):
                raise
            return False
        else:
            return True
        finally:
            self.abandon()

    def abandon(self) -> None:
        """Give the archive free without publishing: the next start recovers from the raw log."""
        self._leave_raw_log()
        self._reserve.release()
        self._raw_log.close()
        self.archive.close()

    def take_incidents(self) -> list[str]:
        """Return the stories of quarantined streams since the last call."""
        incidents = [*self._refused, *self._writer.incidents]
        self._refused, self._writer.incidents = [], []
        return incidents

    def status(self) -> dict[Key, dict[str, Any]]:
        """Return state, sequence and gaps per (symbol, stream)."""
        return self._writer.pipeline.status()

    def counts(self) -> dict[str, int]:
        """Return lines by kind and frames by what became of them."""
        return dict(self._writer.pipeline.counts)

    @property
    def durable(self) -> Counter[int]:
        """Frames on disk by connection, counted after the fsync."""
        return self.meters.durable

    @property
    def raw_bytes(self) -> int:
        """Durable bytes of the open raw-log segment."""
        return self._raw_log.bytes

    @property
    def checkpoints(self) -> Checkpoints:
        """What a start after a crash would go on with."""
        return self._checkpoints

    @property
    def open_bytes(self) -> int:
        """Memory held by open parts, estimated, in bytes."""
        return self._writer.open_bytes
