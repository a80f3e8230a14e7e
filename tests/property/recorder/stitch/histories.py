"""Random histories: a true exchange, a faulty way to it, and a recorder that keeps count.

The exchange knows its book at every number. The way loses, repeats, reorders and delays what the
exchange says. The recorder carries out what the stitcher decides and checks every decision
against the truth, without ever looking inside the stitcher.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field, replace
from random import Random

import numpy as np

from recorder.stitch import (
    Audit,
    HealGap,
    OverlapRule,
    RequestSnapshot,
    Snapshot,
    SnapshotFailed,
    StartTimer,
    State,
    Stitcher,
    StreamDown,
    StreamUp,
    StrictRule,
    Timer,
    Update,
    UpdateBatch,
    WriteGap,
    WriteSnapshot,
    WriteUpdates,
)
from recorder.stitch.machine import EPOCH_NUMBERS

AMPLE = 10_000  # a buffer that no history fills
NOTHING = (0, 0)  # what a price-0 row says


@dataclass(frozen=True)
class Faults:
    """How likely each thing goes wrong, per occasion, and how the exchange speaks."""

    loss: float = 0.0
    repeat: float = 0.0
    late_repeat: float = 0.0
    reorder: float = 0.0
    disconnect: float = 0.0
    rotation: float = 0.0
    snapshot_stale: float = 0.0
    snapshot_failed: float = 0.0
    answer_again: float = 0.0
    clock_back: float = 0.0
    audit: float = 0.0
    silence: float = 0.0
    renumber: float = 0.0
    buffer_updates_max: int = AMPLE
    numbers_per_message: int = 1
    overlap: bool = False

    @property
    def loses_nothing(self) -> bool:
        """Whether every message arrives, in order, over a stream that stays up, and is kept.

        What a full buffer drops is a loss where old messages are told again: one of them can push
        out what is needed while itself looking like the oldest held.
        """
        told_again = self.late_repeat or self.rotation
        dropped = told_again and self.buffer_updates_max < AMPLE
        return not (self.loss or self.reorder or self.disconnect or self.renumber or dropped)


def draw_faults(random: Random) -> Faults:
    """Draw a mix: each fault is absent, rare or frequent, so that most meet most others."""

    def chance() -> float:
        return random.choice([0.0, 0.0, 0.05, 0.3])

    return Faults(
        loss=chance(),
        repeat=chance(),
        late_repeat=chance(),
        reorder=chance(),
        disconnect=chance() / 2,
        rotation=chance(),
        snapshot_stale=random.choice([0.0, 0.3, 0.8]),
        snapshot_failed=random.choice([0.0, 0.3, 0.8]),
        answer_again=chance(),
        clock_back=chance(),
        audit=chance(),
        silence=chance(),
        renumber=random.choice([0.0, 0.0, 0.0, 0.3]),
        buffer_updates_max=random.choice([1, 2, 5, AMPLE]),
        numbers_per_message=random.choice([1, 1, 3, 6]),
        overlap=random.random() < 0.4,
    )


def without_losses(faults: Faults) -> Faults:
    """Return the same mix with nothing lost, reordered, cut or begun anew."""
    quiet = {"loss": 0.0, "reorder": 0.0, "disconnect": 0.0, "renumber": 0.0}
    if faults.buffer_updates_max < AMPLE:
        quiet |= {"late_repeat": 0.0, "rotation": 0.0}
    return replace(faults, **quiet)


@dataclass
class Message:
    """One message: its range and its rows (sequence, price, size), ascending."""

    start: int
    end: int
    rows: list[tuple[int, int, int]]


class Exchange:
    """The truth: a book at every number, and messages that tell of ranges of numbers."""

    def __init__(self, random: Random, faults: Faults) -> None:
        self._random = random
        self._faults = faults
        self.sequence = random.randrange(1, 10**12)
        self.first = self.sequence
        book = {price: random.randrange(1, 9) for price in range(1, 5)}
        self.books = [book]
        self._changes: list[tuple[int, int]] = [NOTHING]
        self._ended: list[tuple[int, list[dict[int, int]]]] = []  # series before: first, books

    def book(self, sequence: int) -> dict[int, int]:
        """Return the book at a number, of whatever series has it."""
        for first, books in [(self.first, self.books), *self._ended]:
            if first <= sequence < first + len(books):
                return books[sequence - first]
        raise AssertionError(f"no series has {sequence}")

    def renumber(self) -> bool:
        """Go on with numbers that begin anew far below; False when there is no room below."""
        if self.first <= 3 * EPOCH_NUMBERS:
            return False
        self._ended.append((self.first, self.books))
        self.first = self.sequence = self._random.randrange(1, self.first - 2 * EPOCH_NUMBERS)
        self.books, self._changes = [self.books[-1]], [NOTHING]
        return True

    def last_of_ended(self) -> int | None:
        """Return the last number of the series before this one."""
        return self._ended[-1][0] + len(self._ended[-1][1]) - 1 if self._ended else None

    def speak(self) -> Message:
        """Let a few numbers pass and return the message that tells of them."""
        random = self._random
        start = self.sequence + 1
        for _ in range(random.randint(1, self._faults.numbers_per_message)):
            self.sequence += 1
            # A number without a level change leaves the book alone, as hidden trades do.
            change = NOTHING
            if random.random() < 0.8:
                change = (random.randrange(1, 7), random.choice([0, 0, 1, 2, 3]))
            book = self.books[-1].copy()
            if change != NOTHING:
                book.pop(change[0], None)
                if change[1]:
                    book[change[0]] = change[1]
            self.books.append(book)
            self._changes.append(change)
        if self._faults.overlap and random.random() < 0.4:
            start = max(self.first + 1, start - random.randint(1, 3))
        return self._tell(start, self.sequence)

    def _tell(self, start: int, end: int) -> Message:
        """Coalesce a range: a price is told once, with the number that changed it last."""
        latest: dict[int, tuple[int, int, int]] = {}
        unused: list[tuple[int, int, int]] = []
        for sequence in range(start, end + 1):
            price, size = self._changes[sequence - self.first]
            if price:
                latest[price] = (sequence, price, size)
            elif self._random.random() < 0.5:  # some venues tell of such numbers, some do not
                unused.append((sequence, 0, 0))
        rows = sorted([*latest.values(), *unused]) or [(end, 0, 0)]
        return Message(start, end, rows)


def batch_of(messages: list[tuple[int, Message]]) -> UpdateBatch:
    """One batch of (ts_recv, message)."""
    rows = [row for _, message in messages for row in message.rows]
    lengths = [len(message.rows) for _, message in messages]
    return UpdateBatch(
        ts_recv=np.array([ts for ts, _ in messages], np.int64),
        sequence_start=np.array([message.start for _, message in messages], np.int64),
        sequence_end=np.array([message.end for _, message in messages], np.int64),
        row_start=np.cumsum([0, *lengths], dtype=np.int64),
        sequence=np.array([row[0] for row in rows], np.int64),
        rows=rows,
    )


class Recorder:
    """Carries out actions and checks each of them against the truth."""

    def __init__(self, exchange: Exchange, *, strict: bool) -> None:
        self.exchange = exchange
        self.strict = strict
        self.book: dict[int, int] | None = None  # None exactly before the first snapshot
        self.sequence = 0
        self.known = 0
        self.gap: WriteGap | None = None
        self.gaps = 0
        self.fresh = False  # a snapshot is the last thing written
        self.heal_due = False
        self.requests: list[int] = []
        self.timers: list[int] = []
        self.audits = 0
        self.journal: list[tuple[object, ...]] = []

    @property
    def covered(self) -> bool:
        """Whether what is written makes up the venue's book."""
        return self.book is not None and self.gap is None

    def carry_out(self, actions: list[object]) -> None:
        """Carry out the decisions of one event, in order."""
        for action in actions:
            # A snapshot heals in the same breath, or a gap would span the book that ended it.
            assert not self.heal_due or isinstance(action, HealGap)
            match action:
                case RequestSnapshot(request_id):
                    assert request_id == len(self.requests) + 1
                    self.requests.append(request_id)
                    self.journal.append(("ask", request_id))
                case StartTimer(timer_id):
                    self.timers.append(timer_id)
                    self.journal.append(("timer", timer_id))
                case WriteSnapshot(snapshot):
                    self._write_snapshot(snapshot)
                case WriteUpdates(batch, first, last, after):
                    assert first < last
                    for index in range(first, last):
                        self._write_message(batch, index, after)
                case WriteGap():
                    self._open_gap(action)
                case HealGap(ts_to, sequence_received):
                    assert self.heal_due
                    assert (ts_to, sequence_received) == (self.known, self.sequence)
                    assert ts_to >= self.gap.ts_from
                    self.gap, self.heal_due = None, False
                    self.journal.append(("heal", ts_to, sequence_received))
                case Audit(snapshot):
                    assert self.covered
                    self.audits += 1
                    self.journal.append(("audit", snapshot.sequence))
        assert not self.heal_due

    def _write_snapshot(self, snapshot: Snapshot) -> None:
        assert self.book is None or self.gap is not None, "a full book over a valid one"
        self.book = dict(snapshot.payload)
        self.sequence = snapshot.sequence
        assert self.book == self.exchange.book(self.sequence)
        self.known = max(self.known, snapshot.ts_recv)
        self.fresh, self.heal_due = True, self.gap is not None
        self.journal.append(("snapshot", snapshot.sequence, self.known))

    def _write_message(self, batch: UpdateBatch, index: int, after: int) -> None:
        assert self.covered, "rows written inside a gap"
        start, end = int(batch.sequence_start[index]), int(batch.sequence_end[index])
        assert start <= self.sequence + 1, "a hole between written rows"
        assert end > self.sequence, "a message written twice"
        if self.strict and not self.fresh:
            assert start == self.sequence + 1
        first, last = int(batch.row_start[index]), int(batch.row_start[index + 1])
        kept = [row for row in batch.rows[first:last] if row[0] > after]
        assert kept == [row for row in batch.rows[first:last] if row[0] > self.sequence]
        for sequence, price, size in kept:
            assert self.sequence < sequence <= end
            if price:
                self.book.pop(price, None)
                if size:
                    self.book[price] = size
        self.sequence, self.fresh = end, False
        self.known = max(self.known, int(batch.ts_recv[index]))
        assert self.book == self.exchange.book(end), "the written book is not the true one"
        self.journal.append(("message", start, end, tuple(kept), self.known))

    def _open_gap(self, gap: WriteGap) -> None:
        assert self.book is not None, "a gap before the first book"
        assert self.gap is None, "a gap inside a gap"
        assert gap.ts_from == self.known
        assert gap.sequence_expected == self.sequence + 1
        assert gap.ts_detected >= gap.ts_from
        self.gap = gap
        self.gaps += 1
        self.journal.append(
            ("gap", gap.reason, gap.ts_from, gap.sequence_expected, gap.sequence_detected)
        )


