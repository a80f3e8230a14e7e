"""Parts held back and released at any moment: the same archive, and each command once."""

from __future__ import annotations

import errno
import random
from pathlib import Path

import pytest

from recorder import recording, run_writer
from recorder.pipeline.output import Command
from recorder.raw_line import RawLine
from recorder.recording import Recording, RecordingSettings
from recorder.storage.open_parts import RollRules
from tests.support.archive_content import assert_same_content, table_rows
from tests.support.market_log import RUN, Story, market_log, split_batches

RULES = RollRules(rows_min=1, roll_interval_s=0.2, rows_max=150, memory_max_bytes=150_000)


@pytest.fixture(autouse=True)
def _one_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recording, "new_run_id", lambda: RUN)


def _batches() -> list[list[RawLine]]:
    lines = market_log(Story(5, steps=70, chance=0.03, symbols=("BTC-USDT",)))
    return split_batches(lines, random.Random(1), 20)


def _open(archive: Path) -> Recording:
    return Recording.create(archive, RecordingSettings(segment_bytes=20_000, rules=RULES))


def _record_plainly(archive: Path) -> list[Command]:
    tape, commands = _open(archive), []
    for batch in _batches():
        commands += tape.commit(batch)
    assert tape.close()
    return commands


def _catch_up(tape: Recording, end: object) -> list[Command]:
    commands = []
    while True:
        lines, position = tape.read_on(end)
        if not lines:
            return commands
        commands += tape.decode(lines, position)


@pytest.mark.parametrize("refuses", [False, True], ids=["below the limit", "no room for a part"])
def test_rows_and_commands_are_those_of_a_disk_with_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refuses: bool
) -> None:
    expected = _record_plainly(tmp_path / "expected")
    write_part, full = run_writer.write_part, False

    def write(*values: object) -> object:
        if full and draw.random() < 0.5:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write_part(*values)

    monkeypatch.setattr(run_writer, "write_part", write)
    went_back = 0
    for seed in range(6):
        draw = random.Random(seed)
        archive = tmp_path / str(seed)
        tape, commands, end = _open(archive), [], None
        for batch in _batches():
            end = tape.append(batch)
            commands += tape.decode(batch, end)
            assert tape.open_bytes < RULES.memory_max_bytes + 100_000, "bounded all the same"
            if draw.random() < 0.06:
                full = True
                if not refuses:
                    tape.hold_parts()
            elif full and draw.random() < 0.1:
                full = False
                went_back += tape.release_parts().lines < end.lines
                commands += _catch_up(tape, end)
        full = False
        went_back += tape.release_parts().lines < end.lines
        commands += _catch_up(tape, end)
        assert commands == expected
        assert tape.close()
        assert_same_content(archive, tmp_path / "expected")
        known = {archive / part["path"] for part in table_rows(archive, "parts")}
        assert set(archive.glob("*/date=*/symbol=*/*")) == known, "nothing half-written stays"
    assert went_back >= 3, "memory was not enough now and then"
