"""`recorder status`, `reload` and `job` as they are typed, with a recorder and without one."""

from __future__ import annotations

import json
import signal
import stat
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path
from urllib.request import urlopen

import pytest

from recorder import archive_jobs
from recorder.hand_jobs import NeedsRecorder, run_by_hand
from recorder.jobs import UnknownJob
from recorder.storage import compaction
from recorder.storage.catalog_reader import CatalogReader
from schemas.archive_layout import raw_segment_path
from schemas.timestamps import date_of
from tests.support.archive_content import archive_rows, table_rows
from tests.support.jobs_archive import DAYS, NOW, days_archive
from tests.support.live_recorder import free_port
from tests.support.recorder_processes import (
    BTC,
    WAIT_S,
    WIN,
    Exchange,
    Recorder,
    query,
    wait_for,
)


def recorder(*words: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run a command as a user would."""
    return subprocess.run(
        [sys.executable, "-m", "recorder.cli", *map(str, words)],
        capture_output=True,
        text=True,
        check=False,
        cwd=cwd,
        timeout=WAIT_S,
    )


def test_a_day_of_an_operator(tmp_path: Path, started: list[subprocess.Popen[bytes]]) -> None:
    exchange = Exchange(tmp_path)
    started.append(exchange.process)
    config, archive, port = exchange.config(symbols=[BTC]), tmp_path / "archive", free_port()
    config.write_text(f'{config.read_text()}[http]\nlisten = "127.0.0.1:{port}"\n')
    running = Recorder(config)
    started.append(running.process)
    running.wait_synced(2)

    def status(*words: str) -> dict[str, object]:
        return json.loads(recorder("status", *words, "--json", cwd=tmp_path).stdout)

    done = recorder("status", cwd=tmp_path)  # ./recorder.toml says where
    assert done.returncode == 0, done.stderr
    assert "symbols      1, in step" in done.stdout
    assert "connections  1 of 1, " in done.stdout
    said = status("archive")
    assert (said["running"], said["ready"], said["archive"]) == (True, True, str(archive))
    with urlopen(f"http://127.0.0.1:{port}/healthz", timeout=10) as answer:
        assert answer.status == 200
    assert stat.S_IMODE((archive / "control.sock").stat().st_mode) == 0o600

    config.write_text(config.read_text().replace(f'["{BTC}"]', f'["{BTC}", "{WIN}"]'))
    done = recorder("reload", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (
        0, f'venue.symbols = ["{BTC}", "{WIN}"]\nadded: {WIN}\n',
    )  # fmt: skip
    wait_for(lambda: recorder("status", cwd=tmp_path).returncode == 0, "the new books")

    good = config.read_text()
    config.write_text(good.replace("first_update_timer_s = 0.3", "first_update_timer_s = 0.4"))
    done = recorder("reload", cwd=tmp_path)
    assert done.returncode == 2
    assert "stitch.first_update_timer_s: cannot change while recording" in done.stderr
    config.write_text(good.replace("[http]", "[htpp]"))
    done = recorder("reload", "archive", cwd=tmp_path)
    assert done.returncode == 2
    assert "did you mean http?" in done.stderr

    config.write_text(good.replace(f'["{BTC}", "{WIN}"]', f'["{WIN}"]'))
    running.process.send_signal(signal.SIGHUP)
    wait_for(lambda: status()["symbols_recorded"] == 1, "a reload by signal")

    done = recorder("job", "roll", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("roll: ok in ")
    assert query(archive, "SELECT count(*) FROM parts")[0][0] >= 5
    done = recorder("job", "rol", "archive", cwd=tmp_path)
    assert done.returncode == 2
    assert "no job is called 'rol'; there are: roll, " in done.stderr

    assert running.end(signal.SIGTERM) == 0
    exchange.stop()
    assert not (archive / "control.sock").exists()
    assert {line["run_id"] for line in running.log() if "symbol" in line} == {said["run_id"]}
    assert query(archive, "SELECT * FROM gaps") == [], "no reload cost anything"

    done = recorder("status", "archive", cwd=tmp_path)
    assert done.returncode == 1
    assert "no recorder runs on archive" in done.stdout
    assert f"{said['run_id']} ended" in done.stdout
    assert f"recorded     {BTC} l2: " in done.stdout
    said = status()
    assert said["running"] is False
    assert {each["symbol"] for each in said["streams"]} == {BTC, WIN}
    done = recorder("reload", cwd=tmp_path)
    assert done.returncode == 2
    assert "there is nothing to reload" in done.stderr
    done = recorder("job", "roll", "archive", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert "every part is published" in done.stdout
    done = recorder("job", "instruments", "archive", cwd=tmp_path)
    assert done.returncode == 1
    assert "no recorder runs on archive" in done.stderr
    done = recorder("status", "nowhere", cwd=tmp_path)
    assert done.returncode == 2


@pytest.fixture
def days(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return an archive of some days, all of them over."""
    began = time.monotonic_ns()
    monkeypatch.setattr(archive_jobs, "wall_ns", lambda: NOW + time.monotonic_ns() - began)
    days_archive(tmp_path)
    return tmp_path


def test_a_run_that_crashed_before_its_first_part_is_told(tmp_path: Path) -> None:
    days_archive(tmp_path)
    crashed = "20261122T000000.000000Z-test-9"
    segment = tmp_path / raw_segment_path("2026-11-22", crashed, 1)
    segment.parent.mkdir(parents=True, exist_ok=True)
    segment.touch()
    done = recorder("status", tmp_path, cwd=tmp_path)
    assert done.returncode == 1
    assert f"crashed run  {crashed} was not ended: the next start finishes it" in done.stdout
    assert done.stdout.count("crashed run") == 1


async def test_jobs_by_hand_do_their_work_in_a_process_of_their_own(days: Path) -> None:
    rows = archive_rows(days)
    parts = len(table_rows(days, "parts"))
    done = await run_by_hand(days, "compaction", None)
    assert done.outcome == "ok", done.detail
    live = [part for part in table_rows(days, "parts") if part["ts_replaced"] is None]
    assert len(live) < parts
    assert archive_rows(days) == rows
    assert (await run_by_hand(days, "repack", None)).outcome == "ok"
    assert (await run_by_hand(days, "repack", None)).outcome == "nothing"
    again = await run_by_hand(days, "compaction", None)
    assert (again.outcome, again.detail) == ("nothing", "no closed day has parts to merge")
    kept = await run_by_hand(days, "retention", None)
    assert kept.outcome == "nothing", "without a configuration nothing is removed"
    assert {part["date"] for part in live} == set(DAYS)
    told = sorted((row["name"], row["outcome"]) for row in table_rows(days, "jobs"))
    assert ("compaction", "ok") in told


async def test_a_damaged_part_holds_up_its_own_day_alone(days: Path) -> None:
    with closing(CatalogReader.open(days)) as catalog:
        damaged = compaction.plan(catalog, date_of(NOW))[0].parts[0]
    (days / damaged["path"]).write_bytes(b"PAR1")
    done = await run_by_hand(days, "compaction", None)
    assert done.outcome == "failed"
    assert done.detail.startswith("1 of ")
    assert damaged["path"] in done.detail
    assert any(part["ts_replaced"] for part in table_rows(days, "parts")), "the others are done"


async def test_by_hand_what_asks_the_exchange_is_refused(tmp_path: Path) -> None:
    days_archive(tmp_path)
    with pytest.raises(NeedsRecorder, match="no recorder runs on") as caught:
        await run_by_hand(tmp_path, "status", None)
    assert caught.value.exit_code == 1
    with pytest.raises(UnknownJob):
        await run_by_hand(tmp_path, "compress", None)
    assert table_rows(tmp_path, "jobs") == []


def test_a_job_process_ends_with_its_parent(tmp_path: Path) -> None:
    script = tmp_path / "parent.py"
    script.write_text(
        "import asyncio, os, time\n"
        "from recorder.job_process import JobProcess\n"
        "async def main():\n"
        "    async with JobProcess() as process:\n"
        "        print(await process.call(os.getpid), await process.call(os.nice, 0), flush=True)\n"
        "        await process.call(time.sleep, 60)\n"
        "if __name__ == '__main__':\n"
        "    asyncio.run(main())\n"
    )
    parent = subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True)
    try:
        assert parent.stdout is not None
        child, niceness = map(int, parent.stdout.readline().split())
        assert niceness == 19
        time.sleep(0.2)
    finally:
        parent.kill()
        parent.wait()
        assert parent.stdout is not None
        parent.stdout.close()
    wait_for(lambda: not Path(f"/proc/{child}").exists(), "the end of the child")
