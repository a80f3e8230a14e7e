"""A start that finds no exchange: what a crash left is finished, and the manager tries again."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from structlog.testing import capture_logs

from recorder.daemon import record
from recorder.errors import VenueRefused, VenueUnreachable
from recorder.raw_line import RawLine
from recorder.recording import Recording, RecordingSettings
from recorder.tape import open_tape
from schemas.kucoin.profiles.kucoin_2019 import KUCOIN_2019
from tests.support.archive_content import table_rows
from tests.support.live_recorder import BTC, free_port, make_config

NOW = 1_795_305_600_000_000_000


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("recorder.startup.RETRY_FIRST_S", 0.01)


def leave_a_crashed_run(archive: Path) -> str:
    """Record a few lines and die; return the run."""
    tape = Recording.create(archive, RecordingSettings())
    start = {"run_id": tape.run_id, "version": "", "profile": KUCOIN_2019.name, "symbols": [BTC]}
    start |= {"profile_hash": KUCOIN_2019.hash, "feeds": ["level2"], "limits": {}}
    tape.commit([RawLine("run_start", NOW, 0, fields=start), RawLine("open", NOW + 1, 1, 1)])
    tape.abandon()
    return tape.run_id


async def test_what_a_crash_left_is_finished_without_the_exchange(tmp_path: Path) -> None:
    archive = tmp_path / "archive"
    run_id = leave_a_crashed_run(archive)
    assert table_rows(archive, "runs") == []
    config = make_config(f"http://127.0.0.1:{free_port()}", archive)
    with capture_logs() as said, pytest.raises(VenueUnreachable) as ended:
        await asyncio.wait_for(record(config, lambda: open_tape(config)), 20)
    assert ended.value.exit_code == 3, "the service manager tries again"
    [finished] = [line for line in said if "was finished from its raw log" in line["event"]]
    assert finished["crashed_run_id"] == run_id
    [run] = table_rows(archive, "runs")
    assert (run["run_id"], run["stop_reason"]) == (run_id, "crashed")
    assert [path.name for path in archive.glob("raw/*/*")] == [f"{run_id}-000001.jsonl.zst"]
    # The next one finds nothing more to do, and nobody holds the archive.
    with pytest.raises(VenueUnreachable):
        await asyncio.wait_for(record(config, lambda: open_tape(config)), 20)
    assert len(table_rows(archive, "runs")) == 1


async def test_what_a_crash_left_is_finished_though_the_exchange_refuses_us(tmp_path: Path) -> None:
    archive = tmp_path / "archive"
    run_id = leave_a_crashed_run(archive)
    async with TestServer(web.Application()) as nobody_we_know:  # 404, whatever is asked
        config = make_config(str(nobody_we_know.make_url("")).rstrip("/"), archive)
        with pytest.raises(VenueRefused):
            await asyncio.wait_for(record(config, lambda: open_tape(config)), 20)
    [run] = table_rows(archive, "runs")
    assert (run["run_id"], run["stop_reason"]) == (run_id, "crashed")


async def test_a_mistyped_address_leaves_nothing_behind(tmp_path: Path) -> None:
    config = make_config(f"http://127.0.0.1:{free_port()}", tmp_path / "archive")
    with pytest.raises(VenueUnreachable):
        await asyncio.wait_for(record(config, lambda: open_tape(config)), 20)
    assert not (tmp_path / "archive").exists()
