"""A disk that fills up: parts wait, then recording pauses loudly, and goes on by itself."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from recorder import disk_policy
from recorder.config import Config
from recorder.daemon import record
from recorder.health import monitor
from recorder.rebuilding import rebuild
from recorder.storage.disk import Disk, use_disk
from recorder.storage.open_parts import RollRules
from recorder.storage.raw_log import list_segments, read_run
from recorder.tape import open_tape
from recorder.transport import websocket
from recorder.writer_death import WriterDied
from schemas.archive_layout import RESERVE
from tests.support.archive_content import archive_rows, assert_same_content, table_rows
from tests.support.fake_venue import FakeVenue
from tests.support.live_recorder import BTC, LiveRecorder, live_recorder, make_config, until

MIB = 1 << 20
FULL_TOLD = "the disk is full: recording is paused until there is room"


class SmallDisk(Disk):
    """A disk on which a test says how much room there is for the raw log and for parts."""

    def __init__(self) -> None:
        super().__init__()
        self.free = 1 << 40
        self.raw_log_bytes: int | None = None  # left for the raw log; None: enough
        self.takes_parts = True

    def free_bytes(self, folder: Path) -> int:
        return self.free

    def append_to(self, path: Path) -> Any:
        return _SmallFile(self, super().append_to(path))

    def create(self, path: Path) -> Any:
        if not self.takes_parts and path.name.endswith(".unfinished"):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return super().create(path)

    def unlink(self, path: Path, *, missing_ok: bool = False) -> None:
        if path.name == RESERVE and path.exists() and self.raw_log_bytes is not None:
            self.raw_log_bytes += path.stat().st_size
        super().unlink(path, missing_ok=missing_ok)


class _SmallFile:
    """A file of the raw log that is torn where the room ends."""

    def __init__(self, disk: SmallDisk, file: Any) -> None:
        self._disk, self._file = disk, file
        self.sync, self.cut, self.close = file.sync, file.cut, file.close

    def write(self, data: bytes) -> None:
        left = self._disk.raw_log_bytes
        if left is None:
            self._file.write(data)
            return
        self._file.write(data[:left])
        self._disk.raw_log_bytes = max(left - len(data), 0)
        if len(data) > left:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(websocket, "CLOSE_TIMEOUT_S", 0.3)
    monkeypatch.setattr(monitor, "STREAMS_FRESH_S", 0.0)
    monkeypatch.setattr(disk_policy, "POLL_S", 0.05)
    monkeypatch.setattr(disk_policy, "HELD_AT_LEAST_S", 0.1)
    monkeypatch.setattr(disk_policy, "TELL_AGAIN_S", 0.2)


def config_of(venue: FakeVenue, archive: Path, **disk: int) -> Config:
    return make_config(
        venue.url,
        archive,
        venue={"streams": ["level2", "match"]},
        disk={"reserve_mib": 1, "parts_stop_mib": 100, "resume_mib": 10, **disk},
    )


async def at_stage(recorder: LiveRecorder, stage: str) -> bool:
    return bool((await recorder.status())["disk_stage"] == stage)


def sequences(archive: Path) -> list[int]:
    table = archive_rows(archive)["l2_updates", BTC, "l2", run_of(archive)]
    return [int(value) for value in table["sequence"].to_pylist()]


def run_of(archive: Path) -> str:
    (run_id,) = list_segments(archive)
    return run_id


async def test_a_full_disk_pauses_recording_loudly_and_it_goes_on_by_itself(
    tmp_path: Path,
) -> None:
    archive, small = tmp_path / "archive", SmallDisk()
    with use_disk(small), capture_logs() as said:
        async with FakeVenue([BTC]) as venue, live_recorder(config_of(venue, archive)) as recorder:
            assert (archive / RESERVE).stat().st_size == MIB
            for _ in range(20):
                last = await venue.publish_l2(BTC)

            async def all_seen() -> bool:
                return bool((await recorder.stream(BTC))["sequence"] == last)

            await until(all_seen, "twenty changes")
            last_good = last
            small.raw_log_bytes, small.free = 30, 0
            await venue.publish_l2(BTC)
            await until(lambda: at_stage(recorder, "full"), "a full disk")
            await until(lambda: not venue.sockets, "the end of every connection")
            ready = await recorder.ask("/readyz")
            assert (ready.status, ready.content["ready"]) == (503, False)
            assert "the disk is full" in ready.content["problem"]
            assert (await recorder.ask("/healthz")).status == 200, "alive, and waiting"
            assert not (archive / RESERVE).exists()
            for _ in range(5):
                await venue.publish_l2(BTC)
            await until(
                lambda: [e["event"] for e in said].count(FULL_TOLD) >= 3, "said again and again"
            )
            stream = await recorder.stream(BTC)
            assert (stream["state"], stream["gap"]) == ("down", "disk_full")
            small.raw_log_bytes, small.free = None, 1 << 40
            await until(recorder.ready, "recording by itself")
            assert (await recorder.status())["lines_dropped"] > 0
            await until(lambda: at_stage(recorder, "ok"), "parts as well")
            for _ in range(5):
                last = await venue.publish_l2(BTC)
            await until(all_seen, "changes again")
            assert (archive / RESERVE).stat().st_size == MIB
    assert not (archive / RESERVE).exists(), "a stopped recorder needs none"
    gaps = [gap for gap in table_rows(archive, "gaps") if gap["stream"] == "l2"]
    assert [(gap["reason"], gap["healed_by"]) for gap in gaps] == [("disk_full", "snapshot")]
    rows = sequences(archive)
    assert last_good in rows
    assert last_good + 1 not in rows
    decisions = [
        line.fields["what"]
        for commit in read_run(list_segments(archive)[run_of(archive)])
        for line in commit
        if line.kind == "decision"
    ]
    assert decisions == ["paused", "resumed"]
    rebuild(archive, tmp_path / "rebuilt", RollRules())
    assert_same_content(tmp_path / "rebuilt", archive)


async def test_little_room_holds_back_parts_and_nothing_else(tmp_path: Path) -> None:
    archive, small = tmp_path / "archive", SmallDisk()
    with use_disk(small):
        async with FakeVenue([BTC]) as venue, live_recorder(config_of(venue, archive)) as recorder:
            small.free = 50 * MIB
            await until(lambda: at_stage(recorder, "parts_held"), "parts held back")
            await venue.publish_l2(BTC)
            assert (await recorder.ask("/job/roll", "POST")).status == 503
            assert await recorder.ready(), "the raw log goes on"
            assert table_rows(archive, "parts") == []
            small.free = 105 * MIB
            await venue.publish_l2(BTC)
            assert await at_stage(recorder, "parts_held"), "above the limit is not enough"
            small.free = 111 * MIB
            await until(lambda: at_stage(recorder, "ok"), "room")
            small.takes_parts = False
            assert (await recorder.ask("/job/roll", "POST")).status == 503
            assert await at_stage(recorder, "parts_held"), "there was no room after all"
            assert await recorder.ready()
            small.takes_parts = True
            await until(lambda: at_stage(recorder, "ok"), "another try")
            assert (await recorder.ask("/job/roll", "POST")).status == 200
            assert table_rows(archive, "parts") != []
    rebuild(archive, tmp_path / "rebuilt", RollRules())
    rows, expected = archive_rows(archive), archive_rows(tmp_path / "rebuilt")
    assert rows.keys() == expected.keys()
    assert all(rows[key].equals(table) for key, table in expected.items())


async def test_a_stop_while_the_disk_is_full_ends_the_run_and_leaves_the_rest(
    tmp_path: Path,
) -> None:
    archive, small = tmp_path / "archive", SmallDisk()
    with use_disk(small), capture_logs() as said:
        async with FakeVenue([BTC]) as venue, live_recorder(config_of(venue, archive)) as recorder:
            small.takes_parts, small.raw_log_bytes, small.free = False, 30, 0
            await venue.publish_l2(BTC)
            await until(lambda: at_stage(recorder, "full"), "a full disk")
    assert any("without room for the last parts" in line["event"] for line in said)
    lines = [line for c in read_run(list_segments(archive)[run_of(archive)]) for line in c]
    assert lines[-1].kind == "run_stop"
    rebuild(archive, tmp_path / "rebuilt", RollRules())
    async with FakeVenue([BTC]) as venue, live_recorder(config_of(venue, archive)):
        pass
    stopped = min(table_rows(archive, "runs"), key=lambda run: run["ts_start"])
    assert stopped["stop_reason"] == "stopped", "finished by the next start"


async def test_a_disk_without_room_for_the_last_line_ends_the_run(tmp_path: Path) -> None:
    archive, small = tmp_path / "archive", SmallDisk()
    with use_disk(small):
        async with FakeVenue([BTC]) as venue:

            async def fill_it_up() -> None:
                async with live_recorder(config_of(venue, archive, reserve_mib=0)):
                    small.raw_log_bytes = 30
                    await venue.publish_l2(BTC)
                    await until(lambda: not venue.sockets, "the end")

            with pytest.raises(WriterDied) as caught:
                await fill_it_up()
    assert caught.value.exit_code == 3


async def test_a_run_whose_first_line_finds_no_room_ends_and_the_next_start_records(
    tmp_path: Path,
) -> None:
    small, archive = SmallDisk(), tmp_path / "archive"
    small.raw_log_bytes = 30
    async with FakeVenue([BTC]) as venue:
        config = config_of(venue, archive)
        with use_disk(small), pytest.raises(WriterDied) as caught:
            await record(config, lambda: open_tape(config), for_s=5.0)
        assert caught.value.exit_code == 3
        segments = [path for paths in list_segments(archive).values() for path in paths]
        assert [line for commit in read_run(segments) for line in commit] == []
        async with live_recorder(config) as recorder:
            await until(lambda: at_stage(recorder, "ok"), "a start on the same archive")
