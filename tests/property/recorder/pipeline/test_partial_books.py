"""Partial seeds and a walking price: inside its bounds a book is the true one, always.

And what the rows say does not depend on how the lines were batched.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from recorder.pipeline import book_stream, keyframes, reseed
from recorder.pipeline.output import Reseed
from recorder.raw_line import RawLine
from recorder.run_writer import RunWriter
from recorder.storage.archive_folder import ArchiveFolder
from recorder.storage.open_parts import RollRules
from replay import Archive
from tests.support.classic_log import SYMBOL, ClassicLog, ClassicMarket, ClassicStory
from tests.support.judge import judge_ledger, judge_order, number
from tests.support.market_log import split_batches
from tests.support.pipeline_rows import Made, make
from tests.support.row_digest import row_digests

PHASES = (Phase.explicit, Phase.generate)  # a smaller seed is another story

stories = st.builds(
    ClassicStory,
    seed=st.integers(0, 10_000),
    chance=st.sampled_from((0.0, 0.03, 0.1)),
    walk=st.sampled_from((1, 3, 8)),
    loses=st.booleans(),
)


@contextmanager
def small_numbers(keyframe_changes: int = 40) -> Iterator[None]:
    """Ask for depth below 8 levels, and let keyframes come often."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(book_stream, "RESEED_LEVELS", 8)
        patch.setattr(keyframes, "KEYFRAME_CHANGES", keyframe_changes)
        patch.setattr(keyframes, "KEYFRAME_CHANGES_PER_LIVE", 0)
        yield


class Reader:
    """A book rebuilt from rows alone, with the bounds that rows state."""

    def __init__(self, market: ClassicMarket) -> None:
        self.market = market
        self.sides: dict[str, dict[Decimal, Decimal]] = {"bid": {}, "ask": {}}
        self.bid_from: Decimal | None = None
        self.ask_to: Decimal | None = None
        self.checked = 0

    def inside(self, side: str, price: Decimal) -> bool:
        """Say whether a level is exact by what the rows state."""
        if side == "bid":
            return self.bid_from is None or price >= self.bid_from
        return self.ask_to is None or price <= self.ask_to

    def known(self) -> dict[str, dict[Decimal, Decimal]]:
        """Return the levels inside the bounds."""
        return {
            side: {price: size for price, size in levels.items() if self.inside(side, price)}
            for side, levels in self.sides.items()
        }

    def load(self, rows: list[dict[str, Any]]) -> None:
        """Replace the book by a full one."""
        self.bid_from = number(rows[0], "known_bid_from")
        self.ask_to = number(rows[0], "known_ask_to")
        self.sides = {
            side: {number(r, "price"): number(r, "size") for r in rows if r["side"] == side}
            for side in ("bid", "ask")
        }

    def apply(self, row: dict[str, Any]) -> None:
        """Apply one change."""
        price, size = number(row, "price"), number(row, "size")
        if price:
            self.sides[row["side"]].pop(price, None)
            if size:
                self.sides[row["side"]][price] = size

    def check(self, sequence: int) -> None:
        """Hold the known levels to the true book at a number."""
        self.checked += 1
        true = dict(zip(("bid", "ask"), self.market.book(sequence), strict=True))
        for side, levels in self.known().items():
            exact = {Decimal(p).scaleb(-2): Decimal(s).scaleb(-2) for p, s in true[side].items()}
            expected = {price: size for price, size in exact.items() if self.inside(side, price)}
            assert levels == expected, (sequence, side)


