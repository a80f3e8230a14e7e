"""Take stock of a recorder: the one place that looks into its running parts for the health pages.

The writer's thread tells the states of the streams, at most once a second and only when somebody
asks. A writer that hangs is not waited for: what it told last is shown, with its age.
"""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from recorder.clock import monotonic_s, wall_ns
from recorder.collector import CollectorStatus
from recorder.decoding import Decoding
from recorder.disk_policy import FULL, OK, DiskPolicy
from recorder.health.metrics import Counted, View
from recorder.health.readiness import Key
from recorder.health.status import (
    RECORDING,
    STARTING,
    ConnectionFacts,
    DiskFacts,
    Facts,
    JobFacts,
    PoolFacts,
)
from recorder.intake import Intake
from recorder.meters import Meters
from recorder.storage.disk_usage import archive_bytes
from recorder.tape import Tape
from recorder.writer_death import WriterDied, WritersLife
from schemas.timestamps import NS_PER_S

# A commit takes milliseconds. One that takes this long has met a disk that does not answer.
COMMIT_HANGS_S = 10.0
# A batch through the pipeline may publish many parts on its way.
DECODE_HANGS_S = 60.0
STREAMS_FRESH_S = 1.0
WRITER_PATIENCE_S = 1.0
# Adding up an archive reads its catalog and its folders: not for every look.
DISK_FRESH_S = 60.0
# Connections that ended, and are still listed with what they brought.
ENDED_SHOWN = 10


@dataclass(frozen=True, slots=True)
class Subject:
    """What is recorded, as far as the pages name it; `symbols` and `feeds` may change."""

    venue: str
    profile: str
    version: str
    archive: Path
    symbols: Sequence[str]
    feeds: Sequence[str]


@dataclass(slots=True)
class Told:
    """What the writer told last."""

    at: float = 0.0
    streams: Mapping[Key, Mapping[str, Any]] = field(default_factory=dict)
    counts: Mapping[str, int] = field(default_factory=dict)


