"""Seconds at today's exchange: a listing, a rename, a halt, a delisting, with a key, on the go."""

from __future__ import annotations

import json
import signal
import subprocess
from pathlib import Path
from urllib.request import urlopen

from prometheus_client.parser import text_string_to_metric_families

from recorder.storage.raw_log import list_segments, read_run
from tests.support.archive_content import table_rows
from tests.support.live_recorder import free_port
from tests.support.recorder_processes import BTC, WIN, Exchange, Recorder, wait_for

LTC, NEW = "LTC-BTC", "NEW-USDT"
SECRETS = ("key-of-a-test", "secret-of-a-test", "passphrase-of-a-test")
KEY = 'key = "{}"\nsecret = "{}"\npassphrase = "{}"\n'.format(*SECRETS)


def write_private(path: Path, text: str) -> Path:
    path.write_text(text)
    path.chmod(0o600)
    return path


def test_what_the_exchange_does_is_followed_without_a_gap(
    tmp_path: Path, started: list[subprocess.Popen[bytes]]
) -> None:
    known = write_private(
        tmp_path / "keys.toml", f'[[keys]]\n{KEY}permissions = ["General", "Spot"]\n'
    )
    write_private(tmp_path / "key.toml", KEY)
    exchange = Exchange(
        tmp_path,
        *("--symbols", f"{BTC},{WIN},{LTC}", "--dialect", "kucoin-classic", "--rate", "100"),
        *("--api-key-file", str(known), "--token-life", "30s"),
        *("--event", f"list@12s:{NEW}", "--event", f"rename@13s:{WIN}=WINK-USDT"),
        *("--event", "status@14s:close:for=6s", "--event", f"delist@16s:{LTC}"),
    )
    started.append(exchange.process)
    archive, port, config = tmp_path / "archive", free_port(), tmp_path / "recorder.toml"
    config.write_text(
        'archive = "archive"\n[venue]\nprofile = "kucoin-classic"\nsymbols = ["all"]\n'
        f'rest_url = "http://127.0.0.1:{exchange.port}"\napi_key_file = "key.toml"\n'
        "status_interval_s = 1\nrotate_after_s = 6\n[instruments]\ninterval_s = 1\n"
        '[stitch]\nfirst_update_timer_s = 0.3\n[log]\nformat = "json"\n'
        f'[http]\nlisten = "127.0.0.1:{port}"\n'
    )
    running = Recorder(config)
    started.append(running.process)

    def told(event: str, **fields: object) -> bool:
        return any(
            line["event"] == event and all(line.get(name) == v for name, v in fields.items())
            for line in running.log()
        )

    def metric(name: str) -> float:
        with urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
            families = text_string_to_metric_families(answer.read().decode())
        return {s.name: s.value for f in families for s in f.samples}[f"booktape_{name}"]

    running.wait_synced(3)
    assert metric("api_key_can_trade") == 1
    wait_for(lambda: told("exchange changed its status", status="close"), "a halt")
    assert metric("venue_open") == 0
    wait_for(lambda: told("symbol is recorded no longer", symbol=LTC), "a delisting")
    wait_for(lambda: told("exchange changed its status", status="open"), "the end of the halt")
    assert metric("venue_open") == 1
    assert told("symbol is recorded from now on", symbol=NEW, reason="listed")
    assert told("symbol is shown under another name", symbol=WIN, name="WINK-USDT")
    wait_for(lambda: metric("rotations_total") >= 1, "a token's end")
    wait_for(lambda: metric("symbols_unsynced") == 0, "everything in step")
    assert metric("symbols_recorded") == 3
    assert running.end(signal.SIGTERM) == 0
    exchange.stop()

    (run,) = table_rows(archive, "runs")
    assert json.loads(run["symbols"]) == [BTC, WIN, LTC]
    gaps = table_rows(archive, "gaps")
    spans = [(row["symbol"], row["stream"]) for row in table_rows(archive, "coverage")]
    assert (gaps, len(spans)) == ([], 16), "one stretch for each stream of four symbols"
    history = {
        (row["symbol"], row["name"]): row["ts_to"] is None
        for row in table_rows(archive, "instruments")
    }
    assert history == {
        (BTC, BTC): True,
        (WIN, WIN): False,
        (WIN, "WINK-USDT"): True,
        (LTC, LTC): False,
        (NEW, NEW): True,
    }
    assert any("may do more than read" in str(line["event"]) for line in running.log())
    (segments,) = list_segments(archive).values()
    written = repr([line for commit in read_run(segments) for line in commit])
    for secret in SECRETS:
        assert secret not in written + running.log_path.read_text()
