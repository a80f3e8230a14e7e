"""A start after a crash goes on at a checkpoint, and makes the archive of an uninterrupted run."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest

from recorder import recording
from recorder.raw_line import RawLine
from recorder.recording import Recording, RecordingSettings
from recorder.recovery import Recovered
from recorder.storage import checkpoints, parquet_twin
from recorder.storage.archive_folder import ArchiveFolder
from recorder.storage.checkpoints import CheckpointRules
from recorder.storage.open_parts import RollRules
from recorder.storage.raw_log import is_repacked, list_segments, read_run
from recorder.verification import verify
from schemas.archive_layout import CHECKPOINTS
from tests.support import jobs_archive
from tests.support.archive_content import archive_rows, assert_same_content, table_rows
from tests.support.jobs_archive import (
    KEEP_TWO_DAYS,
    NEXT_RUN,
    NOW,
    days_log,
    record,
    run_compaction,
    run_removal,
    run_repack,
    run_retention,
    start_recording,
)
from tests.support.kill_points import Killed, KillPoints
from tests.support.market_log import MIDNIGHT, RUN, Story, market_log, split_batches

ALWAYS = CheckpointRules(lines=1, interval_s=0, spacing=0)
RULES = RollRules(rows_min=1, roll_interval_s=0.15, rows_max=150)
SETTINGS = RecordingSettings(segment_bytes=30_000, rules=RULES, checkpoints=ALWAYS)
LATER_RUN = "20261123T100000.000000Z-test-2"


@cache
def _batches() -> list[list[RawLine]]:
    """Return a short story over midnight, with losses, a reconnect and a late book."""
    start = MIDNIGHT - 400_000_000
    story = Story(3, steps=90, chance=0.006, symbols=("BTC-USDT",), start=start, stops=False)
    return split_batches(market_log(story), random.Random(1), 40)


def _record(
    archive: Path,
    batches: list[list[RawLine]],
    settings: RecordingSettings = SETTINGS,
    dies_at: int = 0,
) -> None:
    """Record until the end or the kill; nothing is closed, as after a crash."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(recording, "new_run_id", lambda: RUN)
        # Twins that are spared by the clock would make a step another one in the next run.
        patch.setattr(parquet_twin, "_SPACING", 0)
        tape = Recording.create(archive, settings)
        KillPoints(patch, dies_at)
        try:
            for batch in batches:
                tape.commit(batch)
        except Killed:
            pass
    tape.abandon()  # the kernel would close its files, and no more


def _start_again(archive: Path) -> list[Recovered]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(recording, "new_run_id", lambda: LATER_RUN)
        tape = Recording.create(archive, SETTINGS)
    tape.abandon()
    return tape.recovered


def _lines(archive: Path) -> list[RawLine]:
    segments = list_segments(archive).get(RUN, [])
    return [line for commit in read_run(segments) for line in commit]


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> Callable[[list[RawLine]], Path]:
    """Return the archive that an uninterrupted run makes of lines."""
    folder = tmp_path_factory.mktemp("expected")

    def make(lines: list[RawLine]) -> Path:
        archive = folder / str(len(lines))
        if not archive.exists():
            _record(archive, [lines], RecordingSettings())
            assert _start_again(archive)[0].checkpoint_lines == 0
        return archive

    return make


def _assert_tidy(archive: Path) -> None:
    """Nothing is left of the crash: no checkpoint, no draft, no part that nobody knows."""
    assert list(archive.glob(f"{CHECKPOINTS}/*")) == []
    assert list(archive.glob("**/*.unfinished")) == []
    known = {part["path"] for part in table_rows(archive, "parts")}
    assert {p.relative_to(archive).as_posix() for p in archive.glob("*/date=*/symbol=*/*")} == known


