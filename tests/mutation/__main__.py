"""Mutation testing: change one thing of a module, run its tests, and list what they let pass.

    python -m tests.mutation                                 # whole: every module of the list
    python -m tests.mutation recorder/stitch/story.py        # one of them
    python -m tests.mutation M.py --tests tests/unit/m.py    # any module, any tests

The list of modules with their tests is in `subjects.py`, the reasons of those changes that no
test is meant to notice in `survivors.toml`. Printed are every other change that the tests let
pass, and at the end the tables of docs/RELIABILITY.md.

With `--output` a second run goes on where the first one stopped: a change is tried again only
when the test that noticed it is another one now, or, if none did, when any test is.

Exit: 0 every survivor has its reason, 1 one has none or a reason has no survivor, 2 the tests fail
before anything is changed.
"""

from __future__ import annotations

import ast
import resource
import sys
import time
from itertools import islice
from pathlib import Path

import click

from tests.mutation.mutants import Mutant, mutants
from tests.mutation.outcomes import Outcome, Outcomes
from tests.mutation.report import report, show
from tests.mutation.runs import import_libraries, run_tests
from tests.mutation.subjects import SUBJECTS, read_reasons


@click.command(help=__doc__)
@click.argument("modules", nargs=-1, type=click.Path(exists=True, path_type=Path))
@click.option("--tests", multiple=True, help="Folder or file; may be repeated.")
@click.option("--every", default=1, show_default=True, help="Take each Nth change only.")
@click.option("--seconds", type=float, help="Stop after so long.")
@click.option("--output", type=click.Path(path_type=Path), help="One JSON line a change.")
def main(
    modules: tuple[Path, ...],
    tests: tuple[str, ...],
    every: int,
    seconds: float | None,
    output: Path | None,
) -> None:
    """Print what the tests let pass."""
    stop = time.monotonic() + seconds if seconds is not None else float("inf")
    outcomes = Outcomes(output)
    chosen = [str(module) for module in modules] or list(SUBJECTS)
    done: dict[str, list[Outcome]] = {}
    for module in chosen:
        wanted = tests or SUBJECTS.get(module)
        if not wanted:
            raise click.UsageError(f"{module} is not in the list: say --tests")
        done[module] = _try_all(Path(module), wanted, every, stop, outcomes)
    reasons = [reason for reason in read_reasons() if reason.module in done]
    sys.exit(report(done, reasons, whole=every == 1 and seconds is None))


def _try_all(
    module: Path, tests: tuple[str, ...], every: int, stop: float, outcomes: Outcomes
) -> list[Outcome]:
    source = module.read_text()
    unchanged = ast.unparse(ast.parse(source))
    first = run_tests(module, unchanged, tests, {})
    import_libraries(first.libraries)
    if not first.passed:
        click.echo(f"{first.killer} fails before anything is changed", err=True)
        sys.exit(2)
    done: list[Outcome] = []
    for mutant in islice(mutants(source), None, None, every):
        if time.monotonic() > stop:
            click.echo(f"{module}: stopped after {len(done)} changes", err=True)
            break
        outcome = outcomes.find(mutant, tests)
        if outcome is None:
            outcome = _try(module, mutant, tests, first.took_s)
            outcomes.add(outcome, mutant, tests)
        done.append(outcome)
        if not outcome.killer:
            click.echo(show(outcome), err=True)
    return done


def _try(module: Path, mutant: Mutant, tests: tuple[str, ...], took_s: dict[str, float]) -> Outcome:
    began = _processor_s()
    result = run_tests(module, mutant.source, tests, took_s)
    took = round(_processor_s() - began, 3)
    return Outcome(str(module), mutant.place, mutant.before, mutant.after, result.killer, took)


def _processor_s() -> float:
    """Return the processor time of the runs so far, which a busy machine does not change."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    main()
