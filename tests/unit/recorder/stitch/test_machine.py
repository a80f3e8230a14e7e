"""Every cell of the stitcher's table, and what the cells mean together."""

from __future__ import annotations

from dataclasses import asdict

import numpy as np
import pytest

from recorder.book import L2Book
from recorder.stitch import (
    Audit,
    HealGap,
    ImpossibleEvent,
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
from recorder.stitch.machine import EPOCH_NUMBERS, Counters

UP = StreamUp(ts_recv=1)


def batch_of(*messages, ts=100, step=10):
    """One batch from (start, end) ranges, one row a number, received `step` ns apart."""
    numbers = [list(range(start, end + 1)) for start, end in messages]
    return UpdateBatch(
        ts_recv=np.arange(ts, ts + step * len(messages), step, dtype=np.int64)[: len(messages)],
        sequence_start=np.array([start for start, _ in messages], np.int64),
        sequence_end=np.array([end for _, end in messages], np.int64),
        row_start=np.cumsum([0, *map(len, numbers)], dtype=np.int64),
        sequence=np.array([number for message in numbers for number in message], np.int64),
        rows=None,
    )


def update(start, end, ts=100):
    return Update(batch_of((start, end), ts=ts), 0)


def written(event, after):
    return WriteUpdates(event.batch, event.index, event.index + 1, after)


def snapshot(sequence, request_id=1, ts=50):
    return Snapshot(ts, sequence, request_id, payload=f"book at {sequence}")


def stitcher(rule=None, **limits):
    return Stitcher(rule or StrictRule(), "BTC-USDT", "l2", **limits)


def down():
    return stitcher()


def buffering():
    """Up, timer 1 armed, nothing held, nothing asked."""
    machine = stitcher()
    machine.handle(UP)
    return machine


def waiting():
    """Up, request 1 outstanding, message 11..12 held."""
    machine = buffering()
    machine.handle(update(11, 12, ts=20))
    return machine


def bridging():
    """A snapshot at 10 written, known at 50."""
    machine = buffering()
    machine.handle(Timer(30, 1))
    machine.handle(snapshot(10))
    return machine


def synced():
    """A book at 12, known at 60."""
    machine = bridging()
    machine.handle(update(11, 12, ts=60))
    return machine


GAP = WriteGap("sequence", 60, 13, 70, 15)
BRIDGE_GAP = WriteGap("bridge", 50, 11, 70, 15)
EARLY, NEXT, BEYOND = update(5, 6, ts=70), update(13, 14, ts=70), update(15, 16, ts=70)
STRADDLING = update(9, 12, ts=70)
ASK_1, ASK_2 = RequestSnapshot(1), RequestSnapshot(2)
AT_11, AT_9 = snapshot(11, ts=80), snapshot(9, ts=80)
UNASKED = snapshot(11, request_id=None, ts=80)

CELLS = [
    # start, event, actions, state after
    (down, UP, [StartTimer(1)], "BUFFERING"),
    (down, NEXT, [], "DOWN"),
    (down, AT_11, [], "DOWN"),
    (down, UNASKED, [], "DOWN"),
    (down, SnapshotFailed(80, 1), [], "DOWN"),
    (down, Timer(80, 1), [], "DOWN"),
    (down, StreamDown(80, "disconnected"), ImpossibleEvent, "DOWN"),
    (buffering, UP, ImpossibleEvent, "BUFFERING"),
    (buffering, NEXT, [ASK_1], "BUFFERING"),
    (buffering, AT_11, [], "BUFFERING"),
    (buffering, UNASKED, [WriteSnapshot(UNASKED)], "BRIDGING"),
    (buffering, SnapshotFailed(80, 1), [], "BUFFERING"),
    (buffering, Timer(80, 1), [ASK_1], "BUFFERING"),
    (buffering, Timer(80, 7), [], "BUFFERING"),
    (buffering, StreamDown(80, "disconnected"), [], "DOWN"),
    (waiting, UP, ImpossibleEvent, "BUFFERING"),
    (waiting, NEXT, [], "BUFFERING"),
    (waiting, AT_9, [ASK_2], "BUFFERING"),
    (waiting, snapshot(11, request_id=7), [], "BUFFERING"),
    (waiting, SnapshotFailed(80, 1), [ASK_2], "BUFFERING"),
    (waiting, SnapshotFailed(80, 7), [], "BUFFERING"),
    (waiting, Timer(80, 1), [], "BUFFERING"),
    (waiting, StreamDown(80, "disconnected"), [], "DOWN"),
    (bridging, UP, ImpossibleEvent, "BRIDGING"),
    (bridging, EARLY, [], "BRIDGING"),
    (bridging, STRADDLING, [written(STRADDLING, 10)], "SYNCED"),
    (bridging, BEYOND, [BRIDGE_GAP, ASK_2], "BUFFERING"),
    (bridging, AT_11, [], "BRIDGING"),
    (bridging, UNASKED, [Audit(UNASKED)], "BRIDGING"),
    (bridging, SnapshotFailed(80, 1), [], "BRIDGING"),
    (bridging, Timer(80, 1), [], "BRIDGING"),
    (
        bridging,
        StreamDown(80, "silent"),
        [WriteGap("silent", 50, 11, 80, None)],
        "DOWN",
    ),
    (synced, UP, ImpossibleEvent, "SYNCED"),
    (synced, EARLY, [], "SYNCED"),
    (synced, NEXT, [written(NEXT, 12)], "SYNCED"),
    (synced, BEYOND, [GAP, ASK_2], "BUFFERING"),
    (synced, AT_11, [], "SYNCED"),
    (synced, UNASKED, [Audit(UNASKED)], "SYNCED"),
    (synced, SnapshotFailed(80, 1), [], "SYNCED"),
    (synced, Timer(80, 1), [], "SYNCED"),
    (
        synced,
        StreamDown(80, "disconnected"),
        [WriteGap("disconnected", 60, 13, 80, None)],
        "DOWN",
    ),
]


@pytest.mark.parametrize(
    ("start", "event", "expected", "after"),
    CELLS,
    ids=[f"{cell[0].__name__}-{type(cell[1]).__name__}-{n}" for n, cell in enumerate(CELLS)],
)
def test_cell(start, event, expected, after):
    machine = start()
    if expected is ImpossibleEvent:
        before = machine.story()
        with pytest.raises(ImpossibleEvent) as caught:
            machine.handle(event)
        error = caught.value
        assert (error.symbol, error.stream, error.event) == ("BTC-USDT", "l2", event)
        assert error.state is machine.state
        assert str(error) == f"BTC-USDT l2: {type(event).__name__} in state {after}"
        assert machine.story() == before
    else:
        assert machine.handle(event) == expected
    assert machine.state.name == after


def test_every_state_meets_every_event():
    met = {(cell[0]().state, type(cell[1])) for cell in CELLS}
    events = {StreamUp, Update, Snapshot, SnapshotFailed, Timer, StreamDown}
    assert met == {(state, event) for state in State for event in events}


def test_states_have_the_names_that_a_status_tells():
    assert [state.value for state in State] == ["down", "buffering", "bridging", "synced"]


def test_snapshot_drains_what_was_held_in_one_action():
    machine = buffering()
    batch = batch_of((7, 8), (9, 12), (13, 13), (14, 20))
    for index in range(4):
        machine.handle(Update(batch, index))
    answer = snapshot(10, ts=500)
    assert machine.handle(answer) == [WriteSnapshot(answer), WriteUpdates(batch, 1, 4, 10)]
    assert (machine.state, machine.last_sequence, machine.held) == (State.SYNCED, 20, 0)
    assert machine.known_ns == 500
    assert machine.counters.updates_stale == 1
    assert machine.counters.updates_written == 3


def test_snapshot_newer_than_all_that_was_held_bridges_later():
    machine = waiting()
    answer = snapshot(40)
    assert machine.handle(answer) == [WriteSnapshot(answer)]
    assert machine.state is State.BRIDGING
    bridge = update(39, 44)
    assert machine.handle(bridge) == [written(bridge, 40)]
    assert machine.synced


def test_answer_just_before_the_oldest_held_is_new_enough():
    machine = waiting()
    held, answer = machine._held[0], snapshot(10)
    assert machine.handle(answer) == [WriteSnapshot(answer), written(held, 10)]


def test_a_book_nobody_is_known_to_have_asked_for_serves_while_another_is_awaited():
    machine = waiting()
    held = machine._held[0]
    assert machine.handle(UNASKED) == [WriteSnapshot(UNASKED), written(held, 11)]
    assert (machine.state, machine.outstanding_request) == (State.SYNCED, None)
    assert machine.handle(AT_11) == [], "the answer that was awaited"
    assert machine.counters.snapshots_ignored == 1


def test_drain_that_fails_to_bridge_reaches_back_to_the_snapshot():
    machine = buffering()
    batch = batch_of((10, 11), (15, 16), (17, 18))
    for index in range(3):
        machine.handle(Update(batch, index))
    answer = snapshot(12, ts=300)
    assert machine.handle(answer) == [
        WriteSnapshot(answer),
        WriteGap("bridge", 300, 13, 300, 15),
        RequestSnapshot(2),
    ]
    assert (machine.state, machine.held) == (State.BUFFERING, 2)
    again = snapshot(16, request_id=2, ts=400)
    assert machine.handle(again) == [
        WriteSnapshot(again),
        HealGap(400, 16),
        WriteUpdates(batch, 2, 3, 16),
    ]


def test_drain_that_stops_following_keeps_the_rest():
    machine = buffering()
    batch = batch_of((11, 12), (13, 14), (16, 17), (18, 18))
    for index in range(4):
        machine.handle(Update(batch, index))
    answer = snapshot(10, ts=300)
    assert machine.handle(answer) == [
        WriteSnapshot(answer),
        WriteUpdates(batch, 0, 2, 10),
        WriteGap("sequence", 300, 15, 300, 16),
        RequestSnapshot(2),
    ]
    assert (machine.state, machine.held) == (State.BUFFERING, 2)


def test_first_reason_stands_for_the_whole_gap():
    machine = synced()
    assert machine.handle(BEYOND) == [GAP, ASK_2]
    assert machine.handle(StreamDown(80, "disconnected")) == []
    assert machine.open_gap == GAP
    assert machine.handle(StreamUp(90)) == [StartTimer(2)]
    late = update(30, 31, ts=95)
    assert machine.handle(late) == [RequestSnapshot(3)]
    answer = snapshot(30, request_id=3, ts=99)
    assert machine.handle(answer) == [WriteSnapshot(answer), HealGap(99, 30), written(late, 30)]
    assert machine.open_gap is None
    assert machine.counters.gaps == 1


def test_before_the_first_book_nothing_is_a_gap():
    machine = waiting()
    for ts in (100, 200):
        assert machine.handle(StreamDown(ts, "disconnected")) == []
        machine.handle(StreamUp(ts + 1))
    assert machine.counters.gaps == 0
    assert (machine.last_sequence, machine.open_gap) == (None, None)


def test_answers_to_forgotten_requests_are_ignored_after_a_reconnect():
    machine = waiting()
    machine.handle(StreamDown(60, "disconnected"))
    machine.handle(StreamUp(61))
    assert machine.outstanding_request is None
    assert machine.handle(snapshot(11, request_id=1)) == []
    assert machine.handle(SnapshotFailed(70, 1)) == []
    assert machine.handle(Timer(75, 1)) == []
    assert machine.handle(Timer(76, 2)) == [RequestSnapshot(2)]
    assert machine.counters.snapshots_ignored == 2


def test_stale_answers_are_asked_again_for_ever():
    machine = waiting()
    for request_id in range(1, 200):
        answer = snapshot(9, request_id=request_id)
        assert machine.handle(answer) == [RequestSnapshot(request_id + 1)]
    assert machine.counters.snapshots_too_old == 199


def test_full_buffer_drops_the_oldest_and_asks_nothing():
    machine = stitcher(buffer_updates_max=2)
    machine.handle(UP)
    assert machine.handle(update(11, 11)) == [RequestSnapshot(1)]
    assert machine.handle(update(12, 12)) == []
    assert machine.handle(update(13, 13)) == []
    assert (machine.held, machine.counters.updates_dropped) == (2, 1)
    # 10 met the oldest ever held, but not the oldest still held.
    assert machine.handle(snapshot(10)) == [RequestSnapshot(2)]
    assert machine.handle(snapshot(11, request_id=2))[0] == WriteSnapshot(
        snapshot(11, request_id=2)
    )
    assert (machine.state, machine.last_sequence) == (State.SYNCED, 13)


def test_known_time_survives_a_clock_that_steps_back():
    machine = synced()
    machine.handle(update(13, 13, ts=40))
    assert machine.known_ns == 60
    assert machine.handle(update(20, 20, ts=45)) == [
        WriteGap("sequence", 60, 14, 60, 20),
        RequestSnapshot(2),
    ]


def test_overlap_rule_writes_what_is_new_and_strict_rule_refuses():
    overlapping = update(12, 15, ts=70)
    assert synced().handle(overlapping) == [
        WriteGap("sequence", 60, 13, 70, 12),
        RequestSnapshot(2),
    ]
    machine = stitcher(OverlapRule())
    machine.handle(UP)
    machine.handle(snapshot(10, request_id=None))
    machine.handle(update(11, 12))
    assert machine.handle(overlapping) == [written(overlapping, 12)]
    assert machine.last_sequence == 15


def test_batch_takes_the_prefix_that_follows():
    machine = synced()
    batch = batch_of((13, 13), (14, 20), (21, 21), (23, 23))
    assert machine.handle_batch(batch) == (3, [WriteUpdates(batch, 0, 3, 12)])
    assert (machine.last_sequence, machine.known_ns) == (21, 120)
    assert machine.handle_batch(batch, 3) == (0, [])
    assert machine.handle(Update(batch, 3)) == [
        WriteGap("sequence", 120, 22, 130, 23),
        RequestSnapshot(2),
    ]


@pytest.mark.parametrize("start", [down, buffering, bridging])
def test_batch_hands_over_unless_synced(start):
    assert start().handle_batch(batch_of((11, 11))) == (0, [])


def test_batch_begins_a_new_action_where_messages_overlap():
    machine = stitcher(OverlapRule())
    machine.handle(UP)
    machine.handle(snapshot(10, request_id=None))
    machine.handle(update(11, 12))
    batch = batch_of((13, 14), (15, 16), (16, 18), (19, 19))
    assert machine.handle_batch(batch) == (
        4,
        [WriteUpdates(batch, 0, 2, 12), WriteUpdates(batch, 2, 4, 16)],
    )


def test_handle_updates_takes_a_batch_through_every_state():
    machine = bridging()
    batch = batch_of((5, 6), (9, 12), (13, 14), (13, 14), (15, 16), (18, 18), (19, 19))
    assert machine.handle_updates(batch) == [
        WriteUpdates(batch, 1, 2, 10),
        WriteUpdates(batch, 2, 3, 12),
        WriteUpdates(batch, 4, 5, 14),
        WriteGap("sequence", 140, 17, 150, 18),
        RequestSnapshot(2),
    ]
    assert machine.held == 2


def test_buffer_bound_must_hold_something():
    with pytest.raises(ValueError, match="buffer_updates_max must be at least 1, not 0"):
        stitcher(buffer_updates_max=0)


def test_story_tells_what_happened():
    machine = synced()
    machine.handle_updates(batch_of((13, 13), (14, 14), (15, 15)))
    machine.handle(update(20, 21, ts=900))
    machine.handle(SnapshotFailed(901, 2))
    machine.handle(StreamDown(902, "silent"))
    assert machine.story().splitlines() == [
        "BTC-USDT l2: the last 8 entries",
        "1 StreamUp - [DOWN -> BUFFERING]",
        "30 Timer timer=1 [BUFFERING]",
        "50 Snapshot sequence=10 request=1 [BUFFERING -> BRIDGING]",
        "60 Update 11..12 [BRIDGING -> SYNCED]",
        "120 Update 13..15 x3 [SYNCED]",
        "900 Update 20..21 [SYNCED -> BUFFERING]",
        "901 SnapshotFailed request=2 [BUFFERING]",
        "902 StreamDown reason=silent [BUFFERING -> DOWN]",
    ]


# The Level-2 example of the February 2019 document: its snapshot, its one message, its outcome.
# Prices and sizes at scale 2 and 0; the message is coalesced, its changes are out of order on the
# wire, and the decoder hands them over in ascending sequence.
DOCUMENT_SNAPSHOT = {
    "side": [1, 1, 1, 1, 0, 0, 0, 0],
    "price_mantissa": [398862, 398861, 398860, 398859, 398851, 398850, 398849, 398848],
    "price_scale": [2] * 8,
    "size_mantissa": [8, 32, 47, 3, 56, 15, 100, 10],
    "size_scale": [0] * 8,
}
DOCUMENT_CHANGES = {
    "sequence": [15, 16, 17, 18],
    "sequence_start": [15] * 4,
    "sequence_end": [18] * 4,
    "side": [1, 1, 0, 1],
    "price_mantissa": [398862, 398859, 398850, 398861],
    "price_scale": [2] * 4,
    "size_mantissa": [8, 3, 44, 0],
    "size_scale": [0] * 4,
}
DOCUMENT_BOOK = [
    (0, 398851, 56),
    (0, 398850, 44),
    (0, 398849, 100),
    (0, 398848, 10),
    (1, 398859, 3),
    (1, 398860, 47),
    (1, 398862, 8),
]


@pytest.mark.parametrize("rule", [StrictRule(), OverlapRule()], ids=["strict", "overlap"])
def test_document_example_step_by_step(rule):
    machine, book = stitcher(rule), L2Book()
    # 1. The data flow is received and cached.
    machine.handle(UP)
    batch = UpdateBatch(
        ts_recv=np.array([10], np.int64),
        sequence_start=np.array([15], np.int64),
        sequence_end=np.array([18], np.int64),
        row_start=np.array([0, 4], np.int64),
        sequence=np.array(DOCUMENT_CHANGES["sequence"], np.int64),
        rows=DOCUMENT_CHANGES,
    )
    # 2. A snapshot is asked for; it comes at 16, inside the range of the cached message.
    assert machine.handle(Update(batch, 0)) == [RequestSnapshot(1)]
    answer = Snapshot(20, 16, 1, DOCUMENT_SNAPSHOT)
    write_snapshot, write_updates = machine.handle(answer)
    assert write_snapshot == WriteSnapshot(answer)
    book.load(write_snapshot.snapshot.payload, write_snapshot.snapshot.sequence)
    assert (book.sequence, book.levels) == (16, 8)
    # 3. Changes at or below 16 are discarded, 17 and 18 are played back.
    assert write_updates == WriteUpdates(batch, 0, 1, 16)
    first = int(np.searchsorted(batch.sequence, write_updates.after_sequence, side="right"))
    assert batch.sequence[first:].tolist() == [17, 18]
    book.apply(batch.rows, first, 3)
    assert (0, 398850, 44) in levels_of(book)
    book.apply(batch.rows, 3, 4)
    # The book is up to date and final.
    assert book.sequence == machine.last_sequence == 18
    assert levels_of(book) == DOCUMENT_BOOK
    assert not book.crossed
    # 4. What follows must link up with 18.
    follower = update(19, 19)
    assert machine.handle(follower) == [written(follower, 18)]


def levels_of(book):
    rows = book.rows()
    return list(
        zip(
            rows["side"].tolist(),
            rows["price_mantissa"].tolist(),
            rows["size_mantissa"].tolist(),
            strict=True,
        )
    )


# Numbers that begin anew


FAR = EPOCH_NUMBERS + 1_000


def synced_far():
    """Synced after one message, at a number from which another series is far away."""
    machine = buffering()
    machine.handle(update(FAR, FAR, ts=20))
    machine.handle(snapshot(FAR - 1, ts=30))
    return machine


@pytest.mark.parametrize("rule", [StrictRule(), OverlapRule()])
def test_a_message_of_a_new_series_is_a_gap_not_a_repeat(rule):
    machine = synced_far()
    machine._rule = rule
    assert machine.handle(update(FAR - EPOCH_NUMBERS, FAR - EPOCH_NUMBERS)) == []
    event = update(5, 6, ts=200)
    assert machine.handle(event) == [
        WriteGap("sequence", 30, FAR + 1, 200, 5),
        RequestSnapshot(2),
    ]
    # Out of a cache of the old series: of no use, and asked again without a row.
    assert machine.handle(snapshot(FAR + 10, 2, ts=210)) == [RequestSnapshot(3)]
    assert machine.counters.snapshots_too_old == 1
    assert machine.handle(snapshot(4, 3, ts=220)) == [
        WriteSnapshot(snapshot(4, 3, ts=220)),
        HealGap(220, 4),
        written(event, 4),
    ]
    assert (machine.state, machine.last_sequence) == (State.SYNCED, 6)


def test_a_book_of_the_old_series_is_given_up_at_the_first_message_of_the_new_one():
    machine = buffering()
    machine.handle(Timer(10, 1))
    machine.handle(snapshot(FAR, ts=30))
    actions = machine.handle(update(5, 6, ts=200))
    assert actions == [WriteGap("bridge", 30, FAR + 1, 200, 5), RequestSnapshot(2)]


@pytest.mark.parametrize(("first", "then"), [(2 * FAR, 5), (5, 2 * FAR)])
def test_numbers_that_begin_anew_while_a_book_is_awaited_leave_nobody_waiting(first, then):
    machine = buffering()
    machine.handle(update(first, first, ts=20))
    event = update(then, then + 1, ts=30)
    assert machine.handle(event) == []
    assert (machine.held, machine.counters.updates_dropped) == (1, 1)
    assert machine.handle(snapshot(then - 1, ts=40)) == [
        WriteSnapshot(snapshot(then - 1, ts=40)),
        written(event, then - 1),
    ]


def test_a_message_within_reach_of_the_last_one_held_is_of_its_series():
    machine = buffering()
    machine.handle(update(FAR, FAR, ts=20))
    machine.handle(update(FAR - EPOCH_NUMBERS, FAR - EPOCH_NUMBERS))
    machine.handle(update(FAR, FAR))
    assert (machine.held, machine.counters.updates_dropped) == (3, 0)


@pytest.mark.parametrize("sequence", [-1, 0])
def test_a_new_instrument_begins_below_one(sequence):
    machine = buffering()
    machine.handle(Timer(10, 1))
    machine.handle(snapshot(sequence, ts=30))
    first = update(sequence + 1, sequence + 2)
    assert machine.handle(first) == [written(first, sequence)]
    assert machine.counters.gaps == 0


def test_a_batch_is_handled_as_far_as_asked():
    machine = synced_far()
    batch = batch_of((FAR + 1, FAR + 1), (FAR + 2, FAR + 2), (FAR + 3, FAR + 3))
    assert machine.handle_batch(batch, 0, 2) == (2, [WriteUpdates(batch, 0, 2, FAR)])
    assert machine.handle_batch(batch, 2) == (1, [WriteUpdates(batch, 2, 3, FAR + 2)])


def test_a_stitcher_has_met_nothing_at_first():
    assert set(asdict(stitcher().counters).values()) == {0}


def test_what_is_no_event_is_our_mistake():
    with pytest.raises(AssertionError):
        buffering().handle("something else")


def test_each_thing_met_is_counted_once():
    machine = stitcher()
    for event in (
        update(1, 1),  # nobody listens
        UP,
        update(11, 12, ts=20),  # asks: 1
        SnapshotFailed(25, 1),  # asks: 2
        snapshot(5, 2, ts=30),  # too old, asks: 3
        snapshot(10, 3, ts=50),
        snapshot(12, None, ts=55),  # an audit
        snapshot(12, 9, ts=56),  # nobody asked
        update(12, 12, ts=60),  # told again
        update(20, 20, ts=70),  # a gap, asks: 4
        StreamDown(80, "disconnected"),
    ):
        machine.handle(event)
    assert asdict(machine.counters) == {
        "updates_written": 1,
        "updates_stale": 1,
        "updates_ignored": 1,
        "updates_dropped": 0,
        "updates_discarded": 1,
        "snapshots_requested": 4,
        "snapshots_written": 1,
        "snapshots_too_old": 1,
        "snapshots_failed": 1,
        "snapshots_ignored": 1,
        "audits": 1,
        "gaps": 1,
        "epochs": 0,
    }


@pytest.mark.parametrize(("ahead", "will_do"), [(EPOCH_NUMBERS, True), (EPOCH_NUMBERS + 1, False)])
def test_how_far_ahead_of_what_is_held_a_book_may_be(ahead, will_do):
    machine = waiting()
    actions = machine.handle(snapshot(12 + ahead))
    assert (actions == [RequestSnapshot(2)]) != will_do
    assert machine.book_valid == will_do


@pytest.mark.parametrize(("below", "epochs"), [(EPOCH_NUMBERS, 0), (EPOCH_NUMBERS + 1, 1)])
def test_how_far_below_the_last_one_a_book_begins_a_series(below, epochs):
    machine = synced_far()
    machine.handle(update(5, 6, ts=200))
    machine.handle(snapshot(FAR - below, 2, ts=210))
    assert machine.last_sequence == FAR - below
    assert machine.counters.epochs == epochs


def test_nothing_is_counted_before_anything_happened():
    assert set(asdict(Counters()).values()) == {0}


def test_a_failed_request_is_counted_once_and_asked_again():
    machine = stitcher()
    for event in (UP, Timer(2, 1), SnapshotFailed(3, 1)):
        machine.handle(event)
    assert machine.counters.snapshots_failed == 1
    assert machine.counters.snapshots_requested == 2
