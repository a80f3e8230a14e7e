"""The stitcher: facts about one stream go in, decisions about its rows come out.

It never waits, reads no clock and touches no file, so the live run and a rebuild from the raw
log take the same decisions from the same lines.

    DOWN ──StreamUp──▶ BUFFERING ──Snapshot──▶ BRIDGING ──Update──▶ SYNCED
                           ▲                       │                   │
                           └──────────────── gap ──┴───────────────────┘     StreamDown: → DOWN

Invariants
----------
- The book is valid exactly in BRIDGING and SYNCED; updates are held only in BUFFERING.
- A request is outstanding only in BUFFERING, and there is at most one.
- Once a book was written, a gap is open exactly in DOWN and BUFFERING. So between two covered
  intervals stands one gap, with the first reason, and before the first book there is none.
- `known_ns`, the time from which the newest written row is known, never runs backwards.
"""

from __future__ import annotations

import enum
from collections import deque
from dataclasses import dataclass
from itertools import pairwise
from typing import assert_never

import numpy as np

from recorder.stitch.actions import (
    Action,
    Audit,
    HealGap,
    RequestSnapshot,
    StartTimer,
    WriteGap,
    WriteSnapshot,
    WriteUpdates,
)
from recorder.stitch.events import (
    Event,
    Snapshot,
    SnapshotFailed,
    StreamDown,
    StreamUp,
    Timer,
    Update,
    UpdateBatch,
)
from recorder.stitch.rules import ContinuityRule
from recorder.stitch.story import Story

# How far back a number may lie and still be one of this series. What a venue repeats is minutes
# old; it hands out a million level-2 numbers of its busiest symbol in an hour and a half. A
# message further back than that is the first of a new series: numbers have been known to begin
# anew, from 1636276324710 to 8005280396.
EPOCH_NUMBERS = 1_000_000

# A held message costs its share of the decoded batch, about 100 bytes a row: some ten megabytes
# for a stream that waits for its snapshot while ten thousand messages arrive.
BUFFER_UPDATES_MAX = 10_000


class State(enum.Enum):
    """Where a stream stands."""

    DOWN = "down"
    BUFFERING = "buffering"
    BRIDGING = "bridging"
    SYNCED = "synced"


class ImpossibleEvent(AssertionError):
    """An event that cannot happen in this state: our mistake, not the venue's.

    The stitcher is unchanged when it raises. Feeding it StreamDown (unless it is down) and
    StreamUp starts it afresh; the same event again would raise again.

    Attributes
    ----------
    symbol, stream : str
    state : State
    event : Event
    """

    def __init__(self, symbol: str, stream: str, state: State, event: Event) -> None:
        self.symbol = symbol
        self.stream = stream
        self.state = state
        self.event = event
        super().__init__(f"{symbol} {stream}: {type(event).__name__} in state {state.name}")


@dataclass(slots=True)
class Counters:
    """What one stitcher met, in messages, snapshots and gaps, since it was made."""

    updates_written: int = 0
    updates_stale: int = 0
    updates_ignored: int = 0  # while the stream was down
    updates_dropped: int = 0  # held, then pushed out of a full buffer or out of date
    updates_discarded: int = 0  # held when the stream went down
    snapshots_requested: int = 0
    snapshots_written: int = 0
    snapshots_too_old: int = 0  # or of another series than the updates that are held
    snapshots_failed: int = 0
    snapshots_ignored: int = 0  # answers and failures nobody waits for any more
    audits: int = 0
    gaps: int = 0
    epochs: int = 0  # books of a series whose numbers begin anew, far behind the one before


