"""A start that finds no room waits, loudly and unready, and goes on by itself."""

from __future__ import annotations

import asyncio
import errno
import os
import signal
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from structlog.testing import capture_logs

from recorder import daemon
from recorder.daemon import record
from recorder.storage.disk import Disk, Lock, use_disk
from recorder.tape import open_tape
from schemas.archive_layout import RESERVE
from tests.support.fake_venue import FakeVenue
from tests.support.live_recorder import free_port, live_recorder, make_config, until

NO_ROOM = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


class SmallDisk(Disk):
    """Has no room, for the reserve alone or for anything, while `is_full`."""

    def __init__(self, refuses: str) -> None:
        super().__init__()
        self.is_full = True
        self.refused = 0
        self._refuses = refuses

    def _check(self, what: str) -> None:
        if self.is_full and what == self._refuses:
            self.refused += 1
            raise NO_ROOM

    def allocate(self, path: Path, size: int) -> None:
        """Refuse the reserve."""
        self._check("reserve")
        super().allocate(path, size)

    def lock(self, path: Path, text: str) -> Lock:
        """Refuse to write who holds the archive."""
        self._check("lock")
        return super().lock(path, text)


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(daemon, "ROOM_AGAIN_S", 0.05)


async def ask(port: int, path: str) -> tuple[int, str]:
    async with (
        aiohttp.ClientSession(f"http://127.0.0.1:{port}") as session,
        session.get(path, timeout=aiohttp.ClientTimeout(5)) as answer,
    ):
        return answer.status, await answer.text()


@pytest.mark.parametrize("refuses", ["reserve", "lock"])
async def test_it_waits_for_room_says_so_and_records_once_there_is_some(
    tmp_path: Path, refuses: str
) -> None:
    disk, port, archive = SmallDisk(refuses), free_port(), tmp_path / "archive"
    async with FakeVenue(["BTC-USDT"]) as venue:
        config = make_config(
            venue.url,
            archive,
            http={"listen": f"127.0.0.1:{port}"},
            disk={"reserve_mib": 1},
        )

        async def make_room() -> None:
            await until(lambda: disk.refused >= 3, "it tries again")
            status, text = await ask(port, "/readyz")
            assert status == 503
            assert "the disk is full" in text
            assert (await ask(port, "/healthz"))[0] == 200, "nobody shall kill it for that"
            assert 'booktape_disk_stage{stage="full"} 1' in (await ask(port, "/metrics"))[1]
            assert not list(archive.glob("raw/*/*")), "no run has begun"
            disk.is_full = False

        with use_disk(disk), capture_logs() as said:
            waiting = asyncio.create_task(make_room())
            try:
                async with live_recorder(config) as recorder:
                    await waiting
                    assert (await recorder.status())["disk_stage"] == "ok"
                    assert (archive / RESERVE).stat().st_size == 1 << 20
            finally:
                waiting.cancel()
                await asyncio.gather(waiting, return_exceptions=True)
    told = [line for line in said if "recording starts once there is room" in line["event"]]
    assert [line["log_level"] for line in told] == ["critical"], "once a minute, not at every try"


async def test_a_stop_while_it_waits_ends_at_once(tmp_path: Path) -> None:
    disk = SmallDisk("reserve")
    async with FakeVenue(["BTC-USDT"]) as venue:
        config = make_config(venue.url, tmp_path / "archive", disk={"reserve_mib": 1})
        with use_disk(disk):
            task = asyncio.create_task(record(config, lambda: open_tape(config)))
            await until(lambda: disk.refused >= 2, "it waits")
            os.kill(os.getpid(), signal.SIGTERM)
            await asyncio.wait_for(task, 5)
        assert disk.is_full


def test_a_lock_that_found_no_room_is_not_held(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> int:
        raise NO_ROOM

    path = tmp_path / "lock"
    with monkeypatch.context() as patched:
        patched.setattr(os, "pwrite", refuse)
        with pytest.raises(OSError, match="No space"):
            Disk().lock(path, "1\n")
    Disk().lock(path, "1\n").release()
