"""Changes the code in small ways, one at a time, and counts which changes no test notices.

    python benchmarks/mutants.py                             the stitcher and the raw log
    python benchmarks/mutants.py --only rules --first 0 --count 40

Each mutant is one comparison moved, one sign turned, one statement left out or one number one
greater. The tests of its module run on it in a process of their own, the quick ones first. A mutant
that fails a test, or takes a minute, is killed. One that survives is printed with its line: either
a test is missing, or the change changes nothing, and then `EQUIVALENT` below says why. Numbers that
have a name of their own are left alone: they are tuning. It prints one JSON object and exits with 1
when a survivor has no reason.

Not part of the test suite: it takes minutes.
"""

from __future__ import annotations

import argparse
import ast
import importlib.abc
import importlib.machinery
import importlib.util
import json
import os
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).resolve().parents[1]
# Processor seconds a mutant may take: the tests of a module take a tenth of it.
PATIENCE_S = 60.0


@dataclass(frozen=True)
class Target:
    """A module, and the tests that ought to notice every change of it, the quickest first."""

    module: str
    tests: tuple[str, ...]

    @property
    def path(self) -> Path:
        """Where its source is."""
        return ROOT / (self.module.replace(".", "/") + ".py")


STITCH = ("tests/unit/recorder/stitch", "tests/property/recorder/stitch")
TARGETS = (
    Target("recorder.stitch.machine", STITCH),
    Target("recorder.stitch.rules", STITCH),
    Target("recorder.stitch.story", STITCH),
    Target(
        "recorder.storage.raw_log",
        (
            "tests/unit/recorder/storage/test_raw_log.py",
            "tests/unit/recorder/storage/test_raw_follower.py",
            "tests/unit/recorder/storage/test_repacking.py",
        ),
    ),
)

# (module, the line as it stands, the change) → why no test can notice it.
EQUIVALENT: dict[tuple[str, str, str], str] = {}

COMPARISONS = {
    "<": "<=", "<=": "<", ">": ">=", ">=": ">", "==": "!=", "!=": "==",
    "is": "is not", "is not": "is", "in": "not in", "not in": "in",
}  # fmt: skip
SIGNS = {"+": "-", "-": "+", "*": "+", "//": "*", "%": "*", "&": "|", "|": "&", "**": "*"}
JUNCTIONS = {"and": "or", "or": "and"}


@dataclass(frozen=True)
class Mutant:
    """One change of a module's source."""

    module: str
    line_number: int
    column: int
    line: str
    change: str
    source: str

    @property
    def key(self) -> tuple[str, str, str]:
        """What tells it from others, wherever its line may stand."""
        return self.module, self.line, self.change


class Source:
    """The text of a module, and the changes that can be made to it."""

    def __init__(self, module: str, text: str) -> None:
        self.module = module
        self._data = text.encode()
        self._lines = self._data.split(b"\n")
        self._starts = [0]
        for line in self._lines:
            self._starts.append(self._starts[-1] + len(line) + 1)
        self._tree = ast.parse(text)

    def mutants(self) -> Iterator[Mutant]:
        """Yield every mutant, in the order of the source."""
        found = [mutant for node in self._live_nodes() for mutant in self._of(node)]
        met: Counter[tuple[int, str]] = Counter()
        for mutant in sorted(found, key=lambda mutant: (mutant.line_number, mutant.column)):
            place = mutant.line_number, mutant.change
            met[place] += 1
            if met[place] > 1:  # the same change twice in a line
                yield replace(mutant, change=f"{mutant.change} ({met[place]})")
            else:
                yield mutant

    def _live_nodes(self) -> Iterator[ast.AST]:
        """Yield the nodes that decide something: no annotations, assertions or named numbers."""
        waiting: list[ast.AST] = [self._tree]
        while waiting:
            node = waiting.pop()
            yield node
            for name, value in ast.iter_fields(node):
                if name in {"annotation", "returns", "decorator_list", "bases"}:
                    continue
                children = value if isinstance(value, list) else [value]
                waiting += [
                    child
                    for child in children
                    if isinstance(child, ast.AST)
                    and not isinstance(child, ast.Assert)
                    and not _is_named_number(child)
                ]

    def _of(self, node: ast.AST) -> Iterator[Mutant]:
        match node:
            case ast.Compare():
                sides = [node.left, *node.comparators]
                for left, right in pairwise(sides):
                    yield from self._between(left, right, COMPARISONS)
            case ast.BinOp():
                yield from self._between(node.left, node.right, SIGNS)
            case ast.BoolOp():
                for left, right in pairwise(node.values):
                    yield from self._between(left, right, JUNCTIONS)
            case ast.UnaryOp(op=ast.Not()):
                begin, _ = self._span(node)
                inner, _ = self._span(node.operand)
                yield self._changed(begin, inner, "", "not left out", node)
            case ast.Constant(value=bool()):
                yield self._replaced(node, str(not node.value))
            case ast.Constant(value=int()):
                yield self._replaced(node, str(node.value + 1))
            case ast.If() | ast.While() | ast.IfExp():
                if isinstance(node.test, ast.Name | ast.Attribute | ast.Call):
                    text = self._text(node.test)
                    yield self._replaced(node.test, f"(not {text})")
            case ast.Expr(value=ast.Call()) | ast.AugAssign() | ast.Raise():
                yield self._replaced(node, "pass")
            case ast.Assign(targets=[ast.Attribute()]):
                yield self._replaced(node, "pass")
            case ast.Continue():
                yield self._replaced(node, "break")
            case ast.Break():
                yield self._replaced(node, "continue")
            case _:
                return

    def _between(self, left: ast.expr, right: ast.expr, words: dict[str, str]) -> Iterator[Mutant]:
        begin, end = self._span(left)[1], self._span(right)[0]
        text = self._data[begin:end].decode()
        bare = " ".join(text.replace("(", " ").replace(")", " ").split())
        if bare in words:
            changed = text.replace(bare, words[bare])
            yield self._changed(begin, end, changed, f"{bare} → {words[bare]}", right)

    def _replaced(self, node: ast.expr | ast.stmt, text: str) -> Mutant:
        begin, end = self._span(node)
        before = " ".join(self._text(node).split())
        return self._changed(begin, end, text, f"{before} → {text}", node)

    def _changed(
        self, begin: int, end: int, text: str, change: str, node: ast.expr | ast.stmt
    ) -> Mutant:
        source = (self._data[:begin] + text.encode() + self._data[end:]).decode()
        line = self._lines[node.lineno - 1].decode().strip()
        return Mutant(self.module, node.lineno, begin, line, change, source)

    def _text(self, node: ast.expr | ast.stmt) -> str:
        begin, end = self._span(node)
        return self._data[begin:end].decode()

    def _span(self, node: ast.expr | ast.stmt) -> tuple[int, int]:
        assert node.end_lineno is not None
        assert node.end_col_offset is not None
        begin = self._starts[node.lineno - 1] + node.col_offset
        return begin, self._starts[node.end_lineno - 1] + node.end_col_offset


