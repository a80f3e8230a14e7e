"""The house is in order: tests mirror code, documents name what exists, nothing is out of place."""

from __future__ import annotations

import ast
import re
import subprocess
import tomllib
from functools import cache
from importlib import import_module
from pathlib import Path

import click
import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("recorder", "replay", "schemas")
TOP_LEVEL = {
    ".ci", ".gitignore", ".pre-commit-config.yaml", "CHANGELOG.md", "LICENSE", "README.md",
    "benchmarks", "deploy", "docs", "examples", "pyproject.toml", "tests", *PACKAGES,
}  # fmt: skip
# Unit tests of the house as a whole: they mirror no module.
HOUSE_WIDE = {"test_house.py", "test_no_trading.py"}
# What a simulated disk must see all of, beside `recorder/storage/`.
RECORDING_PATH = {"recorder/recording.py", "recorder/recovery.py", "recorder/run_writer.py"}
OFF_THE_RECORDING_PATH = {
    "recorder/storage/disk.py",  # the one place
    "recorder/storage/backup.py",  # copies by SQLite itself
    "recorder/storage/catalog_reader.py",  # these three look at an archive somebody may be writing
    "recorder/storage/disk_usage.py",
    "recorder/storage/known_symbols.py",
    "recorder/storage/replaced_files.py",  # empty folders, whose loss or return means nothing
}
DRAWERS = {"utils", "util", "helpers", "helper", "common", "misc"}


@cache
def _tracked() -> tuple[str, ...]:
    """Return the paths git knows and the folder holds; skips outside a checkout."""
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout: what belongs to the tree is not known")
    listing = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout
    return tuple(name for name in listing.split("\0") if name and (ROOT / name).is_file())


