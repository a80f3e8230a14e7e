"""The service unit, judged by systemd itself, and what its restrictions rest on."""

from __future__ import annotations

import ctypes
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import click
import pytest

from recorder.cli import group

ROOT = Path(__file__).resolve().parents[3]
DEPLOY = ROOT / "deploy"
UNIT = DEPLOY / "booktape-recorder@.service"
PR_SET_MDWE, PR_MDWE_REFUSE_EXEC_GAIN = 65, 1


@pytest.fixture
def unit(tmp_path: Path) -> Path:
    """The unit as it is, but for the program's place: systemd wants to see it there."""
    if shutil.which("systemd-analyze") is None:
        pytest.skip("no systemd-analyze on this machine")
    path = tmp_path / UNIT.name
    path.write_text(UNIT.read_text().replace("/opt/booktape/bin/recorder", "/bin/true"))
    return path


def analyze(*words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["systemd-analyze", *words],
        cwd=cwd,
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_systemd_takes_the_unit_without_a_word(unit: Path) -> None:
    instance = unit.name.replace("@.", "@ten.")
    for name in (f"./{unit.name}", instance):
        done = analyze("verify", name, cwd=unit.parent)
        assert (done.returncode, done.stdout, done.stderr) == (0, "", ""), name


def test_its_exposure_is_what_unit_and_runbook_say(unit: Path) -> None:
    done = analyze("security", "--offline=true", f"./{unit.name}", cwd=unit.parent)
    found = re.search(r"exposure level for \S+: ([\d.]+)", done.stdout)
    assert found, done.stdout + done.stderr
    said = re.findall(r"its exposure ([\d.]+) of 10", UNIT.read_text() + runbook())
    assert len(said) == 2
    assert {found[1]} == set(said)


def test_systemd_makes_the_user_the_unit_names() -> None:
    if shutil.which("systemd-sysusers") is None:
        pytest.skip("no systemd-sysusers on this machine")
    done = subprocess.run(
        ["systemd-sysusers", "--dry-run", str(DEPLOY / "booktape.sysusers.conf")],
        check=False, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    users = re.findall(r"(?m)^User=(\w+)", UNIT.read_text())
    assert re.findall(r"(?m)^u (\w+) ", (DEPLOY / "booktape.sysusers.conf").read_text()) == users


def test_it_starts_and_reloads_what_the_recorder_has() -> None:
    commands = re.findall(r"(?m)^Exec\w+=/opt/booktape/bin/recorder (\w+) ", UNIT.read_text())
    assert commands == ["run", "reload"]
    assert set(commands) <= set(group.list_commands(click.Context(group)))


def run_without_writable_code(program: str) -> subprocess.CompletedProcess[str]:
    """Run Python where memory cannot be both written and executed, as the unit has it."""
    libc = ctypes.CDLL(None, use_errno=True)

    def refuse() -> None:
        if libc.prctl(PR_SET_MDWE, PR_MDWE_REFUSE_EXEC_GAIN, 0, 0, 0):
            os._exit(77)

    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, preexec_fn=refuse,
        check=False, capture_output=True, text=True, timeout=100,
    )  # fmt: skip
    if done.returncode == 77:
        pytest.skip("this kernel cannot refuse writable code (Linux 6.3 can)")
    return done


def test_the_recorder_needs_no_memory_that_is_writable_and_executable(tmp_path: Path) -> None:
    # Everything it is made of that is compiled: Arrow writing Parquet, SQLite, zstd, orjson, TLS.
    done = run_without_writable_code(
        "import sys, sqlite3, ssl, zstandard, orjson\n"
        "import pyarrow as pa, pyarrow.parquet as pq, pyarrow.compute as pc\n"
        "import recorder.cli, recorder.daemon, recorder.tape, recorder.collector, recorder.jobs\n"
        "import recorder.health.app\n"
        f"path = {str(tmp_path / 'x.parquet')!r}\n"
        "pq.write_table(pa.table({'a': list(range(1000))}), path, compression='zstd')\n"
        "assert pc.sum(pq.read_table(path)['a']).as_py() == 499500\n"
        "sqlite3.connect(':memory:').execute('SELECT 1')\n"
        "ssl.create_default_context()\n"
        "zstandard.ZstdCompressor().compress(orjson.dumps([1]))\n"
        "assert 'numba' not in sys.modules, 'the recorder has come to import numba'\n"
    )
    assert done.returncode == 0, done.stderr


def test_what_compiles_cannot_run_so_which_is_why_replay_runs_outside() -> None:
    done = run_without_writable_code(
        "import numba\n@numba.njit\ndef twice(x): return 2 * x\nassert twice(21) == 42\n"
    )
    assert done.returncode != 0


def runbook() -> str:
    return (DEPLOY / "RUNBOOK.md").read_text()