@dataclass
class World:
    """One history in the making: the exchange, the faulty way, two stitchers fed alike.

    One stitcher gets its updates one by one, the other in batches wherever they come in batches;
    what they write must be the same.
    """

    random: Random
    faults: Faults
    now: int = 10**18
    steps: int = 0
    up: bool = False
    pending: deque[Message] = field(default_factory=deque)  # said, not yet delivered
    past: list[Message] = field(default_factory=list)  # delivered in this session, in order

    def __post_init__(self) -> None:
        self.answered = 0  # questions up to this id have been dealt with, or dropped
        rule = OverlapRule() if self.faults.overlap else StrictRule()
        limit = self.faults.buffer_updates_max
        self.exchange = Exchange(self.random, self.faults)
        self.single = Stitcher(rule, "A-B", "l2", buffer_updates_max=limit)
        self.batched = Stitcher(rule, "A-B", "l2", buffer_updates_max=limit)
        strict = not self.faults.overlap
        self.recorder = Recorder(self.exchange, strict=strict)
        self.twin = Recorder(self.exchange, strict=strict)

    # -- events ---------------------------------------------------------------------------------

    def clock(self) -> int:
        """Return the wall clock, which may step back."""
        self.now += self.random.randrange(1, 1000)
        if self.random.random() < self.faults.clock_back:
            return self.now - self.random.randrange(1, 100_000)
        return self.now

    def tell(self, event: object) -> None:
        """Feed one event other than an update to both stitchers."""
        self.steps += 1
        gaps = self.recorder.gaps
        self.recorder.carry_out(self.single.handle(event))
        self.twin.carry_out(self.batched.handle(event))
        self._check_gap(gaps, event)
        self._check_all()

    def deliver(self, messages: list[Message]) -> None:
        """Feed messages: one by one to the one, as a batch to the other."""
        if not messages:
            return
        self.steps += 1
        batch = batch_of([(self.clock(), message) for message in messages])
        for index, message in enumerate(messages):
            if self.up:
                self.past.append(message)
            gaps = self.recorder.gaps
            update = Update(batch, index)
            self.recorder.carry_out(self.single.handle(update))
            self._check_gap(gaps, update)
            if self.recorder.covered and self.up:
                assert self.recorder.sequence >= message.end, "an update was swallowed"
        first = 0
        while first < len(batch):
            accepted, actions = self.batched.handle_batch(batch, first)
            self.twin.carry_out(actions)
            if not accepted:
                self.twin.carry_out(self.batched.handle(Update(batch, first)))
            first += max(accepted, 1)
        self._check_all()

    def _check_gap(self, gaps_before: int, event: object) -> None:
        """A gap opened by the last event must have a cause."""
        if self.recorder.gaps == gaps_before:
            return
        gap = self.recorder.gap
        assert not self.faults.loses_nothing, "an invented gap"
        if isinstance(event, StreamDown):
            assert gap.reason == event.reason
            return
        assert gap.reason in {"sequence", "bridge"}
        if self.single.counters.updates_dropped:
            return
        for message in self.past:
            told = message.start <= gap.sequence_expected <= message.end
            assert not told, "the number said to be missing had arrived"
            if message.start == gap.sequence_detected:
                break

    def _check_all(self) -> None:
        one, two = self.single, self.batched
        assert (one.state, one.last_sequence, one.known_ns, one.held, one.open_gap) == (
            two.state,
            two.last_sequence,
            two.known_ns,
            two.held,
            two.open_gap,
        )
        assert one.counters == two.counters
        assert one.outstanding_request == two.outstanding_request
        seen = self.recorder
        assert one.known_ns == seen.known
        assert one.open_gap == seen.gap
        assert one.book_valid == seen.covered
        assert one.held <= self.faults.buffer_updates_max
        if seen.book is not None:
            assert one.last_sequence == seen.sequence
        # Someone always acts next: a symbol that is up and unsynced has asked, or has a timer.
        if one.state is State.BUFFERING and (one.held or (seen.gap is not None and self.past)):
            assert one.outstanding_request == len(self.recorder.requests)

    # -- the faulty way -------------------------------------------------------------------------

    def connect(self) -> None:
        """Bring the stream up."""
        self.up = True
        self.past.clear()
        self.tell(StreamUp(self.clock()))

    def disconnect(self) -> None:
        """Cut the stream: what was under way is lost, old questions may still be answered."""
        self.pending.clear()
        self.tell(StreamDown(self.clock(), self.random.choice(["disconnected", "silent"])))
        self.up = False
        self.past.clear()
        # The shell drops its questions with the stream: nobody will answer them any more, though
        # an answer already under way may still come in.
        self.answered = len(self.recorder.requests)

    def chance(self, probability: float) -> bool:
        """Decide whether a fault happens."""
        return probability > 0 and self.random.random() < probability

    def move(self) -> None:
        """Let one thing happen, with faults."""
        random, faults = self.random, self.faults
        if not self.up:
            # What passes before the stream is up never arrives, and a book older than that bridges
            # to nothing: a loss, so not in histories that lose nothing.
            if random.random() < 0.2 and not faults.loses_nothing:
                self.exchange.speak()
            elif random.random() < 0.2 and not faults.loses_nothing:
                self.deliver([self.exchange.speak()])  # a straggler after the cut
            else:
                self.connect()
            return
        what = random.random()
        if what < 0.6:
            for _ in range(random.choice([1, 1, 2, 8])):
                if not self.chance(faults.silence):
                    self.pending.append(self.exchange.speak())
            self._pass_on()
        elif what < 0.8:
            self._answer()
        elif what < 0.83 and self.chance(faults.renumber):
            # What was told under the old numbers has arrived by then, or never does.
            self._pass_on()
            if self.exchange.renumber():
                self.past.clear()
        elif what < 0.85 and self.recorder.timers:
            self.tell(Timer(self.clock(), random.choice(self.recorder.timers[-2:])))
        elif self.chance(faults.disconnect):
            self.disconnect()
        elif self.chance(faults.audit):
            self._unasked_book()

    def _pass_on(self) -> None:
        """Deliver what is under way: lost, twice, late, or in the wrong order."""
        arriving: list[Message] = []
        while self.pending:
            message = self.pending.popleft()
            if self.chance(self.faults.loss):
                continue
            arriving.append(message)
            if self.chance(self.faults.repeat):
                arriving.append(message)
            known = self.past + arriving
            if self.chance(self.faults.late_repeat):
                arriving.append(self.random.choice(known))
            if self.chance(self.faults.rotation):
                # A second connection takes over: it tells again what the first one told.
                arriving.extend(known[-self.random.randrange(1, 6) :])
        if len(arriving) > 1 and self.chance(self.faults.reorder):
            at = self.random.randrange(len(arriving) - 1)
            arriving[at], arriving[at + 1] = arriving[at + 1], arriving[at]
        self.deliver(arriving)

    def _answer(self) -> None:
        """Deal with a question: an old one again, a failure, an old book, or a true answer."""
        random, faults = self.random, self.faults
        requests = self.recorder.requests
        if self.answered and self.chance(faults.answer_again):
            old = random.randrange(1, self.answered + 1)
            told = len(self.recorder.journal)
            if random.random() < 0.3:
                self.tell(SnapshotFailed(self.clock(), old))
            else:
                self._answer_with(old, stale=random.random() < 0.5)
            assert len(self.recorder.journal) == told, "an answer nobody waits for was heard"
            return
        if self.answered == len(requests):
            return
        request_id = self.answered = len(requests)
        if self.chance(faults.snapshot_failed):
            self.tell(SnapshotFailed(self.clock(), request_id))
        else:
            self._answer_with(request_id, stale=self.chance(faults.snapshot_stale))

    def _answer_with(self, request_id: int | None, *, stale: bool) -> None:
        sequence = self.exchange.sequence
        if stale:
            sequence -= self.random.randrange(0, 30)
        sequence = max(sequence, self.exchange.first)
        before = self.exchange.last_of_ended()
        if stale and before is not None and self.random.random() < 0.5:
            sequence = before  # out of a cache
        book = self.exchange.book(sequence)
        self.tell(Snapshot(self.clock(), sequence, request_id, book))

    def _unasked_book(self) -> None:
        """Deliver a book nobody is known to have asked for, as a capture has them."""
        if self.recorder.covered:
            self._answer_with(None, stale=self.random.random() < 0.5)

    # -- the end --------------------------------------------------------------------------------

    def calm_down(self) -> None:
        """Stop all faults; within a bounded number of steps the book must be up and true."""
        if not self.up:
            self.connect()
        for _ in range(4):
            # What the faults lost just now is noticed at the next message.
            self.deliver([self.exchange.speak()])
            if self.answered < len(self.recorder.requests):
                self.answered = len(self.recorder.requests)
                self._answer_with(self.answered, stale=False)
        assert self.single.synced, f"a stuck symbol\n{self.single.story()}"
        assert self.recorder.sequence == self.exchange.sequence
        assert self.recorder.book == self.exchange.book(self.exchange.sequence)


def run_history(random: Random, faults: Faults, moves: int) -> World:
    """Play one history to its end and check what only the end shows."""
    world = World(random, faults)
    for _ in range(moves):
        world.move()
    world.calm_down()
    assert world.recorder.journal == world.twin.journal
    if faults.loses_nothing:
        assert world.recorder.gaps == 0
    return world