@cache
def _text(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8", errors="replace")


def _pages() -> list[str]:
    return [name for name in _tracked() if name.endswith(".md") and not name.startswith("tests/")]


def _prose(name: str) -> str:
    """Return a page without its fenced blocks."""
    return re.sub(r"(?ms)^```.*?^```", "", _text(name))


def test_nothing_unexpected_stands_at_the_top() -> None:
    assert {name.partition("/")[0] for name in _tracked()} <= TOP_LEVEL


def test_no_module_is_a_drawer() -> None:
    names = {part for name in _tracked() for part in Path(name).with_suffix("").parts}
    assert not names & DRAWERS


def test_each_unit_test_has_the_module_it_tests() -> None:
    orphans = []
    for name in _tracked():
        path = Path(name)
        if path.parts[:2] != ("tests", "unit") or not path.name.startswith("test_"):
            continue
        if path.parts[2:] in {(name,) for name in HOUSE_WIDE}:
            continue
        tested = ROOT.joinpath(*path.parts[2:-1], path.stem.removeprefix("test_"))
        if not tested.is_dir() and not list(tested.parent.glob(f"{tested.name}.*")):
            orphans.append(f"{name} tests no {tested.relative_to(ROOT)}")
    assert orphans == []


def test_nothing_is_left_to_do() -> None:
    words = re.compile(r"\b(TO" + r"DO|FIX" + r"ME|X" + r"XX|HA" + r"CK)\b")
    found = [name for name in _tracked() if words.search(_text(name))]
    assert found == []


def test_no_file_knows_the_machine_it_was_written_on() -> None:
    paths = re.compile(r"(?<![\w.$}])/(?:" + "|".join(["wo" + "rk", "ro" + "ot", "ho" + "me", "t" + "mp", "Us" + "ers"]) + r")/")  # fmt: skip  # noqa: E501
    found = [
        f"{name}: {line.strip()}"
        for name in _tracked()
        for line in _text(name).splitlines()
        if paths.search(line)
    ]
    assert found == []


def test_every_link_of_a_page_leads_somewhere() -> None:
    broken = []
    for page in _pages():
        for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", _prose(page)):
            if "://" not in target and not (ROOT / page).parent.joinpath(target).exists():
                broken.append(f"{page}: {target}")
    assert broken == []


def test_every_file_and_folder_a_page_names_exists() -> None:
    first = "|".join(re.escape(name) for name in sorted(TOP_LEVEL))
    missing = []
    for page in _pages():
        for name in re.findall(rf"`((?:{first})/[\w./-]*)`", _prose(page)):
            if not (ROOT / name).exists():
                missing.append(f"{page}: {name}")
        for name in re.findall(r"`([\w.-]+\.(?:md|toml|py))`", _prose(page)):
            if not any(Path(known).name == name for known in _tracked()):
                missing.append(f"{page}: {name}")
    assert missing == []


def _resolves(dotted: str) -> bool:
    """Tell whether a dotted name is a module of ours or something in one."""
    parts = dotted.split(".")
    for cut in range(len(parts), 0, -1):
        try:
            found: object = import_module(".".join(parts[:cut]))
        except ModuleNotFoundError:
            continue
        for name in parts[cut:]:
            if not hasattr(found, name):
                return False
            found = getattr(found, name)
        return True
    return False


def test_every_dotted_name_of_ours_in_a_page_exists() -> None:
    unknown = [
        f"{page}: {name}"
        for page in _pages()
        for name in re.findall(rf"`((?:{'|'.join(PACKAGES)})(?:\.\w+)+)`", _prose(page))
        if not _resolves(name)
    ]
    assert unknown == []


def test_every_call_a_page_names_is_defined() -> None:
    code = [name for name in _tracked() if name.startswith(PACKAGES)]
    python = "\n".join(_text(name) for name in code if name.endswith((".py", ".sql")))
    defined = set(re.findall(r"(?:\bdef|\bclass|(?i:\bmacro))\s+(\w+)", python))
    unknown = [
        f"{page}: {name}"
        for page in _pages()
        for name in re.findall(r"`(?:\w+\.)*(\w+)\([^`]*\)`", _prose(page))
        if name not in defined
    ]
    assert unknown == []


def test_every_command_a_page_names_exists() -> None:
    commands = {
        program: next(
            value for value in vars(import_module(f"{program}.cli")).values()
            if isinstance(value, click.Group)
        )
        for program in ("recorder", "replay")
    }  # fmt: skip
    unknown = [
        f"{page}: {program} {name}"
        for page in _pages()
        for program, name in re.findall(
            r"(?m)(?:`|^|&& )(recorder|replay) ([a-z][a-z-]*)(?=[` \n])", _text(page)
        )
        if commands[program].get_command(click.Context(commands[program]), name) is None
    ]
    assert unknown == []


def test_kernels_import_numpy_and_numba_only() -> None:
    allowed = {"__future__", "math", "typing", "numpy", "numba"}
    strangers = []
    for path in sorted((ROOT / "replay" / "kernels").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom):
                names = [node.module or ""]
            strangers += [
                f"{path.relative_to(ROOT)}: {name}"
                for name in names
                if name.partition(".")[0] not in allowed and not name.startswith("replay.kernels")
            ]
    assert strangers == []


def test_one_module_of_the_recorder_reads_clocks() -> None:
    # The demo drives a recorder from outside, by the clock of whoever watches it.
    found = {
        name
        for name in _tracked()
        if name.startswith("recorder/") and re.search(r"^(import|from) time\b", _text(name), re.M)
    }
    assert found == {"recorder/clock.py", "recorder/demo.py"}


def test_what_is_recorded_reaches_the_disk_through_one_module() -> None:
    touching = {
        "open", "unlink", "rename", "rmdir", "mkdir", "stat", "glob", "rglob", "iterdir", "is_dir",
        "is_file", "exists", "read_bytes", "read_text", "write_bytes", "write_text", "fsync",
    }  # fmt: skip
    found = {
        f"{name}: {ast.unparse(call.func)}"
        for name in _tracked()
        if name.startswith("recorder/storage/") or name in RECORDING_PATH
        if name not in OFF_THE_RECORDING_PATH
        for call in ast.walk(ast.parse(_text(name)))
        if isinstance(call, ast.Call)
        and isinstance(call.func, ast.Attribute)
        and call.func.attr in touching
        and ast.unparse(call.func.value) != "disk()"
    }
    assert not found


def test_every_dependency_has_its_reason() -> None:
    project = tomllib.loads(_text("pyproject.toml"))["project"]
    reasons = _text("docs/DECISIONS.md")
    wanted = [*project["dependencies"], *project["optional-dependencies"]["test"]]
    names = [re.split(r"[<>=!~\[; ]", entry)[0] for entry in wanted]
    assert [name for name in names if f"`{name}`" not in reasons] == []


def test_every_dependency_is_used() -> None:
    project = tomllib.loads(_text("pyproject.toml"))["project"]
    imported: set[str] = set()
    for name in _tracked():
        if name.startswith(PACKAGES) and name.endswith(".py"):
            imported |= set(re.findall(r"(?m)^\s*(?:from|import) (\w+)", _text(name)))
    names = [re.split(r"[<>=!~\[; ]", entry)[0] for entry in project["dependencies"]]
    assert [name for name in names if name.replace("-", "_") not in imported] == []


def test_the_readme_has_both_commands_and_the_test_command_is_one_line() -> None:
    blocks = dict(re.findall(r"<!-- command: (\w+) -->\n```(?:sh|bash)\n(.*?)```", _text("README.md"), re.DOTALL))  # fmt: skip  # noqa: E501
    assert set(blocks) == {"demo", "test"}
    assert all(len(block.strip().splitlines()) == 1 for block in blocks.values())
    assert "pip install" in blocks["demo"]
    assert "pytest" in blocks["test"]
