"""docs/RELIABILITY.md says nothing the code does not have, and leaves out no reason of a gap."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import pytest

from recorder.health.metrics import Counted, View, format_metrics
from recorder.health.status import DiskFacts
from recorder.meters import Meters
from recorder.transport.rest_rules import OUTCOMES
from schemas.datasets import GAP_REASONS
from tests.simulation.planted import BUGS
from tests.support.health_facts import make_facts

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "RELIABILITY.md"
PARTS = ("Promise", "How", "Shown by", "Figure", "Metric")
SEEN = "What you will see"


@cache
def sections() -> dict[str, str]:
    """Return the page's sections by their heading."""
    _, *pieces = re.split(r"(?m)^## ", PAGE.read_text(encoding="utf-8"))
    return {heading: text for heading, _, text in (piece.partition("\n") for piece in pieces)}


POLICIES = sorted(sections().keys() - {SEEN})


@cache
def metrics() -> frozenset[str]:
    """Return the names a scrape can have, as they are in a query."""
    meters = Meters()
    meters.ts_frame = 1
    facts = make_facts(
        disk=DiskFacts(1, 1, 1, 100.0), venue_open=True, feeds=("level2", "level3", "match")
    )
    text = format_metrics(View(facts, meters, Counted()), "text/plain")[0].decode()
    return frozenset(re.findall(r"(?m)^# TYPE (\S+) ", text))


def table_rows(text: str) -> list[list[str]]:
    """Return the cells of a page's table rows, headings and rules left out."""
    rows = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("| `")]
    assert rows
    return rows


@pytest.mark.parametrize("policy", POLICIES)
def test_every_policy_says_all_five_things(policy: str) -> None:
    said = re.findall(r"(?m)^\*\*([\w ]+)\.\*\* \S", sections()[policy])
    assert tuple(said) == PARTS


@pytest.mark.parametrize("policy", POLICIES)
def test_every_test_that_shows_a_policy_exists(policy: str) -> None:
    shown = re.search(r"(?ms)^\*\*Shown by\.\*\*(.*?)^\*\*Figure", sections()[policy])
    assert shown is not None
    names = re.findall(r"`([^`]+)`", shown[1])
    files = [name for name in names if name.startswith("tests/")]
    assert files, "at least one"
    assert [name for name in files if not (ROOT / name).is_file()] == []
    text = "".join((ROOT / name).read_text(encoding="utf-8") for name in files)
    functions = [name for name in names if name.startswith("test_")]
    assert [name for name in functions if f"def {name}(" not in text] == []


def test_every_metric_named_is_one() -> None:
    named = set(re.findall(r"\bbooktape_\w+", PAGE.read_text(encoding="utf-8")))
    assert len(named) > 20
    assert named - metrics() == set()


def test_every_reason_of_a_gap_has_a_row_and_no_other_has() -> None:
    rows = [row for row in table_rows(sections()[SEEN]) if len(row) == 5]
    reasons = [row[0].strip("`") for row in rows]
    assert sorted(reasons) == sorted(GAP_REASONS)


def test_every_rule_of_rest_has_a_row() -> None:
    rows = re.findall(r"(?m)^\|[^|]+\| `(\w+)` \|", sections()["REST refusals"])
    assert set(rows) == set(OUTCOMES) - {"ok"}


def test_the_bugs_named_in_advance_are_those_that_are_planted() -> None:
    named = re.findall(r"(?m)^\| `(\w+)` \|", sections()["Proof by simulation"])
    assert named == list(BUGS)
    assert len(named) >= 10


def test_every_place_of_the_runbook_that_is_linked_is_there() -> None:
    linked = re.findall(r"RUNBOOK\.md#([\w-]+)", PAGE.read_text(encoding="utf-8"))
    runbook = (ROOT / "deploy" / "RUNBOOK.md").read_text(encoding="utf-8")
    places = {
        re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-")
        for heading in re.findall(r"(?m)^#+ (.+)$", runbook)
    }
    assert linked
    assert [place for place in linked if place not in places] == []


def test_every_log_line_that_is_quoted_is_written_somewhere() -> None:
    rows = [row for row in table_rows(sections()[SEEN]) if len(row) == 5]
    quoted = {word for row in rows for word in re.findall(r"`([^`]+)`", row[3])} - set(GAP_REASONS)
    code = "".join(
        path.read_text(encoding="utf-8") for path in sorted((ROOT / "recorder").rglob("*.py"))
    )
    assert quoted
    assert [words for words in quoted if f'"{words}' not in code] == []
