"""The alerts, the runbook and the recorder's metrics name each other, and only what exists."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

DEPLOY = Path(__file__).resolve().parents[3] / "deploy"
METRIC = re.compile(r"\bbooktape_\w+")
# What a histogram's scrape adds to its name.
PIECES = re.compile(r"_(?:bucket|sum|count)$")


def rules() -> list[dict[str, Any]]:
    document = yaml.safe_load((DEPLOY / "prometheus/rules/booktape.yml").read_text())
    return [rule for group in document["groups"] for rule in group["rules"]]


def dashboard() -> dict[str, Any]:
    return json.loads((DEPLOY / "grafana/dashboards/booktape.json").read_text())


def expressions(part: object) -> list[str]:
    """Return every PromQL text of a dashboard, annotations and variables included."""
    if isinstance(part, dict):
        here = [part[key] for key in ("expr", "query") if isinstance(part.get(key), str)]
        return here + [text for value in part.values() for text in expressions(value)]
    if isinstance(part, list):
        return [text for value in part for text in expressions(value)]
    return []


def anchors(page: str) -> set[str]:
    titles = re.findall(r"(?m)^#+ (.+)$", page)
    return {re.sub(r"[^\w -]", "", title).strip().lower().replace(" ", "-") for title in titles}


def test_each_alert_leads_to_its_section_of_the_runbook() -> None:
    sections = anchors((DEPLOY / "RUNBOOK.md").read_text())
    for rule in rules():
        name = rule["alert"]
        assert rule["annotations"]["runbook"] == f"deploy/RUNBOOK.md#{name.lower()}"
        assert name.lower() in sections


def test_each_section_on_an_alert_has_its_alert_and_says_what_to_do() -> None:
    page = (DEPLOY / "RUNBOOK.md").read_text()
    named = re.findall(r"(?ms)^## (Booktape\w+)\n(.*?)(?=^## |\Z)", page)
    assert [name for name, _ in named] == [rule["alert"] for rule in rules()]
    for name, text in named:
        words = re.findall(r"(?m)^\*\*(\w+)\.\*\*", text)
        assert words == ["Means", "Look", "Do"], name


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: rule["alert"])
def test_an_alert_says_whom_it_wakes_and_what_happened(rule: dict[str, Any]) -> None:
    assert rule["labels"]["severity"] in {"critical", "warning", "info"}
    assert rule["annotations"]["summary"]
    assert rule["annotations"]["description"]


def test_each_alert_is_fired_by_a_test() -> None:
    text = (DEPLOY / "prometheus/tests/booktape_test.yml").read_text()
    tests = yaml.safe_load(text)["tests"]
    fired = {
        name
        for test in tests
        for check in test["promql_expr_test"]
        for sample in check["exp_samples"]
        for name in re.findall(r'alertname="(\w+)"', sample["labels"])
    }
    assert fired == {rule["alert"] for rule in rules()}
    # The well recorder shows every metric that any alert looks at.
    shown = {name for entry in tests[0]["input_series"] for name in METRIC.findall(entry["series"])}
    watched = {name for rule in rules() for name in METRIC.findall(rule["expr"])}
    assert watched <= shown


def test_rules_and_dashboard_name_only_metrics_that_a_recorder_has(exposed: set[str]) -> None:
    texts = [rule["expr"] for rule in rules()] + expressions(dashboard())
    named = {PIECES.sub("", name) for text in texts for name in METRIC.findall(text)}
    assert named - exposed == set()


def test_the_dashboard_shows_every_metric_a_recorder_has(exposed: set[str]) -> None:
    texts = [rule["expr"] for rule in rules()] + expressions(dashboard())
    named = {PIECES.sub("", name) for text in texts for name in METRIC.findall(text)}
    assert exposed - named == set()


def test_panels_stand_apart_and_have_a_meaning() -> None:
    panels = dashboard()["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert place["x"] + place["w"] <= 24, panel["title"]
        assert not cells & taken, panel["title"]
        taken |= cells
        assert panel["type"] == "row" or panel["description"], panel["title"]
