"""`recorder run` as a process against `replay exchange`: stop, restart, crash, and bad input."""

from __future__ import annotations

import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from click.testing import CliRunner

from recorder.commands_live import check_config_command, run_command

BTC, WIN = "BTC-USDT", "WIN-USDT"
WAIT_S = 40.0


class Exchange:
    """A synthetic exchange under way, with a configuration that records it."""

    def __init__(self, folder: Path, *words: str) -> None:
        self.folder = folder
        self.truth = folder / "truth.jsonl"
        port_file = folder / "port"
        command = [sys.executable, "-m", "replay.cli", "exchange", "--port", "0"]
        command += ["--port-file", str(port_file), "--symbols", f"{BTC},{WIN}", "--rate", "300"]
        command += ["--truth", str(self.truth), "--truth-every", "25", "--for", "100s", *words]
        self.process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        wait_for(port_file.exists, "the exchange's port")
        self.port = int(port_file.read_text())

    def config(self, **venue: object) -> Path:
        symbols = json.dumps(venue.get("symbols", [BTC, WIN]))
        archive = venue.get("archive", "archive")
        path = self.folder / "recorder.toml"
        path.write_text(
            f'archive = "{archive}"\n[venue]\nprofile = "kucoin-2019"\n'
            f'rest_url = "http://127.0.0.1:{venue.get("port", self.port)}"\n'
            f'symbols = {symbols}\n[stitch]\nfirst_update_timer_s = 0.3\n[log]\nformat = "json"\n'
        )
        return path

    def stop(self) -> None:
        self.process.terminate()
        assert self.process.wait(WAIT_S) == 0


class Recorder:
    """A recorder under way; its log lines as they come."""

    def __init__(self, config: Path, *words: str) -> None:
        self.log_path = config.with_suffix(".log")
        command = [sys.executable, "-m", "recorder.cli", "run", str(config)]
        with self.log_path.open("w") as log:
            self.process = subprocess.Popen(
                [*command, "--status-every", "250ms", *words], stderr=log
            )

    def log(self) -> list[dict[str, object]]:
        lines = self.log_path.read_text().splitlines()
        return [json.loads(line) for line in lines if line.startswith("{")]

    def wait_synced(self, books: int) -> None:
        def synced() -> bool:
            assert self.process.poll() is None, self.log_path.read_text()
            streams = [line["streams"] for line in self.log() if line["event"] == "status"]
            return bool(streams) and streams[-1].get("synced", 0) >= books

        wait_for(synced, f"{books} books in step")

    def end(self, number: signal.Signals) -> int:
        self.process.send_signal(number)
        return self.process.wait(WAIT_S)


def wait_for(condition: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < deadline, f"never happened: {what}"
        time.sleep(0.05)


def query(archive: Path, sql: str) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(archive / "catalog.db")) as catalog:
        return catalog.execute(sql).fetchall()


@pytest.fixture
def started() -> Iterator[list[subprocess.Popen[bytes]]]:
    """Processes that a test started; whatever still runs at its end is ended."""
    processes: list[subprocess.Popen[bytes]] = []
    yield processes
    for process in processes:
        if process.poll() is None:
            process.kill()
            process.wait()


def test_stop_crash_and_restart_leave_one_true_archive(
    tmp_path: Path, started: list[subprocess.Popen[bytes]]
) -> None:
    exchange = Exchange(tmp_path)
    started.append(exchange.process)
    config, archive = exchange.config(), tmp_path / "archive"

    first = Recorder(config)
    started.append(first.process)
    first.wait_synced(4)
    second = Recorder(config.rename(tmp_path / "same.toml"))
    started.append(second.process)
    assert second.process.wait(WAIT_S) == 2, "an archive has one writer"
    assert "is being written by" in second.log_path.read_text()
    assert first.end(signal.SIGTERM) == 0
    assert first.log()[-1]["event"] == "stopped"
    (row,) = query(archive, "SELECT stop_reason, lines FROM runs")
    assert row[0] == "stopped"
    assert row[1] == first.log()[-1]["lines"], "what was committed is what the catalog knows"
    assert query(archive, "SELECT count(*) FROM parts")[0][0] >= 6

    config = exchange.config()
    killed = Recorder(config)
    started.append(killed.process)
    killed.wait_synced(4)
    assert killed.end(signal.SIGKILL) == -signal.SIGKILL

    last = Recorder(config)
    started.append(last.process)
    last.wait_synced(4)
    (recovered,) = [line for line in last.log() if "crashed_run_id" in line]
    assert recovered["lines"]
    assert last.end(signal.SIGINT) == 0
    exchange.stop()

    reasons = query(archive, "SELECT stop_reason FROM runs ORDER BY run_id")
    assert reasons == [("stopped",), ("crashed",), ("stopped",)]
    gaps = query(
        archive,
        "SELECT reason, healed_by, ts_to IS NOT NULL FROM gaps "
        f"WHERE stream = 'l2' AND symbol = '{BTC}' ORDER BY ts_from",
    )
    assert gaps == [("stopped", "next_run", 1), ("crashed", "next_run", 1)]
    proof = subprocess.run(
        [
            *(sys.executable, "-m", "replay.cli", "verify", str(archive)),
            *("--truth", str(exchange.truth), "--json"),
        ],
        capture_output=True,
        check=False,
    )
    told = json.loads(proof.stdout)
    assert proof.returncode == 0, told
    assert {(count["symbol"], count["book"]) for count in told["truth"]} == {
        (symbol, book) for symbol in (BTC, WIN) for book in ("l2", "l3")
    }
    for count in told["truth"]:
        assert count["equal"] >= 20
        assert count["refused"] >= 1, "between the runs"