class Monitor:
    """Facts of the moment, from a recorder that starts, records and stops.

    Parameters
    ----------
    subject : callable   returns what is recorded now

    Attributes
    ----------
    phase : str          starting, recording or stopping
    jobs : callable      returns the jobs' last runs
    venue : tuple        whether the venue trades (None: not known), and its message
    api_key_can_trade : bool   the key in use may do more than read
    has_no_room : bool   a start waits for room on the disk
    """

    def __init__(self, subject: Callable[[], Subject]) -> None:
        self.phase = STARTING
        self.jobs: Callable[[], Sequence[JobFacts]] = tuple
        self.venue: tuple[bool | None, str] = (None, "")
        self.api_key_can_trade = False
        self.has_no_room = False
        self._subject = subject
        self._ts_start = wall_ns()
        self._began = monotonic_s()
        self._tape: Tape | None = None
        self._intake: Intake | None = None
        self._decoding: Decoding | None = None
        self._disk_policy: DiskPolicy | None = None
        self._life: WritersLife | None = None
        self._collector: Callable[[], CollectorStatus] | None = None
        self._told = Told()
        self._telling: asyncio.Task[None] | None = None
        self._disk: DiskFacts | None = None
        self._disk_at = float("-inf")
        self._adding_up: asyncio.Task[None] | None = None

    def attach(
        self,
        tape: Tape,
        intake: Intake,
        decoding: Decoding,
        disk_policy: DiskPolicy,
        life: WritersLife,
        collector: Callable[[], CollectorStatus],
    ) -> None:
        """Look at these from now on; recording begins."""
        self._tape, self._intake, self._decoding = tape, intake, decoding
        self._disk_policy, self._life, self._collector = disk_policy, life, collector
        self.phase = RECORDING

    def trouble(self) -> str:
        """Say why the recorder is not alive; "" while it is."""
        intake, decoding, life = self._intake, self._decoding, self._life
        if intake is None or decoding is None or life is None:
            return ""
        if life.is_over:
            return str(life.failed.result()).partition("\n")[0]
        if intake.commit_age_s > COMMIT_HANGS_S:
            return f"a commit has hung for {intake.commit_age_s:.0f} s: the disk does not answer"
        if decoding.batch_age_s > DECODE_HANGS_S:
            return f"the writer has hung for {decoding.batch_age_s:.0f} s: no rows are made"
        return ""

    async def look(self) -> View:
        """Take stock now."""
        told = await self._ask_writer()
        await self._add_up_disk()
        meters = self._tape.meters if self._tape is not None else Meters()
        venue = self._collector() if self._collector is not None else None
        return View(self._facts(told, meters, venue), meters, self._counted(told, venue))

    def _disk_stage(self) -> str:
        if self._disk_policy is not None:
            return self._disk_policy.stage
        return FULL if self.has_no_room else OK

    def _counted(self, told: Told, venue: CollectorStatus | None) -> Counted:
        if venue is None:
            return Counted(told.counts)
        requests = {
            (pool, outcome): count
            for pool, status in venue.rest.items()
            for outcome, count in status.requests.items()
        }
        return Counted(
            told.counts,
            requests,
            venue.reconnects,
            venue.rotations,
            self.api_key_can_trade,
            venue.audit_interval_s,
        )

    def _facts(self, told: Told, meters: Meters, venue: CollectorStatus | None) -> Facts:
        subject, intake, decoding = self._subject(), self._intake, self._decoding
        trouble = self.trouble()
        return Facts(
            phase=self.phase,
            ts=wall_ns(),
            ts_start=self._ts_start,
            run_id=self._tape.run_id if self._tape is not None else "",
            version=subject.version,
            venue=subject.venue,
            profile=subject.profile,
            archive=str(subject.archive),
            symbols=subject.symbols,
            feeds=subject.feeds,
            writer_alive=not trouble,
            trouble=trouble,
            commit_age_s=intake.commit_age_s if intake is not None else 0.0,
            lines=intake.lines_committed if intake is not None else 0,
            queue_lines=intake.queue_lines if intake is not None else 0,
            queue_bytes=intake.queue_bytes if intake is not None else 0,
            decode_lag_lines=decoding.lag_lines if decoding is not None else 0,
            decode_lag_s=decoding.lag_s if decoding is not None else 0.0,
            decodes_from_raw_log=decoding is not None and decoding.is_reading_raw_log,
            decode_catch_ups=decoding.catch_ups if decoding is not None else 0,
            lines_dropped=intake.lines_dropped if intake is not None else 0,
            disk_stage=self._disk_stage(),
            disk_pauses=self._disk_policy.pauses if self._disk_policy is not None else 0,
            streams_age_s=monotonic_s() - told.at if told.at else 0.0,
            streams=told.streams,
            last_rows=dict(meters.last_rows),
            stream_gaps=dict(meters.stream_gaps),
            refused=venue.refused if venue is not None else {},
            connections=_connections(venue, dict(meters.durable)),
            connections_planned=venue.connections_planned if venue is not None else 0,
            jobs=self.jobs(),
            disk=self._disk,
            pools={
                pool: PoolFacts(status.used_ratio, status.paused_s, status.waiting)
                for pool, status in (venue.rest.items() if venue is not None else ())
            },
            venue_open=self.venue[0],
            venue_message=self.venue[1],
        )

    async def _ask_writer(self) -> Told:
        tape, decoding, life = self._tape, self._decoding, self._life
        if tape is None or decoding is None or life is None or life.is_over:
            return self._told
        if monotonic_s() - self._told.at < STREAMS_FRESH_S:
            return self._told
        if self._telling is None or self._telling.done():
            # One question at a time: a writer that hangs gathers no queue of them.
            self._telling = asyncio.create_task(self._tell(tape, decoding))
        await asyncio.wait({self._telling}, timeout=WRITER_PATIENCE_S)
        return self._told

    async def _tell(self, tape: Tape, decoding: Decoding) -> None:
        def tell() -> Told:
            return Told(monotonic_s(), tape.status(), tape.counts())

        with suppress(WriterDied):  # which ends the run, and is told there
            self._told = await decoding.run(tell)

    async def _add_up_disk(self) -> None:
        if self._tape is None or self._tape.archive is None:
            return
        if monotonic_s() - self._disk_at < DISK_FRESH_S:
            return
        if self._adding_up is None or self._adding_up.done():
            # One at a time, too: a disk that does not answer is asked once.
            self._adding_up = asyncio.create_task(self._look_at_disk(self._tape))
        await asyncio.wait({self._adding_up}, timeout=WRITER_PATIENCE_S)

    async def _look_at_disk(self, tape: Tape) -> None:
        assert tape.archive is not None
        folder, meters = tape.archive.path, tape.meters
        try:
            taken = await asyncio.to_thread(archive_bytes, folder)
            free = (await asyncio.to_thread(shutil.disk_usage, folder)).free
        except (OSError, sqlite3.Error):
            return  # nothing to show; whether the writer suffers from it, the writer tells
        self._disk_at = monotonic_s()
        written = meters.raw_bytes + sum(dict(meters.part_bytes).values())
        self._disk = DiskFacts(free, taken, written, self._disk_at - self._began)


def _connections(venue: CollectorStatus | None, durable: dict[int, int]) -> list[ConnectionFacts]:
    """List the websockets there are, then the last ones that ended: their frames stay durable."""
    if venue is None:
        return []
    now = wall_ns()
    there = [
        ConnectionFacts(
            each.number,
            each.topics,
            each.is_open,
            (now - each.opened_at) / NS_PER_S if each.opened_at else 0.0,
            each.frames,
            durable.get(each.number, 0),
        )
        for each in venue.connections
    ]
    numbers = {each.number for each in there}
    ended = sorted(durable.keys() - numbers)[-ENDED_SHOWN:]
    return there + [
        ConnectionFacts(number, 0, False, 0.0, durable[number], durable[number]) for number in ended
    ]
