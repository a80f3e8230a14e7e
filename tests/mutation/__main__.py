"""Mutation testing: change one thing of a module, run its tests, and list what they let pass.

    python -m tests.mutation recorder/stitch/machine.py --tests tests/unit/recorder/stitch \
        --tests tests/property/recorder/stitch --output survivors.jsonl

Each mutant runs in a process forked from this one, in which the libraries are imported already;
the module is replaced while it is imported and no file is written, so the tree stays as it is.
The folders of `--tests` are asked one after another, the quick one first: the first that fails
has killed the mutant. One that takes longer than `--timeout` seconds is killed, too: it loops.
A second run with the same `--output` goes on where the first one stopped.

Exit: 0 no mutant is left, 1 some are, 2 the tests fail without a mutant.
"""

from __future__ import annotations

import ast
import importlib
import importlib.machinery
import importlib.util
import json
import os
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from importlib.abc import Loader, MetaPathFinder
from itertools import islice
from pathlib import Path
from types import CodeType, ModuleType

import click
import pytest

from tests.mutation.mutants import Mutant, mutants

# Hypothesis is imported before pytest would prepare it; its own assertions stay plain.
QUIET = ("-q", "-x", "-p", "no:cacheprovider", "-W", "ignore::pytest.PytestAssertRewriteWarning")
PRELOADED = ("numpy", "pyarrow", "pyarrow.parquet", "hypothesis", "orjson", "zstandard", "numba")
POLL_S = 0.02


class _Instead(MetaPathFinder, Loader):
    """Gives one module other code than its file holds."""

    def __init__(self, name: str, path: Path, code: CodeType) -> None:
        self._name, self._path, self._code = name, path, code

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None,
        target: ModuleType | None = None,
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname != self._name:
            return None
        return importlib.util.spec_from_file_location(fullname, self._path, loader=self)

    def exec_module(self, module: ModuleType) -> None:
        exec(self._code, module.__dict__)


def _name_of(module: Path) -> str:
    parts = module.with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _passes(module: Path, tree: ast.Module, tests: str, timeout_s: float) -> bool:
    """Run tests with a tree in place of a module; False where they fail or take too long."""
    child = os.fork()
    if child == 0:
        code = 70  # whatever happens to the child, it never returns into the loop of its parent
        with suppress(BaseException):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, 1)
            os.dup2(nowhere, 2)
            compiled = compile(tree, str(module), "exec")
            sys.meta_path.insert(0, _Instead(_name_of(module), module.absolute(), compiled))
            code = int(pytest.main([*QUIET, tests]))
        os._exit(code)
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        pid, status = os.waitpid(child, os.WNOHANG)
        if pid:
            return os.waitstatus_to_exitcode(status) == 0
        time.sleep(POLL_S)
    os.kill(child, 9)
    os.waitpid(child, 0)
    return False


def _killer(module: Path, mutant: Mutant, tests: tuple[str, ...], timeout_s: float) -> str | None:
    for folder in tests:
        if not _passes(module, mutant.tree, folder, timeout_s):
            return folder
    return None


@click.command(help=__doc__)
@click.argument("module", type=click.Path(exists=True, path_type=Path))
@click.option("--tests", multiple=True, required=True, help="Folder or file; may be repeated.")
@click.option("--timeout", default=60.0, show_default=True, help="Seconds a test run may take.")
@click.option("--every", default=1, show_default=True, help="Take each Nth mutant only.")
@click.option("--seconds", type=float, help="Stop after so long.")
@click.option("--output", type=click.Path(path_type=Path), help="One JSON line a mutant.")
def main(
    module: Path,
    tests: tuple[str, ...],
    timeout: float,
    every: int,
    seconds: float | None,
    output: Path | None,
) -> None:
    """Print what the tests let pass."""
    for name in PRELOADED:
        importlib.import_module(name)
    source = module.read_text()
    for folder in tests:
        if not _passes(module, ast.parse(source), folder, timeout):
            click.echo(f"{folder} fails before anything is changed", err=True)
            sys.exit(2)
    known = _known(output, module)
    stop = time.monotonic() + seconds if seconds is not None else float("inf")
    counts = {"killed": 0, "survived": 0}
    for number, mutant in islice(enumerate(mutants(source)), None, None, every):
        if number not in known:
            if time.monotonic() > stop:
                click.echo(f"stopped at mutant {number}", err=True)
                break
            killer = _killer(module, mutant, tests, timeout)
            known[number] = {
                "module": str(module),
                "number": number,
                "line": mutant.line,
                "before": mutant.before,
                "after": mutant.after,
                "killer": killer,
            }
            if output is not None:
                with output.open("a") as lines:
                    lines.write(json.dumps(known[number]) + "\n")
        outcome = known[number]
        counts["killed" if outcome["killer"] else "survived"] += 1
        if not outcome["killer"]:
            click.echo(f"{module}:{mutant.line}: {_short(mutant.before)} → {_short(mutant.after)}")
    click.echo(f"{module}: {sum(counts.values())} mutants, {counts['killed']} killed", err=True)
    sys.exit(1 if counts["survived"] else 0)


def _known(output: Path | None, module: Path) -> dict[int, dict[str, object]]:
    if output is None or not output.exists():
        return {}
    rows = [json.loads(line) for line in output.read_text().splitlines()]
    return {row["number"]: row for row in rows if row["module"] == str(module)}


def _short(text: str) -> str:
    first = text.splitlines()[0]
    return first if len(first) <= 70 else first[:69] + "…"


if __name__ == "__main__":
    main()
