"""One seed: a market, a venue, a disk and the processes that record, from the storm to the calm."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from recorder.config import Config
from tests.simulation.archive import Archive
from tests.simulation.disk import SimulatedDisk
from tests.simulation.faults import OF_THE_MEMORY, Faults, draw_rates
from tests.simulation.limits import TIGHT, WIDE, Limits, in_force
from tests.simulation.loop import VirtualClock
from tests.simulation.market import REFUSED, SYMBOLS
from tests.simulation.memory import (
    STREAM_OF,
    Spoilt,
    audits_judged,
    is_the_venues,
    live_books,
    spoil,
)
from tests.simulation.network import Venue
from tests.simulation.process import STOPPED, Life, Process, Surroundings
from tests.simulation.shallow import profile_of, shallow
from tests.simulation.troubles import KILLED, POWER_LOSS, Troubles

# 2026-11-22T10:00:00Z, and half a minute before that day ends.
MORNING_NS, NIGHT_NS = 1_795_341_600_000_000_000, 1_795_391_970_000_000_000
CALM_POLL_S = 2.0
# An audit of each book, seconds, in the seeds that have audits.
AUDIT_INTERVAL_S = 8
# The longest a topic can be left alone is the pause after a refusal, and those do not happen.
CALM_S_MAX = 240.0
PROCESSES_MAX = 40
FEEDS = {"kucoin-2019": ("level2", "level3", "match"), "kucoin-classic": ("level2", "match")}
STREAMS = {"kucoin-2019": ("l2", "l3", "trades"), "kucoin-classic": ("l2", "trades")}


@dataclass(frozen=True, slots=True)
class Plan:
    """What a seed draws before anything happens."""

    seed: int
    profile: str
    start_ns: int
    storm_s: float
    commit_ms: int
    topics_per_connection: int
    rotate_after_s: int
    refuses_symbol: bool
    rates: dict[str, float]
    disk_kinds: tuple[str, ...]
    ends: tuple[str, ...]
    last_end: str
    audit_interval_s: int
    limits: Limits
    is_shallow: bool


@dataclass
class Played:
    """What came of a seed.

    Attributes
    ----------
    violations : list[str]   promises broken; empty when all is well
    met : Counter            gaps by reason and how they ended, audits by result
    spoilt : list[Spoilt]    live books that were spoilt
    replayed : set[str]      runs whose raw log was run through the pipeline a second time
    """

    plan: Plan
    faults: Faults
    disk: SimulatedDisk
    venue: Venue
    lives: list[Life] = field(default_factory=list)
    violations: list[str] = field(default_factory=list)
    met: Counter[str] = field(default_factory=Counter)
    spoilt: list[Spoilt] = field(default_factory=list)
    replayed: set[str] = field(default_factory=set)
    virtual_s: float = 0.0
    stepped_ns: int = 0
    stepped_back_ns: int = 0

    @property
    def archive(self) -> Path:
        """The archive's folder on the simulated disk."""
        return self.disk.root / "archive"


def plan_of(seed: int) -> Plan:
    """Draw what a seed is about."""
    draw = random.Random(f"plan {seed}")
    rates = draw_rates(draw)
    ends = draw.choices(
        (
            "crash_at_disk_killed",
            "crash_at_disk_power_loss",
            "crash_in_time_killed",
            "crash_in_time_power_loss",
            "clean_stop",
        ),
        (3, 4, 2, 2, 1),
        k=draw.choice((0, 1, 1, 2, 3)),
    )
    audit_s = AUDIT_INTERVAL_S if draw.random() < 0.5 or "silent_topic" in rates else 0
    if not audit_s:  # nobody would ever notice
        rates = {kind: rate for kind, rate in rates.items() if kind not in OF_THE_MEMORY}
    kinds = [kind for kind in ("disk_full", "eio", "slow_sync") if draw.random() < 0.15]
    profile = draw.choice(("kucoin-2019", "kucoin-2019", "kucoin-classic"))
    return Plan(
        seed,
        profile,
        NIGHT_NS if draw.random() < 0.1 else MORNING_NS,
        draw.uniform(40.0, 100.0),
        draw.choice((50, 250, 400, 400)),
        draw.choice((95, 95, 95, 2)),
        25 if "rotation" in rates else 0,
        "refused_symbol" in rates and draw.random() < 0.5,
        rates,
        tuple(kinds),
        tuple(ends),
        draw.choice(("clean", "clean", KILLED, POWER_LOSS)),
        audit_s,
        TIGHT if draw.random() < 0.4 else WIDE,
        profile == "kucoin-classic" and draw.random() < 0.6,
    )


