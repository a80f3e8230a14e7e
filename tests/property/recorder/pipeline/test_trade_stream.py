"""Random histories of trades: none is written twice or made up, and healed means whole."""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass, field
from random import Random

import pytest

from recorder.pipeline.missed_trades import OUTCOMES
from schemas.kucoin.profiles.kucoin_2019 import KUCOIN_2019
from schemas.kucoin.profiles.kucoin_classic import KUCOIN_CLASSIC
from tests.support.pipeline_rows import make
from tests.support.trade_shell import MS, SYMBOL, TradeShell, event_time

AMPLE = 10_000  # a window nothing falls out of
NARROW = 12
SEEDS = 150
STEPS = 250
WEIGHTS = {
    "trade": 9, "tell": 12, "serve": 3, "arrive": 3, "down": 0.5, "up": 2, "garbage": 0.1,
    "quiet": 0.5, "restart": 0.1,
}  # fmt: skip


@dataclass
class Loss:
    """Trades no socket told of, and whether anything shows where they begin."""

    is_provable: bool
    lost: list[int] = field(default_factory=list)


@dataclass
class Run:
    """One run, what was lost in each of its gaps, and before it."""

    shell: TradeShell
    gaps: list[Loss] = field(default_factory=list)
    before: Loss | None = None


class TradeHistory:
    """An exchange that knows all of its trades, the way to it, and what was lost on it.

    Frames wait on a connection and are lost with it. Answers are made when a question is served
    and come later; some are as old as a cache would have them, some never come.

    Parameters
    ----------
    window : int   trades an answer holds at most
    feeds : int    1: the match topic; 2: level 3 too, and some trades by that alone
    """

    def __init__(self, seed: int, window: int, feeds: int) -> None:
        self.draw = Random(seed)
        self.window = window
        self.feeds = ("match", "level3")[:feeds]
        classic = feeds == 1 and self.draw.random() < 0.5
        self.profile = KUCOIN_CLASSIC if classic else KUCOIN_2019
        self.last = 1000
        self.trades: list[int] = []
        self.connection: dict[str, deque[int]] | None = None
        self.told_by: set[str] = set()  # feeds, in this interval
        self.losing: Loss | None = None  # None: nothing was ever subscribed
        self.served: deque[list[int] | None] = deque()
        self.runs = [Run(TradeShell(self.profile))]
        self.has_begun = False  # something shows where the next hole begins

    @property
    def run(self) -> Run:
        return self.runs[-1]

    def step(self) -> None:
        """Let something happen."""
        name = self.draw.choices(list(WEIGHTS), list(WEIGHTS.values()))[0]
        getattr(self, name)()

    def trade(self) -> None:
        self.last += self.draw.randint(1, 4)
        self.trades.append(self.last)
        if self.connection is None:
            if self.losing is not None:
                self.losing.lost.append(self.last)
            return
        if "level3" in self.feeds:
            self.connection["level3"].append(self.last)
        if "level3" not in self.feeds or self.draw.random() < 0.8:
            self.connection["match"].append(self.last)

    def tell(self) -> None:
        """Bring a frame of the connection, now and then more than once."""
        waiting = [feed for feed, frames in (self.connection or {}).items() if frames]
        if not waiting:
            return
        feed = self.draw.choice(waiting)
        assert self.connection is not None
        sequence = self.connection[feed].popleft()
        self.told_by.add(feed)
        for _ in range(1 + (self.draw.random() < 0.1)):
            (self.run.shell.match if feed == "match" else self.run.shell.l3_match)(sequence)

    def garbage(self) -> None:
        """Lose a frame, and leave something unreadable in its place."""
        if self.connection is None or self.feeds != ("match",) or not self.connection["match"]:
            return
        self._end_interval()
        self.run.gaps.append(Loss(self.has_begun, [self.connection["match"].popleft()]))
        self.run.shell.line("recv", b"{", connection=self.run.shell.connection)

    def serve(self) -> None:
        """Make the answer to a question."""
        if self.run.shell.asked <= len(self.served):
            return
        chance = self.draw.random()
        if chance < 0.1:
            self.served.append(None)
            return
        stale = self.draw.randint(1, 30) if chance < 0.4 else 0
        told = self.trades[: max(0, len(self.trades) - stale)][-self.window :]
        self.draw.shuffle(told)
        self.served.append(told)

    def arrive(self) -> None:
        """Bring an answer, or that there is none."""
        if self.served:
            answer = self.served.popleft()
            if answer is None:
                self.run.shell.fail()
            else:
                self.run.shell.answer(answer)

    def down(self) -> None:
        if self.connection is None:
            return
        self._end_interval()
        waiting = {sequence for frames in self.connection.values() for sequence in frames}
        self.losing = Loss(self.has_begun, sorted(waiting))
        self.run.gaps.append(self.losing)
        self.connection = None
        self.run.shell.down()

    def up(self) -> None:
        if self.connection is None:
            self.connection = {feed: deque() for feed in self.feeds}
            self.run.shell.up(*self.feeds)

    def quiet(self) -> None:
        """Let time pass, longer than a match of level 3 waits for its twin."""
        self.run.shell.ts += 30_000 * MS

    def restart(self) -> None:
        """Stop in order, up or down, and begin a run that knows what the ones before recorded."""
        while any((self.connection or {}).values()):
            self.tell()
        # Level 3 shows by its own numbers how far it has come; here: it was told to its end.
        is_proven = self.connection is not None or len(self.feeds) == 1
        self._end_interval()
        self.run.shell.line("run_stop", reason="stopped")
        last = max((n for run in self.runs for n in run.shell.told()), default=None)
        missed = self.losing.lost if self.connection is None and self.losing else []
        self.losing = Loss(last is not None and is_proven, list(missed))
        self.has_begun = last is not None
        self.connection = None
        self.served.clear()
        shell = TradeShell(self.profile, last, f"run-{len(self.runs)}", is_proven=is_proven)
        shell.ts = self.run.shell.ts
        self.runs.append(Run(shell, before=self.losing))

    def _end_interval(self) -> None:
        self.has_begun |= self.told_by == set(self.feeds)
        self.told_by.clear()

    def calm_down(self) -> None:
        """Be told of everything from now on, and have every question answered afresh."""
        self.up()
        for _ in range(3):
            self.trade()
            while any((self.connection or {}).values()):
                self.tell()
            self.served.clear()
            while self.run.shell.asked:
                self.run.shell.answer(self.trades[-self.window :])
        self.run.shell.line("run_stop", reason="stopped")

    def check(self) -> Counter[str]:
        """Hold what was recorded to what happened; return how often what was met."""
        rows = [row for run in self.runs for row in run.shell.rows]
        recorded = Counter(row["sequence"] for row in rows)
        assert [n for n, count in recorded.items() if count > 1] == [], "written twice"
        assert recorded.keys() <= set(self.trades), "made up"
        for row in rows:
            what = (row["ts_event"], row["size_mantissa"])
            assert what == (event_time(row["sequence"]), row["sequence"])
        met = Counter(row["source"] for row in rows)
        for run in self.runs:
            gaps = run.shell.made.gaps(SYMBOL, "trades")
            for gap, loss in zip(gaps, run.gaps, strict=True):
                assert gap.healed_by in (None, "backfill")
                missing = [n for n in loss.lost if n not in recorded]
                if gap.healed_by == "backfill":
                    assert missing == [], "called whole and is not"
                elif gap.sequence_received is not None:
                    assert [n for n in missing if n >= gap.sequence_received] == []
            if SYMBOL in run.shell.made.pipeline.trades_joined:
                assert run.before is not None
                assert [n for n in run.before.lost if n not in recorded] == []
                met["runs joined"] += 1
            met.update({name: run.shell.count(f"backfill_{name}") for name in OUTCOMES})
        return met


