"""What is known of a recorder at one moment, and its form as JSON. Pure: facts in, dicts out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from recorder.health.readiness import Key, Unready, find_unready
from recorder.meters import LastRow
from schemas.kucoin.topics import STREAM_OF_FEED
from schemas.timestamps import NS_PER_S

# A rate taken over less says more about the moment than about the disk.
RUNWAY_AFTER_S = 60.0

STARTING, RECORDING, STOPPING = "starting", "recording", "stopping"
# Outcomes of a job's run.
OK, FAILED, NOTHING = "ok", "failed", "nothing"


@dataclass(frozen=True, slots=True)
class ConnectionFacts:
    """One websocket, open or lately closed.

    Attributes
    ----------
    topics : int             it carries
    is_open : bool
    age_s : float            since it was opened
    frames : int             received
    durable : int            of those, on disk: acknowledged
    """

    number: int
    topics: int
    is_open: bool
    age_s: float
    frames: int
    durable: int


@dataclass(frozen=True, slots=True)
class JobFacts:
    """The last run of a job, and the next.

    Attributes
    ----------
    ts_start : int            ns UTC; 0 when it has not run yet
    outcome : str             ok, failed or nothing; "" when it has not run yet
    ts_next : int or None     None: only by hand
    """

    name: str
    ts_start: int = 0
    duration_s: float = 0.0
    outcome: str = ""
    detail: str = ""
    is_running: bool = False
    ts_next: int | None = None


@dataclass(frozen=True, slots=True)
class DiskFacts:
    """Room on the archive's file system, and how fast it goes.

    Attributes
    ----------
    archive_bytes : int    raw log and parts
    written_bytes : int    since the run began
    over_s : float         seconds in which they were written
    """

    free_bytes: int
    archive_bytes: int
    written_bytes: int
    over_s: float

    @property
    def runway_s(self) -> float | None:
        """Seconds until the disk is full at this run's pace; None while that is not known."""
        if self.over_s < RUNWAY_AFTER_S or self.written_bytes <= 0:
            return None
        return self.free_bytes / (self.written_bytes / self.over_s)


@dataclass(frozen=True, slots=True)
class PoolFacts:
    """A REST budget.

    Attributes
    ----------
    used_ratio : float   share of the venue's limit used in its window
    paused_s : float     how long a pause still lasts
    waiting : int        requests that wait for their turn
    """

    used_ratio: float
    paused_s: float
    waiting: int = 0


@dataclass(frozen=True, slots=True)
class Facts:
    """Everything the pages show, taken at one moment.

    Attributes
    ----------
    phase : str            starting, recording or stopping
    ts : int               ns UTC
    writer_alive : bool    False once a write failed or hangs
    trouble : str          why it is not alive; "" when it is
    commit_age_s : float   of the oldest commit on its way; 0 when none is
    decode_lag_lines, decode_lag_s : durable and not decoded; between their times of receipt
    decodes_from_raw_log : bool   decoding is so far behind that it reads the raw log
    decode_catch_ups : int        how often it has been
    lines_dropped : int           for want of room on the disk; never acknowledged
    disk_stage : str              ok, parts_held or full
    disk_pauses : int             how often recording was paused because the disk was full
    streams_age_s : float  how old the states of the streams are: more than a moment when the
        writer was too busy to tell
    """

    phase: str
    ts: int
    ts_start: int
    run_id: str
    version: str
    venue: str
    profile: str
    archive: str
    symbols: Sequence[str]
    feeds: Sequence[str]
    writer_alive: bool = True
    trouble: str = ""
    commit_age_s: float = 0.0
    lines: int = 0
    queue_lines: int = 0
    queue_bytes: int = 0
    decode_lag_lines: int = 0
    decode_lag_s: float = 0.0
    decodes_from_raw_log: bool = False
    decode_catch_ups: int = 0
    lines_dropped: int = 0
    disk_stage: str = "ok"
    disk_pauses: int = 0
    streams_age_s: float = 0.0
    streams: Mapping[Key, Mapping[str, Any]] = field(default_factory=dict)
    last_rows: Mapping[Key, LastRow] = field(default_factory=dict)
    stream_gaps: Mapping[Key, int] = field(default_factory=dict)
    refused: Mapping[Key, str] = field(default_factory=dict)
    connections: Sequence[ConnectionFacts] = ()
    connections_planned: int = 0
    jobs: Sequence[JobFacts] = ()
    disk: DiskFacts | None = None
    pools: Mapping[str, PoolFacts] = field(default_factory=dict)
    venue_open: bool | None = None
    venue_message: str = ""

    @property
    def unready(self) -> list[Unready]:
        """What is wanted and not in step."""
        return find_unready(self.symbols, self.feeds, self.streams, self.refused)

    @property
    def wanted(self) -> frozenset[Key]:
        """The streams to be recorded; of one that was, some may still be known."""
        streams = [STREAM_OF_FEED[feed] for feed in self.feeds]
        return frozenset((symbol, stream) for symbol in self.symbols for stream in streams)

    @property
    def is_ready(self) -> bool:
        """Whether everything wanted is recorded in step."""
        is_recording = self.phase == RECORDING and self.writer_alive
        return is_recording and self.disk_stage != "full" and not self.unready


