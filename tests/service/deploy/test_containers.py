"""Container file, compose file and example configurations: what can be held without an engine."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from recorder.config import load_config

ROOT = Path(__file__).resolve().parents[3]
DEPLOY = ROOT / "deploy"
EXAMPLES = sorted(DEPLOY.glob("example-*.toml"))
SECRET = re.compile(r"(?i)(?:key|secret|passphrase|password)['\" ]*[:=]['\" ]*[a-z0-9+/]{16,}")


def compose() -> dict[str, Any]:
    return yaml.safe_load((DEPLOY / "compose.yaml").read_text())


def steps() -> list[tuple[str, str]]:
    """Return the container file's instructions with their words."""
    text = (DEPLOY / "Containerfile").read_text()
    text = re.sub(r"(?m)^#.*\n", "", text).replace("\\\n", " ")
    return [(line.split(None, 1)[0], line.split(None, 1)[1]) for line in text.splitlines() if line]


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_configuration_holds(path: Path) -> None:
    config = load_config(path)
    assert config.venue.profile == "kucoin-classic"
    assert config.http.listen == "127.0.0.1:9464"


def test_both_examples_are_there() -> None:
    assert [path.stem for path in EXAMPLES] == ["example-ten-symbols", "example-whole-exchange"]


def test_the_image_runs_as_nobody_in_particular_and_is_asked_after_its_health() -> None:
    words = steps()
    froms = [value for name, value in words if name == "FROM"]
    assert len(froms) == 2
    assert all(re.match(r"[\w./-]+:\d[\w.-]+( AS \w+)?$", base) for base in froms), froms
    last = words[[name for name, _ in words].index("FROM", 1) :]
    users = [value for name, value in last if name == "USER"]
    assert users
    assert not users[-1].startswith(("0", "root"))
    health = next(value for name, value in last if name == "HEALTHCHECK")
    assert "/healthz" in health
    command = json.loads(health[health.index("CMD") + 3 :])
    compile(command[2], "healthcheck", "exec")


def test_what_the_image_takes_from_the_checkout_exists_and_is_code_alone() -> None:
    copied = [
        source
        for name, value in steps()
        if name == "COPY" and not value.startswith("--from")
        for source in value.split()[:-1]
    ]
    assert copied
    assert all((ROOT / source).exists() for source in copied)
    assert {"pyproject.toml", "recorder", "replay", "schemas"} <= set(copied)


@pytest.mark.parametrize("service", ["recorder", "prometheus", "grafana"])
def test_a_service_is_shut_in_and_published_on_loopback_alone(service: str) -> None:
    said = compose()["services"][service]
    assert said["read_only"] is True
    assert said["cap_drop"] == ["ALL"]
    assert said["security_opt"] == ["no-new-privileges:true"]
    assert said["ports"]
    assert all(port.startswith("127.0.0.1:") for port in said["ports"])
    assert "build" in said or re.fullmatch(r"[\w/]+:v?\d+\.\d+\.\d+", said["image"])


def test_what_compose_mounts_exists() -> None:
    said = compose()
    for name, service in said["services"].items():
        for volume in service["volumes"]:
            source, _, target = re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", volume).partition(":")
            if source.startswith("."):
                assert (DEPLOY / source).exists(), f"{name}: {source}"
                assert target.endswith(":ro")
            else:
                assert source in said["volumes"], f"{name}: {source}"


def test_prometheus_and_grafana_look_where_compose_puts_things() -> None:
    scraped = yaml.safe_load((DEPLOY / "prometheus/prometheus.yml").read_text())["scrape_configs"]
    assert scraped[0]["static_configs"][0]["targets"] == ["recorder:9464"]
    provisioning = DEPLOY / "grafana" / "provisioning"
    source = yaml.safe_load((provisioning / "datasources/prometheus.yaml").read_text())
    assert source["datasources"][0]["url"] == "http://prometheus:9090"
    dashboards = yaml.safe_load((provisioning / "dashboards/booktape.yaml").read_text())
    place = dashboards["providers"][0]["options"]["path"]
    mounts = compose()["services"]["grafana"]["volumes"]
    assert any(mount.split(":")[1] == place for mount in mounts)


def test_no_file_holds_a_secret() -> None:
    for path in DEPLOY.rglob("*"):
        if path.is_file():
            assert not SECRET.search(path.read_text()), path