def _steps_of_checkpoints(folder: Path) -> dict[int, list[int]]:
    """Return the steps that reach the disk during each checkpoint, by its number."""
    marks: list[int] = []
    with pytest.MonkeyPatch.context() as patch:
        write, step = checkpoints.Checkpoints.write, KillPoints.step
        taken = [0]

        def stepping(self: KillPoints) -> None:
            taken[0] += 1
            step(self)

        def counting(self: checkpoints.Checkpoints, *values: object) -> None:
            marks.append(taken[0] + 1)
            write(self, *values)  # type: ignore[arg-type]
            marks.append(taken[0] + 1)

        patch.setattr(KillPoints, "step", stepping)
        patch.setattr(checkpoints.Checkpoints, "write", counting)
        _record(folder, _batches())
    pairs = zip(marks[::2], marks[1::2], strict=True)
    return {number: list(range(*pair)) for number, pair in enumerate(pairs, 1)}


@pytest.fixture(scope="module")
def steps(tmp_path_factory: pytest.TempPathFactory) -> list[int]:
    """The steps of three checkpoints: the first, one with new rows, one with all open rows."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(checkpoints, "_ROWS_SLACK", 0)
        counted = _steps_of_checkpoints(tmp_path_factory.mktemp("counted") / "archive")
    most = max(counted, key=lambda number: len(counted[number]))
    assert len(counted[1]) >= 5  # folders, and a state by its draft, its name and its folder
    assert len(counted[most]) >= 8  # rows and a state, and what they replace
    return [*counted[1], *counted[most], *counted[len(counted) // 2]]


@pytest.mark.parametrize("share", range(4))
def test_death_before_any_step_of_a_checkpoint_loses_nothing(
    tmp_path: Path, steps: list[int], expected: Callable[[list[RawLine]], Path], share: int
) -> None:
    for dies_at in steps[share::4]:
        archive = tmp_path / str(dies_at)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(checkpoints, "_ROWS_SLACK", 0)
            _record(archive, _batches(), dies_at=dies_at)
        durable = _lines(archive)
        assert len(durable) < sum(map(len, _batches()))
        (recovered,) = _start_again(archive)
        assert recovered.checkpoint_lines + recovered.lines == len(durable)
        assert recovered.checkpoint_lines > 0 or dies_at <= steps[0] + 5
        assert_same_content(archive, expected(durable))
        _assert_tidy(archive)


@pytest.mark.parametrize("every", [1, 121])
def test_a_crash_behind_each_commit_goes_on_at_the_last_checkpoint(
    tmp_path: Path, expected: Callable[[list[RawLine]], Path], every: int
) -> None:
    """Also where parts were published behind it: what they hold, and no more, is passed over."""
    rules = CheckpointRules(lines=every, interval_s=3600 if every > 1 else 0, spacing=0)
    settings = RecordingSettings(30_000, RollRules(rows_min=1, roll_interval_s=0.02), rules)
    batches = _batches()
    for count in range(every % 2, len(batches) + 1, 4):
        archive = tmp_path / str(count)
        _record(archive, batches[:count], settings)
        lines = [line for batch in batches[:count] for line in batch]
        (recovered,) = _start_again(archive)
        assert recovered.checkpoint_lines + recovered.lines == len(lines)
        assert recovered.lines < every + 40
        assert_same_content(archive, expected(lines))
        _assert_tidy(archive)


def test_killed_while_it_goes_on_it_goes_on_again(
    tmp_path: Path, expected: Callable[[list[RawLine]], Path]
) -> None:
    rare = RecordingSettings(30_000, RULES, CheckpointRules(lines=150, interval_s=3600))
    archive = tmp_path / "archive"
    _record(archive, _batches(), rare)
    for dies_at in (2, 5, 9, 14):
        with pytest.MonkeyPatch.context() as patch:
            KillPoints(patch, dies_at)
            with pytest.raises(Killed):
                _start_again(archive)
    (recovered,) = _start_again(archive)
    assert recovered.checkpoint_lines > 0
    assert recovered.lines > 0
    assert_same_content(archive, expected(_lines(archive)))
    _assert_tidy(archive)


def _states(archive: Path) -> list[Path]:
    return sorted(archive.glob(f"{CHECKPOINTS}/{RUN}/*.state.zst"))


def _spoil(path: Path) -> None:
    spoilt = bytearray(path.read_bytes())
    spoilt[len(spoilt) // 2] ^= 4
    path.write_bytes(spoilt)


def _cut_short(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


@pytest.mark.parametrize("harm", [_spoil, _cut_short, Path.unlink])
@pytest.mark.parametrize("kind", ["state", "rows"])
def test_of_a_damaged_checkpoint_the_one_before_is_taken(
    tmp_path: Path,
    expected: Callable[[list[RawLine]], Path],
    harm: Callable[[Path], None],
    kind: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    archive = tmp_path / "archive"
    rules = RollRules(rows_min=10**6, roll_interval_s=0.15)
    _record(archive, _batches()[:-3], RecordingSettings(30_000, rules, ALWAYS))
    assert len(_states(archive)) == 2
    harm(sorted(archive.glob(f"{CHECKPOINTS}/{RUN}/*.{kind}.zst"))[-1])
    durable = _lines(archive)
    (recovered,) = _start_again(archive)
    assert 0 < recovered.checkpoint_lines < len(durable)
    assert recovered.lines == len(durable) - recovered.checkpoint_lines
    assert_same_content(archive, expected(durable))
    if kind == "rows" or harm is not Path.unlink:
        assert "a checkpoint is of no use" in capsys.readouterr().out


def test_without_a_sound_checkpoint_it_begins_at_the_first_line(
    tmp_path: Path, expected: Callable[[list[RawLine]], Path]
) -> None:
    archive = tmp_path / "archive"
    _record(archive, _batches())
    for path in _states(archive):
        _spoil(path)
    durable = _lines(archive)
    (recovered,) = _start_again(archive)
    assert (recovered.checkpoint_lines, recovered.lines) == (0, len(durable))
    assert_same_content(archive, expected(durable))
    _assert_tidy(archive)


def test_a_checkpoint_of_another_version_is_not_taken_up(
    tmp_path: Path, expected: Callable[[list[RawLine]], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    archive = tmp_path / "archive"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(checkpoints, "state_version", lambda: "0" * 16)
        _record(archive, _batches())
    (recovered,) = _start_again(archive)
    assert recovered.checkpoint_lines == 0
    assert_same_content(archive, expected(_lines(archive)))
    assert "another version of the recorder wrote it" in capsys.readouterr().out


def test_a_catalog_from_before_a_checkpoint_is_caught_up_from_the_first_line(
    tmp_path: Path, expected: Callable[[list[RawLine]], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    archive = tmp_path / "archive"
    _record(archive, _batches())
    _record(tmp_path / "shorter", _batches()[:-4])
    (archive / "catalog.db").write_bytes((tmp_path / "shorter" / "catalog.db").read_bytes())
    (recovered,) = _start_again(archive)
    assert recovered.checkpoint_lines == 0
    assert_same_content(archive, expected(_lines(archive)))
    assert "the catalog is older than it is" in capsys.readouterr().out


def test_what_lies_before_the_oldest_checkpoint_may_be_trimmed(
    tmp_path: Path, expected: Callable[[list[RawLine]], Path]
) -> None:
    archive = tmp_path / "archive"
    _record(archive, _batches())
    durable = _lines(archive)
    segments = list_segments(archive)[RUN]
    needed = checkpoints.first_needed_segment(archive, RUN, default=0)
    assert 1 < needed <= len(segments)
    for segment in segments:
        if segment.number < needed:
            segment.path.unlink()
    (recovered,) = _start_again(archive)
    assert recovered.checkpoint_lines + recovered.lines == len(durable)
    assert recovered.damage == ""
    assert_same_content(archive, expected(durable))
    _assert_tidy(archive)


def test_trimmed_and_without_a_checkpoint_a_run_ends_at_what_is_published(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    archive = tmp_path / "archive"
    _record(archive, _batches())
    before = archive_rows(archive)
    list_segments(archive)[RUN][0].path.unlink()
    for path in _states(archive):
        path.unlink()
    (recovered,) = _start_again(archive)
    assert "no checkpoint can take its place: what no part holds is lost" in recovered.damage
    assert "not all there" in capsys.readouterr().out
    after = archive_rows(archive)
    assert sorted(after) == sorted(before)
    assert all(after[key].equals(table) for key, table in before.items())
    (run,) = table_rows(archive, "runs")
    assert run["stop_reason"] == "crashed"
    assert _start_again(archive) == []  # and that was that


def test_every_job_beside_a_run_that_crashes_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Retention trims its raw log before its oldest checkpoint; places in the rest stay good."""
    rules = replace(jobs_archive.SETTINGS, checkpoints=CheckpointRules(120, 3600, 0))
    monkeypatch.setattr(jobs_archive, "SETTINGS", rules)
    lines = days_log(Story(8, steps=80, chance=0.02, stops=False))
    archive = tmp_path / "archive"
    tape = start_recording(archive)
    fourth = next(n for n, line in enumerate(lines) if line.ts_recv > NOW - 36 * 3600 * 10**9)
    for at in range(0, fourth, 30):
        tape.commit(lines[at : min(at + 30, fourth)])
    needed = checkpoints.first_needed_segment(archive, RUN, default=0)
    every_segment = [segment.number for segment in list_segments(archive)[RUN]]
    assert 1 < needed < every_segment[-1]
    assert run_compaction(tape.archive, NOW) > 0
    kept = dict.fromkeys(KEEP_TWO_DAYS.days, 3)
    planned = run_retention(tape.archive, replace(KEEP_TWO_DAYS, days=kept, raw_days=1))
    left = [segment.number for segment in list_segments(archive)[RUN]]
    assert left[0] <= needed
    assert len(left) < len(every_segment)
    assert {row["dataset"] for row in planned.removals} > {"raw"}
    run_removal(tape.archive)
    run_repack(tape.archive)
    repacked = {s.number for s in list_segments(archive)[RUN] if is_repacked(s.path)}
    assert repacked == set(left[: left.index(needed)])
    for at in range(fourth, len(lines), 30):
        tape.commit(lines[at : at + 30])
    tape.abandon()
    tape = start_recording(archive, NEXT_RUN)
    tape.abandon()
    (recovered,) = tape.recovered
    assert recovered.checkpoint_lines + recovered.lines == len(lines)
    assert recovered.damage == ""
    # The same without a crash: recorded whole, then the jobs.
    expected = tmp_path / "expected"
    record(expected, lines, ends=False)
    start_recording(expected, NEXT_RUN).abandon()
    with ArchiveFolder(expected) as folder:
        run_retention(folder, replace(KEEP_TWO_DAYS, days=kept))
        run_removal(folder)
    rows, wanted = archive_rows(archive), archive_rows(expected)
    assert rows.keys() == wanted.keys()
    assert all(rows[key].equals(table) for key, table in wanted.items())
    assert verify(archive, with_books=False).problems == []


def test_a_run_that_ends_leaves_no_checkpoint(tmp_path: Path) -> None:
    archive = tmp_path / "archive"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(recording, "new_run_id", lambda: RUN)
        tape = Recording.create(archive, SETTINGS)
    for batch in _batches()[:10]:
        tape.commit(batch)
    assert _states(archive)
    tape.close()
    _assert_tidy(archive)


def test_what_is_left_of_a_run_that_ended_is_removed(tmp_path: Path) -> None:
    """As when the process died between the last transaction and the removal."""
    archive = tmp_path / "archive"
    with ArchiveFolder(archive):
        pass
    stale = archive / CHECKPOINTS / "20250101T000000.000000Z-gone-1"
    stale.mkdir(parents=True)
    (stale / "000001-000001.state.zst").write_bytes(b"")
    (stale / "000002.rows.zst.unfinished").write_bytes(b"")
    assert _start_again(archive) == []
    _assert_tidy(archive)
