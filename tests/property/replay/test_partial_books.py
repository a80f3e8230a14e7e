"""Partial books: exact inside their bounds, marked beyond them, whatever the price does."""

from __future__ import annotations

import json
from bisect import bisect_right
from collections.abc import Iterator

import duckdb
import pytest

from replay import Archive
from replay.sql_init import script
from tests.property.replay.partial_markets import DEPTH, SIDES, SYMBOL, Market, build
from tests.support.archive_builder import ArchiveBuilder, S, Truth
from tests.support.arrow_rows import rows_of
from tests.support.ground_truth import compare
from tests.support.naive import is_inside

SEEDS = range(8)


@pytest.fixture(scope="module", params=SEEDS)
def told(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[list[Truth], Archive, Market, ArchiveBuilder]]:
    builder, market = build(tmp_path_factory.mktemp("tape") / "archive", request.param)
    with Archive(builder.root) as tape:
        yield builder.streams[0].truth, tape, market, builder


def marked(truth: Truth) -> list[list[tuple]]:
    """(price, size, known) of both sides, by the plain twin."""
    return [
        [(price, size, is_inside(side, price, bound)) for price, size in rows]
        for side, rows, bound in zip(SIDES, truth.levels, truth.known, strict=True)
    ]


def shown(book) -> list[list[tuple]]:
    return [
        [(*level, known) for level, known in zip(side, side.known_mask.tolist(), strict=True)]
        for side in (book.bids, book.asks)
    ]


def by_sequence(truths: list[Truth]) -> dict[int, Truth]:
    """The last word on each sequence: a seed told again comes after the message."""
    return {truth.sequence: truth for truth in truths}


def rows_with_open_ends(truth: Truth, levels: int) -> list[tuple]:
    """(side, level, price, size, known) as `book_at` and `depth` show a book cut to so many."""
    found: list[tuple] = []
    for name, rows, bound in zip(SIDES, marked(truth), truth.known, strict=True):
        cut = rows[:levels]
        found += [(name, at + 1, float(p), float(s), known) for at, (p, s, known) in enumerate(cut)]
        if bound is not None and len(cut) < levels and all(known for _, _, known in cut):
            found.append((name, len(cut) + 1, None, None, False))
    return found


def test_the_histories_are_what_these_tests_are_about(tmp_path):
    """Over all seeds: touches beyond the bound and back, levels beyond it, sides that are whole."""
    seen = dict.fromkeys(("no touch", "back again", "beyond", "whole", "partial"), 0)
    for seed in SEEDS:
        builder, _ = build(tmp_path / str(seed), seed)
        before = True
        for truth in builder.streams[0].truth:
            seen["no touch"] += not truth.best[4]
            seen["back again"] += truth.best[4] and not before
            before = truth.best[4]
            seen["beyond"] += any(not known for side in marked(truth) for *_, known in side)
            seen["whole"] += None in truth.known
            seen["partial"] += truth.known != (None, None)
    assert min(seen.values()) >= 10, seen


def test_inside_the_bounds_the_twin_is_the_market_and_beyond_them_a_part_of_it(told):
    truths, _, market, _ = told
    for truth in truths:
        for side, rows, own, bound in zip(
            SIDES, truth.levels, market.history[truth.sequence], truth.known, strict=True
        ):
            assert [row for row in rows if is_inside(side, row[0], bound)] == [
                row for row in own if is_inside(side, row[0], bound)
            ]
            assert set(rows) <= set(own)


def test_every_book_by_sequence_and_by_time_with_its_marks(told):
    truths, tape, _, _ = told
    for sequence, truth in by_sequence(truths).items():
        book = tape.book(SYMBOL, sequence=sequence)
        assert shown(book) == marked(truth)
        assert (book.bids.known_to, book.asks.known_to) == truth.known
        assert tuple(book.bbo) == truth.best
        assert (book.sequence, book.ts_recv) == (truth.sequence, truth.ts)
    stamps = [truth.ts for truth in truths]
    for ts in sorted(set(stamps)):
        truth = truths[bisect_right(stamps, ts) - 1]
        book = tape.book(SYMBOL, ts)
        assert (shown(book), book.ts_recv) == (marked(truth), truth.ts)


