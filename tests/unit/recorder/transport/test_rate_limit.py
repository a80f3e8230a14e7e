"""Backoff: doubling, cap, jitter. (Budgets need a loop: see the service tests.)"""

from __future__ import annotations

import random

from recorder.transport.rate_limit import BURST_SHARE, SUSTAINED_SHARE, Backoff


def test_delays_double_to_the_cap_with_jitter_in_the_upper_half() -> None:
    backoff = Backoff(0.2, 3.0, random.Random(1))
    steps = [0.2, 0.4, 0.8, 1.6, 3.0, 3.0]
    for step in steps:
        assert step / 2 <= backoff.next_s() <= step


def test_a_success_starts_over() -> None:
    backoff = Backoff(1.0, 60.0, random.Random(1))
    for _ in range(5):
        backoff.next_s()
    backoff.reset()
    assert backoff.next_s() <= 1.0


def test_it_goes_on_for_ever() -> None:
    backoff = Backoff(1.0, 60.0, random.Random(1))
    assert all(0 < backoff.next_s() <= 60.0 for _ in range(5_000))


def test_many_clients_do_not_come_back_as_one() -> None:
    delays = {Backoff(1.0, 60.0, random.Random(seed)).next_s() for seed in range(20)}
    assert len(delays) == 20


def test_burst_and_rate_together_stay_below_the_limit() -> None:
    assert BURST_SHARE + SUSTAINED_SHARE < 1