def format_health(phase: str, trouble: str) -> dict[str, Any]:
    """Return the content of `/healthz`."""
    if trouble:
        return {"status": "failing", "phase": phase, "problem": trouble}
    return {"status": "ok", "phase": phase}


def format_readiness(facts: Facts) -> dict[str, Any]:
    """Return the content of `/readyz`: every symbol that is not in step, with its reasons."""
    unready: dict[str, dict[str, str]] = {}
    if facts.phase == RECORDING:
        for each in facts.unready:
            unready.setdefault(each.symbol, {})[each.stream] = each.reason
    said: dict[str, Any] = {"ready": facts.is_ready, "phase": facts.phase}
    if not facts.writer_alive:
        said["problem"] = facts.trouble
    elif facts.disk_stage == "full":
        said["problem"] = "the disk is full: recording is paused until there is room"
    said["unready"] = [
        {"symbol": symbol, "reasons": reasons} for symbol, reasons in unready.items()
    ]
    return said


def format_status(facts: Facts) -> dict[str, Any]:
    """Return the content of `/status`."""
    unready = {(each.symbol, each.stream): each.reason for each in facts.unready}
    wanted, disk = facts.wanted, facts.disk
    return {
        "phase": facts.phase,
        "ready": facts.is_ready,
        "ts": facts.ts,
        "ts_start": facts.ts_start,
        "uptime_s": round((facts.ts - facts.ts_start) / NS_PER_S, 1),
        "run_id": facts.run_id,
        "version": facts.version,
        "venue": facts.venue,
        "profile": facts.profile,
        "archive": facts.archive,
        "venue_open": facts.venue_open,
        "venue_message": facts.venue_message,
        "writer": {
            "alive": facts.writer_alive,
            "problem": facts.trouble,
            "commit_age_s": round(facts.commit_age_s, 3),
            "lines": facts.lines,
            "queue_lines": facts.queue_lines,
            "queue_bytes": facts.queue_bytes,
        },
        "decode": {
            "lag_lines": facts.decode_lag_lines,
            "lag_s": round(facts.decode_lag_s, 3),
            "from_raw_log": facts.decodes_from_raw_log,
            "catch_ups": facts.decode_catch_ups,
        },
        "disk_stage": facts.disk_stage,
        "disk_pauses": facts.disk_pauses,
        "lines_dropped": facts.lines_dropped,
        "symbols_recorded": len(facts.symbols),
        "symbols_unsynced": len({symbol for symbol, _ in unready}),
        "streams_age_s": round(facts.streams_age_s, 1),
        "streams": [
            _format_stream(facts, key, unready.get(key, ""), is_wanted=key in wanted)
            for key in _order(facts, facts.streams.keys() | unready.keys())
        ],
        "connections_planned": facts.connections_planned,
        "connections": [
            {
                "number": each.number,
                "open": each.is_open,
                "topics": each.topics,
                "age_s": round(each.age_s, 1),
                "frames": each.frames,
                "durable": each.durable,
            }
            for each in facts.connections
        ],
        "jobs": [_format_job(job) for job in facts.jobs],
        "disk": disk
        and {
            "free_bytes": disk.free_bytes,
            "archive_bytes": disk.archive_bytes,
            "runway_s": None if disk.runway_s is None else round(disk.runway_s),
        },
        "rest": {
            pool: {
                "used_ratio": round(each.used_ratio, 3),
                "paused_s": round(each.paused_s, 1),
                "waiting": each.waiting,
            }
            for pool, each in facts.pools.items()
        },
    }


def _order(facts: Facts, keys: set[Key]) -> list[Key]:
    """Sort streams as the symbols are configured; what is no longer wanted comes last."""
    places = {symbol: place for place, symbol in enumerate(facts.symbols)}
    return sorted(keys, key=lambda key: (places.get(key[0], len(places)), key))


def _format_stream(facts: Facts, key: Key, reason: str, *, is_wanted: bool) -> dict[str, Any]:
    status = facts.streams.get(key, {})
    last = facts.last_rows.get(key)
    lag_s = quiet_s = None
    if last is not None:
        quiet_s = round((facts.ts - last.ts_recv) / NS_PER_S, 3)
        if last.ts_event is not None:
            lag_s = round((last.ts_recv - last.ts_event) / NS_PER_S, 6)
    return {
        "symbol": key[0],
        "stream": key[1],
        "state": status.get("state", "none"),
        "wanted": is_wanted,
        "ready": not reason,
        "reason": reason,
        "sequence": status.get("sequence"),
        "live": status.get("live"),
        "gaps": facts.stream_gaps.get(key, 0),
        "gap": status.get("gap"),
        "lag_s": lag_s,
        "quiet_s": quiet_s,
    }


def _format_job(job: JobFacts) -> dict[str, Any]:
    return {
        "name": job.name,
        "running": job.is_running,
        "ts_start": job.ts_start or None,
        "duration_s": round(job.duration_s, 3),
        "outcome": job.outcome,
        "detail": job.detail,
        "ts_next": job.ts_next,
    }
