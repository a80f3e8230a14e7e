"""Seeded histories with loss, repeats, late and stale answers: safe, alive, alike in batches.

Safe: no hole between written rows outside gaps, and the written book is the true one at the end
of every message. Alive: no gap without a loss, and no symbol that stays without a book.
"""

from __future__ import annotations

from collections import Counter
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.property.recorder.stitch.histories import (
    AMPLE,
    Faults,
    draw_faults,
    run_history,
    without_losses,
)

HISTORIES = 3000
MOVES = 30

chance = st.sampled_from([0.0, 0.1, 0.5])
faults = st.builds(
    Faults,
    loss=chance,
    repeat=chance,
    late_repeat=chance,
    reorder=chance,
    disconnect=chance,
    rotation=chance,
    snapshot_stale=chance,
    snapshot_failed=chance,
    answer_again=chance,
    clock_back=chance,
    audit=chance,
    silence=chance,
    renumber=chance,
    buffer_updates_max=st.sampled_from([1, 2, 5, AMPLE]),
    numbers_per_message=st.sampled_from([1, 3, 6]),
    overlap=st.booleans(),
)


@settings(max_examples=200)
@given(st.integers(0, 2**32), faults, st.integers(1, MOVES))
def test_any_history_is_safe_and_ends_with_a_book(seed, faults, moves):
    run_history(Random(seed), faults, moves)


@settings(max_examples=100)
@given(st.integers(0, 2**32), faults.map(without_losses), st.integers(1, MOVES))
def test_nothing_lost_means_no_gap(seed, faults, moves):
    run_history(Random(seed), faults, moves)


def test_thousands_of_histories():
    met: Counter[str] = Counter()
    for seed in range(HISTORIES):
        random = Random(seed)
        drawn = draw_faults(random)
        if seed % 4 == 0:
            drawn = without_losses(drawn)
        world = run_history(random, drawn, MOVES)
        counters = world.single.counters
        met.update({name: getattr(counters, name) > 0 for name in counters.__slots__})
        met.update(entry[1] for entry in world.recorder.journal if entry[0] == "gap")
        met["healed"] += any(entry[0] == "heal" for entry in world.recorder.journal)
    # The histories must reach every corner, or they prove nothing about it.
    assert min(met.values()) >= HISTORIES // 100, met
    assert {"sequence", "bridge", "disconnected", "silent", "healed"} <= met.keys()
