"""The command line: exit codes, data on stdout, messages on stderr."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import orjson
import pytest

from tests.support.captures import capture_lines


def recorder(*arguments: object) -> subprocess.CompletedProcess[str]:
    """Run the real command."""
    return subprocess.run(
        [sys.executable, "-m", "recorder.cli", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def capture(tmp_path: Path) -> Path:
    """A small whole capture."""
    path = tmp_path / "capture.jsonl"
    path.write_text("\n".join(capture_lines(30)))
    return path


def test_import_rebuild_verify(capture: Path, tmp_path: Path) -> None:
    archive, other = tmp_path / "archive", tmp_path / "other"
    done = recorder("import", capture, archive, "--profile", "kucoin-2019")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("30 lines imported as run 1700000000500000000-")
    done = recorder("rebuild", archive, "--into", other, "--roll-interval-s", 1)
    assert (done.returncode, done.stderr) == (0, "")
    assert "32 lines of 1 runs" in done.stdout
    done = recorder("verify", archive, "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    report = orjson.loads(done.stdout)
    assert (report["holds"], report["runs"], report["parts"]) == (True, 1, 2)
    assert report["books"] is not None

    part = next(other.glob("l2_updates/*/*/*"))
    part.unlink()
    done = recorder("verify", other)
    assert done.returncode == 1
    assert part.relative_to(other).as_posix() in done.stdout
    assert "NOT sound" in done.stdout


def test_import_tells_what_stays_in_the_raw_log_alone(capture: Path, tmp_path: Path) -> None:
    odd = [
        {"type": "message", "topic": "/market/candles:A-B_1min", "data": {}},
        {"type": "message", "topic": "/market/level2:A-B", "data": {}},
        {"type": "message", "topic": "/market/ticker:A-B", "data": {"sequence": "7", "new": 1}},
    ]
    line = {"kind": "frame", "ts_recv": "1700000100"}
    texts = [*(orjson.dumps(frame).decode() for frame in odd), "<html>"]
    extra = [orjson.dumps({**line, "data": text}).decode() for text in texts]
    capture.write_text("\n".join([capture.read_text(), *extra]))
    # Its book stands at a path that the dialect of today does not have.
    done = recorder("import", capture, tmp_path / "archive", "--profile", "kucoin-classic")
    assert done.returncode == 0
    assert [told.strip() for told in done.stderr.splitlines()] == [
        "1 answers of /api/v2/market/orderbook/level2 are kept raw: no dataset for them",
        "1 messages have a field that no column has, kept raw: ticker new",
        "1 frames cannot be read, kept raw",
        "1 messages are not as the dialect says, kept raw",
        "1 messages of /market/candles are kept raw: no dataset for them",
    ]


def test_bad_input_ends_with_2_and_a_remedy(capture: Path, tmp_path: Path) -> None:
    archive = tmp_path / "archive"
    for arguments, words in (
        (("import", capture, archive, "--profile", "kucoin-2091"), ("kucoin-2091", "kucoin-2019")),
        (("import", capture, archive), ("--profile",)),
        (("import", tmp_path / "none", archive, "--profile", "kucoin-2019"), ("No such file",)),
        (("verify", tmp_path), ("is not a Booktape archive", "recorder run")),
        (("rebuild", tmp_path, "--into", archive), ("is not a Booktape archive",)),
        (("verfy",), ("verfy",)),
    ):
        done = recorder(*arguments)
        assert done.returncode == 2, arguments
        assert done.stdout == ""
        assert all(word in done.stderr for word in words), done.stderr
        assert "Traceback" not in done.stderr


LIST_COMMANDS = """
import sys
from click.testing import CliRunner
from recorder.cli import group
print(CliRunner().invoke(group, ["--help"]).output)
heavy = {"pyarrow", "aiohttp", "numpy"} & set(sys.modules)
assert not heavy, heavy
"""


def test_help_lists_the_commands_without_their_imports() -> None:
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            LIST_COMMANDS,
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    for name in ("demo", "run", "import", "rebuild", "verify", "check-config"):
        assert f"  {name} " in done.stdout
