"""Rules and configuration, judged by Prometheus's own tool."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from recorder.meters import VENUE_LAG_BOUNDS_S, Tally
from recorder.transport.rest_rules import OUTCOMES

PROMETHEUS = Path(__file__).resolve().parents[3] / "deploy" / "prometheus"


def promtool(*words: str) -> subprocess.CompletedProcess[str]:
    if shutil.which("promtool") is None:
        pytest.skip("no promtool on this machine (Debian's package prometheus has it)")
    return subprocess.run(
        ["promtool", *words],
        cwd=PROMETHEUS,
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_configuration_and_rules_load() -> None:
    for words in (("check", "config", "prometheus.yml"), ("check", "rules", "rules/booktape.yml")):
        done = promtool(*words)
        assert done.returncode == 0, done.stdout + done.stderr


def test_each_alert_fires_on_its_fault_and_none_on_a_well_recorder() -> None:
    done = promtool("test", "rules", "tests/booktape_test.yml")
    assert done.returncode == 0, done.stdout + done.stderr


def test_those_tests_notice_a_rule_that_never_fires(tmp_path: Path) -> None:
    shutil.copytree(PROMETHEUS, tmp_path / "prometheus")
    path = tmp_path / "prometheus" / "rules" / "booktape.yml"
    rules = path.read_text()
    assert rules.count("booktape_api_key_can_trade == 1") == 1
    path.write_text(rules.replace("booktape_api_key_can_trade == 1", "vector(0) > 1"))
    done = promtool("test", "rules", str(tmp_path / "prometheus" / "tests" / "booktape_test.yml"))
    assert done.returncode != 0
    assert "BooktapeApiKeyCanTrade" in done.stdout + done.stderr


def test_outcomes_of_requests_that_a_rule_names_are_the_recorders_own() -> None:
    rules = (PROMETHEUS / "rules" / "booktape.yml").read_text()
    named = {
        word for found in re.findall(r'outcome=~?"([^"]+)"', rules) for word in found.split("|")
    }
    assert named
    assert named <= set(OUTCOMES)


def test_bounds_that_a_rule_names_are_those_of_the_recorders_histograms() -> None:
    rules = (PROMETHEUS / "rules" / "booktape.yml").read_text()
    named = set(re.findall(r'\ble="([^"]+)"', rules))
    assert named
    assert named <= {bound for bound, _ in Tally(VENUE_LAG_BOUNDS_S).cumulative}


def test_the_job_the_rules_look_at_is_the_one_that_is_scraped() -> None:
    scraped = yaml.safe_load((PROMETHEUS / "prometheus.yml").read_text())["scrape_configs"]
    rules = (PROMETHEUS / "rules" / "booktape.yml").read_text()
    assert set(re.findall(r'\bjob="(\w+)"', rules)) <= {job["job_name"] for job in scraped}
