"""The command as people run it: what it refuses, how it ends, what it leaves behind."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from click.testing import CliRunner

from replay.exchange.cli import exchange_command
from tests.support.order_log_book import books_at, read_lines

RUN = "from replay.exchange.cli import exchange_command; exchange_command()"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["--host", "0.0.0.0"],
            "refusing to listen on '0.0.0.0': it is not a loopback address; use 127.0.0.1, ::1 or ",
        ),
        (["--host", "example.org"], "refusing to listen on 'example.org'"),
        (["--symbols", "BTC-USDT,bitcoin"], "cannot list the symbol 'bitcoin'; write it like BTC-"),
        (
            ["--fault", "drop=lots"],
            "cannot read the fault 'drop=lots': 'lots' is not understood; a",
        ),
        (["--for", "30"], "'30' is no duration; give it a unit, as in 500ms, 8s or 2m"),
        (["--truth", "/no/such/folder/t.jsonl"], "cannot write /no/such/folder/t.jsonl: No such"),
        (["--port-file", "/no/such/folder/port"], "cannot write /no/such/folder/port: No such"),
    ],
)
def test_bad_input_names_the_thing_and_the_remedy(arguments: list[str], message: str) -> None:
    result = CliRunner().invoke(exchange_command, ["--port", "0", *arguments])
    assert result.exit_code == 2
    assert f"replay exchange: {message}" in result.stderr


def test_help_explains_the_faults() -> None:
    text = CliRunner().invoke(exchange_command, ["--help"]).output
    for word in ("drop@5s:topic=level2:symbol=BTC-USDT:count=1", "KIND=RATE", "silence", "429"):
        assert word in text


@contextmanager
def started(folder: Path, *arguments: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Run the command on a free port until the block ends; gives the process and its address."""
    port_file = folder / "port"
    process = subprocess.Popen(
        [sys.executable, "-c", RUN, "--port", "0", "--port-file", str(port_file), *arguments],
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        deadline = time.monotonic() + 30
        while not port_file.exists():
            assert process.poll() is None, process.communicate()[1]
            assert time.monotonic() < deadline
            time.sleep(0.02)
        yield process, f"http://127.0.0.1:{port_file.read_text().strip()}"
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_cleanly_and_the_files_are_whole(
    tmp_path: Path, how: signal.Signals
) -> None:
    truth, log = tmp_path / "truth.jsonl.zst", tmp_path / "orders.jsonl.zst"
    options = ["--truth", str(truth), "--order-log", str(log), "--truth-every", "40"]
    options += ["--rate", "2000", "--symbols", "SHIB-BTC", "--seed", "5"]
    with started(tmp_path, *options) as (process, url):
        time.sleep(0.6)
        with urllib.request.urlopen(f"{url}/api/v1/timestamp") as answer:
            assert answer.status == 200
        process.send_signal(how)
        assert process.wait(timeout=10) == 0
        assert process.stderr is not None
        assert process.stderr.read() == f"listening on {url}\n"
    rows = list(read_lines(truth))
    assert len(rows) > 10
    books = books_at(read_lines(log), {"SHIB-BTC": {row["sequence"] for row in rows}})
    for row in rows:
        book = books["SHIB-BTC", row["sequence"]]
        expected = book.l2() if row["book"] == "l2" else book.l3()
        assert {"bids": row["bids"], "asks": row["asks"]} == expected


def test_for_ends_it_by_itself(tmp_path: Path) -> None:
    with started(tmp_path, "--for", "300ms", "--symbols", "BTC-USDT") as (process, _):
        assert process.wait(timeout=10) == 0


def test_a_port_in_use_is_named(tmp_path: Path) -> None:
    with started(tmp_path, "--symbols", "BTC-USDT") as (_, url):
        port = url.rpartition(":")[2]
        result = CliRunner().invoke(exchange_command, ["--port", port, "--symbols", "BTC-USDT"])
    assert result.exit_code == 3
    assert result.stderr == (
        f"replay exchange: cannot listen on 127.0.0.1:{port}: the port is in use; stop the other "
        "process, choose another --port, or use --port 0 for a free one\n"
    )