def judge(made: Made, market: ClassicMarket) -> Reader:
    """Rebuild the book row by row and hold it to the truth at the end of every message."""
    reader = Reader(market)
    seeks = [b.full_book for b in made.batches.get(("book_snapshots", SYMBOL, "l2"), ())]
    places = [(book.ordinal, book.origin) for book in seeks if book and book.origin != "audit"]
    assert len(set(places)) == len(places), "two full books of one origin at one ordinal"
    full: dict[int, dict[str, list[dict[str, Any]]]] = {}
    for row in made.rows("book_snapshots", SYMBOL, "l2"):
        full.setdefault(row["ordinal"], {}).setdefault(row["origin"], []).append(row)
    changes = {row["ordinal"]: row for row in made.rows("l2_updates", SYMBOL)}
    for ordinal in sorted(full.keys() | changes.keys()):
        books = full.get(ordinal, {})
        if "rest" in books:
            reader.load(books["rest"])
            reader.check(books["rest"][0]["sequence"])
        if ordinal in changes:
            row = changes[ordinal]
            reader.apply(row)
            if row["is_last"]:
                reader.check(row["sequence_end"])
        if "keyframe" in books:
            keyframe = books["keyframe"]
            before = reader.known()
            reader.load(keyframe)
            reader.check(keyframe[0]["sequence"])
            for side, levels in before.items():  # it takes nothing back
                assert levels.items() <= reader.known()[side].items()
        for row in books.get("audit", ()):
            bids, asks = market.book(row["sequence"])
            true = bids if row["side"] == "bid" else asks
            assert true[int(number(row, "price") * 100)] == number(row, "size") * 100
    return reader


@settings(max_examples=25, phases=PHASES)
@given(stories, st.sampled_from((1, 40)))
def test_inside_its_bounds_a_book_is_exact_after_every_message(
    story: ClassicStory, keyframe_changes: int
) -> None:
    with small_numbers(keyframe_changes):
        log = ClassicLog(story)
        made = make([log.write()])
    reader = judge(made, log.market)
    judge_order(made)
    judge_ledger(made)
    assert reader.checked >= 60
    assert not any("drift" in gap.reason for gap in made.gaps())
    assert made.incidents == []
    if not story.loses:
        assert made.gaps(SYMBOL, "l2") == []
    # The faults have stopped: what was wanted has come.
    assert all(len(levels) >= 8 for levels in reader.known().values())
    trades = made.rows("trades", SYMBOL)
    assert len({row["trade_id"] for row in trades}) == len(trades)
    if not story.loses:
        assert [row["trade_id"] for row in trades] == log.trades


def _rows(made: Made) -> dict[str, Any]:
    """Return what must not depend on batches: all but the wish for more depth and the stories."""
    whole = made.whole()
    for commands in whole["commands"].values():
        commands[:] = [command for command in commands if not isinstance(command, Reseed)]
    whole["commands"] = {key: commands for key, commands in whole["commands"].items() if commands}
    whole["incidents"] = [incident.partition("\n")[0] for incident in whole["incidents"]]
    return whole


@settings(max_examples=25, phases=PHASES)
@given(stories, st.integers(0, 1000), st.sampled_from((1, 2, 9, 60)), st.sampled_from((0, 60)))
def test_batching_changes_no_row(
    story: ClassicStory, draw: int, size_max: int, drift_at: int
) -> None:
    story = ClassicStory(story.seed, 150, story.chance, story.walk, drift_at or -1, story.loses)
    with small_numbers():
        lines = ClassicLog(story).write()
        whole = _rows(make([lines]))
        batched = _rows(make(split_batches(lines, random.Random(draw), size_max)))
    for name, value in whole.items():
        assert batched[name] == value, name


def as_capture(lines: list[RawLine]) -> list[RawLine]:
    """Return what a capture of the same hour holds: frames and answers, and no question."""
    capture = []
    for line in lines:
        fields = dict(line.fields)
        if line.kind == "run_start":
            fields["source"] = "capture.jsonl"
        elif line.kind == "rest_answer":
            fields = {"url": fields["url"]}
        if line.kind in {"run_start", "recv", "rest_answer", "run_stop"}:
            capture.append(RawLine(line.kind, line.ts_recv, 0, 0, line.data, fields))
    return capture