def test_bad_input_is_told_with_its_remedy(
    tmp_path: Path, started: list[subprocess.Popen[bytes]]
) -> None:
    exchange = Exchange(tmp_path)
    started.append(exchange.process)

    def run(**venue: object) -> tuple[int, str]:
        outcome = CliRunner().invoke(run_command, [str(exchange.config(**venue))])
        return outcome.exit_code, outcome.stderr

    code, said = run(symbols=["BTC-USDC", BTC])
    assert code == 2
    assert "does not list BTC-USDC" in said
    assert f"did you mean {BTC}" in said
    assert not (tmp_path / "archive").exists()

    (tmp_path / "file").touch()
    code, said = run(archive="file/archive")
    assert code == 2
    assert f"{tmp_path}/file/archive cannot be written" in said

    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    code, said = run(port=port)
    assert code == 3
    assert f"http://127.0.0.1:{port} cannot be reached" in said

    outcome = CliRunner().invoke(run_command, [str(exchange.config()), "--for", "30"])
    assert outcome.exit_code == 2
    assert "e.g. 30s, 5m or 1h" in outcome.stderr
    exchange.stop()


def test_check_config_prints_every_key_or_the_one_that_is_wrong(tmp_path: Path) -> None:
    config = tmp_path / "recorder.toml"
    config.write_text('archive = "a"\n[venue]\nprofile = "kucoin-2019"\nsymbols = ["A-B", "C-D"]\n')
    outcome = CliRunner().invoke(check_config_command, [str(config)])
    assert outcome.exit_code == 0
    printed = tomllib.loads(outcome.stdout)
    assert printed["archive"] == str(tmp_path / "a")
    assert printed["parts"]["roll_interval_s"] == 900
    assert "10 topics on 1 connection" in outcome.stderr

    config.write_text(config.read_text() + "[parts]\nrow_min = 3\n")
    outcome = CliRunner().invoke(check_config_command, [str(config)])
    assert outcome.exit_code == 2
    assert outcome.stdout == ""
    assert "parts.row_min" in outcome.stderr
    assert "did you mean parts.rows_min?" in outcome.stderr


def test_the_demo_proves_itself_without_a_terminal(tmp_path: Path) -> None:
    elsewhere, archive = tmp_path / "elsewhere", tmp_path / "archive"
    elsewhere.mkdir()
    words = ["demo", "--seconds", "12", "--archive", str(archive)]
    environment = os.environ | {"TMPDIR": str(tmp_path), "COLUMNS": "40"}
    demo = subprocess.run(
        [sys.executable, "-m", "recorder.cli", *words],
        capture_output=True,
        text=True,
        cwd=elsewhere,
        env=environment,
        stdin=subprocess.DEVNULL,
        check=False,
    )
    assert demo.returncode == 0, demo.stdout + demo.stderr
    said = demo.stdout
    lines = [line for line in said.splitlines() if "books compared with the exchange" in line]
    assert len(lines) == 6
    for line in lines:
        number = line.split(" books compared")[0].split()[-1]
        assert f"{number} equal" in line
        assert int(number.replace(",", "")) >= 20
    assert "disconnected" in said
    assert "healed" in said
    assert str(archive) in said
    assert "\x1b" not in said, "no colours into a file"
    again = subprocess.run(
        [sys.executable, "-m", "recorder.cli", *words], capture_output=True, text=True, check=False
    )
    assert again.returncode == 2
    assert "is not empty" in again.stderr
