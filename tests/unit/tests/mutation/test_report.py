"""Every survivor has its reason, every reason its line of code, and the page names them all."""

from __future__ import annotations

import ast

import pytest

from tests.conftest import ROOT
from tests.mutation.outcomes import Outcome
from tests.mutation.report import difference, modules_table, reasons_table, report
from tests.mutation.subjects import SUBJECTS, Reason, read_reasons

REASON = Reason("a/b.py", "f", "x = 1 + y", ("x = 1 - y", "pass"), "nobody looks at it")
KILLED = Outcome("a/b.py", "f", "return x", "return None", "test_b.py::test_f", 0.1)
SURVIVED = [Outcome("a/b.py", "f", "x = 1 + y", after, "", 0.2) for after in REASON.after]
NEW = Outcome("a/b.py", "f", "y = 2", "y = 3", "", 0.2)


def test_a_survivor_without_reason_and_a_reason_without_survivor_are_told(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert report({"a/b.py": [KILLED, *SURVIVED]}, [REASON], whole=True) == 0
    out, err = capsys.readouterr()
    assert "| `a/b.py` | 3 | 1 | 2 |" in out
    assert "no " not in err
    assert report({"a/b.py": [KILLED, *SURVIVED, NEW]}, [REASON], whole=True) == 1
    assert "no reason: a/b.py f: y = 2 → y = 3" in capsys.readouterr().err
    assert report({"a/b.py": [KILLED, SURVIVED[0]]}, [REASON], whole=True) == 1
    assert "no survivor: a/b.py f: x = 1 + y → pass" in capsys.readouterr().err
    assert report({"a/b.py": [KILLED, SURVIVED[0]]}, [REASON], whole=False) == 0


def test_tables_are_those_of_the_page() -> None:
    table = modules_table({"a/b.py": [KILLED, NEW], "a/c.py": [KILLED]})
    assert table.splitlines()[2:] == [
        "| `a/b.py` | 2 | 1 | 1 |",
        "| `a/c.py` | 1 | 1 | 0 |",
        "| all | 3 | 2 | 1 |",
    ]
    assert reasons_table([REASON]).splitlines()[2:] == [
        "| b: `f` | `x = 1 + y` → `x = 1 - y`, nothing | nobody looks at it |"
    ]


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        ("N = 4", ("N = 5",), "`N = 4` → `N = 5`"),
        ("x += a | b #2", ("x -= a | b", "pass"), "`x += a \\| b` → `x -= a \\| b`, nothing"),
        (
            f"f({', '.join('abcdefghijklmnopqrstuvwxyz')}, other=1)",
            (f"f({', '.join('abcdefghijklmnopqrstuvwxyz')}, other=2)",),
            "… `y, z, other=1)` … → `y, z, other=2)`",
        ),
    ],
)
def test_a_change_is_shown_whole_or_with_a_few_words_around(
    before: str, after: tuple[str, ...], told: str
) -> None:
    assert difference(before, after) == told


def test_reasons_are_of_lines_that_stand_in_the_code_and_on_the_page() -> None:
    reasons = read_reasons()
    for reason in reasons:
        assert reason.module in SUBJECTS
        lines = ast.unparse(ast.parse((ROOT / reason.module).read_text())).splitlines()
        assert reason.before.partition(" #")[0] in {line.strip() for line in lines}, reason
        assert reason.after
        assert reason.reason
    assert reasons_table(reasons) in (ROOT / "docs" / "RELIABILITY.md").read_text()


def test_each_module_and_its_tests_are_there() -> None:
    for module, tests in SUBJECTS.items():
        assert all((ROOT / name).exists() for name in (module, *tests))
