"""A real Prometheus over a real recorder: quiet while all is well, and each fault has its alert.

The rules are those of deploy/, with the waits taken out: `for:` some seconds, no frame for 5 s
where it says 60, three reconnects where it says six. What they ask for is not touched.
"""

from __future__ import annotations

import json
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlencode
from urllib.request import urlopen

import pytest

from tests.service.deploy.test_runbook import dashboard

DEPLOY = Path(__file__).resolve().parents[3] / "deploy"
BTC, WIN = "BTC-USDT", "WIN-USDT"
WAIT_S = 45.0
# Faults begin so long after the exchange, when everything stands and has been watched for a while.
CALM_S = 20
FAULTS = [
    *(f"drop@{CALM_S + second}s:topic=level2:symbol={BTC}" for second in (0, 2, 4, 6, 8)),
    f"garbage@{CALM_S + 1}s",
    *(f"disconnect@{CALM_S + second}s" for second in (9, 12, 15, 18)),
]
# What need not have happened in the minute this takes.
MAY_BE_EMPTY = (
    "part_bytes",
    "parts_published",
    "messages_unknown",
    "disk_runway",
    "job_",
    "venue_open",
)


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


def wait_for(condition: Callable[[], object], what: Callable[[], str] | str) -> None:
    deadline = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < deadline, what if isinstance(what, str) else what()
        time.sleep(0.2)


def get(url: str) -> tuple[int, str]:
    try:
        with urlopen(url, timeout=5) as reply:
            return reply.status, reply.read().decode()
    except HTTPError as error:
        return error.code, error.read().decode()
    except (URLError, OSError):
        return 0, ""


