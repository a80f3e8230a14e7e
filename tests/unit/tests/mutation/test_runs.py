"""Whether tests notice a change, and what is told when they do not end."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.mutation import runs
from tests.mutation.mutants import mutants
from tests.mutation.outcomes import Outcome, Outcomes
from tests.mutation.runs import run_tests

SOURCE = """
def double(n):
    while n > 100:
        n -= 1
    return n + n
"""
TEST = """
from subject_of_mutation import double

def test_that_passes_anyhow():
    assert isinstance(double(2), int)

def test_double():
    assert double(2) == 4
"""


@pytest.fixture(name="tests")
def _tests(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[str]:
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    (tmp_path / "subject_of_mutation.py").write_text(SOURCE)
    (tmp_path / "test_double.py").write_text(TEST)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    return ("test_double.py",)


def test_a_run_tells_which_test_noticed(tests: tuple[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runs, "TEST_MAX_S", 0.2)
    module = Path("subject_of_mutation.py")
    unchanged = run_tests(module, SOURCE, tests, {})
    assert (unchanged.passed, unchanged.killer) == (True, "")
    assert list(unchanged.took_s) == [
        "test_double.py::test_that_passes_anyhow",
        "test_double.py::test_double",
    ]
    assert "json" in unchanged.libraries
    assert "subject_of_mutation" not in unchanged.libraries
    killers = {
        source: run_tests(module, source, tests, unchanged.took_s).killer
        for source in (
            SOURCE.replace("n + n", "n - n"),
            SOURCE.replace("n + n", "None"),
            SOURCE.replace("100", "1").replace("-= 1", "+= 1"),
            SOURCE.replace("def double", "def treble"),
            SOURCE.replace("100", "101"),
        )
    }
    assert list(killers.values()) == [
        "test_double.py::test_double",
        "test_double.py::test_that_passes_anyhow",
        "test_double.py::test_that_passes_anyhow",  # it loops
        "test_double.py",  # which cannot be imported
        "",
    ]
    assert module.read_text() == SOURCE


def test_a_change_is_tried_again_when_its_tests_are_others(tests: tuple[str]) -> None:
    path = Path("outcomes.jsonl")
    first, second, *_ = mutants(SOURCE)
    killer = "test_double.py::test_double"
    told = [
        Outcome("m.py", one.place, one.before, one.after, killer, 0.5) for one in (first, second)
    ]
    told[1] = Outcome("m.py", second.place, second.before, second.after, "", 0.5)
    outcomes = Outcomes(path)
    for one, outcome in zip((first, second), told, strict=True):
        assert outcomes.find(one, tests) is None
        outcomes.add(outcome, one, tests)
    Path("test_more.py").write_text("def test_more(): pass\n")
    again, more = Outcomes(path), (*tests, "test_more.py")
    assert [again.find(one, tests) for one in (first, second)] == told
    assert [again.find(one, more) for one in (first, second)] == [told[0], None]
    Path("test_double.py").write_text(TEST + "\n")
    assert [again.find(one, tests) for one in (first, second)] == [None, None]
