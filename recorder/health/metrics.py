"""The Prometheus metrics of a run, made when they are asked for; between scrapes they cost nothing.

prometheus_client formats; the numbers are the writer's tallies and the facts of the moment. The
names are a contract with dashboards and alerts. A counter whose labels are known has all of them
from the first scrape, at 0: a series born with 1 has, to Prometheus, never grown.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from recorder.disk_policy import STAGES
from recorder.health.readiness import READY_STATES
from recorder.health.status import FAILED, RECORDING, Facts
from recorder.meters import Meters, Tally
from recorder.pipeline.missed_trades import OUTCOMES as BACKFILL_OUTCOMES
from recorder.pipeline.output import AUDIT_RESULTS
from recorder.transport.keeper import RECONNECT_REASONS
from recorder.transport.rest_rules import OUTCOMES
from schemas.datasets import BOOK_STREAMS, GAP_REASONS
from schemas.kucoin.profile import PRIVATE, PUBLIC
from schemas.kucoin.topics import STREAM_OF_FEED
from schemas.timestamps import NS_PER_S

PREFIX = "booktape_"
# What the raw log knows of; a scrape before the first line of a kind shows it at 0.
LINE_KINDS = (
    "run_start", "open", "close", "recv", "send", "rest_request", "rest_answer", "rest_failure",
    "timer", "decision", "run_stop",
)  # fmt: skip

# Label values of what books met, with the names they are counted under.
MESSAGES = {
    word: f"updates_{word}" for word in ("written", "stale", "ignored", "dropped", "discarded")
}
SNAPSHOTS = {
    word: f"snapshots_{word}" for word in ("requested", "written", "too_old", "failed", "ignored")
}
ODDITIES = {
    "absent_removal": "absent_removals",
    "unknown_maker": "unknown_makers",
    "unknown_change": "unknown_changes",
    "done_not_resting": "done_not_resting",
    "overfilled": "overfilled",
    "repeated_open": "replaced",
}


@dataclass(frozen=True, slots=True)
class Counted:
    """What only ever grows, beside the writer's own tallies.

    Attributes
    ----------
    counts : mapping            the pipeline's: lines by kind, frames by what became of them
    rest : mapping              (pool, outcome) → requests
    reconnects : mapping        reason → connections that were lost
    rotations : int             connections replaced before their token ended
    api_key_can_trade : bool    the key in use may do more than read
    audit_interval_s : float    seconds between audits of a book; 0: none by schedule
    """

    counts: Mapping[str, int] = field(default_factory=dict)
    rest: Mapping[tuple[str, str], int] = field(default_factory=dict)
    reconnects: Mapping[str, int] = field(default_factory=dict)
    rotations: int = 0
    api_key_can_trade: bool = False
    audit_interval_s: float = 0.0


@dataclass(frozen=True, slots=True)
class View:
    """Everything a scrape shows."""

    facts: Facts
    meters: Meters
    counted: Counted


def format_metrics(view: View, accept: str) -> tuple[bytes, str]:
    """Format for a scrape.

    Parameters
    ----------
    accept : str   the request's Accept header: the text format, or OpenMetrics

    Returns
    -------
    body, content type
    """
    registry = CollectorRegistry()
    registry.register(_Families(view))
    ProcessCollector(registry=registry)
    encode, content_type = choose_encoder(accept)
    return encode(registry), content_type


# Label values → number. Pairs stand beside the general form: mappings are invariant in their keys.
_Values = Mapping[tuple[str, ...], float] | Mapping[tuple[str, str], float]


class _Families(Collector):
    def __init__(self, view: View) -> None:
        self._view = view

    def describe(self) -> Iterable[Metric]:
        return ()  # nothing to compare: the registry lives for one scrape

    def collect(self) -> Iterator[Metric]:
        view = self._view
        yield from _written(view)
        yield from _streams(view.facts)
        yield from _books(view.facts)
        yield from _gaps(view)
        yield from _audits(view)
        yield from _durations(view.meters)
        yield from _decoding(view.facts)
        yield from _room(view.facts)
        yield from _connections(view)
        yield from _rest(view)
        yield from _jobs(view.facts)
        yield from _well_being(view)


def _counter(name: str, help_: str, values: _Values, *labels: str) -> CounterMetricFamily:
    family = CounterMetricFamily(PREFIX + name, help_, labels=labels)
    for key, value in sorted(values.items()):
        family.add_metric(key, value)
    return family


def _gauge(name: str, help_: str, values: _Values, *labels: str) -> GaugeMetricFamily:
    family = GaugeMetricFamily(PREFIX + name, help_, labels=labels)
    for key, value in sorted(values.items()):
        family.add_metric(key, value)
    return family


def _one(value: float) -> dict[tuple[str, ...], float]:
    return {(): value}


def _by_word(values: Mapping[str, float]) -> dict[tuple[str, ...], float]:
    return {(word,): value for word, value in values.items()}


def _written(view: View) -> Iterator[Metric]:
    meters, counts = view.meters, view.counted.counts
    lines = {kind: counts.get(kind, 0) for kind in LINE_KINDS}
    yield _counter("raw_lines", "Lines of the raw log, by kind", _by_word(lines), "kind")
    yield _counter("raw_bytes", "Bytes fsynced to the raw log", _one(meters.raw_bytes))
    yield _counter("rows", "Rows made, by dataset", _by_word(dict(meters.rows)), "dataset")
    parts, part_bytes = dict(meters.parts), dict(meters.part_bytes)
    yield _counter("parts_published", "Parquet parts published", _by_word(parts), "dataset")
    yield _counter("part_bytes", "Bytes of published parts", _by_word(part_bytes), "dataset")
    unknown = {
        name.removeprefix("topic "): count
        for name, count in counts.items()
        if name.startswith("topic ")
    }
    # Also what no topic names: the sum over the label is every message not understood.
    unknown[""] = counts.get("frame_unknown", 0) - sum(unknown.values())
    yield _counter(
        "messages_unknown", "Messages kept raw and not understood", _by_word(unknown), "topic"
    )
    yield _counter(
        "messages_malformed",
        "Messages of a known topic that do not parse",
        _one(counts.get("message_malformed", 0)),
    )
    garbage = counts.get("frame_garbage", 0) + counts.get("frame_refused", 0)
    yield _counter("frames_garbage", "Frames that are no message", _one(garbage))
    zeros = dict.fromkeys(view.facts.feeds, 0)
    yield _counter(
        "fields_unknown",
        "Fields kept raw alone, in messages understood",
        _by_word(zeros | _named(counts, "field ")),
        "feed",
    )
    yield _counter(
        "times_implausible",
        "Times of the exchange that cannot be one, left out",
        _by_word(zeros | {"book": 0} | _named(counts, "time_implausible ")),
        "feed",
    )
    yield _counter(
        "pushes_repeated",
        "Trades, tickers and snapshots that had come before",
        _one(counts.get("push_repeated", 0)),
    )


def _named(counts: Mapping[str, int], prefix: str) -> dict[str, int]:
    """Add up counts by the first word behind a prefix; what comes after it has no bound."""
    found: Counter[str] = Counter()
    for name, count in counts.items():
        if name.startswith(prefix):
            found[name.removeprefix(prefix).partition(" ")[0]] += count
    return dict(found)


def _streams(facts: Facts) -> Iterator[Metric]:
    states = Counter((stream, str(each["state"])) for (_, stream), each in facts.streams.items())
    yield _gauge("stream_states", "Streams by state", dict(states), "stream", "state")
    yield _gauge("symbols_recorded", "Symbols to be recorded", _one(len(facts.symbols)))
    unsynced = {each.symbol for each in facts.unready}
    yield _gauge("symbols_unsynced", "Symbols not wholly in step", _one(len(unsynced)))


def _books(facts: Facts) -> Iterator[Metric]:
    """Show what the books met, added up by stream: each word from the first scrape on."""
    recorded = {STREAM_OF_FEED[feed] for feed in facts.feeds} | {key[1] for key in facts.streams}
    met: Counter[tuple[str, str]] = Counter()
    for (_, stream), each in facts.streams.items():
        for name, count in each.get("tally", {}).items():
            met[stream, name] += count

    def family(name: str, help_: str, label: str, words: Mapping[str, str]) -> Metric:
        values = {
            (stream, word): met[stream, counter]
            for stream in BOOK_STREAMS if stream in recorded
            for word, counter in words.items()
        }  # fmt: skip
        return _counter(name, help_, values, "stream", label)

    yield family("book_messages", "Messages of books, by what became of them", "outcome", MESSAGES)
    yield family("book_snapshots", "Full books, by what became of them", "outcome", SNAPSHOTS)
    yield family("book_oddities", "Events that did not fit the book", "kind", ODDITIES)
    epochs = {stream: met[stream, "epochs"] for stream in BOOK_STREAMS if stream in recorded}
    yield _counter(
        "sequence_epochs", "Series of numbers that began anew", _by_word(epochs), "stream"
    )


def _gaps(view: View) -> Iterator[Metric]:
    meters, facts = view.meters, view.facts
    # What is recorded, and what was until lately.
    zeros = dict.fromkeys([STREAM_OF_FEED[feed] for feed in facts.feeds], 0)
    zeros |= {stream: 0 for _, stream in facts.streams}
    gaps = {(reason, stream): 0 for reason in GAP_REASONS for stream in zeros} | dict(meters.gaps)
    yield _counter("gaps", "Gaps begun, by reason and stream", gaps, "reason", "stream")
    open_gaps = dict(zeros)
    wanted = facts.wanted
    for key, each in facts.streams.items():
        is_open = bool(each.get("gap")) and each["state"] not in READY_STATES
        open_gaps[key[1]] += is_open and key in wanted
    yield _gauge("gaps_open", "Gaps not healed yet", _by_word(open_gaps), "stream")
    resyncs = zeros | dict(meters.resyncs)
    yield _counter("resyncs", "Gaps healed by a new book", _by_word(resyncs), "stream")
    yield _counter(
        "reseeds", "Partial books asked for anew because the price moved", _one(meters.reseeds)
    )
    counts = view.counted.counts
    yield _counter(
        "trades_backfilled",
        "Missed trades filled in from the exchange's history",
        _one(counts.get("trade_backfilled", 0)),
    )
    backfills = {outcome: counts.get(f"backfill_{outcome}", 0) for outcome in BACKFILL_OUTCOMES}
    yield _counter(
        "backfills",
        "Holes in what was told of trades, by what became of them",
        _by_word(backfills),
        "outcome",
    )


def _audits(view: View) -> Iterator[Metric]:
    meters, facts = view.meters, view.facts
    books = [key for key in facts.wanted if key[1] in BOOK_STREAMS]
    audits = {(stream, result): 0 for _, stream in books for result in AUDIT_RESULTS}
    audits |= dict(meters.audits)
    yield _counter(
        "audits", "Books compared with the exchange's, by outcome", audits, "stream", "result"
    )
    last = dict(meters.last_audits)
    ages: dict[str, float] = {}
    for key in books:
        age_s = (facts.ts - last.get(key, facts.ts_start)) / NS_PER_S
        ages[key[1]] = max(ages.get(key[1], 0.0), age_s)
    yield _gauge(
        "audit_age_seconds",
        "Longest time since a book was compared to an end, or since the start",
        _by_word(ages),
        "stream",
    )
    yield _gauge(
        "audit_interval_seconds",
        "Time between audits of one book as configured; 0 for none",
        _one(view.counted.audit_interval_s),
    )


def _durations(meters: Meters) -> Iterator[Metric]:
    def histogram(name: str, help_: str, tallies: Mapping[str, Tally], *labels: str) -> Metric:
        family = HistogramMetricFamily(PREFIX + name, help_, labels=labels)
        for word, tally in sorted(tallies.items()):
            family.add_metric([word] if labels else [], tally.cumulative, tally.sum_s)
        return family

    yield histogram("commit_seconds", "Group commits, fsync included", {"": meters.commit_s})
    yield histogram("fsync_seconds", "Fsyncs of the raw log", {"": meters.fsync_s})
    yield histogram(
        "checkpoint_seconds", "Checkpoints, those refused included", {"": meters.checkpoint_s}
    )
    yield _counter(
        "checkpoints_refused",
        "Checkpoints that the disk refused",
        _one(meters.checkpoints_refused),
    )
    yield histogram("durable_lag_seconds", "From receipt to disk", {"": meters.durable_lag_s})
    yield histogram(
        "venue_lag_seconds",
        "From the exchange's time to our receipt",
        dict(meters.venue_lag_s),
        "stream",
    )


def _decoding(facts: Facts) -> Iterator[Metric]:
    yield _gauge(
        "decode_lag_lines", "Lines on disk and not decoded yet", _one(facts.decode_lag_lines)
    )
    yield _gauge("decode_lag_seconds", "How far decoding is behind", _one(facts.decode_lag_s))
    yield _gauge(
        "decode_from_raw_log",
        "1 while decoding is so far behind that it reads the raw log",
        _one(facts.decodes_from_raw_log),
    )
    yield _counter(
        "decode_catch_ups", "Times decoding fell that far behind", _one(facts.decode_catch_ups)
    )


def _room(facts: Facts) -> Iterator[Metric]:
    stages = {stage: stage == facts.disk_stage for stage in STAGES}
    yield _gauge(
        "disk_stage", "1 at what is done about the room on the disk", _by_word(stages), "stage"
    )
    yield _counter(
        "disk_pauses", "Times recording paused because the disk was full", _one(facts.disk_pauses)
    )
    yield _counter(
        "lines_dropped", "Lines never acknowledged, for want of room", _one(facts.lines_dropped)
    )


def _connections(view: View) -> Iterator[Metric]:
    facts, counted = view.facts, view.counted
    by_number = {str(each.number): each for each in facts.connections}
    yield _counter(
        "frames_received",
        "Frames received, by connection",
        _by_word({number: each.frames for number, each in by_number.items()}),
        "connection",
    )
    yield _counter(
        "frames_durable",
        "Frames acknowledged: on disk, by connection",
        _by_word({number: each.durable for number, each in by_number.items()}),
        "connection",
    )
    yield _gauge(
        "connection_age_seconds",
        "Time since a connection was opened",
        _by_word({number: each.age_s for number, each in by_number.items() if each.is_open}),
        "connection",
    )
    opened = sum(each.is_open for each in facts.connections)
    yield _gauge("connections_open", "Websockets open", _one(opened))
    yield _gauge("connections_planned", "Websockets wanted", _one(facts.connections_planned))
    reconnects = dict.fromkeys(RECONNECT_REASONS, 0) | dict(counted.reconnects)
    yield _counter("reconnects", "Connections lost, by reason", _by_word(reconnects), "reason")
    yield _counter(
        "rotations", "Connections replaced before their token ended", _one(counted.rotations)
    )
    yield _gauge("topics_refused", "Topics the exchange refuses", _one(len(facts.refused)))
    yield _gauge("intake_queue_lines", "Lines not on disk yet", _one(facts.queue_lines))
    yield _gauge("intake_queue_bytes", "Bytes waiting for a commit", _one(facts.queue_bytes))


def _rest(view: View) -> Iterator[Metric]:
    requests = {(pool, outcome): 0 for pool in (PUBLIC, PRIVATE) for outcome in OUTCOMES}
    requests |= view.counted.rest
    yield _counter("rest_requests", "REST requests by outcome", requests, "pool", "outcome")
    pools = view.facts.pools
    yield _gauge(
        "rest_budget_used_ratio",
        "Share of the exchange's REST limit in use",
        _by_word({pool: each.used_ratio for pool, each in pools.items()}),
        "pool",
    )
    yield _gauge(
        "rest_waiting",
        "REST requests that wait for their turn",
        _by_word({pool: each.waiting for pool, each in pools.items()}),
        "pool",
    )
    paused = max((each.paused_s for each in pools.values()), default=0.0)
    yield _gauge("rest_paused_seconds", "How long REST still holds still", _one(paused))


def _jobs(facts: Facts) -> Iterator[Metric]:
    ran = {job.name: job for job in facts.jobs if job.ts_start}
    for name, help_, values in (
        (
            "job_last_run_timestamp_seconds",
            "When a job last ran",
            {name: job.ts_start / NS_PER_S for name, job in ran.items()},
        ),
        (
            "job_last_duration_seconds",
            "How long its last run took",
            {name: job.duration_s for name, job in ran.items()},
        ),
        (
            "job_last_success",
            "Whether its last run succeeded",
            {name: float(job.outcome != FAILED) for name, job in ran.items()},
        ),
    ):
        yield _gauge(name, help_, _by_word(values), "job")


def _well_being(view: View) -> Iterator[Metric]:
    facts, disk = view.facts, view.facts.disk
    yield _gauge("writer_alive", "1 while the writer writes", _one(facts.writer_alive))
    yield _gauge("recording", "1 between start and stop", _one(facts.phase == RECORDING))
    if view.meters.ts_frame:
        newest = _one(view.meters.ts_frame / NS_PER_S)
        yield _gauge("last_frame_timestamp_seconds", "When the newest frame came", newest)
    if disk is not None:
        yield _gauge("disk_free_bytes", "Room on the archive's disk", _one(disk.free_bytes))
        yield _gauge("archive_bytes", "Size of the archive", _one(disk.archive_bytes))
        if disk.runway_s is not None:
            yield _gauge(
                "disk_runway_seconds", "Until the disk is full at this pace", _one(disk.runway_s)
            )
    steps = dict.fromkeys(("forward", "back"), 0) | dict(view.meters.clock_steps)
    yield _counter("clock_steps", "Times the wall clock was set", _by_word(steps), "direction")
    yield _gauge("clock_step_seconds", "How far the last step went", _one(view.meters.clock_step_s))
    if facts.venue_open is not None:
        yield _gauge("venue_open", "1 while the exchange trades", _one(facts.venue_open))
    can_trade = view.counted.api_key_can_trade
    yield _gauge("api_key_can_trade", "1 when the API key may do more than read", _one(can_trade))
    yield InfoMetricFamily(
        PREFIX + "run",
        "The run under way",
        {"run_id": facts.run_id, "version": facts.version, "profile": facts.profile},
    )