def _is_named_number(node: ast.AST) -> bool:
    """Say whether a statement gives a constant its name."""
    if not isinstance(node, ast.Assign) or not isinstance(node.targets[0], ast.Name):
        return False
    return node.targets[0].id.isupper()


class Planted(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Import one module from a text instead of its file."""

    def __init__(self, target: Target, source: str) -> None:
        self._target = target
        self._source = source

    def find_spec(
        self, fullname: str, path: object = None, target: object = None
    ) -> importlib.machinery.ModuleSpec | None:
        """Claim the module, and no other."""
        del path, target
        if fullname != self._target.module:
            return None
        return importlib.util.spec_from_loader(fullname, self, origin=str(self._target.path))

    def exec_module(self, module: ModuleType) -> None:
        """Run the text as the module."""
        module.__file__ = str(self._target.path)
        exec(compile(self._source, str(self._target.path), "exec"), module.__dict__)


def survives(target: Target, source: str) -> bool:
    """Run the tests on a source, in a child; say whether all of them passed."""
    child = os.fork()
    if child == 0:
        _run_tests(target, source)
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status) == 0


def _run_tests(target: Target, source: str) -> None:
    """Never return: the exit status is 0 when every test passed."""
    import pytest

    null = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(null, stream)
    signal.signal(signal.SIGPROF, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_PROF, PATIENCE_S)
    sys.meta_path.insert(0, Planted(target, source))
    status = 1
    try:
        for tests in target.tests:
            status = int(pytest.main(["-x", "-q", "-p", "no:cacheprovider", tests]))
            if status:
                break
    finally:
        os._exit(status)


def main(arguments: Sequence[str]) -> int:
    """Plant the mutants asked for; print what came of them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--only", default="", help="modules whose name has this in it")
    parser.add_argument("--first", type=int, default=0, help="mutant of each module to begin with")
    parser.add_argument("--count", type=int, default=10_000, help="mutants of each module")
    options = parser.parse_args(arguments)
    os.chdir(ROOT)
    sys.path.insert(0, str(ROOT))
    # Loaded once, before the children part: nothing of ours, so that each imports its mutant.
    for name in ("numpy", "orjson", "pytest", "zstandard"):
        importlib.import_module(name)
    report: dict[str, dict[str, object]] = {}
    unexplained = 0
    for target in TARGETS:
        if options.only not in target.module:
            continue
        text = target.path.read_text(encoding="utf-8")
        assert survives(target, text), f"the tests of {target.module} fail without a change"
        began, planted, survivors = time.monotonic(), 0, list[dict[str, object]]()
        mutants = list(Source(target.module, text).mutants())
        for mutant in mutants[options.first : options.first + options.count]:
            planted += 1
            if not survives(target, mutant.source):
                continue
            reason = EQUIVALENT.get(mutant.key, "")
            unexplained += not reason
            survivors.append(
                {
                    "line_number": mutant.line_number,
                    "line": mutant.line,
                    "change": mutant.change,
                    "reason": reason,
                }
            )
            print(mutant.line_number, mutant.line, "|", mutant.change, "|", reason, file=sys.stderr)
        report[target.module] = {
            "mutants": planted,
            "killed": planted - len(survivors),
            "seconds": round(time.monotonic() - began),
            "survivors": survivors,
        }
    print(json.dumps(report, indent=1, ensure_ascii=False))
    return 1 if unexplained else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
