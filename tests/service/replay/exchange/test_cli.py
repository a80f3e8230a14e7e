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

import orjson
import pytest
from click.testing import CliRunner

from replay.exchange.api_keys import ApiKeys
from replay.exchange.cli import exchange_command
from schemas.kucoin.signing import sign_headers
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
        (["--event", "list@5s:bitcoin"], "cannot list the symbol 'bitcoin'; write it like BTC-"),
        (["--event", "delist@5s:NO-SUCH"], "cannot take the event 'delist@5s:NO-SUCH': NO-SUCH "),
        (["--api-key-file", "/no/such/file"], "cannot use the keys of /no/such/file: No such"),
        (["--token-life", "30"], "'30' is no duration; give it a unit, as in 500ms, 8s or 2m"),
        (["--symbols", "synthetic:many"], "cannot list the symbol 'synthetic:many'; write it"),
        (["--port-file", "/no/such/folder/port"], "cannot write /no/such/folder/port: No such"),
    ],
)
def test_bad_input_names_the_thing_and_the_remedy(arguments: list[str], message: str) -> None:
    result = CliRunner().invoke(exchange_command, ["--port", "0", *arguments])
    assert result.exit_code == 2
    assert f"replay exchange: {message}" in result.stderr


def test_the_key_file_of_the_help_is_one(tmp_path: Path) -> None:
    text = CliRunner().invoke(exchange_command, ["--help"]).output
    start = text.index("[[keys]]")
    path = tmp_path / "keys.toml"
    path.write_text(text[start : text.index("Clients of", start)])
    path.chmod(0o600)
    assert len(ApiKeys.load(path)) == 1


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


def test_in_todays_dialect_every_file_tells_its_part_and_none_a_secret(tmp_path: Path) -> None:
    names = ("truth", "orders", "faults", "requests")
    files = {name: tmp_path / f"{name}.jsonl" for name in names}
    keys = tmp_path / "keys.toml"
    keys.write_text('[[keys]]\nkey = "key-k"\nsecret = "secret-s"\npassphrase = "words-w"\n')
    keys.chmod(0o600)
    options = ["--dialect", "kucoin-classic", "--symbols", "WIN-USDT,OLD-USDT", "--rate", "1500"]
    options += ["--depth", "120", "--walk", "20", "--event", "delist@300ms:OLD-USDT"]
    options += ["--api-key-file", str(keys), "--token-life", "1h", "--truth-every", "40"]
    options += ["--truth", str(files["truth"]), "--order-log", str(files["orders"])]
    options += ["--fault-log", str(files["faults"]), "--request-log", str(files["requests"])]
    path = "/api/v3/market/orderbook/level2?symbol=WIN-USDT"
    with started(tmp_path, *options) as (process, url):
        time.sleep(0.8)
        signed = sign_headers(
            "key-k", "secret-s", "words-w", "3", "GET", path, "", time.time_ns() // 1_000_000
        )
        with urllib.request.urlopen(urllib.request.Request(url + path, headers=signed)) as answer:
            assert answer.headers["gw-ratelimit-limit"] == "4000"
        with urllib.request.urlopen(f"{url}/api/v1/market/histories?symbol=WIN-USDT") as answer:
            trades = orjson.loads(answer.read())["data"]
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=10) == 0
        assert process.stderr is not None
        assert process.stderr.read() == f"listening on {url}\n"
    told = {name: list(read_lines(file)) for name, file in files.items()}
    assert [(row["kind"], row["symbol"]) for row in told["faults"]] == [("delist", "OLD-USDT")]
    assert [(row["pool"], row["weight"], row["status"]) for row in told["requests"]] == [
        ("private", 3, 200),
        ("public", 3, 200),
    ]
    assert {row["book"] for row in told["truth"]} == {"l2"}
    at = {"WIN-USDT": {row["sequence"] for row in told["truth"] if row["symbol"] == "WIN-USDT"}}
    books = books_at(told["orders"], at)
    for row in told["truth"]:
        if row["symbol"] == "WIN-USDT":
            book = books["WIN-USDT", row["sequence"]]
            assert {"bids": row["bids"], "asks": row["asks"]} == book.l2()
    # The log gives each trade both numbers: its own, and its place in the book's sequence.
    matches = {
        row["trade_id"]: row
        for row in told["orders"]
        if row["kind"] == "match" and row["symbol"] == "WIN-USDT"
    }
    assert len(trades) == 100
    for trade in trades:
        match = matches[trade["sequence"]]
        assert match["ts"] // 1_000_000 * 1_000_000 == trade["time"]
        assert match["sequence"] < int(trade["sequence"]) // 1_000
    written = b"".join(file.read_bytes() for file in files.values())
    for secret in (b"key-k", b"secret-s", b"words-w"):
        assert secret not in written


def test_others_may_not_read_the_file_of_keys(tmp_path: Path) -> None:
    keys = tmp_path / "keys.toml"
    keys.write_text('[[keys]]\nkey = "k"\nsecret = "hidden"\npassphrase = "p"\n')
    keys.chmod(0o644)
    result = CliRunner().invoke(exchange_command, ["--port", "0", "--api-key-file", str(keys)])
    assert result.exit_code == 2
    assert f"cannot use the keys of {keys}: its mode is 0644, so others can" in result.stderr
    assert "hidden" not in result.output


def test_twelve_hundred_symbols_are_listed_at_once(tmp_path: Path) -> None:
    options = ["--dialect", "kucoin-classic", "--symbols", "BTC-USDT,synthetic:1200"]
    began = time.monotonic()
    with started(tmp_path, *options, "--rate", "1") as (_, url):
        assert time.monotonic() - began < 10
        with urllib.request.urlopen(f"{url}/api/v2/symbols") as answer:
            listed = [entry["symbol"] for entry in orjson.loads(answer.read())["data"]]
        assert listed[:3] == ["BTC-USDT", "S0000-USDT", "S0001-USDT"]
        assert len(listed) == 1_201
        with urllib.request.urlopen(f"{url}/api/v1/market/allTickers") as answer:
            assert len(orjson.loads(answer.read())["data"]["ticker"]) == 1_201
        path = "/api/v1/market/orderbook/level2_100?symbol=S1199-USDT"
        with urllib.request.urlopen(url + path) as answer:
            assert len(orjson.loads(answer.read())["data"]["bids"]) == 100
