"""Seeded storms against the recorder as a whole: nothing lost, nothing invented, nobody stuck.

More of them: `python -m tests.simulation --seeds 50000`.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from random import Random
from typing import Any

import pytest

from tests.property.recorder.stitch.histories import draw_faults, run_history
from tests.simulation.batch import Outcome, play_all, quiet, warm_up
from tests.simulation.cells import (
    CELLS,
    FAULTS,
    IMPOSSIBLE,
    NOT_BY_THE_SHELL,
    Cell,
    counted,
)
from tests.simulation.digest import digest
from tests.simulation.ledger import one_gap_between
from tests.simulation.planted import BUGS, hunt
from tests.simulation.seed import Seed

ROOT = Path(__file__).resolve().parents[2]
# How many seeds a run of the tests plays; in pieces, so that they spread over its workers.
SEEDS, SEEDS_A_PIECE = 100, 50
# That many reach each cell the stitcher's table has and the shell does not bring.
HISTORIES, MOVES = 150, 30
# Found soon, so cheap to look for again each time; `--planted` hunts for all of them.
QUICKLY_FOUND = (
    "continuity_off_by_one",
    "no_gap_on_disconnect",
    "durable_before_the_sync",
    "raw_log_not_synced",
    "part_renamed_without_folder_sync",
    "buffer_without_bound",
    "gap_between_runs_forgotten",
    "reseed_merged_at_wrong_sequence",
)


@pytest.fixture(scope="module", autouse=True)
def markets() -> None:
    """Make every market once, and leave it out of what the collector looks through."""
    warm_up()


@pytest.mark.parametrize("first", range(1, SEEDS, SEEDS_A_PIECE))
def test_storms(first: int) -> None:
    outcome = play_all(range(first, first + SEEDS_A_PIECE))
    assert outcome.failures == {}
    assert outcome.seeds == SEEDS_A_PIECE
    assert outcome.ends.keys() == {"crashed", "failed", "stopped"}
    visited = {cell for cell, visits in outcome.cells.items() if visits}
    assert not visited & IMPOSSIBLE
    # Each piece reaches nearly all; a longer run on the command line fails if one is not.
    assert len(set(CELLS) - visited - IMPOSSIBLE - NOT_BY_THE_SHELL) <= 2
    assert sum(outcome.struck[kind] == 0 for kind in FAULTS) <= 4


def test_what_the_shell_never_brings_comes_in_histories_of_the_stitcher_alone() -> None:
    cells: Counter[Cell] = Counter()
    with counted(cells):
        for seed in range(HISTORIES):
            random = Random(seed)
            run_history(random, draw_faults(random), MOVES)
    assert min(cells[cell] for cell in NOT_BY_THE_SHELL) > 0


@pytest.mark.parametrize("name", QUICKLY_FOUND)
def test_a_planted_bug_is_caught(name: str) -> None:
    with quiet():
        assert hunt(BUGS[name], 40) is not None


def test_a_seed_is_one_run() -> None:
    with quiet():
        one, other = (digest(Seed(9).play()) for _ in range(2))
    assert one == other


def test_a_seed_is_the_same_run_in_another_process(tmp_path: Path) -> None:
    # What `python -m tests.simulation` does, but that takes one order of sets and stays with it.
    code = "from tests.simulation.story import tell; tell(24, verbose=False)"
    command = [sys.executable, "-c", code]
    told = [
        subprocess.run(
            command,
            cwd=ROOT,
            env={**os.environ, "PYTHONHASHSEED": seed, "COVERAGE_FILE": str(tmp_path / seed)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    ]
    assert "digest" in told[0]
    assert told[0] == told[1]


def _covered(run_id: str, ts_from: int, ts_to: int, first: int, last: int) -> dict[str, Any]:
    names = ("run_id", "ts_from", "ts_to", "sequence_first", "sequence_last")
    row = dict(zip(names, (run_id, ts_from, ts_to, first, last), strict=True))
    return {**row, "ordinal_first": 0, "ordinal_last": last - first, "is_open": 0}


def _gap(before: dict[str, Any], after: dict[str, Any]) -> dict[str, Any]:
    return {
        "run_id": before["run_id"],
        "ordinal_from": before["ordinal_last"],
        "reason": "crashed",
        "ts_from": before["ts_to"],
        "ts_to": after["ts_from"],
        "sequence_expected": before["sequence_last"] + 1,
        "sequence_received": after["sequence_first"],
    }


def test_a_clock_set_back_between_two_runs_hides_no_gap_before_or_behind() -> None:
    one, two = _covered("a", 0, 100, 1, 5), _covered("b", 150, 300, 9, 15)
    # Behind it the clock is set back, into the second run.
    three, four = _covered("c", 250, 400, 20, 28), _covered("d", 450, 500, 40, 44)
    runs = [[one], [two], [three], [four]]
    right = [_gap(one, two), _gap(three, four)]
    assert list(one_gap_between("A-B", "l2", runs, [*right])) == []
    for missing in right:
        rest = [gap for gap in right if gap is not missing]
        (problem,) = one_gap_between("A-B", "l2", runs, rest)
        assert "0 gaps between" in problem
    (problem,) = one_gap_between("A-B", "l2", runs, [*right, _gap(two, four)])
    assert "between no two intervals" in problem
    (problem,) = one_gap_between(
        "A-B", "l2", runs, [right[0], {**right[1], "sequence_expected": 7}]
    )
    assert "behind a row of 28" in problem


def test_what_a_long_run_knows_can_be_put_away() -> None:
    cells = Counter({("DOWN", "Timer"): 4})
    outcome = Outcome(3, {7: ["lost"]}, Counter(drop=2), Counter({"gap silent": 1}), cells)
    assert Outcome.of_json(outcome.as_json()) == outcome
