"""Bad input: each is refused with its exit code, a message that names the thing, and a remedy."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.recorded_market import record_market

BAD_INPUT, NO, IO_FAILED = 2, 1, 3
MINIMAL = """archive = "{archive}"
[venue]
profile = "{profile}"
rest_url = "{rest_url}"
symbols = ["BTC-USDT"]
"""


def run(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", *words], capture_output=True, text=True, check=False, timeout=100
    )


def closed_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def write_config(folder: Path, text: str = MINIMAL, **values: str) -> str:
    config = folder / "config.toml"
    defaults = {
        "archive": str(folder / "archive"),
        "profile": "kucoin-2019",
        "rest_url": f"http://127.0.0.1:{closed_port()}",
    }
    config.write_text(text.format(**{**defaults, **values}))
    return str(config)


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    market = record_market(
        tmp_path_factory.mktemp("small"),
        symbols=["BTC-USDT"],
        seconds=6,
        rate=100,
        faults=["drop@3s:topic=level2:count=1", "stale@3s:count=4"],
        streams=["level2"],
    )
    return market.archive


def test_an_unknown_profile(tmp_path: Path) -> None:
    done = run("recorder.cli", "run", write_config(tmp_path, profile="kucoin-2091"))
    assert done.returncode == BAD_INPUT
    assert "venue.profile" in done.stderr
    assert "did you mean 'kucoin-2019'" in done.stderr


def test_a_misspelt_key(tmp_path: Path) -> None:
    config = write_config(tmp_path, MINIMAL + "[parts]\nroll_intervall_s = 5\n")
    done = run("recorder.cli", "check-config", config)
    assert done.returncode == BAD_INPUT
    assert "parts.roll_intervall_s" in done.stderr
    assert "roll_interval_s" in done.stderr.replace("roll_intervall_s", "")


def test_an_exchange_that_is_not_there(tmp_path: Path) -> None:
    done = run("recorder.cli", "run", write_config(tmp_path), "--for", "2s")
    assert done.returncode == IO_FAILED
    assert "cannot be reached" in done.stderr
    assert "venue.rest_url" in done.stderr


def test_a_symbol_the_exchange_does_not_list(tmp_path: Path) -> None:
    with pytest.raises(AssertionError) as caught:
        record_market(
            tmp_path, symbols=["BTC-USDT"], seconds=2, rate=10, recorded_symbols=["BTC-USTD"]
        )
    assert "does not list BTC-USTD" in str(caught.value)
    assert "did you mean BTC-USDT" in str(caught.value)
    assert not (tmp_path / "archive" / "raw").exists()


def test_an_archive_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(AssertionError) as caught:
        record_market(
            tmp_path, symbols=["BTC-USDT"], seconds=2, rate=10, archive=tmp_path / "file" / "tape"
        )
    assert "cannot be written" in str(caught.value)
    assert "file/tape" in str(caught.value)


def test_an_archive_that_is_being_written(tmp_path: Path, archive: Path) -> None:
    from recorder.storage.archive_folder import ArchiveFolder

    with ArchiveFolder(tmp_path / "archive"):
        capture = tmp_path / "capture.jsonl"
        capture.write_text('{"kind":"frame","ts_recv":"1619378325.5","data":"{}"}\n')
        done = run(
            "recorder.cli",
            "import",
            str(capture),
            str(tmp_path / "archive"),
            "--profile",
            "kucoin-2019",
        )
    assert done.returncode == BAD_INPUT
    assert "is being written by process" in done.stderr
    assert "stop that recorder" in done.stderr


def test_a_truncated_capture_writes_nothing(tmp_path: Path) -> None:
    capture = tmp_path / "capture.jsonl"
    capture.write_text(
        '{"kind":"frame","ts_recv":"1619378325.5","data":"{}"}\n{"kind":"frame","ts_r'
    )
    done = run(
        "recorder.cli", "import", str(capture), str(tmp_path / "a"), "--profile", "kucoin-2019"
    )
    assert done.returncode == BAD_INPUT
    assert "line 2" in done.stderr
    assert "in the middle of this line" in done.stderr
    assert not (tmp_path / "a").exists()


def test_a_time_without_a_zone(archive: Path) -> None:
    done = run("replay.cli", "book", str(archive), "BTC-USDT", "--at", "2026-11-22T10:00:00")
    assert done.returncode == BAD_INPUT
    assert "2026-11-22T10:00:00Z" in done.stderr


def test_a_symbol_outside_the_archive(archive: Path) -> None:
    done = run("replay.cli", "book", str(archive), "BTC-USTD")
    assert done.returncode == BAD_INPUT
    assert "BTC-USTD" in done.stderr
    assert "BTC-USDT" in done.stderr


def test_a_time_outside_the_archive(archive: Path) -> None:
    done = run("replay.cli", "book", str(archive), "BTC-USDT", "--at", "2001-01-01T00:00:00Z")
    assert done.returncode == NO
    assert "outside the archive" in done.stderr
    assert "BTC-USDT" in done.stderr


def test_a_time_inside_a_gap(archive: Path) -> None:
    gap = run(
        "replay.cli",
        "sql",
        str(archive),
        "SELECT (epoch_ns(ts_from) + epoch_ns(ts_to)) // 2 AS middle FROM gaps",
        "--format",
        "csv",
    ).stdout.split()
    assert len(gap) == 2, gap
    done = run(
        "replay.cli",
        "sql",
        str(archive),
        f"SELECT * FROM book_at('BTC-USDT', make_timestamp_ns({gap[1]}))",
    )
    assert done.returncode == NO
    assert "unknown" in done.stderr
    assert "gap (sequence)" in done.stderr


def test_sql_with_a_mistake(archive: Path) -> None:
    done = run("replay.cli", "sql", str(archive), "SELEKT 1")
    assert done.returncode == BAD_INPUT
    assert "SELEKT" in done.stderr


def test_no_archive_at_all(tmp_path: Path) -> None:
    for words in (("recorder.cli", "verify"), ("replay.cli", "coverage")):
        done = run(*words, str(tmp_path))
        assert done.returncode == BAD_INPUT
        assert str(tmp_path) in done.stderr
        assert "not" in done.stderr
