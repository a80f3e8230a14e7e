"""The capped log keeps what matters and no more."""

from __future__ import annotations

import pickle

import numpy as np

from recorder.stitch import StreamDown, StreamUp, Update, UpdateBatch
from recorder.stitch.story import STORY_MAX, Story


def update(number):
    numbers = np.array([number], np.int64)
    return Update(UpdateBatch(numbers, numbers, numbers, np.array([0, 1]), numbers, None), 0)


def test_runs_of_updates_share_one_entry():
    story = Story()
    story.add(StreamUp(1), "DOWN", "BUFFERING")
    for number in range(2, 5000):
        story.add(update(number), "SYNCED", "SYNCED")
    story.add(StreamDown(5000, "silent"), "SYNCED", "DOWN")
    assert story.tell("A").splitlines() == [
        "A: the last 3 entries",
        "1 StreamUp - [DOWN -> BUFFERING]",
        "4999 Update 2..4999 x4998 [SYNCED]",
        "5000 StreamDown reason=silent [SYNCED -> DOWN]",
    ]


def test_updates_that_change_the_state_stand_alone():
    story = Story()
    story.add(update(1), "BRIDGING", "SYNCED")
    story.add(update(2), "SYNCED", "SYNCED")
    story.add(update(9), "SYNCED", "BUFFERING")
    story.add(update(10), "BUFFERING", "BUFFERING")
    assert len(story.tell("A").splitlines()) == 5


def test_the_oldest_entries_are_forgotten():
    story = Story()
    for number in range(3 * STORY_MAX):
        story.add(StreamUp(number), "DOWN", "BUFFERING")
    lines = story.tell("A").splitlines()
    assert len(lines) == STORY_MAX + 1
    assert lines[1].startswith(f"{2 * STORY_MAX} ")


def test_two_updates_are_a_run():
    story = Story()
    story.add(update(1), "SYNCED", "SYNCED")
    assert story.tell("A").splitlines()[1] == "1 Update 1..1 [SYNCED]"
    story.add(update(2), "SYNCED", "SYNCED")
    assert story.tell("A").splitlines()[1] == "2 Update 1..2 x2 [SYNCED]"


def test_a_story_that_was_put_away_goes_on():
    story = Story()
    for number in range(STORY_MAX - 1):
        story.add(StreamUp(number), "DOWN", "BUFFERING")
    story.add(update(700), "SYNCED", "SYNCED")
    story.add(update(701), "SYNCED", "SYNCED")
    again = pickle.loads(pickle.dumps(story))
    assert again.tell("A") == story.tell("A")
    for one in (story, again):
        one.add(update(702), "SYNCED", "SYNCED")
        one.add(StreamDown(703, "silent"), "SYNCED", "DOWN")
    assert again.tell("A") == story.tell("A")
    assert "\n702 Update 700..702 x3 [SYNCED]\n" in again.tell("A")
    assert len(again.tell("A").splitlines()) == STORY_MAX + 1
