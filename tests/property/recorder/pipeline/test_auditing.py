"""Audits at random moments of random histories: a sound book is never accused, a wrong one is.

Answers come early, late, stale, in the middle of messages, partial, or not at all; and what is
made of them does not depend on how the lines were batched.
"""

from __future__ import annotations

import random
from io import BytesIO
from typing import Any

from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from recorder.book import L2Book, L3Book
from recorder.pipeline.output import AskAudit, Audited, Output, Reseed, Resubscribe
from recorder.pipeline.pipeline import Pipeline
from recorder.pipeline.state import put_away, take_up
from recorder.raw_line import AUDIT, CHECK
from schemas.kucoin.rest import BookAnswer, format_book
from tests.support.classic_log import SYMBOL, URL, ClassicLog, ClassicStory, best
from tests.support.market_log import MarketLog, Story, split_batches
from tests.support.pipeline_rows import Made, make

PHASES = (Phase.explicit, Phase.generate)  # a smaller seed is another story
ACCUSATIONS = {"drift", "silent", "crossed"}
CHECK_EVERY = 25  # turns


class _Audited:
    """Mixed into a log: audits and checks in between, and what the log's own pipeline made."""

    def prepare(self, seed: int, chance: float) -> None:
        """Say how often; the draws are apart from the story's own."""
        self.audit_draw = random.Random(f"{seed}/audits")
        self.audit_chance = chance
        self.turns = 0
        self.own = Made(self._pipeline)

    def _turn(self) -> None:
        super()._turn()
        self.turns += 1
        if self.turns % CHECK_EVERY == 0:
            self._line("decision", what=CHECK)
        if self.audit_draw.random() < self.audit_chance:
            symbol, stream = self.pick()
            self._line("decision", what=AUDIT, symbol=symbol, stream=stream)

    def _carry_out(self, output: Output) -> None:
        self.own.take(output)
        others = [c for c in output.commands if not isinstance(c, AskAudit | Resubscribe)]
        for command in output.commands:
            if isinstance(command, AskAudit):
                fields = {"symbol": command.symbol, "stream": command.stream, "purpose": AUDIT}
                late = self.audit_draw.randint(0, 12)
                self._later(late, lambda fields=fields: self.answer_audit(fields))
        output.commands[:] = others
        super()._carry_out(output)


class AuditedClassic(_Audited, ClassicLog):
    """Today's dialect: partial books, overlapping and coalesced messages."""

    def __init__(self, story: ClassicStory, chance: float = 0.1) -> None:
        ClassicLog.__init__(self, story)
        self.prepare(story.seed, chance)

    def pick(self) -> tuple[str, str]:
        """Return a book."""
        return SYMBOL, "l2"

    def answer_audit(self, fields: dict[str, Any]) -> None:
        """Answer as any other question is answered: old, refused, twice."""
        self._answer(fields)


class AuditedMarket(_Audited, MarketLog):
    """The dialect of 2019: whole books of levels and of orders."""

    def __init__(self, story: Story, chance: float = 0.1) -> None:
        self.audit_chance = chance
        MarketLog.__init__(self, story)
        self.prepare(story.seed, chance)

    def pick(self) -> tuple[str, str]:
        """Return a book."""
        streams = ("l2",) if self.story.level2_only else ("l2", "l3")
        return self.audit_draw.choice(self.story.symbols), self.audit_draw.choice(streams)

    def answer_audit(self, fields: dict[str, Any]) -> None:
        """Answer with the book as it is, as it was, or not at all."""
        fields = {**fields, "url": self._url(fields["symbol"], fields["stream"])}
        chance = self.audit_draw.random()
        if chance < 0.05:
            self._line("rest_failure", **fields, error="timeout")
            return
        older = self.audit_draw.randint(1, 60) if chance < 0.4 else 0
        body = self._book(fields["symbol"], fields["stream"], older)
        self._line("rest_answer", data=body, **fields, status=200)


def results(made: Made) -> list[str]:
    """Return what became of each audit."""
    return [audit.result for audit in made.entries(Audited)]


def all_but_reseeds(made: Made) -> dict[str, Any]:
    """Return everything made but the wishes to re-seed, which may come earlier or later."""
    made.commands = [command for command in made.commands if not isinstance(command, Reseed)]
    return made.whole()


def accused(made: Made) -> list[Any]:
    """Return the gaps that call a book wrong."""
    return [gap for gap in made.gaps() if gap.reason in ACCUSATIONS]


classic = st.builds(
    ClassicStory,
    seed=st.integers(0, 10_000),
    chance=st.sampled_from((0.0, 0.03, 0.1)),
    walk=st.sampled_from((1, 3, 8)),
    loses=st.booleans(),
)


@given(st.integers(0, 10_000), st.integers(0, 1_000))
@settings(max_examples=6, deadline=None, phases=PHASES, derandomize=True)
def test_an_audit_under_way_survives_being_put_away(seed: int, draw: int) -> None:
    lines = AuditedClassic(ClassicStory(seed, chance=0.03), chance=0.3).write()
    in_one_go = make([lines])
    made = Made(Pipeline())
    for batch in split_batches(lines, random.Random(draw), 60):
        made.take(made.pipeline.feed(batch))
        file = BytesIO()
        put_away((made.pipeline, list(made.ledger.values())), file)
        file.seek(0)
        made.pipeline, entries = take_up(file)
        made.ledger = {id(entry): entry for entry in entries}
    assert results(made)
    assert all_but_reseeds(made) == all_but_reseeds(in_one_go)


