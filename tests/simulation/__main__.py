"""Run seeds: `python -m tests.simulation --seeds 2000`. See docs/RELIABILITY.md."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections import Counter
from pathlib import Path

from tests.simulation.batch import Outcome, play_many, quiet, warm_up
from tests.simulation.cells import missing, table
from tests.simulation.planted import BUGS, SEEDS_MAX, hunt
from tests.simulation.story import tell

# Sets of text have another order in each process unless this says otherwise.
HASH_SEED = "0"
# So few seeds need not reach every corner.
ALL_CORNERS_FROM = 1_000


def main() -> int:
    """Run what the command line asks for; 0 when every promise was kept."""
    arguments = _arguments()
    if os.environ.get("PYTHONHASHSEED") != HASH_SEED:
        os.environ["PYTHONHASHSEED"] = HASH_SEED
        os.execv(sys.executable, [sys.executable, "-m", "tests.simulation", *sys.argv[1:]])
    if arguments.seed is not None:
        return tell(arguments.seed, verbose=arguments.verbose)
    if arguments.planted is not None:
        return _planted(arguments.planted)
    return _many(arguments)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seeds", type=int, default=200, help="how many")
    parser.add_argument("--first", type=int, default=1, help="the first of them")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="side by side")
    parser.add_argument("--resume", type=Path, help="file to go on from, and to write how far")
    parser.add_argument("--seed", type=int, help="play this one and say what came of it")
    parser.add_argument("--verbose", action="store_true", help="with --seed: tell its story")
    parser.add_argument(
        "--planted", nargs="*", metavar="BUG", help="plant bugs and count seeds until one is caught"
    )
    return parser.parse_args()


def _many(arguments: argparse.Namespace) -> int:
    seeds = range(arguments.first, arguments.first + arguments.seeds)
    began = time.monotonic()
    total = Outcome()
    told: set[int] = set()
    for total in play_many(seeds, arguments.jobs, arguments.resume):
        for seed in sorted(total.failures.keys() - told):
            told.add(seed)
            print(f"seed {seed} FAILED: {total.failures[seed][0]}", flush=True)
            print(f"  again: python -m tests.simulation --seed {seed} --verbose", flush=True)
        if sys.stderr.isatty():
            print(f"\r{total.seeds} seeds, {len(total.failures)} failed", end="", file=sys.stderr)
    wall_s = time.monotonic() - began
    print(_report(total, wall_s))
    problems = (
        missing(total.cells, total.struck, total.met) if total.seeds >= ALL_CORNERS_FROM else []
    )
    for problem in problems:
        print(f"NOT REACHED: {problem}")
    return 1 if total.failures or problems else 0


def _report(total: Outcome, wall_s: float) -> str:
    hours, each_s = total.virtual_s / 3600, total.cpu_s / max(total.seeds, 1)
    ends = ", ".join(f"{count} {end}" for end, count in sorted(total.ends.items()))
    lines = [
        f"{total.seeds} seeds, {len(total.failures)} failed",
        f"{hours:.1f} h of market in {wall_s:.0f} s; {each_s:.3f} s of processor a seed",
        f"{total.steps} touches of the disk; processes: {ends}",
        "",
        "faults by kind",
    ]
    lines += [*_in_columns(total.struck), "", "gaps and audits", *_in_columns(total.met)]
    return "\n".join([*lines, "", "visits of each (state, event)", table(total.cells)])


def _in_columns(counts: Counter[str]) -> list[str]:
    kinds = [f"{kind} {count}" for kind, count in sorted(counts.items())]
    return [
        "  " + "  ".join(f"{kind:<34}" for kind in kinds[at : at + 3]).rstrip()
        for at in range(0, len(kinds), 3)
    ]


def _planted(names: list[str]) -> int:
    warm_up()
    missed = 0
    with quiet():
        for name, bug in BUGS.items():
            if names and name not in names:
                continue
            found = hunt(bug)
            missed += found is None
            verdict = f"caught by seed {found[0]}: {found[1]}" if found else "NOT CAUGHT"
            print(f"{name:<34} {verdict[:150]}", flush=True)
    print(f"{missed} bugs not caught within {SEEDS_MAX} seeds")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
