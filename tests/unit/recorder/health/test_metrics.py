"""The metrics of given facts, read back by Prometheus's own parser."""

from __future__ import annotations

import re
from collections import Counter

import numpy as np
from prometheus_client.parser import text_string_to_metric_families

from recorder.health.metrics import (
    MESSAGES,
    ODDITIES,
    SNAPSHOTS,
    Counted,
    View,
    format_metrics,
)
from recorder.health.status import STARTING, DiskFacts, JobFacts, PoolFacts
from recorder.meters import VENUE_LAG_BOUNDS_S, Meters, Tally
from recorder.pipeline.book_stream import BookStream
from recorder.pipeline.streams import tally_of
from recorder.stitch.rules import StrictRule
from schemas.datasets import BOOK_STREAMS, GAP_REASONS
from schemas.timestamps import NS_PER_S
from tests.support.health_facts import make_facts

# The contract with dashboards and alerts: every family, by the name it has in a query.
NAMES = re.findall(r"\w+", """
frames_received_total frames_durable_total raw_lines_total raw_bytes_total rows_total
parts_published_total part_bytes_total gaps_total gaps_open resyncs_total reseeds_total
stream_states symbols_recorded symbols_unsynced commit_seconds_bucket fsync_seconds_bucket
checkpoint_seconds_bucket checkpoints_refused_total
venue_lag_seconds_bucket durable_lag_seconds_bucket intake_queue_lines intake_queue_bytes
decode_lag_lines decode_lag_seconds decode_from_raw_log decode_catch_ups_total
rest_requests_total rest_budget_used_ratio rest_paused_seconds connections_open
connections_planned connection_age_seconds reconnects_total rotations_total topics_refused
messages_unknown_total messages_malformed_total frames_garbage_total
job_last_run_timestamp_seconds job_last_duration_seconds job_last_success disk_free_bytes
disk_runway_seconds archive_bytes writer_alive last_frame_timestamp_seconds run_info venue_open
api_key_can_trade book_messages_total book_snapshots_total book_oddities_total sequence_epochs_total
fields_unknown_total times_implausible_total pushes_repeated_total rest_waiting clock_steps_total
clock_step_seconds
""")  # fmt: skip


def make_view() -> View:
    meters = Meters()
    meters.raw_bytes, meters.reseeds, meters.ts_frame = 1_000, 2, 1_500_000_000
    meters.durable.update({1: 10})
    meters.rows.update({"l2_updates": 33})
    meters.parts.update({"l2_updates": 4})
    meters.part_bytes.update({"l2_updates": 400})
    meters.gaps.update({("disconnected", "l2"): 3})
    meters.resyncs.update({"l2": 2})
    meters.commit_s.add(0.02)
    meters.venue_lag_s["l2"] = Tally(VENUE_LAG_BOUNDS_S)
    meters.venue_lag_s["l2"].add_all_ns(np.array([4_000_000, 400_000_000, -1, 1], np.int64))
    counts = Counter(
        {"recv": 12, "topic /market/other": 2, "frame_unknown": 5, "message_malformed": 1}
    )
    counted = Counted(
        counts,
        rest={("public", "ok"): 7, ("public", "limited"): 1},
        reconnects={"disconnected": 1},
        rotations=1,
        api_key_can_trade=True,
    )
    facts = make_facts(
        jobs=(JobFacts("backup", 10**9, 2.0, "failed", "no room"), JobFacts("roll")),
        disk=DiskFacts(5_000, 700, 1_000, 100.0),
        pools={"public": PoolFacts(0.25, 0.0), "private": PoolFacts(0.0, 1.5)},
        venue_open=False,
        queue_lines=3,
    )
    return View(facts, meters, counted)


def scrape(view: View) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    body, content_type = format_metrics(view, "text/plain")
    assert content_type.startswith("text/plain")
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(body.decode())
        for sample in family.samples
    }


def test_every_name_of_the_contract_is_there() -> None:
    names = {name for name, _ in scrape(make_view())}
    assert [name for name in NAMES if f"booktape_{name}" not in names] == []


def test_values_and_labels() -> None:
    found = scrape(make_view())

    def value(name: str, **labels: str) -> float:
        return found[f"booktape_{name}", tuple(sorted(labels.items()))]

    assert value("frames_received_total", connection="1") == 12
    assert value("frames_durable_total", connection="1") == 10
    assert value("raw_lines_total", kind="recv") == 12
    assert value("raw_lines_total", kind="decision") == 0
    assert value("gaps_total", reason="disconnected", stream="l2") == 3
    assert value("gaps_open", stream="l2") == 1
    assert value("stream_states", stream="l2", state="buffering") == 1
    assert (value("symbols_recorded"), value("symbols_unsynced")) == (2, 1)
    assert value("messages_unknown_total", topic="/market/other") == 2
    assert value("messages_unknown_total", topic="") == 3
    assert value("rest_requests_total", pool="public", outcome="limited") == 1
    assert value("rest_paused_seconds") == 1.5
    assert value("job_last_success", job="backup") == 0
    assert ("booktape_job_last_success", (("job", "roll"),)) not in found, "it has not run"
    assert value("disk_runway_seconds") == 500
    assert (value("venue_open"), value("writer_alive")) == (0, 1)
    assert value("last_frame_timestamp_seconds") == 1.5
    run = {"run_id": make_facts().run_id, "version": "0.2.0", "profile": "kucoin-2019"}
    assert value("run_info", **run) == 1


