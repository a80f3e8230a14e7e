"""Records a whole exchange from a cold start and shows what that asks of the venue.

    python benchmarks/whole_exchange.py                     1,200 symbols, a clean run
    python benchmarks/whole_exchange.py --fault 429@20s:for=60s
    python benchmarks/whole_exchange.py --fault 429000@20s:for=60s
    python benchmarks/whole_exchange.py --symbols 200 --rate 5

It starts `replay exchange` in today's dialect and `recorder run` with level2 and match of every
symbol, waits until every book is in step and a little longer, and stops both. What the recorder
asked is read from the exchange's own log of requests, and printed as one JSON object beside the
limits of the profile. It exits with 1 when a limit was exceeded, when the exchange refused anything
that no fault explains, or when not every symbol came into step.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run as a file, it finds its like

from benchmarks.counts import positive, whole_number
from recorder.subscriptions import plan_connections
from schemas.kucoin.profile import PUBLIC
from schemas.kucoin.profiles.kucoin_classic import KUCOIN_CLASSIC

NS = 1_000_000_000
LIMITS = KUCOIN_CLASSIC.limits
FEEDS = ("level2", "match")
TOPICS_PER_CONNECTION = 95
BIN = Path(sys.executable).parent


def fullest_window(times: Iterable[tuple[int, int]], window_s: float) -> int:
    """Return the most weight any window holds, of (ns, weight) in order of time."""
    entries = list(times)
    most = held = first = 0
    for time_ns, weight in entries:
        held += weight
        while entries[first][0] <= time_ns - window_s * NS:
            held -= entries[first][1]
            first += 1
        most = max(most, held)
    return most


def free_port() -> int:
    """Return a loopback port nobody has now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def read_status(port: int) -> dict[str, Any] | None:
    """Return the recorder's own account of itself; None before it can give one."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/status", timeout=10) as answer:
            status: dict[str, Any] = json.load(answer)
            return status
    except OSError:
        return None


def wait_synced(port: int, recorder: subprocess.Popen[bytes], deadline: float) -> float | None:
    """Wait until every symbol is in step; return the seconds it took, None when it did not."""
    began = time.monotonic()
    told = 0.0
    while time.monotonic() < deadline and recorder.poll() is None:
        status = read_status(port)
        now = time.monotonic()
        if status is not None and status["phase"] == "recording":
            if status["ready"]:
                return now - began
            if now - told >= 10:
                told = now
                left, all_of_them = status["symbols_unsynced"], status["symbols_recorded"]
                print(f"{now - began:5.0f} s  {left} of {all_of_them} to come", file=sys.stderr)
        time.sleep(0.5)
    return None


def measure(log: Path, symbols: int) -> dict[str, Any]:
    """Read what the exchange was asked, and compare it with what the profile allows."""
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    rest = [line for line in lines if line["kind"] == "rest"]
    opened = [(line["time"], 1) for line in lines if line["kind"] == "open"]
    uplink = [line for line in lines if line["kind"] == "uplink"]
    subscribes = [(line["time"], 1) for line in uplink if line["type"] != "ping"]
    books = [(line["time"], 1) for line in rest if "/market/orderbook/" in line["path"]]
    pool, connects, messages = LIMITS.rest[PUBLIC], LIMITS.connects, LIMITS.uplink_messages
    weights = [
        (line["time"], LIMITS.weight(line["path"])) for line in rest if line["status"] == 200
    ]
    planned = len(
        plan_connections(
            [str(number) for number in range(symbols)], FEEDS, KUCOIN_CLASSIC, TOPICS_PER_CONNECTION
        )
    )
    return {
        "connections": {"opened": len(opened), "planned": planned, "limit": LIMITS.connections_max},
        "connects_fullest_minute": {
            "most": fullest_window(opened, connects.window_s),
            "limit": connects.count,
        },
        "closes": dict(
            Counter(line["reason"] or "by the client" for line in lines if line["kind"] == "close")
        ),
        "topics_subscribed": sum(
            1 + line["topic"].count(",") for line in uplink if line["type"] == "subscribe"
        ),
        "subscriptions": {
            "messages": len(subscribes),
            "most_in_a_second": fullest_window(subscribes, 1.0),
            f"most_in_{messages.window_s:g}_s": fullest_window(subscribes, messages.window_s),
            "limit": messages.count,
        },
        "books": {
            "asked": len(books),
            "most_in_a_second": fullest_window(books, 1.0),
            "seconds": round((books[-1][0] - books[0][0]) / NS, 1) if books else 0,
        },
        "rest_weight_fullest_window": {
            "most": fullest_window(weights, pool.window_s),
            "limit": pool.count,
        },
        "rest_statuses": dict(Counter(str(line["status"]) for line in rest)),
    }


def run(args: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Start both, wait, stop both, and return what was measured."""
    port_file, log = folder / "port", folder / "requests.jsonl"
    exchange = subprocess.Popen(
        [
            BIN / "replay", "exchange", "--port", "0", "--port-file", port_file,
            "--dialect", KUCOIN_CLASSIC.name, "--symbols", f"synthetic:{args.symbols}",
            "--rate", str(args.rate), "--request-log", log, "--for", f"{args.patience_s + 120}s",
            *(part for fault in args.fault for part in ("--fault", fault)),
        ]
    )  # fmt: skip
    recorder: subprocess.Popen[bytes] | None = None
    try:
        while not port_file.exists() or not port_file.read_text().strip():
            if exchange.poll() is not None:
                raise SystemExit("the exchange did not start")
            time.sleep(0.05)
        port = free_port()
        config = folder / "recorder.toml"
        config.write_text(
            f'archive = "{folder / "archive"}"\n'
            f'[venue]\nprofile = "{KUCOIN_CLASSIC.name}"\nsymbols = ["all"]\n'
            f'rest_url = "http://127.0.0.1:{port_file.read_text().strip()}"\n'
            f"streams = {json.dumps(FEEDS)}\n"
            f"topics_per_connection = {TOPICS_PER_CONNECTION}\n"
            f'[http]\nlisten = "127.0.0.1:{port}"\n'
            '[log]\nlevel = "error"\n'
        )
        recorder = subprocess.Popen([BIN / "recorder", "run", config])
        synced_s = wait_synced(port, recorder, time.monotonic() + args.patience_s)
        time.sleep(args.linger_s)
        status = read_status(port) or {}
    finally:
        for process in (recorder, exchange):
            if process is not None and process.poll() is None:
                process.send_signal(signal.SIGTERM)
                process.wait(120)
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return {
        "symbols": args.symbols,
        "events_per_symbol_s": args.rate,
        "faults": args.fault,
        "synced_after_s": None if synced_s is None else round(synced_s, 1),
        "symbols_unsynced": status.get("symbols_unsynced"),
        "gaps": sum(int(stream["gaps"] or 0) for stream in status.get("streams", ())),
        "recorder_exit": recorder.returncode if recorder is not None else None,
        "cpu_s_of_both": round(usage.ru_utime + usage.ru_stime, 1),
        "cores": os.cpu_count(),
        **measure(log, args.symbols),
    }


def is_good(result: dict[str, Any]) -> bool:
    """Return whether everything came into step, and no limit was touched on the way."""
    refused = set(result["rest_statuses"]) - {"200"}
    return (
        result["synced_after_s"] is not None
        and result["recorder_exit"] == 0
        and result["connections"]["opened"] <= result["connections"]["limit"]
        and result["connects_fullest_minute"]["most"] <= result["connects_fullest_minute"]["limit"]
        and result["rest_weight_fullest_window"]["most"]
        <= result["rest_weight_fullest_window"]["limit"]
        and (not refused or bool(result["faults"]))
    )


def main() -> int:
    """Measure one run and print it."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--symbols", type=whole_number, default=1_200)
    parser.add_argument(
        "--rate", type=positive, default=0.5, help="engine events a second and symbol"
    )
    parser.add_argument("--fault", action="append", default=[], help="as of replay exchange")
    parser.add_argument(
        "--linger-s", type=positive, default=10.0, help="after every book is in step"
    )
    parser.add_argument("--patience-s", type=whole_number, default=300)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="whole-exchange-") as folder:
        result = run(args, Path(folder))
    print(json.dumps(result, indent=2))
    return 0 if is_good(result) else 1


if __name__ == "__main__":
    sys.exit(main())
