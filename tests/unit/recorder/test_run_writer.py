"""A writer that resumes, and one that is held: what is kept, what is made again, what is not."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from recorder import run_writer
from recorder.meters import Meters
from recorder.pipeline.output import Command
from recorder.raw_line import RawLine
from recorder.run_writer import RunWriter
from recorder.storage.archive_folder import ArchiveFolder
from recorder.storage.checkpoints import CheckpointRules, Checkpoints, load_checkpoint
from recorder.storage.open_parts import RollRules
from recorder.storage.part_writer import Part, PartRows
from recorder.storage.raw_log import RawLogWriter, RawPosition, list_segments, read_from
from schemas.archive_layout import CHECKPOINTS
from tests.support.archive_content import assert_same_content, table_rows
from tests.support.market_log import RUN, T0, Story, l2_frame, market_log, split_batches

NEVER = CheckpointRules(lines=10**9, interval_s=10**9)


class Tape:
    """A raw log and a writer behind it, in one thread."""

    def __init__(self, archive: Path, rules: RollRules | None = None) -> None:
        self.folder = ArchiveFolder(archive)
        self.rules = rules or RollRules()
        self.raw_log = RawLogWriter(archive, RUN, 10_000)
        self.checkpoints = Checkpoints(archive, RUN, NEVER)
        self.writer = RunWriter(
            archive, self.folder.catalog, self.rules, checkpoints=self.checkpoints
        )

    def commit(self, lines: list[RawLine]) -> list[Command]:
        """Record lines; return what the shell is told to do."""
        self.raw_log.append(lines)
        self.writer.raw_position = (self.raw_log.path, self.raw_log.bytes)
        return self.writer.process(lines, self.raw_log.position)

    def resume(self, *, may_refuse: bool = False) -> RawPosition:
        """Go on with another writer at the last checkpoint, and take in what came behind it."""
        archive, catalog = self.folder.path, self.folder.catalog
        segments = list_segments(archive)[RUN]
        refused: list[str] = []
        loaded = load_checkpoint(archive, catalog, RUN, segments, refused.append)
        assert may_refuse == bool(refused)
        assert loaded is not None
        self.writer = RunWriter.resume(
            archive, catalog, self.rules, loaded, checkpoints=self.checkpoints
        )
        for commit in read_from(segments, loaded.position):
            self.writer.process(commit, self.raw_log.position)
        return loaded.position

    def close(self) -> None:
        """End the run and give the archive free."""
        self.writer.finish("crashed")
        self.raw_log.close()
        self.folder.close()


@pytest.fixture
def tape(tmp_path: Path) -> Iterator[Tape]:
    made = Tape(tmp_path / "archive")
    yield made
    made.raw_log.close()
    made.folder.close()


def _batches(seed: int = 5) -> list[list[RawLine]]:
    log = market_log(Story(seed, steps=60, chance=0.01, stops=False))
    return split_batches(log, random.Random(seed), 60)


def test_what_was_published_behind_the_checkpoint_is_passed_over_to_the_row(tape: Tape) -> None:
    """One row that no part holds, one that a part holds, and one behind both."""

    def frame(sequence: int) -> RawLine:
        data = l2_frame("A-B", sequence, sequence, bids=[("1", str(sequence), sequence)])
        return RawLine("recv", T0 + sequence, 0, 1, data)

    start = {"run_id": RUN, "profile": "kucoin-2019"}
    url = "http://127.0.0.1/api/v2/market/orderbook/level2?symbol=A-B"
    body = b'{"code":"200000","data":{"sequence":"1","bids":[],"asks":[]}}'
    tape.commit([RawLine("run_start", T0, 0, fields=start), RawLine("open", T0, 0, 1)])
    asked = {"url": url, "symbol": "A-B", "stream": "l2", "request_id": 1}
    tape.commit([frame(2), RawLine("rest_answer", T0 + 2, 0, data=body, fields=asked)])
    assert tape.writer.checkpoint()
    tape.commit([frame(3)])
    tape.writer.roll(T0, force=True)
    tape.commit([frame(4)])
    tape.resume()
    tape.close()
    parts = [part for part in table_rows(tape.folder.path, "parts") if part["rows"]]
    updates = sorted(
        (part["sequence_first"], part["sequence_last"], part["rows"])
        for part in parts
        if part["dataset"] == "l2_updates"
    )
    assert updates == [(2, 3, 2), (4, 4, 1)]


@pytest.mark.parametrize("seed", range(3))
def test_a_writer_that_resumes_goes_on_as_it_was(tmp_path: Path, tape: Tape, seed: int) -> None:
    batches = _batches(seed)
    half = len(batches) // 2
    told: list[Command] = []
    for batch in batches[:half]:
        told += tape.commit(batch)
    assert tape.writer.checkpoint()
    counts = dict(tape.writer.pipeline.counts)
    place = tape.resume()
    assert place == tape.raw_log.position
    assert tape.writer.lines == place.lines
    assert dict(tape.writer.pipeline.counts) == counts
    for batch in batches[half:]:
        told += tape.commit(batch)
    tape.close()
    other = Tape(tmp_path / "whole")
    expected = [command for batch in batches for command in other.commit(batch)]
    other.close()
    assert told == expected
    assert_same_content(tape.folder.path, other.folder.path)


def test_rows_that_were_let_go_are_made_again(tmp_path: Path, tape: Tape) -> None:
    batches = _batches()
    third = len(batches) // 3
    for batch in batches[:third]:
        tape.commit(batch)
    tape.writer.roll(T0, force=True)
    for batch in batches[third : 2 * third]:
        tape.commit(batch)
    tape.writer.hold()
    written = tape.checkpoints.written
    assert written == 1
    assert tape.writer.open_bytes == 0
    parts = len(table_rows(tape.folder.path, "parts"))
    told = [command for batch in batches[2 * third :] for command in tape.commit(batch)]
    # Nothing is kept, published or put away; the shell is told what to do as before.
    assert tape.writer.open_bytes == 0
    assert tape.writer.roll(T0, force=True) == 0
    assert not tape.writer.checkpoint()
    assert tape.checkpoints.written == written
    assert len(table_rows(tape.folder.path, "parts")) == parts
    other = Tape(tmp_path / "told")
    every = [other.commit(batch) for batch in batches]
    other.close()
    assert told == [command for commands in every[2 * third :] for command in commands]
    tape.resume()
    tape.close()
    assert_same_content(tape.folder.path, tmp_path / "told")


def test_without_a_place_in_the_raw_log_there_is_no_checkpoint(tape: Tape) -> None:
    lines = _batches()[0]
    assert not tape.writer.checkpoint()
    tape.writer.process(lines)
    assert not tape.writer.checkpoint()
    assert not (tape.folder.path / CHECKPOINTS).exists()


def test_a_disk_that_refuses_a_checkpoint_stops_nothing(
    tape: Tape, monkeypatch: pytest.MonkeyPatch
) -> None:
    batches = _batches()
    tape.commit(batches[0])
    with monkeypatch.context() as patch:
        patch.setattr("recorder.storage.checkpoints.publish_file", _full)
        assert not tape.writer.checkpoint()
    assert tape.writer.incidents == ["no checkpoint: [Errno 28] No space left on device"]
    assert tape.checkpoints.failures == 1
    tape.commit(batches[1])
    assert tape.writer.checkpoint()


def _full(_: Path) -> None:
    raise OSError(28, "No space left on device")


def test_checkpoints_are_counted(tape: Tape, monkeypatch: pytest.MonkeyPatch) -> None:
    meters = tape.writer.meters = Meters()
    for number, batch in enumerate(_batches()[:3]):
        tape.commit(batch)
        with monkeypatch.context() as patch:
            if number == 1:
                patch.setattr("recorder.storage.checkpoints.publish_file", _full)
            assert tape.writer.checkpoint() == (number != 1)
    assert meters.checkpoint_s.cumulative[-1] == ("+Inf", 3)
    assert meters.checkpoint_s.sum_s > 0
    assert meters.checkpoints_refused == 1


def test_one_that_resumed_holds_all_open_rows_whatever_became_of_older_files(
    tmp_path: Path, tape: Tape
) -> None:
    batches = _batches()
    half = len(batches) // 2
    for at, batch in enumerate(batches[:half]):
        tape.commit(batch)
        if at >= half - 2:
            assert tape.writer.checkpoint()
    folder = tape.folder.path / CHECKPOINTS / RUN
    newest = sorted(folder.glob("*.rows.zst"))[-1]
    newest.unlink()
    tape.resume(may_refuse=True)
    assert tape.writer.checkpoint()
    for path in sorted(folder.iterdir())[:-2]:
        path.unlink()
    tape.resume()
    for batch in batches[half:]:
        tape.commit(batch)
    tape.close()
    other = Tape(tmp_path / "whole")
    for batch in batches:
        other.commit(batch)
    other.close()
    assert_same_content(tape.folder.path, other.folder.path)


def test_a_run_that_ended_has_no_checkpoint(tape: Tape) -> None:
    for batch in _batches()[:3]:
        tape.commit(batch)
    assert tape.writer.checkpoint()
    tape.writer.finish("crashed")
    assert list((tape.folder.path / CHECKPOINTS).iterdir()) == []
    assert not tape.writer.checkpoint()


def test_many_parts_are_written_at_once_and_none_is_left_when_one_has_no_room(
    tmp_path: Path, tape: Tape, monkeypatch: pytest.MonkeyPatch
) -> None:
    batches = _batches()
    for batch in batches:
        tape.commit(batch)
    monkeypatch.setattr(run_writer, "_UNITS_AT_ONCE", 2)
    threads: set[str] = set()
    write = run_writer.write_part

    def one_is_full(archive: Path, run_id: str, rows: PartRows, ts: int) -> Part:
        threads.add(threading.current_thread().name.partition("_")[0])
        if rows.batches[0].dataset == "trades":
            _full(archive)
        return write(archive, run_id, rows, ts)

    with monkeypatch.context() as patch:
        patch.setattr(run_writer, "write_part", one_is_full)
        with pytest.raises(OSError, match="No space"):
            tape.writer.roll(T0, force=True)
    assert threads == {"parts"}
    assert list(tape.folder.path.glob("*/date=*/symbol=*/*")) == []
    tape.close()
    other = Tape(tmp_path / "whole")
    for batch in batches:
        other.commit(batch)
    monkeypatch.undo()
    other.close()
    assert_same_content(tape.folder.path, other.folder.path)