@pytest.mark.parametrize("seed", range(6))
def test_a_capture_learns_more_from_the_answers_it_holds(seed: int) -> None:
    with small_numbers(10**9):
        log = ClassicLog(ClassicStory(seed, steps=200, walk=4, loses=seed % 2 == 0))
        lines = as_capture(log.write())
        made = make([lines])
        batched = make(split_batches(lines, random.Random(seed), 9))
    reader = judge(made, log.market)
    judge_order(made)
    judge_ledger(made)
    assert _rows(batched) == _rows(made)
    assert made.incidents == []
    origins = {row["origin"] for row in made.rows("book_snapshots", SYMBOL, "l2")}
    assert origins == {"rest", "audit", "keyframe"}
    assert all(len(levels) >= 8 for levels in reader.known().values())


def test_the_stories_meet_what_they_are_about() -> None:
    met = {"audit": 0, "keyframe": 0, "reseed_taken": 0, "reseed_ignored": 0, "push_repeated": 0}
    trimmed = 0
    with small_numbers(10**9):
        for seed in range(12):
            made = make([ClassicLog(ClassicStory(seed, chance=0.1, walk=8)).write()])
            for row in made.rows("book_snapshots", SYMBOL, "l2"):
                if row["origin"] in met:
                    met[row["origin"]] += 1
            for name, value in made.pipeline.counts.items():
                if name in met:
                    met[name] += value
            rows = made.rows("l2_updates", SYMBOL)
            starts = [row["sequence_start"] for row in rows]
            ends = [row["sequence_end"] for row in rows]
            trimmed += sum(start <= end for start, end in zip(starts[1:], ends, strict=False))
    assert min(met.values()) >= 10, met
    assert trimmed >= 100


@pytest.mark.parametrize("seed", range(6))
def test_a_book_gone_wrong_unseen_is_found_by_the_next_reseed(seed: int) -> None:
    story = ClassicStory(seed, steps=120, chance=0.0, walk=8, drift_at=10)
    with small_numbers():
        log = ClassicLog(story)
        made = make([log.write()])
    gaps = [gap for gap in made.gaps(SYMBOL, "l2") if gap.reason == "drift"]
    # The level may have been told of, or have traded away, before a re-seed could show it.
    for gap in gaps:
        assert gap.healed_by == "snapshot"
    judge_ledger(made)
    judge_order(made)
    assert len(gaps) == len(made.incidents) <= 1


def test_drift_is_found_at_all() -> None:
    found = 0
    with small_numbers():
        for seed in range(6):
            story = ClassicStory(seed, steps=120, chance=0.0, walk=8, drift_at=10)
            made = make([ClassicLog(story).write()])
            found += any(gap.reason == "drift" for gap in made.gaps())
    assert found >= 1


def test_a_journal_that_grew_too_long_is_refused_however_it_was_batched() -> None:
    story = ClassicStory(3, chance=0.03, walk=8, loses=False)
    with small_numbers(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(reseed, "JOURNAL_CHANGES_MAX", 12)
        log = ClassicLog(story)
        lines = log.write()
        whole = make([lines])
        judge(whole, log.market)
        batched = make(split_batches(lines, random.Random(1), 40))
    assert any("before its answer could be merged" in incident for incident in whole.incidents)
    assert _rows(batched) == _rows(whole)


def _archive(path: Path, batches: list[list[RawLine]]) -> Path:
    with ArchiveFolder(path) as folder:
        writer = RunWriter(path, folder.catalog, RollRules())
        for batch in batches:
            writer.process(batch)
        writer.finish()
    return path


def test_readers_find_their_own_book_in_every_full_book(tmp_path: Path) -> None:
    story = ClassicStory(2, steps=300, chance=0.02, walk=6)
    with small_numbers():
        lines = ClassicLog(story).write()
        live = _archive(tmp_path / "live", split_batches(lines, random.Random(5), 7))
        rebuilt = _archive(tmp_path / "rebuilt", [lines])
    with Archive(live) as tape:
        report = tape.verify()
    assert report.ok
    counted = report.counts
    assert counted["keyframes"]["equal"] >= 20
    assert counted["audits"]["equal"] >= 5
    assert row_digests(live) == row_digests(rebuilt)
