"""`recorder run` as a process against `replay exchange`: stop, restart, crash, and bad input."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

from click.testing import CliRunner

from recorder.commands_live import run_command
from tests.support.recorder_processes import BTC, WAIT_S, WIN, Exchange, Recorder, query


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
