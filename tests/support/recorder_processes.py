"""An exchange and a recorder as processes, for tests of the commands as they are typed."""

from __future__ import annotations

import json
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

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