whole = st.builds(
    Story,
    steps=st.just(100),
    seed=st.integers(0, 10_000),
    chance=st.sampled_from((0.0, 0.01, 0.05)),
    l2_batch=st.sampled_from((1, 4, 9)),
    level2_only=st.booleans(),
)


@given(classic, st.integers(0, 1_000), st.sampled_from((2, 7, 1_000)))
@settings(max_examples=25, deadline=None, phases=PHASES, derandomize=True)
def test_a_sound_partial_book_is_never_accused_however_it_was_batched(
    story: ClassicStory, draw: int, size_max: int
) -> None:
    log = AuditedClassic(story)
    lines = log.write()
    one_by_one = make([[line] for line in lines])
    assert "unequal" not in results(one_by_one)
    assert accused(one_by_one) == []
    batched = make(split_batches(lines, random.Random(draw), size_max))
    assert all_but_reseeds(batched) == all_but_reseeds(one_by_one)


@given(whole, st.integers(0, 1_000), st.sampled_from((2, 7, 1_000)))
@settings(max_examples=8, deadline=None, phases=PHASES, derandomize=True)
def test_a_sound_whole_book_is_never_accused_however_it_was_batched(
    story: Story, draw: int, size_max: int
) -> None:
    log = AuditedMarket(story)
    lines = log.write()
    one_by_one = make([[line] for line in lines])
    assert "unequal" not in results(one_by_one)
    assert accused(one_by_one) == []
    batched = make(split_batches(lines, random.Random(draw), size_max))
    assert batched.whole() == one_by_one.whole()


def test_the_histories_meet_what_they_are_about() -> None:
    met: dict[str, int] = {}
    for seed in range(6):
        for log in (
            AuditedClassic(ClassicStory(seed, chance=0.03)),
            AuditedMarket(Story(seed, steps=120, l2_batch=9)),
        ):
            log.write()
            for audit in log.own.entries(Audited):
                met[audit.stream, audit.result] = met.get((audit.stream, audit.result), 0) + 1
    assert met["l2", "equal"] > 40
    assert met["l3", "equal"] > 12
    assert met["l2", "inconclusive"] > 5
    assert met["l3", "inconclusive"] > 5
    assert len(met) == 4


def _corrupt(book: L2Book | L3Book) -> bool:
    """Change a size of a live book where it is known, behind everybody's back."""
    if isinstance(book, L2Book):
        known = [price for price in book._bids if price >= book._bid_from]
        if known:
            # Far down hardly anything changes any more; a partial answer does not reach there.
            choose = min if book.known_bid_from is None else max
            book._bids[choose(known)] += 1
        return bool(known)
    if not book._orders:
        return False
    order = min(book._orders, key=lambda order: book._orders[order][1])
    side, price, size = book._orders[order]
    book._orders[order] = (side, price, size + 1)
    return True


@given(
    st.one_of(
        st.builds(ClassicStory, seed=st.integers(0, 10_000), chance=st.just(0.0)),
        st.builds(
            Story,
            seed=st.integers(0, 10_000),
            steps=st.just(80),
            chance=st.just(0.0),
            stops=st.just(False),
        ),
    ),
    st.integers(0, 1_000),
)
@settings(max_examples=25, deadline=None, phases=PHASES, derandomize=True)
def test_a_corrupted_live_book_is_found_by_the_next_audit(
    story: ClassicStory | Story, draw: int
) -> None:
    log = AuditedClassic(story, 0) if isinstance(story, ClassicStory) else AuditedMarket(story, 0)
    stops = log._line
    log._line = lambda kind, *a, **f: None if kind == "run_stop" else stops(kind, *a, **f)  # type: ignore[method-assign]
    log.write()
    log.audit_draw = random.Random(draw)
    symbol, stream = log.pick()
    book = log._pipeline._streams.book((symbol, stream))  # type: ignore[union-attr]
    assert book.stitcher.book_valid
    if not _corrupt(book.book):
        return
    before = book.audits._seed
    stops("decision", what=AUDIT, symbol=symbol, stream=stream)
    fields = {"symbol": symbol, "stream": stream, "purpose": AUDIT}
    sequence = book.book.sequence
    if isinstance(log, AuditedClassic):
        bids, asks = log.market.book(sequence)
        body = format_book(BookAnswer(sequence, None, best(bids, -1), best(asks, 1)))
        stops("rest_answer", data=body, url=URL, **fields, status=200)
    else:
        body = log._book(symbol, stream, 0)  # most often ahead of level 2, where messages wait
        stops("rest_answer", data=body, url=log._url(symbol, stream), **fields, status=200)
        for _ in range(100):
            if not log.own.entries(Audited):
                log._turn()
    (audit,) = log.own.entries(Audited)
    assert audit.result == "unequal"
    assert audit.sequence >= sequence
    gap = log.own.gaps(symbol, stream)[-1]
    assert gap.reason == "drift"
    assert before is not None
    assert gap.sequence_expected == before.sequence + 1
