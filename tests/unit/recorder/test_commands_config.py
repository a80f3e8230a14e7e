"""`recorder init` and `recorder check-config`, as they are typed."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path


def recorder(*arguments: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "recorder.cli", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        cwd=cwd,
    )


def test_init_then_check_config(tmp_path: Path) -> None:
    done = recorder("init", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert "  recorder check-config recorder.toml\n  recorder run recorder.toml\n" in done.stdout
    done = recorder("check-config", "recorder.toml", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "recorder.toml holds: 8 topics on 1 connection" in done.stderr
    assert 'symbols = ["BTC-USDT", "ETH-USDT"]  # (file)' in done.stdout
    assert "rows_max = 1000000  # (default) rows" in done.stdout
    assert tomllib.loads(done.stdout)["archive"] == str(tmp_path / "archive")

    before = (tmp_path / "recorder.toml").read_bytes()
    done = recorder("init", "--symbols", "all", cwd=tmp_path)
    assert done.returncode == 2
    assert "recorder.toml is there already" in done.stderr
    assert (tmp_path / "recorder.toml").read_bytes() == before


def test_options_reach_the_file_and_bad_ones_leave_none(tmp_path: Path) -> None:
    done = recorder(
        "init", "my file.toml", "--profile", "kucoin-2019", "--symbols", "BTC-USDT,*-BTC",
        "--archive", "tape", cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0
    assert "recorder run 'my file.toml'" in done.stdout
    done = recorder("check-config", "my file.toml", cwd=tmp_path)
    assert done.returncode == 0
    assert "5 topics on 1 connection; *-BTC: the exchange is asked at the start" in done.stderr
    done = recorder("init", "other.toml", "--profile", "kucoin-2091", cwd=tmp_path)
    assert done.returncode == 2
    assert "kucoin-2019" in done.stderr
    assert not (tmp_path / "other.toml").exists()


def test_check_config_looks_at_the_key_and_shows_nothing_of_it(tmp_path: Path) -> None:
    config, key = tmp_path / "recorder.toml", tmp_path / "key.toml"
    config.write_text(
        'archive = "a"\n[venue]\nprofile = "kucoin-classic"\nsymbols = ["all"]\n'
        'api_key_file = "key.toml"\n'
    )
    key.write_text('key = "made-up-key"\nsecret = "made-up-secret"\npassphrase = "made-up-words"\n')
    key.chmod(0o644)
    done = recorder("check-config", config, cwd=tmp_path)
    assert done.returncode == 2
    assert f"`chmod 600 {key}`" in done.stderr
    key.chmod(0o600)
    done = recorder("check-config", config, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "with an API key" in done.stderr
    assert "made-up" not in done.stdout + done.stderr