@cache
def _config(
    profile: str,
    commit_ms: int,
    topics: int,
    rotate_after_s: int,
    refuses: bool,
    audit_s: int,
    held: int,
) -> Config:
    symbols = [*SYMBOLS, REFUSED.symbol] if refuses else list(SYMBOLS)
    return Config.model_validate(
        {
            "archive": "/archives/archive",
            "venue": {
                "profile": profile,
                "rest_url": "http://venue",
                "symbols": symbols,
                "streams": list(FEEDS[profile]),
                "topics_per_connection": topics,
                "rotate_after_s": rotate_after_s,
                "status_interval_s": 30,
            },
            "raw_log": {"commit_interval_ms": commit_ms, "commit_bytes": 16_384},
            "parts": {"roll_interval_s": 45, "rows_min": 150},
            "stitch": {"buffer_updates_max": held},
            "audit": {"interval_s": audit_s, "rest_share": 0.5},
            "instruments": {"interval_s": 60},
            "http": {"listen": ""},
        }
    )


class Seed:
    """Play one."""

    def __init__(self, seed: int) -> None:
        self.plan = plan_of(seed)
        plan = self.plan
        self._draw = random.Random(f"play {seed}")
        self._clock = VirtualClock(plan.start_ns)
        faults = Faults(random.Random(f"faults {seed}"), plan.rates)
        disk = SimulatedDisk(random.Random(f"disk {seed}"), self._note_disk_fault)
        starts = {symbol: self._draw.randrange(20, 1_000) for symbol in SYMBOLS}
        profile = profile_of(plan.profile, is_shallow=plan.is_shallow)
        venue = Venue(profile, faults, self._clock, starts)
        self.played = Played(plan, faults, disk, venue)
        self._around = Surroundings(self._clock, disk, venue, random.Random(f"threads {seed}"))
        self._ends = list(plan.ends)
        self._last_end = plan.last_end
        self._seen: dict[tuple[str, str], int] = {}
        self._is_over = False

    @property
    def now_s(self) -> float:
        """Virtual seconds since it began."""
        return self._clock.now_s

    def _note_disk_fault(self, kind: str) -> None:
        self.played.faults.struck[kind] += 1
        self.played.faults.note(kind, self._clock.peek_ns())

    def play(self) -> Played:
        """Play it to its end; what is to be true of it is checked by `check`."""
        played, plan = self.played, self.plan
        config = _config(
            plan.profile, plan.commit_ms, plan.topics_per_connection, plan.rotate_after_s,
            plan.refuses_symbol, plan.audit_interval_s, plan.limits.held,
        )  # fmt: skip
        while not self._is_over:
            if len(played.lives) == PROCESSES_MAX:
                played.violations.append(f"{PROCESSES_MAX} processes did not bring it to its end")
                break
            process = Process(self._around, len(played.lives) + 1, config)
            broken: list[str] = []
            is_shallow = plan.is_shallow
            with (
                in_force(plan.limits, broken),
                shallow(plan.profile, is_shallow=is_shallow),
                audits_judged(played.venue.truth_at, broken),
            ):
                life = process.live(self._meanwhile, refuses_symbol=plan.refuses_symbol)
            played.violations += [f"process {life.number}: {what}" for what in broken]
            played.lives.append(life)
            self._note_replayed(process)
            if life.why == POWER_LOSS:
                self._look_at_once(life)
            for trouble in process.loop.unhandled:
                played.violations.append(f"process {life.number}: nobody handled {trouble}")
            # What a supervisor waits before it starts the next one.
            self._clock.now_s += self._draw.uniform(0.5, 4.0)
        played.virtual_s = self._clock.now_s
        return played

    def _note_replayed(self, process: Process) -> None:
        """Note whose rows are made anew, by the next start or in the process itself."""
        life, tape = process.life, process.tape
        if life.end != STOPPED or (tape is not None and tape._told_before.lines):
            self.played.replayed.add(life.run_id)
        if tape is not None:
            self.played.replayed.update(run.run_id for run in tape.recovered)

    def _look_at_once(self, life: Life) -> None:
        """Read what a power loss has left, as readers do before any recorder starts again."""
        archive = Archive(self.played.disk, self.played.archive)
        for problem in (*archive.check_parts(), *archive.check_twin()):
            self.played.violations.append(f"after process {life.number}: {problem}")

    # What happens to a process while it lives

    def _meanwhile(self, process: Process) -> None:
        loop, plan = process.loop, self.plan
        rest_s = plan.storm_s - loop.time()
        if rest_s > 0:
            loop.call_later(rest_s, self._calm_down, process)
            self._plan_end(process, rest_s)
            self._trouble_disk(process, rest_s)
            loop.call_later(1.0, self._weather, process)
        else:
            self._calm_down(process)

    def _plan_end(self, process: Process, rest_s: float) -> None:
        if not self._ends:
            return
        end = self._ends.pop()
        draw, troubles = self._draw, self._around.disk.troubles
        wait_s = draw.uniform(0.0, rest_s)
        if end == "clean_stop":
            process.loop.call_later(wait_s, self._stop_cleanly, process)
        elif end.startswith("crash_at_disk_"):
            troubles.crash_kind = end.removeprefix("crash_at_disk_")
            steps = int(10 ** draw.uniform(0.0, 3.2))
            troubles.crash_at = self._around.disk.steps + steps
        else:
            kind = end.removeprefix("crash_in_time_")
            process.loop.call_later(wait_s, self._crash, process, kind)

    def _stop_cleanly(self, process: Process) -> None:
        if process.loop.signals:
            self.played.faults.struck["clean_stop"] += 1
            process.stop()

    def _crash(self, process: Process, kind: str) -> None:
        self.played.faults.struck[f"crash_in_time_{kind}"] += 1
        process.kill(kind)

    def _trouble_disk(self, process: Process, rest_s: float) -> None:
        draw = self._draw
        for kind in self.plan.disk_kinds:
            begin_s = draw.uniform(0.0, rest_s)
            process.loop.call_later(begin_s, self._begin_trouble, kind)
            end_s = begin_s + draw.uniform(2.0, 20.0)
            process.loop.call_later(end_s, self._end_trouble, kind)

    def _begin_trouble(self, kind: str) -> None:
        troubles, disk = self._around.disk.troubles, self._around.disk
        if kind == "disk_full":
            troubles.capacity = disk.used + self._draw.randrange(20_000)
        elif kind == "eio":
            troubles.eio = 0.02
        else:
            troubles.slow, troubles.slow_s = 0.3, 6.0

    def _end_trouble(self, kind: str) -> None:
        troubles = self._around.disk.troubles
        if kind == "disk_full":
            troubles.capacity = None
        elif kind == "eio":
            troubles.eio = 0.0
        else:
            troubles.slow = 0.0

    def _weather(self, process: Process) -> None:
        """Look once a second whether the world changes."""
        faults, draw = self.played.faults, self._draw
        if faults.is_calm:
            return
        process.loop.call_later(1.0, self._weather, process)
        for kind, sign in (("clock_forward", 1), ("clock_back", -1)):
            rate = faults.rates.get(kind, 0.0) / 60
            if draw.random() < rate:
                faults.struck[kind] += 1
                step_ns = int(10 ** draw.uniform(6.0, 9.6))
                self._clock.offset_ns += sign * step_ns
                if sign > 0:
                    self.played.stepped_ns += step_ns
                else:
                    self.played.stepped_back_ns += step_ns
        if draw.random() < faults.rates.get("sequence_epoch", 0.0) / 60:
            self._around.venue.begin_epoch(draw.choice(SYMBOLS))
        for kind in STREAM_OF:
            if draw.random() < faults.rates.get(kind, 0.0) / 60 and process.tape is not None:
                spoilt = spoil(kind, process.tape, draw)
                if spoilt is not None:
                    faults.struck[kind] += 1
                    self.played.spoilt.append(spoilt)

    # The calm

    def _calm_down(self, process: Process) -> None:
        """Let nothing go wrong any more, and wait until all is well."""
        if process.life.end:
            return  # its loop only ends what is left of it
        self.played.faults.is_calm = True
        self._around.disk.troubles = Troubles()
        self._around.venue.rate = 0.4
        until_s = process.loop.time() + CALM_S_MAX
        process.loop.call_later(CALM_POLL_S, self._look, process, until_s)

    def _look(self, process: Process, until_s: float) -> None:
        if process.life.end:
            return
        missing = self._missing(process)
        if missing and process.loop.time() < until_s:
            process.loop.call_later(CALM_POLL_S, self._look, process, until_s)
            return
        if missing:
            self.played.violations.append(f"stuck: {missing}")
        if self._last_end == "clean":
            self._is_over = True
            process.stop()
        else:  # one more process recovers and stops
            kind, self._last_end = self._last_end, "clean"
            process.kill(kind)

    def _missing(self, process: Process) -> str:
        """Say what is not as it should be; what was told two seconds ago must have arrived."""
        seen = self._seen
        venue = self._around.venue
        self._seen = {
            (symbol, stream): venue.sequence(symbol, stream)
            for symbol in SYMBOLS
            for stream in STREAMS[self.plan.profile]
        }
        if process.tape is None:
            return "the archive is not open"
        status = process.tape.status()
        for symbol in SYMBOLS:
            for stream in STREAMS[self.plan.profile]:
                told = status.get((symbol, stream), {})
                wanted = "up" if stream == "trades" else "synced"
                if told.get("state") != wanted:
                    return f"{symbol} {stream} is {told.get('state')}"
                if (told["sequence"] or 0) < seen.get((symbol, stream), 1 << 62):
                    return f"{symbol} {stream} stands at {told['sequence']}"
            for feed in FEEDS[self.plan.profile]:
                if not venue.tells(feed, symbol):
                    return f"{feed} of {symbol} is not subscribed to"
        if process.tape.parts_held:
            return "the disk: parts are held back"
        for (symbol, stream), live in live_books(process.tape).items():
            if symbol in SYMBOLS and not is_the_venues(live.book, stream, venue.truth(symbol)):
                return f"{symbol} {stream} is not the venue's book"
        return ""