def test_what_books_met_is_added_up_by_stream() -> None:
    met = {"updates_stale": 7, "updates_written": 90, "snapshots_too_old": 2, "epochs": 1}
    streams = {
        ("A-B", "l2"): {"state": "synced", "tally": {**met, "absent_removals": 3}},
        ("C-D", "l2"): {"state": "down", "tally": {**met, "absent_removals": 1}},
        ("A-B", "l3"): {"state": "synced", "tally": {"unknown_makers": 4, "replaced": 5}},
        ("A-B", "trades"): {"state": "up"},
    }
    facts = make_facts(feeds=("level2", "level3", "match"), streams=streams)
    counts = {
        "frame_garbage": 2,
        "frame_refused": 1,
        "field level2 new": 3,
        "field level2 newer": 1,
        "field match new": 9,
        "time_implausible book": 6,
        "push_repeated": 8,
    }
    found = scrape(View(facts, Meters(), Counted(counts)))

    def value(name: str, **labels: str) -> float:
        return found[f"booktape_{name}_total", tuple(sorted(labels.items()))]

    assert value("book_messages", stream="l2", outcome="stale") == 14
    assert value("book_messages", stream="l2", outcome="written") == 180
    assert value("book_messages", stream="l3", outcome="dropped") == 0, "there from the start"
    assert value("book_snapshots", stream="l2", outcome="too_old") == 4
    assert value("sequence_epochs", stream="l2") == 2
    assert value("book_oddities", stream="l2", kind="absent_removal") == 4
    assert value("book_oddities", stream="l3", kind="unknown_maker") == 4
    assert value("book_oddities", stream="l3", kind="repeated_open") == 5
    assert value("frames_garbage") == 3
    assert value("fields_unknown", feed="level2") == 4
    assert value("fields_unknown", feed="match") == 9
    assert value("times_implausible", feed="book") == 6
    assert value("pushes_repeated") == 8


def test_what_is_shown_of_books_is_all_that_they_count() -> None:
    shown = {*MESSAGES.values(), *SNAPSHOTS.values(), *ODDITIES.values(), "epochs"}
    elsewhere = {"audits", "gaps"}
    counted: set[str] = set()
    for stream in BOOK_STREAMS:
        counted |= tally_of(BookStream("A-B", stream, StrictRule(), 10)).keys()
    assert shown | elsewhere == counted


def test_audits_are_counted_from_zero_and_the_oldest_is_shown() -> None:
    facts = make_facts(symbols=("A-B", "C-D"), feeds=("level2", "match"))
    meters = Meters()
    meters.audits["l2", "equal"] = 3
    meters.last_audits = {("A-B", "l2"): facts.ts - 5 * NS_PER_S}
    found = scrape(View(facts, meters, Counted(audit_interval_s=60.0)))
    results = {
        result: found["booktape_audits_total", (("result", result), ("stream", "l2"))]
        for result in ("equal", "unequal", "inconclusive")
    }
    assert results == {"equal": 3, "unequal": 0, "inconclusive": 0}
    since_start = (facts.ts - facts.ts_start) / NS_PER_S
    assert found["booktape_audit_age_seconds", (("stream", "l2"),)] == since_start, "of C-D"
    meters.last_audits["C-D", "l2"] = facts.ts - 2 * NS_PER_S
    found = scrape(View(facts, meters, Counted(audit_interval_s=60.0)))
    assert found["booktape_audit_age_seconds", (("stream", "l2"),)] == 5.0
    assert found["booktape_audit_interval_seconds", ()] == 60.0


def test_histograms_are_cumulative_and_count_every_value() -> None:
    found = scrape(make_view())

    def at_most(bound: str) -> float:
        return found["booktape_venue_lag_seconds_bucket", (("le", bound), ("stream", "l2"))]

    assert [at_most(bound) for bound in ("0.0", "0.001", "0.005", "0.5", "60.0", "+Inf")] == [
        1, 2, 3, 4, 4, 4,
    ]  # fmt: skip
    assert found["booktape_venue_lag_seconds_count", (("stream", "l2"),)] == 4
    assert abs(found["booktape_venue_lag_seconds_sum", (("stream", "l2"),)] - 0.404) < 1e-6


def test_counters_of_known_labels_begin_at_zero() -> None:
    facts = make_facts(phase=STARTING, feeds=("level2", "match"), streams={}, connections=())
    found = scrape(View(facts, Meters(), Counted()))

    def labels(name: str) -> set[tuple[str, ...]]:
        return {
            tuple(value for _, value in sorted(labels))
            for (each, labels), number in found.items()
            if each == f"booktape_{name}" and number == 0
        }

    assert labels("gaps_total") == {
        (reason, stream) for reason in GAP_REASONS for stream in ("l2", "trades")
    }
    assert labels("resyncs_total") == labels("gaps_open") == {("l2",), ("trades",)}
    assert labels("reconnects_total") == {
        ("disconnected",), ("no_token",), ("not_opened",), ("silent",),
    }  # fmt: skip
    outcomes = {
        "ok", "limited", "overloaded", "endpoint_crowded", "blocked", "no_answer", "server_error",
        "refused",
    }  # fmt: skip
    assert labels("rest_requests_total") == {
        (outcome, pool) for outcome in outcomes for pool in ("public", "private")
    }


def test_what_is_not_known_is_not_shown() -> None:
    names = {name for name, _ in scrape(View(make_facts(), Meters(), Counted()))}
    hidden = {
        "disk_free_bytes",
        "disk_runway_seconds",
        "venue_open",
        "last_frame_timestamp_seconds",
    }
    assert not names & {f"booktape_{name}" for name in hidden}


def test_openmetrics_for_who_asks_for_it() -> None:
    body, content_type = format_metrics(make_view(), "application/openmetrics-text; version=1.0.0")
    assert content_type.startswith("application/openmetrics-text")
    assert body.endswith(b"# EOF\n")