def test_best_prices_are_null_and_not_valid_until_known_again(told):
    truths, tape, _, builder = told
    stretches = builder.streams[0].stretches
    expected, before = [], None
    for at, truth in enumerate(truths):
        state = tuple(None if x is None else float(x) for x in truth.best[:4]) + truth.best[4:]
        if at == 0 or truths[at - 1].stretch != truth.stretch or state != before:
            expected.append((truth.ts, truth.sequence, *state))
        before = state
        ends = at + 1 == len(truths) or truths[at + 1].stretch != truth.stretch
        if ends and not stretches[truth.stretch].is_open:
            expected.append((truth.ts + 1, truth.sequence + 1, *[None] * 4, False))
            before = None
    table = tape.bbo(SYMBOL)
    names = ("sequence", "best_bid", "best_bid_size", "best_ask", "best_ask_size", "valid")
    columns = [table.column("ts_recv").cast("int64"), *(table.column(name) for name in names)]
    assert list(zip(*(c.to_pylist() for c in columns), strict=True)) == expected
    assert not any(table.column("crossed").to_pylist())
    for row in rows_of(table)[:: max(len(table) // 25, 1)]:
        start = row["ts_recv"] + 1
        if start > truths[-1].ts:
            break
        first = rows_of(tape.bbo(SYMBOL, start, start + 1))[0]
        last = [other for other in rows_of(table) if other["ts_recv"] <= start][-1]
        assert (first["best_bid"], first["valid"]) == (last["best_bid"], last["valid"])


@pytest.mark.parametrize("levels", [1, DEPTH, 40])
def test_depth_frames_mark_what_lies_beyond_and_never_look_complete(told, levels):
    truths, tape, _, builder = told
    stamps = [truth.ts for truth in truths]
    gaps = builder.streams[0].gaps
    every = S // 7
    found: dict[int, list] = {}
    for row in rows_of(tape.depth(SYMBOL, stamps[0], stamps[-1] + 1, every, levels)):
        found.setdefault(row["ts"], []).append(row)
    for point, rows in found.items():
        if any(gap["ts_from"] < point < gap["ts_to"] for gap in gaps):
            assert [(row["side"], row["valid"]) for row in rows] == [(None, False)]
            continue
        truth = truths[bisect_right(stamps, point) - 1]
        expected = rows_with_open_ends(truth, levels) or [(None, None, None, None, True)]
        names = ("side", "level", "price", "size", "valid")
        assert [tuple(row[name] for name in names) for row in rows] == expected
        assert {row["sequence"] for row in rows} == {truth.sequence}
    assert len(found) > 50


def test_the_live_book_knows_more_from_a_reseed_on(told):
    truths, tape, _, _ = told
    events = [
        (e.kind, e.ts_recv, e.sequence, tuple(e.book.bbo), shown(e.book.book()))
        for e in tape.replay(SYMBOL)
        if e.kind != "gap"
    ]
    expected = []
    for at, truth in enumerate(truths):
        before = truths[at - 1] if at else None
        kind = "update"
        if before is None or before.stretch != truth.stretch:
            kind = "snapshot"
        elif before.sequence == truth.sequence:
            kind = "reseed"
            if before.known == truth.known:
                continue  # it told nothing new
        expected.append((kind, truth.ts, truth.sequence, truth.best, marked(truth)))
    assert events == expected


def test_sql_and_plain_duckdb_show_the_same_marks(told):
    truths, tape, _, _ = told
    columns = "side, level, price, size, known"
    with duckdb.connect() as plain:
        plain.execute(script(tape.path, tape.snapshot))
        for truth in list(by_sequence(truths).values())[::9]:
            for depth in (2, 50):
                expected = rows_with_open_ends(truth, depth)
                rows = tape.sql(
                    f"SELECT {columns} FROM book_at_sequence('{SYMBOL}', {truth.sequence}, "
                    f"depth := {depth})"
                ).to_pylist()
                assert [tuple(row.values()) for row in rows] == expected
        stamps = [truth.ts for truth in truths]
        for ts in sorted(set(stamps))[::15]:
            truth = truths[bisect_right(stamps, ts) - 1]
            for depth in (2, 50):
                rows = plain.sql(
                    f"SELECT {columns} FROM book_at('{SYMBOL}', make_timestamp_ns({ts}), "
                    f"depth := {depth})"
                ).fetchall()
                assert rows == rows_with_open_ends(truth, depth)


def test_the_comparison_with_an_order_log_agrees_and_counts_how_far_the_price_walked(
    told, tmp_path
):
    truths, tape, market, _ = told
    log = tmp_path / "orders.jsonl"
    log.write_text("".join(json.dumps({"symbol": SYMBOL, **line}) + "\n" for line in market.log))
    found = compare(tape.path, log, [SYMBOL], 80, seed=1, profile="kucoin-classic")
    (result,) = found
    assert not result.wrong, result.wrong[:3]
    assert (result.stream, result.asked) == ("l2", 80)
    assert result.answered >= 60
    assert result.answered >= result.partial >= result.crossed > 0
    assert result.touch_outside <= sum(not truth.best[4] for truth in truths) * 8
    assert result.gap_probes == 6


def test_verify_compares_inside_what_both_know_and_counts_how_deep(told):
    _, tape, _, builder = told
    report = tape.verify()
    assert report.ok, report.lines()
    full = [rows[0]["origin"] for rows in builder.streams[0].full]
    for what, origin in (("keyframes", "keyframe"), ("audits", "audit")):
        counts = report.counts[what]
        depths = sum(counts.get(depth, 0) for depth in ("whole", "partial", "empty"))
        assert depths == full.count(origin)
        assert counts["equal"] + counts.get("empty", 0) == depths
