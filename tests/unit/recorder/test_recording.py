"""A recording: acknowledged means durable, memory stays bounded, a run ends as its lines say."""

from __future__ import annotations

import os
import re
from datetime import UTC, datetime
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from recorder.errors import ArchiveLocked
from recorder.pipeline.output import ArmTimer, RequestBook
from recorder.raw_line import RawLine
from recorder.recording import Recording, RecordingSettings, new_run_id
from recorder.storage import disk
from recorder.storage.archive_folder import ArchiveFolder
from recorder.storage.open_parts import RollRules
from recorder.storage.raw_log import list_segments, read_run
from tests.support.archive_content import archive_rows, table_rows
from tests.support.market_log import PROFILE, T0, Story, l2_frame, market_log


def begin(tape: Recording) -> None:
    """Commit the first lines of a run."""
    fields = {"run_id": tape.run_id, "profile": PROFILE.name}
    tape.commit([RawLine("run_start", T0, 0, fields=fields), RawLine("open", T0, 0, 1)])


def frames(first: int, count: int, connection: int = 1) -> list[RawLine]:
    """Return contiguous frames of one symbol."""
    return [
        RawLine("recv", T0 + n, 0, connection, l2_frame("A-B", n, n, bids=[("1", str(n), n)]))
        for n in range(first, first + count)
    ]


def test_the_name_of_a_run_says_when_where_and_who() -> None:
    name = new_run_id(datetime(2026, 11, 22, 10, 0, 0, 7, tzinfo=UTC))
    assert re.fullmatch(rf"20261122T100000\.000007Z-[A-Za-z0-9.\-_]+-{os.getpid()}", name)
    assert new_run_id() != new_run_id()


