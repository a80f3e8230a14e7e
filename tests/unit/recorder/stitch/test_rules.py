"""The three questions of each rule, and their vectorised form."""

from __future__ import annotations

import numpy as np
import pytest

from recorder.stitch.rules import OverlapRule, StrictRule

BOTH = pytest.mark.parametrize("rule", [StrictRule(), OverlapRule()], ids=["strict", "overlap"])


@BOTH
@pytest.mark.parametrize(
    ("start", "end", "stale"), [(8, 9, True), (10, 10, True), (10, 11, False), (11, 11, False)]
)
def test_stale_is_what_the_book_already_has(rule, start, end, stale):
    assert rule.is_stale(10, start, end) is stale


@BOTH
@pytest.mark.parametrize(
    ("start", "end", "bridges"),
    [(11, 11, True), (5, 11, True), (11, 20, True), (5, 10, False), (12, 12, False)],
)
def test_bridge_holds_the_number_after_the_snapshot(rule, start, end, bridges):
    assert rule.bridges(10, start, end) is bridges


@pytest.mark.parametrize(
    ("start", "end", "strict", "overlap"),
    [
        (11, 11, True, True),
        (11, 15, True, True),
        (10, 11, False, True),
        (3, 11, False, True),
        (12, 12, False, False),
        (10, 10, False, False),
        (11, 10, False, False),
    ],
)
def test_following_is_strict_or_may_overlap(start, end, strict, overlap):
    assert StrictRule().follows(10, start, end) is strict
    assert OverlapRule().follows(10, start, end) is overlap


@BOTH
def test_count_following_agrees_with_follows(rule):
    random = np.random.default_rng(20190228)
    for _ in range(300):
        length = int(random.integers(0, 400))
        steps = random.integers(1, 4, length)
        ends = 10 + np.cumsum(steps)
        starts = ends - steps + 1
        if length and random.random() < 0.7:
            at = int(random.integers(0, length))
            starts[at] += int(random.integers(-3, 3))
        expected, last = 0, 10
        for start, end in zip(starts.tolist(), ends.tolist(), strict=True):
            if not rule.follows(last, start, end):
                break
            expected, last = expected + 1, end
        assert rule.count_following(10, starts, ends) == expected


@BOTH
def test_count_following_takes_a_whole_long_run(rule):
    numbers = np.arange(11, 100_011)
    assert rule.count_following(10, numbers, numbers) == 100_000
    assert rule.count_following(9, numbers, numbers) == 0
    assert rule.count_following(10, numbers[:0], numbers[:0]) == 0


def test_only_overlapping_messages_tell_again():
    assert StrictRule.tells_again is False
    assert OverlapRule.tells_again is True


@BOTH
def test_a_message_of_nothing_new_ends_the_count(rule):
    starts, ends = np.array([11, 12, 12]), np.array([11, 12, 12])
    assert rule.count_following(10, starts, ends) == 2