class Watched:
    """An exchange with faults to come, a recorder of it, and a Prometheus that watches."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.recorder_port, self.prometheus_port, self.exchange_port = (
            free_port(), free_port(), free_port(),
        )  # fmt: skip
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.calm_until = 0.0  # of the monotonic clock, at least

    def start(self, name: str, *command: str) -> None:
        with (self.folder / f"{name}.log").open("ab") as log:
            self.processes[name] = subprocess.Popen(
                command, cwd=self.folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )

    def stop(self, name: str) -> None:
        process = self.processes.pop(name)
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(WAIT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def start_all(self) -> None:
        faults = [word for fault in FAULTS for word in ("--fault", fault)]
        self.calm_until = time.monotonic() + CALM_S
        self.start(
            "exchange", sys.executable, "-m", "replay.cli", "exchange", "--rate", "200",
            "--port", str(self.exchange_port), "--symbols", f"{BTC},{WIN}", "--for", "3m", *faults,
        )  # fmt: skip
        config = self.folder / "recorder.toml"
        config.write_text(
            f'archive = "archive"\n[venue]\nprofile = "kucoin-2019"\n'
            f'rest_url = "http://127.0.0.1:{self.exchange_port}"\nsymbols = ["{BTC}", "{WIN}"]\n'
            f'[stitch]\nfirst_update_timer_s = 0.3\n[log]\nformat = "json"\n'
            f'[http]\nlisten = "127.0.0.1:{self.recorder_port}"\n'
        )
        wait_for(
            lambda: get(f"http://127.0.0.1:{self.exchange_port}/api/v1/timestamp")[0], "exchange"
        )
        self.start("recorder", sys.executable, "-m", "recorder.cli", "run", str(config))
        ready = f"http://127.0.0.1:{self.recorder_port}/readyz"
        wait_for(lambda: get(ready)[0] == 200, (self.folder / "recorder.log").read_text)
        self.start_prometheus()

    def start_prometheus(self) -> None:
        (self.folder / "rules").mkdir()
        rules = (DEPLOY / "prometheus/rules/booktape.yml").read_text()
        # Prometheus itself takes five seconds before it knows whom to ask.
        rules = re.sub(r"for: 1m\b", "for: 8s", rules)
        rules = re.sub(r"for: \d+m", "for: 3s", rules)
        rules, count = re.subn(r"(last_frame_timestamp_seconds) > 60", r"\1 > 5", rules)
        assert count == 1
        rules, count = re.subn(r"(connections_planned), 5\)", r"\1, 2)", rules)
        assert count == 1
        (self.folder / "rules/booktape.yml").write_text(rules)
        config = (DEPLOY / "prometheus/prometheus.yml").read_text()
        config = config.replace("recorder:9464", f"127.0.0.1:{self.recorder_port}")
        config = config.replace("127.0.0.1:9090", f"127.0.0.1:{self.prometheus_port}")
        config = re.sub(r"_interval: 15s", "_interval: 1s", config).replace("10s", "1s")
        (self.folder / "prometheus.yml").write_text(config)
        self.start(
            "prometheus", "prometheus", "--config.file=prometheus.yml",
            "--storage.tsdb.path=data", f"--web.listen-address=127.0.0.1:{self.prometheus_port}",
        )  # fmt: skip
        wait_for(lambda: self.query("up == 1") not in (None, []), "Prometheus sees the recorder")

    def ask(self, path: str, **words: str) -> Any:
        status, body = get(
            f"http://127.0.0.1:{self.prometheus_port}/api/v1/{path}?{urlencode(words)}"
        )
        return json.loads(body)["data"] if status == 200 else None

    def query(self, expression: str) -> list[Any] | None:
        found = self.ask("query", query=expression)
        return None if found is None else found["result"]

    def firing(self) -> set[str]:
        alerts = (self.ask("alerts") or {"alerts": []})["alerts"]
        return {each["labels"]["alertname"] for each in alerts if each["state"] == "firing"}

    def fired(self) -> set[str]:
        """Return every alert that has fired since Prometheus began."""
        found = self.query('count by (alertname) (last_over_time(ALERTS{alertstate="firing"}[5m]))')
        return {each["metric"]["alertname"] for each in found or ()}

    def wait_fired(self, *names: str) -> None:
        wait_for(
            lambda: set(names) <= self.fired(),
            lambda: f"{set(names) - self.fired()} never fired; fired: {sorted(self.fired())}",
        )


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    if shutil.which("prometheus") is None:
        pytest.skip("no prometheus on this machine (Debian's package prometheus has it)")
    made = Watched(tmp_path_factory.mktemp("watched"))
    try:
        made.start_all()
        yield made
    finally:
        for name in list(made.processes):
            made.stop(name)


@pytest.mark.timeout(240)
def test_alerts_are_quiet_in_calm_and_fire_on_faults(watched: Watched) -> None:
    time.sleep(4)
    # On a machine where starting takes so long, there is no calm to look at.
    assert watched.fired() == set() or time.monotonic() > watched.calm_until, "all is well"

    # Dropped messages, garbage, then one disconnect after the other.
    watched.wait_fired("BooktapeGapRate", "BooktapeMessagesMalformed", "BooktapeReconnects")
    assert watched.fired() <= {
        "BooktapeGapRate", "BooktapeMessagesMalformed", "BooktapeReconnects",
        "BooktapeSymbolUnsynced", "BooktapeNotReady", "BooktapeConnectionsMissing",
    }  # fmt: skip

    # Between two connections the panel on their age may be empty for a moment.
    wait_for(lambda: not empty_panels(watched), lambda: str(empty_panels(watched)))

    watched.stop("exchange")
    watched.wait_fired(
        "BooktapeConnectionsMissing", "BooktapeNoFrames",
        "BooktapeNotReady", "BooktapeSymbolUnsynced",
    )  # fmt: skip
    assert "BooktapeRecorderDown" not in watched.fired()

    watched.stop("recorder")
    watched.wait_fired("BooktapeRecorderDown")
    never = {
        "BooktapeWriterDead",
        "BooktapeBookWrong",
        "BooktapeDiskNearlyFull",
        "BooktapeJobFailed",
    }
    assert not watched.fired() & never


def empty_panels(watched: Watched) -> list[str]:
    """Return the dashboard's queries that show nothing, though there is something to show.

    Each must be understood.
    """
    empty = []
    for panel in dashboard()["panels"]:
        for target in panel.get("targets", ()):
            expression = (
                target["expr"].replace("$__rate_interval", "10s").replace("$instance", ".+")
            )
            found = watched.query(expression)
            assert found is not None, f"{panel['title']}: {expression}"
            if not found and not any(word in expression for word in MAY_BE_EMPTY):
                empty.append(f"{panel['title']}: {expression}")
    return empty