def told(seed: int, window: int, feeds: int) -> TradeHistory:
    """Return a history that has been told to its end."""
    history = TradeHistory(seed, window, feeds)
    history.up()
    for _ in range(STEPS):
        history.step()
    history.calm_down()
    return history


@pytest.mark.parametrize("feeds", [1, 2])
def test_nothing_is_written_twice_or_made_up_and_healed_is_whole(feeds: int) -> None:
    met: Counter[str] = Counter()
    for seed in range(SEEDS):
        met += told(seed, NARROW, feeds).check()
    # The histories must meet all of it, or they prove nothing about it.
    for what in ("match", "backfill", "healed", "partial", "unreachable", "runs joined"):
        assert met[what] >= 20, (what, met)
    assert (met["level3"] > 0) == (feeds == 2)


@pytest.mark.parametrize("feeds", [1, 2])
def test_what_the_history_still_has_is_filled_in_in_the_end(feeds: int) -> None:
    provable = 0
    for seed in range(SEEDS):
        history = told(seed, AMPLE, feeds)
        history.check()
        gaps = history.run.shell.made.gaps(SYMBOL, "trades")
        for gap, loss in zip(gaps, history.run.gaps, strict=True):
            assert (gap.healed_by == "backfill") == loss.is_provable
            provable += loss.is_provable
        before = history.run.before
        if before is not None and before.is_provable:
            assert history.run.shell.made.pipeline.trades_joined
        assert history.run.shell.asked == 0
    assert provable > SEEDS


def test_batching_changes_nothing() -> None:
    for seed in range(20):
        for run in told(seed, NARROW, 2).runs:
            lines, draw, batches = run.shell.lines, Random(seed), []
            while lines:
                size = draw.randint(1, 40)
                batches.append(lines[:size])
                lines = lines[size:]
            whole = run.shell.made.whole()
            assert make(batches).whole() == whole