def test_acknowledged_is_counted_after_the_fsync(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tape = Recording.create(tmp_path, RecordingSettings())
    begin(tape)
    assert tape.commit(frames(1, 3)) == [
        ArmTimer("A-B", "l2", 1),
        RequestBook("A-B", "l2", 1),
    ]
    tape.commit(frames(4, 2, connection=2))
    assert dict(tape.durable) == {1: 3, 2: 2}
    monkeypatch.setattr(disk.os, "fsync", _fail)
    with pytest.raises(OSError, match="disk"):
        tape.commit(frames(6, 5))
    monkeypatch.undo()
    assert dict(tape.durable) == {1: 3, 2: 2}
    with pytest.raises(OSError, match="failed before"):
        tape.commit(frames(6, 5))
    tape.abandon()
    assert tape.commit([]) == []


def _fail(*_: object) -> None:
    raise OSError("disk")


def test_nothing_is_looked_at_before_it_is_durable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tape = Recording.create(tmp_path, RecordingSettings())
    begin(tape)
    before = tape.counts()
    monkeypatch.setattr(disk.os, "fsync", _fail)
    with pytest.raises(OSError, match="disk"):
        tape.commit(frames(1, 1))
    assert tape.counts() == before
    tape.abandon()


def test_two_recordings_of_one_archive_are_refused(tmp_path: Path) -> None:
    tape = Recording.create(tmp_path, RecordingSettings())
    with pytest.raises(ArchiveLocked) as raised:
        Recording.create(tmp_path, RecordingSettings())
    assert raised.value.holder == f"process {os.getpid()}"
    tape.close()
    tape.close()
    with ArchiveFolder(tmp_path, must_exist=True):
        pass


def test_a_run_ends_as_its_lines_say(tmp_path: Path) -> None:
    """What the catalog says of the end is what a rebuild would say."""
    lines = market_log(Story(3, steps=20, chance=0))
    for number, (cut, reason) in enumerate(((len(lines), "stopped"), (len(lines) - 1, "crashed"))):
        archive = tmp_path / str(number)
        tape = Recording.create(archive, RecordingSettings())
        tape.commit(lines[:cut])
        tape.close()
        (run,) = table_rows(archive, "runs")
        assert (run["stop_reason"], run["ts_stop"]) == (reason, lines[cut - 1].ts_recv)
        assert run["lines"] == cut
        assert not any(row["is_open"] for row in table_rows(archive, "coverage"))


def test_a_recording_without_a_line_leaves_no_run(tmp_path: Path) -> None:
    tape = Recording.create(tmp_path, RecordingSettings())
    assert tape.roll(T0, force=True) == 0, "the first one is still on its way"
    tape.close()
    assert table_rows(tmp_path, "runs") == []
    assert list_segments(tmp_path) == {}


def test_open_parts_never_hold_more_than_their_memory(tmp_path: Path) -> None:
    limit = 300_000
    rules = RollRules(memory_max_bytes=limit)
    tape = Recording.create(tmp_path, RecordingSettings(rules=rules))
    lines = market_log(Story(3, steps=150, chance=0))
    held = []
    for n in range(0, len(lines), 40):
        tape.commit(lines[n : n + 40])
        held.append(tape.open_bytes)
    assert max(held) > limit / 3
    assert max(held) <= limit
    tape.close()
    assert tape.open_bytes == 0
    assert len(table_rows(tmp_path, "parts")) > 14


def test_a_roll_makes_open_rows_readable_and_keeps_the_run_open(tmp_path: Path) -> None:
    tape = Recording.create(tmp_path, RecordingSettings())
    lines = market_log(Story(3, steps=60, chance=0))
    tape.commit(lines[:-2])
    assert tape.roll(lines[-1].ts_recv) == 0
    assert archive_rows(tmp_path) == {}
    assert tape.roll(lines[-1].ts_recv, force=True) > 5
    rows = archive_rows(tmp_path)
    assert {key[0] for key in rows} >= {"l2_updates", "l3_events", "trades", "book_snapshots"}
    (run,) = table_rows(tmp_path, "runs")
    assert run["ts_stop"] is None
    assert any(row["is_open"] for row in table_rows(tmp_path, "coverage"))
    (checkpoint,) = table_rows(tmp_path, "checkpoints")
    assert checkpoint["lines"] == len(lines) - 2
    assert (tmp_path / checkpoint["raw_path"]).stat().st_size == checkpoint["raw_bytes"]
    number = (tmp_path / "catalog.parquet" / "CURRENT").read_text().strip()
    twin = pq.read_table(tmp_path / "catalog.parquet" / number / "parts.parquet")
    assert twin.num_rows == len(table_rows(tmp_path, "parts"))
    tape.commit(lines[-2:])
    tape.close()
    assert table_rows(tmp_path, "runs")[0]["stop_reason"] == "stopped"


def test_the_raw_log_keeps_every_line_in_order(tmp_path: Path) -> None:
    lines = market_log(Story(8, steps=40, chance=0.1))
    tape = Recording.create(tmp_path, RecordingSettings(segment_bytes=8_000))
    for n in range(0, len(lines), 50):
        tape.commit(lines[n : n + 50])
    tape.close()
    (segments,) = list_segments(tmp_path).values()
    assert len(segments) > 2
    assert [line for commit in read_run(segments) for line in commit] == lines
    counts = tape.counts()
    assert counts["recv"] == sum(line.kind == "recv" for line in lines)
    assert tape.take_incidents() != []
    assert tape.take_incidents() == []
    assert tape.status()["BTC-USDT", "l2"]["state"] == "down"


def test_a_run_that_does_not_begin_with_its_start_keeps_nobody_from_recording(
    tmp_path: Path,
) -> None:
    tape = Recording.create(tmp_path, RecordingSettings())
    tape.append([RawLine("decision", T0, 0, fields={"what": "paused"})])
    tape.abandon()
    for _ in range(2):
        tape = Recording.create(tmp_path, RecordingSettings())
        tape.abandon()
    assert len(list_segments(tmp_path)) == 1, "it is not removed"


def test_checkpoints_of_no_use_are_told_when_held_parts_are_released(tmp_path: Path) -> None:
    tape = Recording.create(tmp_path, RecordingSettings())
    begin(tape)
    tape.hold_parts()
    tape._writer.hold()  # as where memory is not enough
    (state,) = tmp_path.glob("checkpoints/*/*.state.zst")
    state.write_bytes(b"rot")
    tape.take_incidents()
    assert tape.release_parts().lines == 0
    (told,) = tape.take_incidents()
    assert state.name in told
    tape.abandon()
