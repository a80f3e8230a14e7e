"""Put away and taken up between any two batches, a pipeline goes on as if nothing had been."""

from __future__ import annotations

import io
import random
from collections import Counter, deque
from collections.abc import Iterator

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from recorder.pipeline.pipeline import Pipeline
from recorder.pipeline.state import put_away, take_up
from recorder.pipeline.streams import Streams
from recorder.raw_line import RawLine
from recorder.stitch.machine import State
from tests.support.classic_log import ClassicLog, ClassicStory
from tests.support.market_log import T0, Story, market_log, split_batches
from tests.support.pipeline_rows import Made, make

# A story is a seed: a smaller one is another story, and looking for it takes minutes.
PHASES = (Phase.explicit, Phase.generate)

stories = st.builds(
    Story,
    seed=st.integers(0, 10_000),
    steps=st.just(50),
    chance=st.sampled_from((0.0, 0.02, 0.05)),
    start=st.just(T0),
    buffer_max=st.sampled_from((5, 10_000)),
    stops=st.booleans(),
)
classic_stories = st.builds(
    ClassicStory,
    seed=st.integers(0, 10_000),
    steps=st.just(70),
    drift_at=st.sampled_from((-1, 20)),
)


def put_away_and_take_up(made: Made) -> None:
    """Replace the pipeline by its likeness, and the ledger's entries with it: they are shared."""
    file = io.BytesIO()
    put_away((made.pipeline, list(made.ledger.values())), file)
    file.seek(0)
    made.pipeline, entries = take_up(file)
    made.ledger = {id(entry): entry for entry in entries}


def make_with_stops(batches: list[list[RawLine]]) -> Iterator[Made]:
    """Feed batches, each into what was put away behind the one before; yield it each time."""
    made = Made(Pipeline())
    for batch in batches:
        put_away_and_take_up(made)
        made.take(made.pipeline.feed(batch))
        yield made
    put_away_and_take_up(made)
    if not made.pipeline.stop_reason:
        made.take(made.pipeline.finish("crashed"))
    put_away_and_take_up(made)
    yield made


def assert_goes_on(lines: list[RawLine], seed: int, size_max: int) -> None:
    batches = split_batches(lines, random.Random(seed), size_max)
    whole = make(batches)
    (stopped,) = deque(make_with_stops(batches), maxlen=1)
    for name, value in whole.whole().items():
        assert stopped.whole()[name] == value, name
    assert stopped.commands == whole.commands
    assert stopped.pipeline.status().keys() == whole.pipeline.status().keys()


@settings(max_examples=8, phases=PHASES)
@given(stories, st.integers(0, 1000), st.sampled_from((3, 9, 60)))
def test_a_market_of_2019_goes_on(story: Story, draw: int, size_max: int) -> None:
    assert_goes_on(market_log(story), draw, size_max)


@settings(max_examples=12, phases=PHASES)
@given(classic_stories, st.integers(0, 1000), st.sampled_from((2, 9)))
def test_a_market_of_today_goes_on(story: ClassicStory, draw: int, size_max: int) -> None:
    assert_goes_on(ClassicLog(story).write(), draw, size_max)


def _moments(streams: Streams | None) -> Iterator[str]:
    """Yield what stands open in the streams of a pipeline."""
    if streams is None:
        yield "before the first line"
        return
    for book in streams._books.values():
        machine = book.stitcher
        yield machine.state.value
        if machine.held:
            yield "held"
        if machine.open_gap is not None:
            yield "gap open"
        if machine.outstanding_request is not None:
            yield "book asked"
        if book._reseeding.wanted:
            yield "reseed wanted"
        if book._reseeding.answer is not None:
            yield "reseed answered"
    for push in streams._pushes.values():
        yield "push up" if push.up else "push down"
        if getattr(push, "_waiting", None):
            yield "trades waiting"
        if getattr(push, "_ids", None):
            yield "trades remembered"


def test_it_is_put_away_at_every_kind_of_moment() -> None:
    visited: Counter[str] = Counter()
    logs = [market_log(Story(seed, steps=50, chance=0.05)) for seed in range(2)]
    logs += [ClassicLog(ClassicStory(seed, steps=100)).write() for seed in range(3)]
    for number, lines in enumerate(logs):
        for made in make_with_stops(split_batches(lines, random.Random(number), 8)):
            visited.update(_moments(made.pipeline._streams))
    visited.update(_moments(Pipeline()._streams))
    wanted = {state.value for state in State} | {
        "before the first line", "held", "gap open", "book asked", "reseed wanted",
        "reseed answered", "push up", "push down", "trades waiting", "trades remembered",
    }  # fmt: skip
    assert wanted <= visited.keys()


@pytest.mark.parametrize("lines", [0, 1])
def test_a_pipeline_that_has_seen_next_to_nothing_goes_on(lines: int) -> None:
    log = market_log(Story(1, steps=5))
    assert_goes_on(log, 0, 1)
    made = make([log[:lines]])
    put_away_and_take_up(made)
    assert made.pipeline.run_id == ("" if not lines else log[0].fields["run_id"])