class Stitcher:
    """The state machine of one (symbol, book stream).

    Parameters
    ----------
    rule : ContinuityRule
        What this dialect calls continuous.
    symbol, stream : str
        Whose rows these are; they name the stitcher in errors and in its story.
    buffer_updates_max : int
        Messages held while waiting for a snapshot. When full, the oldest is dropped and nothing is
        asked: if it was needed, the snapshot will be too old for what is left, and that asks.
    """

    def __init__(
        self,
        rule: ContinuityRule,
        symbol: str,
        stream: str,
        *,
        buffer_updates_max: int = BUFFER_UPDATES_MAX,
    ) -> None:
        if buffer_updates_max < 1:
            raise ValueError(f"buffer_updates_max must be at least 1, not {buffer_updates_max}")
        self.symbol = symbol
        self.stream = stream
        self.counters = Counters()
        self._rule = rule
        self._state = State.DOWN
        self._held: deque[Update] = deque()
        self._buffer_updates_max = buffer_updates_max
        self._last_sequence: int | None = None  # None exactly until the first book
        self._known_ns = 0
        self._gap: WriteGap | None = None
        self._outstanding: int | None = None
        self._request_id = 0
        self._timer_id = 0
        self._story = Story()

    @property
    def state(self) -> State:
        """Where the stream stands."""
        return self._state

    @property
    def synced(self) -> bool:
        """Whether a snapshot and at least one update after it make up the book."""
        return self._state is State.SYNCED

    @property
    def book_valid(self) -> bool:
        """Whether the written rows make up the venue's book at `last_sequence`."""
        return self._state in {State.BRIDGING, State.SYNCED}

    @property
    def last_sequence(self) -> int | None:
        """Sequence of the last row written, None before the first book."""
        return self._last_sequence

    @property
    def known_ns(self) -> int:
        """From when the last row written is known, ns UTC; 0 before the first book."""
        return self._known_ns

    @property
    def open_gap(self) -> WriteGap | None:
        """The gap that no snapshot has healed yet."""
        return self._gap

    @property
    def held(self) -> int:
        """Messages waiting for a snapshot."""
        return len(self._held)

    @property
    def outstanding_request(self) -> int | None:
        """Id of the snapshot request whose answer is awaited."""
        return self._outstanding

    def story(self) -> str:
        """Tell the last events, one a line, for whoever looks into an incident."""
        return self._story.tell(f"{self.symbol} {self.stream}")

    def handle(self, event: Event) -> list[Action]:
        """Take in one fact and decide.

        Returns
        -------
        list[Action]   to be carried out in order

        Raises
        ------
        ImpossibleEvent   StreamUp of a stream that is up, StreamDown of one that is down
        """
        before = self._state
        match event:
            case Update():
                actions = self._on_update(event)
            case StreamUp():
                actions = self._on_stream_up(event)
            case Snapshot():
                actions = self._on_snapshot(event)
            case SnapshotFailed():
                actions = self._on_snapshot_failed(event)
            case Timer():
                actions = self._on_timer(event)
            case StreamDown():
                actions = self._on_stream_down(event)
            case _:
                assert_never(event)
        self._story.add(event, before.name, self._state.name)
        return actions

    def handle_batch(
        self, batch: UpdateBatch, first: int = 0, stop: int | None = None
    ) -> tuple[int, list[Action]]:
        """Take in the messages from `first` on that simply follow, all at once.

        Parameters
        ----------
        batch : UpdateBatch
        first : int
            Index of the first message not yet handled.
        stop : int or None
            Index of the first message not to be handled now, None for all of them.

        Returns
        -------
        tuple[int, list[Action]]
            How many messages were taken, and what to write for them. Fewer than the rest of the
            batch means that the next one is not plain: hand it to `handle` as
            `Update(batch, first + accepted)`. One action, unless messages overlap one another.
        """
        if self._state is not State.SYNCED:
            return 0, []
        assert self._last_sequence is not None
        starts, ends = batch.sequence_start[first:stop], batch.sequence_end[first:stop]
        accepted = self._rule.count_following(self._last_sequence, starts, ends)
        if not accepted:
            return 0, []
        # A message that reaches back before its predecessor's end has rows to drop, and an
        # action speaks about the rows of its first message only: it begins an action of its own.
        overlapping = np.flatnonzero(starts[1:accepted] <= ends[: accepted - 1])
        cuts = [0, *(overlapping + 1).tolist(), accepted]
        actions: list[Action] = []
        last = self._last_sequence
        for begin, end in pairwise(cuts):
            actions.append(WriteUpdates(batch, first + begin, first + end, last))
            last = int(ends[end - 1])
        self._last_sequence = last
        self._known_ns = max(self._known_ns, int(batch.ts_recv[first : first + accepted].max()))
        self.counters.updates_written += accepted
        ends_at = Update(batch, first + accepted - 1)
        state = self._state.name
        self._story.add_updates(Update(batch, first), ends_at, accepted, state, state)
        return accepted, actions

    def handle_updates(self, batch: UpdateBatch, first: int = 0) -> list[Action]:
        """Take in all messages from `first` on: the fast path where it serves, else one by one."""
        actions: list[Action] = []
        while first < len(batch):
            accepted, decided = self.handle_batch(batch, first)
            if not accepted:
                accepted, decided = 1, self.handle(Update(batch, first))
            actions += decided
            first += accepted
        return actions

    def _on_stream_up(self, event: StreamUp) -> list[Action]:
        if self._state is not State.DOWN:
            raise ImpossibleEvent(self.symbol, self.stream, self._state, event)
        self._state = State.BUFFERING
        self._timer_id += 1
        return [StartTimer(self._timer_id)]

    def _on_update(self, update: Update) -> list[Action]:
        actions: list[Action] = []
        if self._state is State.DOWN:
            self.counters.updates_ignored += 1
        elif self._state is State.BUFFERING or not self._judge(update, update.ts_recv, actions):
            self._hold(update)
            self._request(actions)
        return actions

    def _on_snapshot(self, snapshot: Snapshot) -> list[Action]:
        actions: list[Action] = []
        asked = snapshot.request_id is None or snapshot.request_id == self._outstanding
        if not asked or self._state is State.DOWN:
            self.counters.snapshots_ignored += 1
        elif self._state is not State.BUFFERING:
            self.counters.audits += 1
            actions.append(Audit(snapshot))
        else:
            self._outstanding = None
            if self._held and not self._reaches(snapshot.sequence):
                self.counters.snapshots_too_old += 1
                self._request(actions)
            else:
                self._write_snapshot(snapshot, actions)
                self._drain(snapshot.ts_recv, actions)
        return actions

    def _reaches(self, sequence: int) -> bool:
        """Say whether a book at this number is of use to the updates that are held.

        One older than the oldest of them leaves a hole. One far beyond the newest is of a series
        that has ended: the answer comes out of a cache, and asking again will tell.
        """
        oldest, newest = self._held[0].sequence_start, self._held[-1].sequence_end
        return oldest - 1 <= sequence <= newest + EPOCH_NUMBERS

    def _on_snapshot_failed(self, event: SnapshotFailed) -> list[Action]:
        actions: list[Action] = []
        if event.request_id != self._outstanding:
            self.counters.snapshots_ignored += 1
        else:
            self.counters.snapshots_failed += 1
            self._outstanding = None
            self._request(actions)
        return actions

    def _on_timer(self, event: Timer) -> list[Action]:
        actions: list[Action] = []
        if self._state is State.BUFFERING and event.timer_id == self._timer_id:
            self._request(actions)
        return actions

    def _on_stream_down(self, event: StreamDown) -> list[Action]:
        if self._state is State.DOWN:
            raise ImpossibleEvent(self.symbol, self.stream, self._state, event)
        actions: list[Action] = []
        if self.book_valid:
            self._open_gap(event.reason, event.ts_recv, None, actions)
        self.counters.updates_discarded += len(self._held)
        self._held.clear()
        self._outstanding = None
        self._state = State.DOWN
        return actions

    def _hold(self, update: Update) -> None:
        """Hold a message until a snapshot comes; those of a series that has ended are let go.

        No book is of use to two series at once: with both held, every answer would be refused.
        """
        if self._held:
            newest = self._held[-1]
            is_below = update.sequence_end < newest.sequence_end - EPOCH_NUMBERS
            if is_below or update.sequence_start > newest.sequence_end + EPOCH_NUMBERS:
                self.counters.updates_dropped += len(self._held)
                self._held.clear()
        if len(self._held) == self._buffer_updates_max:
            self._held.popleft()
            self.counters.updates_dropped += 1
        self._held.append(update)

    def _request(self, actions: list[Action]) -> None:
        """Ask for a snapshot, unless an answer is awaited."""
        if self._outstanding is None:
            self._request_id += 1
            self._outstanding = self._request_id
            self.counters.snapshots_requested += 1
            actions.append(RequestSnapshot(self._request_id))

    def _write_snapshot(self, snapshot: Snapshot, actions: list[Action]) -> None:
        last = self._last_sequence
        if last is not None and snapshot.sequence < last - EPOCH_NUMBERS:
            self.counters.epochs += 1
        self._last_sequence = snapshot.sequence
        self._known_ns = max(self._known_ns, snapshot.ts_recv)
        self._state = State.BRIDGING
        self.counters.snapshots_written += 1
        actions.append(WriteSnapshot(snapshot))
        if self._gap is not None:
            self._gap = None
            actions.append(HealGap(self._known_ns, snapshot.sequence))

    def _drain(self, now: int, actions: list[Action]) -> None:
        """Judge what was held against the snapshot just written; from a failure on, hold again."""
        while self._held:
            if not self._judge(self._held[0], now, actions):
                self._request(actions)
                return
            self._held.popleft()

    def _judge(self, update: Update, now: int, actions: list[Action]) -> bool:
        """Drop or write one update of a valid book; False when it opened a gap instead.

        BRIDGING and SYNCED ask different questions on purpose: the first update after a snapshot
        may overlap it, and every later one must follow.
        """
        assert self._last_sequence is not None
        start, end = update.sequence_start, update.sequence_end
        far_back = end < self._last_sequence - EPOCH_NUMBERS
        if self._rule.is_stale(self._last_sequence, start, end) and not far_back:
            self.counters.updates_stale += 1
            return True
        bridging = self._state is State.BRIDGING
        continues = self._rule.bridges if bridging else self._rule.follows
        if not continues(self._last_sequence, start, end):
            self._open_gap("bridge" if bridging else "sequence", now, start, actions)
            self._state = State.BUFFERING
            return False
        self._write_update(update, start, actions)
        self._last_sequence = end
        self._known_ns = max(self._known_ns, update.ts_recv)
        self._state = State.SYNCED
        self.counters.updates_written += 1
        return True

    def _write_update(self, update: Update, start: int, actions: list[Action]) -> None:
        """Write one message, extending the last action where it only continues that one."""
        assert self._last_sequence is not None
        batch, index = update.batch, update.index
        previous = actions[-1] if actions else None
        if (
            isinstance(previous, WriteUpdates)
            and previous.batch is batch
            and previous.last == index
            and start > self._last_sequence
        ):
            actions[-1] = WriteUpdates(batch, previous.first, index + 1, previous.after_sequence)
        else:
            actions.append(WriteUpdates(batch, index, index + 1, self._last_sequence))

    def _open_gap(
        self, reason: str, now: int, sequence_detected: int | None, actions: list[Action]
    ) -> None:
        assert self._gap is None
        assert self._last_sequence is not None
        self._gap = WriteGap(
            reason=reason,
            ts_from=self._known_ns,
            sequence_expected=self._last_sequence + 1,
            # The wall clock may have stepped back since the last good row.
            ts_detected=max(now, self._known_ns),
            sequence_detected=sequence_detected,
        )
        self.counters.gaps += 1
        actions.append(self._gap)
