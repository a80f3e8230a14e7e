"""Whatever happens on the wire: batching changes nothing, and the record's promises hold."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from recorder.pipeline import keyframes
from tests.support.judge import judge_books, judge_ledger, judge_order, known_ns
from tests.support.market_log import MIDNIGHT, T0, Story, market_log, split_batches
from tests.support.pipeline_rows import Made, make

# A story is a seed: a smaller one is another story, and looking for it takes minutes.
PHASES = (Phase.explicit, Phase.generate)

stories = st.builds(
    Story,
    seed=st.integers(0, 10_000),
    steps=st.just(120),
    chance=st.sampled_from((0.0, 0.01, 0.03)),
    start=st.sampled_from((T0, MIDNIGHT - 1_500_000_000)),
    l2_batch=st.sampled_from((1, 4)),
    buffer_max=st.sampled_from((5, 10_000)),
    lists_symbols=st.booleans(),
    stops=st.booleans(),
)


@contextmanager
def frequent_keyframes(per_live: int = 0) -> Iterator[None]:
    """Let keyframes come after 30 changes, or as many as there are levels or orders."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(keyframes, "KEYFRAME_CHANGES", 30)
        patch.setattr(keyframes, "KEYFRAME_CHANGES_PER_LIVE", per_live)
        yield


@pytest.mark.timeout(300)
@settings(max_examples=20, phases=PHASES)
@given(stories, st.integers(0, 1000), st.sampled_from((1, 2, 9, 60)), st.sampled_from((0, 1)))
def test_batching_changes_nothing(story: Story, draw: int, size_max: int, per_live: int) -> None:
    lines = market_log(story)
    with frequent_keyframes(per_live):
        whole = make([lines]).whole()
        batched = make(split_batches(lines, random.Random(draw), size_max)).whole()
    for name, value in whole.items():
        assert batched[name] == value, name


@pytest.mark.timeout(300)
@settings(max_examples=20, phases=PHASES)
@given(stories)
def test_rows_and_ledger_keep_the_promises(story: Story) -> None:
    with frequent_keyframes():
        made = make([market_log(story)])
    judge_order(made)
    judge_ledger(made)
    for symbol in story.symbols:
        for stream in ("l2", "l3"):
            judge_books(made, symbol, stream)
    assert all("cannot be read" in incident for incident in made.incidents)


def test_keyframes_are_compared_indeed() -> None:
    with frequent_keyframes():
        made = make([market_log(Story(1, steps=200, chance=0.005))])
    compared = {
        (symbol, stream): judge_books(made, symbol, stream)
        for symbol in ("BTC-USDT", "SHIB-BTC")
        for stream in ("l2", "l3")
    }
    assert min(compared.values()) >= 2, compared


def test_a_new_day_begins_with_a_keyframe_behind_its_first_change() -> None:
    story = Story(3, steps=200, chance=0, start=MIDNIGHT - 1_000_000_000)
    made = make([market_log(story)])
    for symbol in story.symbols:
        rows = made.rows("l2_updates", symbol)
        first = next(row for row in rows if known_ns(row) >= MIDNIGHT)
        last = next(r for r in rows if r["is_last"] and r["ordinal"] >= first["ordinal"])
        full = made.rows("book_snapshots", symbol, "l2")
        ordinals = {row["ordinal"] for row in full if row["origin"] == "keyframe"}
        assert last["ordinal"] in ordinals


@pytest.mark.parametrize("seed", range(4))
def test_without_faults_nothing_is_lost_and_each_trade_stands_once(seed: int) -> None:
    lines = market_log(Story(seed, chance=0))
    made = make([lines])
    assert made.gaps() == []
    assert made.incidents == []
    sent = Counter(line.fields.get("symbol") for line in lines if line.kind == "recv")
    assert sent
    for symbol in ("BTC-USDT", "SHIB-BTC"):
        trades = made.rows("trades", symbol)
        matches = [row for row in made.rows("l3_events", symbol) if row["kind"] == "match"]
        by_match_topic = {row["sequence"] for row in trades if row["source"] == "match"}
        assert len({row["sequence"] for row in trades}) == len(trades)
        assert {row["sequence"] for row in matches} <= {row["sequence"] for row in trades}
        assert by_match_topic == {row["sequence"] for row in trades}


@pytest.mark.parametrize("seed", range(4))
def test_level3_fills_in_for_the_match_topic(seed: int) -> None:
    made = make([market_log(Story(seed, chance=0.05, steps=200))])
    sources = Counter(
        row["source"] for s in ("BTC-USDT", "SHIB-BTC") for row in made.rows("trades", s)
    )
    assert sources["level3"] > 0
    assert sources["match"] > 0


def _sides(made: Made, symbol: str) -> Counter[tuple[bool, str]]:
    return Counter(
        (row["price_mantissa"] == 0, row["side"]) for row in made.rows("l2_updates", symbol)
    )


def test_price_zero_rows_keep_their_side() -> None:
    made = make([market_log(Story(1, chance=0, l2_batch=1))])
    sides = _sides(made, "SHIB-BTC")
    assert sides[True, "bid"] > 0
    assert sides[True, "ask"] > 0
    assert not sides[True, None]
