"""A synthetic market recorded through real sockets, by the real commands, for a few seconds."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

STARTUP_S = 30.0


@dataclass(frozen=True)
class RecordedMarket:
    """What a recorded session left behind, all paths of files that are complete."""

    archive: Path
    truth: Path
    order_log: Path
    fault_log: Path
    recorder_log: str


def record_market(
    folder: Path,
    *,
    symbols: Sequence[str],
    seconds: float,
    rate: float,
    faults: Sequence[str] = (),
    l2_batch: int = 1,
    seed: int = 1,
    truth_every: int = 200,
    streams: Sequence[str] = ("level2", "level3", "match", "snapshot", "ticker"),
    archive_from: Path | None = None,
    archive: Path | None = None,
    recorded_symbols: Sequence[str] | None = None,
    profile: str = "kucoin-2019",
    exchange_options: Sequence[str] = (),
    api_key_file: Path | None = None,
) -> RecordedMarket:
    """Start `replay exchange` and `recorder run` as processes, and wait for both to end.

    The recorder stops by itself after `seconds`; the exchange by SIGTERM. With `archive_from`
    it goes on in a copy of that archive. `exchange_options` are words of `replay exchange` beside
    those that follow from the other parameters.

    Raises
    ------
    AssertionError   with the recorder's own message when it refuses
    """
    market = RecordedMarket(
        archive or folder / "archive",
        folder / "truth.jsonl.zst",
        folder / "orders.jsonl.zst",
        folder / "faults.jsonl",
        "",
    )
    if archive_from is not None:
        shutil.copytree(archive_from, market.archive)
    port_file = folder / "port"
    exchange = subprocess.Popen(
        [
            *(sys.executable, "-m", "replay.cli", "exchange", "--port", "0"),
            *("--port-file", str(port_file), "--symbols", ",".join(symbols)),
            *("--seed", str(seed), "--rate", str(rate), "--l2-batch", str(l2_batch)),
            *("--truth", str(market.truth), "--truth-every", str(truth_every)),
            *("--order-log", str(market.order_log), "--fault-log", str(market.fault_log)),
            *("--for", f"{seconds + STARTUP_S:.0f}s", "--no-limits"),
            *("--dialect", profile, *exchange_options),
            *(word for fault in faults for word in ("--fault", fault)),
        ],
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        port = _wait_for_port(port_file, exchange)
        config = folder / "config.toml"
        key_line = f'api_key_file = "{api_key_file}"' if api_key_file else ""
        config.write_text(
            f"""archive = "{market.archive}"
[venue]
profile = "{profile}"
{key_line}
rest_url = "http://127.0.0.1:{port}"
symbols = {list(recorded_symbols or symbols)}
streams = {list(streams)}
"""
        )
        recorder = subprocess.run(
            [sys.executable, "-m", "recorder.cli", "run", str(config), "--for", f"{seconds:g}s"],
            capture_output=True,
            text=True,
            timeout=seconds + STARTUP_S,
            check=False,
        )
        assert recorder.returncode == 0, recorder.stderr
    finally:
        exchange.send_signal(signal.SIGTERM)
        _, errors = exchange.communicate(timeout=STARTUP_S)
    assert exchange.returncode == 0, errors
    return RecordedMarket(
        market.archive, market.truth, market.order_log, market.fault_log, recorder.stderr
    )


def _wait_for_port(port_file: Path, exchange: subprocess.Popen[str]) -> int:
    deadline = time.monotonic() + STARTUP_S
    while time.monotonic() < deadline:
        if port_file.exists() and (text := port_file.read_text().strip()):
            return int(text)
        assert exchange.poll() is None, exchange.communicate()[1]
        time.sleep(0.05)
    raise AssertionError("the exchange did not start listening")
