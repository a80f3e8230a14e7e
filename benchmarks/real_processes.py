"""An exchange and a recorder as processes, watched from outside: what the benchmarks share.

Nothing here uses the recorder's own code: an archive is read as its documents say.
"""

from __future__ import annotations

import http.client
import io
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson
import zstandard

START_S = 60.0
STOP_S = 300.0
REPO = Path(__file__).resolve().parents[1]


def words(module: str, *arguments: object) -> list[str]:
    """Return the words of a command of ours, run by this Python."""
    return [sys.executable, "-m", module, *map(str, arguments)]


def run(module: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Run a command of ours to its end; whatever it says is captured."""
    return subprocess.run(
        words(module, *arguments), capture_output=True, text=True, check=False, cwd=REPO
    )


class Exchange:
    """`replay exchange` on a free port.

    Parameters
    ----------
    folder : Path            where its files go
    arguments : of the command, beside the port

    Attributes
    ----------
    url : str
    """

    def __init__(self, folder: Path, *arguments: object) -> None:
        port_file = folder / "port"
        self._log = (folder / "exchange.log").open("wb")
        self.process = subprocess.Popen(
            words(
                *("replay.cli", "exchange", "--port", 0, "--port-file", port_file),
                *arguments,
            ),
            stderr=self._log,
            cwd=REPO,
        )
        deadline = time.monotonic() + START_S
        while not port_file.exists():
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise SystemExit(f"the exchange did not start: {folder / 'exchange.log'}")
            time.sleep(0.02)
        self.url = f"http://127.0.0.1:{port_file.read_text().strip()}"

    def stop(self) -> None:
        """Let it finish its files."""
        stop(self.process)
        self._log.close()


def stop(process: subprocess.Popen[Any], number: int = signal.SIGTERM) -> int:
    """Ask a process to end, wait for it and return its exit code."""
    if process.poll() is None:
        process.send_signal(number)
    try:
        return process.wait(STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        raise


def write_config(path: Path, archive: Path, url: str, **sections: Mapping[str, Any]) -> Path:
    """Write the recorder's configuration: `venue` and other sections with their keys."""
    venue = {"profile": "kucoin-2019", "rest_url": url, **sections.pop("venue", {})}
    lines = [f"archive = {json.dumps(str(archive))}"]
    for name, keys in {"venue": venue, **sections}.items():
        lines += [f"[{name}]", *(f"{key} = {json.dumps(value)}" for key, value in keys.items())]
    path.write_text("\n".join(lines) + "\n")
    return path


def start_recorder(
    config: Path, log: Path, prefix: Sequence[str] = (), *arguments: object
) -> subprocess.Popen[bytes]:
    """Start `recorder run`; what it says is appended to `log`.

    Parameters
    ----------
    prefix : words before the command, of a program that runs it
    """
    with log.open("ab") as file:
        return subprocess.Popen(
            [*prefix, *words("recorder.cli", "run", config, *arguments)],
            stdout=subprocess.DEVNULL,
            stderr=file,
            cwd=REPO,
        )


class _Control(http.client.HTTPConnection):
    """HTTP through the Unix socket of an archive."""

    def __init__(self, archive: Path, timeout_s: float) -> None:
        super().__init__("recorder", timeout=timeout_s)
        self._path = archive / "control.sock"

    def connect(self) -> None:
        """Open the socket."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        # However long the folder's path is, this one is short enough for a Unix socket.
        folder = os.open(self._path.parent, os.O_PATH)
        try:
            self.sock.connect(f"/proc/self/fd/{folder}/{self._path.name}")
        finally:
            os.close(folder)


@dataclass
class Watch:
    """Questions to a recorder, one after the other on one connection, and what it acknowledged.

    Attributes
    ----------
    durable : dict        (run_id, connection) → frames, the most that was ever said
    """

    archive: Path
    timeout_s: float = 2.0
    durable: dict[tuple[str, int], int] = field(default_factory=dict)
    _control: _Control | None = None

    def ask_text(self, path: str, method: str = "GET") -> str | None:
        """Return the body of an answer; None when nobody is there, or leaves while being asked."""
        if self._control is None:
            self._control = _Control(self.archive, self.timeout_s)
        try:
            self._control.request(method, path)
            with self._control.getresponse() as response:
                return response.read().decode()
        except (OSError, http.client.HTTPException):
            self.forget()
            return None

    def ask(self, path: str = "/status", method: str = "GET") -> dict[str, Any] | None:
        """Return an answer as JSON; None when nobody is there, or leaves while being asked."""
        body = self.ask_text(path, method)
        if body is None:
            return None
        answer: dict[str, Any] = orjson.loads(body)
        return answer

    def note(self) -> dict[str, Any] | None:
        """Ask for `/status` and remember what it acknowledges."""
        status = self.ask()
        if status is not None and status["run_id"]:
            for connection in status["connections"]:
                key = (status["run_id"], connection["number"])
                self.durable[key] = max(self.durable.get(key, 0), connection["durable"])
        return status

    def acknowledged(self, run_id: str) -> int:
        """Return how many frames of a run were acknowledged."""
        return sum(count for (run, _), count in self.durable.items() if run == run_id)

    def forget(self) -> None:
        """Close the connection; the next question opens another."""
        if self._control is not None:
            self._control.close()
            self._control = None

    def until(self, condition: Any, what: str, timeout_s: float = START_S) -> dict[str, Any]:
        """Ask until an answer satisfies `condition`, and return it."""
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            status = self.note()
            if status is not None and condition(status):
                return status
            time.sleep(0.01)
        raise AssertionError(f"never happened: {what}")


def is_synced(status: Mapping[str, Any]) -> bool:
    """Say whether everything wanted is recorded in step."""
    return bool(status["ready"])


def read_lines(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the lines of a JSON-lines file, compressed or not, of as many frames as there are."""
    with path.open("rb") as file:
        if path.suffix != ".zst":
            yield from map(orjson.loads, file)
            return
        reader = zstandard.ZstdDecompressor().stream_reader(file, read_across_frames=True)
        with io.BufferedReader(reader, 1 << 20) as lines:
            yield from map(orjson.loads, lines)


def raw_segments(archive: Path) -> dict[str, list[Path]]:
    """Return the raw-log files of every run in order: `raw/<date>/<run_id>-<n>.jsonl.zst`."""
    numbered: dict[str, list[tuple[int, Path]]] = {}
    for path in archive.glob("raw/*/*.jsonl.zst"):
        run_id, _, number = path.name.removesuffix(".jsonl.zst").rpartition("-")
        numbered.setdefault(run_id, []).append((int(number), path))
    return {run: [path for _, path in sorted(numbered[run])] for run in sorted(numbered)}


def raw_lines(segments: Sequence[Path]) -> Iterator[dict[str, Any]]:
    """Yield the lines of one run."""
    for path in segments:
        yield from read_lines(path)


def quantile(values: Sequence[float], share: float) -> float:
    """Return the smallest value that `share` of all values do not exceed; NaN of none."""
    if not values:
        return float("nan")
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, max(0, -int(-share * len(ordered) // 1) - 1))]


def resident_bytes(pid: int) -> int:
    """Return the memory a process holds, from /proc."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    return 0


def cpu_seconds(pid: int) -> float:
    """Return the processor time a process has used, from /proc."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100
