"""Books, best prices and frames of seeded archives against the plain twin's."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from decimal import Decimal

import numpy as np
import pytest

from replay import Archive
from replay.errors import BookUnknown, OutsideArchive
from tests.property.replay.markets import SYMBOL, build
from tests.support.archive_builder import ArchiveBuilder, S, Truth
from tests.support.arrow_rows import rows_of

SEEDS = range(6)


@pytest.fixture(scope="module", params=SEEDS)
def market(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple]:
    builder = build(tmp_path_factory.mktemp("tape") / "archive", request.param)
    with Archive(builder.root) as tape:
        yield builder, tape


def truths(builder: ArchiveBuilder, stream: str) -> list[Truth]:
    return [truth for s in builder.streams if s.stream == stream for truth in s.truth]


def sampled(values) -> list:
    """At most 60 of them, with both ends."""
    values = list(values)
    return [values[at] for at in sorted(set(np.linspace(0, len(values) - 1, 60, dtype=int)))]


def whole(book, level):
    if level == 2:
        return tuple([(x.price, x.size) for x in side] for side in (book.bids, book.asks))
    return tuple(
        [(o.price, o.size, o.order_id) for o in side.orders] for side in (book.bids, book.asks)
    )


@pytest.mark.parametrize("level", [2, 3])
def test_every_book_by_sequence(market, level):
    builder, tape = market
    last = {truth.sequence: truth for truth in truths(builder, f"l{level}")}
    for sequence, truth in sampled(last.items()):
        book = tape.book(SYMBOL, sequence=sequence, level=level)
        assert whole(book, level) == tuple(truth.whole)
        assert (book.sequence, book.ts_recv) == (truth.sequence, truth.ts)


@pytest.mark.parametrize("level", [2, 3])
def test_every_book_by_time(market, level):
    builder, tape = market
    told = truths(builder, f"l{level}")
    stamps = [truth.ts for truth in told]
    moments = sorted({*stamps, *(ts + 1 for ts in stamps), *(ts + S // 20 for ts in stamps)})
    for ts in sampled(moments):
        gaps = [g for s in builder.streams if s.stream == f"l{level}" for g in s.gaps]
        if ts > stamps[-1]:
            with pytest.raises(OutsideArchive):
                tape.book(SYMBOL, ts, level=level)
        elif any(g["ts_from"] < ts < g["ts_to"] for g in gaps):
            with pytest.raises(BookUnknown):
                tape.book(SYMBOL, ts, level=level)
        else:
            truth = told[bisect_right(stamps, ts) - 1]
            assert whole(tape.book(SYMBOL, ts, level=level), level) == tuple(truth.whole)


@pytest.mark.parametrize("level", [2, 3])
def test_every_change_of_the_best_prices(market, level):
    builder, tape = market
    expected = []
    for stream in (s for s in builder.streams if s.stream == f"l{level}"):
        before = None
        for at, truth in enumerate(stream.truth):
            doubles = tuple(None if x is None else float(x) for x in truth.best[:4])
            begins = at == 0 or stream.truth[at - 1].stretch != truth.stretch
            if begins or doubles != before:
                expected.append((truth.ts, truth.sequence, *doubles, True))
            before = doubles
            ends = at + 1 == len(stream.truth) or stream.truth[at + 1].stretch != truth.stretch
            if ends and not stream.stretches[truth.stretch].is_open:
                expected.append((truth.ts + 1, truth.sequence + 1, None, None, None, None, False))
    table = tape.bbo(SYMBOL, level=level)
    names = ("sequence", "best_bid", "best_bid_size", "best_ask", "best_ask_size", "valid")
    columns = [table.column("ts_recv").cast("int64"), *(table.column(name) for name in names)]
    # A private event repeats its sequence; nothing else does.
    assert list(zip(*(c.to_pylist() for c in columns), strict=True)) == expected


def test_best_prices_of_ranges_are_cuts_of_the_whole(market):
    _, tape = market
    table = tape.bbo(SYMBOL)
    stamps = table.column("ts_recv").cast("int64").to_numpy()
    rng = np.random.default_rng(len(stamps))
    first, last = int(stamps[0]), int(stamps[-1])
    for _ in range(20):
        start, end = sorted(rng.integers(first, last, 2).tolist())
        if end == start:
            continue
        part = tape.bbo(SYMBOL, start, end)
        at = int(np.searchsorted(stamps, start, "right"))
        rest = table.slice(at, int(np.searchsorted(stamps, end, "left")) - at)
        # Unless a message of that very moment changed nothing, the state comes first.
        assert part.slice(1).equals(rest)
        state, before = rows_of(part)[0], rows_of(table.slice(at - 1, 1))[0]
        assert state["ts_recv"] == start
        for name in ("best_bid", "best_bid_size", "best_ask", "best_ask_size", "valid"):
            assert state[name] == before[name]


def test_depth_frames(market):
    builder, tape = market
    told = truths(builder, "l2")
    stamps = [truth.ts for truth in told]
    every, levels = S // 3, 4
    start, end = stamps[0] - S, stamps[-1] + S
    rows = rows_of(tape.depth(SYMBOL, start, end, every=every, levels=levels))
    found: dict[int, list] = {}
    for row in rows:
        found.setdefault(row["ts"], []).append(row)
    points = list(range(-(-start // every) * every, end, every))
    assert list(found) == points
    gaps = [g for s in builder.streams if s.stream == "l2" for g in s.gaps]
    for point in points:
        unknown = not stamps[0] <= point <= stamps[-1] or any(
            g["ts_from"] < point < g["ts_to"] for g in gaps
        )
        if unknown:
            assert [(r["side"], r["valid"]) for r in found[point]] == [(None, False)]
            continue
        truth = told[bisect_right(stamps, point) - 1]
        expected = [
            (side, level + 1, float(price), float(size), truth.sequence)
            for side, rows in zip(("bid", "ask"), truth.levels, strict=True)
            for level, (price, size) in enumerate(rows[:levels])
        ] or [(None, None, None, None, truth.sequence)]
        keys = ("side", "level", "price", "size", "sequence")
        assert [tuple(row[key] for key in keys) for row in found[point]] == expected
        assert all(row["valid"] for row in found[point])


@pytest.mark.parametrize("level", [2, 3])
def test_replay_moves_the_live_book_message_by_message(market, level):
    builder, tape = market
    told = truths(builder, f"l{level}")
    seen = [event for event in _checked(tape.replay(SYMBOL, level=level)) if event[0] != "gap"]
    assert [(ts, sequence, best) for _, ts, sequence, best in seen] == [
        (truth.ts, truth.sequence, tuple(truth.best)) for truth in told
    ]


def _checked(events):
    for event in events:
        if event.kind == "gap":
            assert event.book.book() is None
        yield event.kind, event.ts_recv, event.sequence, tuple(event.book.bbo)


def test_verify_finds_every_keyframe_equal(market):
    builder, tape = market
    report = tape.verify()
    # The two books of these histories are told apart from each other: they need not agree.
    assert {d.what for d in report.differences} <= {"l3 = l2"}
    keyframes = sum(
        rows[0]["origin"] == "keyframe" for stream in builder.streams for rows in stream.full
    )
    assert report.counts.get("keyframes", {"equal": 0})["equal"] == keyframes


def test_sql_gives_what_python_gives(market):
    builder, tape = market
    truth = truths(builder, "l2")[-1]
    n = truth.sequence
    rows = tape.sql(f"FROM book_at_sequence('{SYMBOL}', {n}, depth := 1000)").to_pylist()
    exact = [
        (
            row["side"],
            Decimal(row["price_mantissa"]).scaleb(-row["price_scale"]),
            Decimal(row["size_mantissa"]).scaleb(-row["size_scale"]),
        )
        for row in rows
    ]
    assert exact == [
        (side, *level)
        for side, levels in zip(("bid", "ask"), truth.whole, strict=True)
        for level in levels
    ]
    assert [row["price"] for row in rows] == [float(price) for _, price, _ in exact]
    assert tape.sql(f"FROM bbo('{SYMBOL}')").equals(tape.bbo(SYMBOL))


def test_duckdb_alone_finds_the_same_levels(market):
    """An as-of query over the rows, without any kernel."""
    builder, tape = market
    stream = next(s for s in builder.streams if s.stream == "l2" and s.stretches[-1].rows)
    stretch = stream.stretches[-1]
    seed = max(
        (rows for rows in stream.full if rows[0]["ordinal"] == stretch.ordinal_first),
        key=lambda rows: rows[0]["origin"] == "rest",
    )[0]["ordinal"]
    found = tape.sql(
        """
        WITH levels AS (
            SELECT side, price, size, ordinal FROM book_snapshots
            WHERE book = 'l2' AND origin = 'rest' AND run_id = $run AND ordinal = $seed
                AND side IS NOT NULL
            UNION ALL
            SELECT side, price, size, ordinal FROM l2_updates
            WHERE run_id = $run AND ordinal BETWEEN $seed AND $last
        ), newest AS (
            SELECT side, price, arg_max(size, ordinal) AS size FROM levels GROUP BY ALL
        )
        SELECT side, price, size FROM newest WHERE size > 0
        ORDER BY side, CASE side WHEN 'bid' THEN -price ELSE price END
        """,
        run=stream.run_id,
        seed=seed,
        last=stretch.ordinal_last,
    ).to_pylist()
    book = tape.book(SYMBOL, sequence=stretch.sequence_last)
    assert [(row["side"], row["price"], row["size"]) for row in found] == [
        (side, float(level.price), float(level.size))
        for side, levels in (("ask", book.asks), ("bid", book.bids))
        for level in levels
    ]
