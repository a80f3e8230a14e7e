"""When one is due, what a chain of files holds, and what is passed over."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recorder.pipeline.output import FullBook, Rows
from recorder.pipeline.state import StateRefused
from recorder.storage import checkpoints
from recorder.storage.archive_folder import ArchiveFolder
from recorder.storage.checkpoints import (
    CheckpointRules,
    Checkpoints,
    Loaded,
    OpenRows,
    first_needed_segment,
    keep_checkpoints,
    load_checkpoint,
)
from recorder.storage.disk_usage import archive_bytes
from recorder.storage.raw_log import RawPosition, RawSegment
from schemas.archive_layout import CHECKPOINTS

RUN = "20261122T100000.000000Z-test-1"
KEY = ("l2_updates", "A-B", "l2")
OTHER = ("trades", "A-B", "trades")


def batch(
    first: int, count: int, key: tuple[str, str, str] = KEY, *, is_book: bool = False
) -> Rows:
    """Return rows whose only column is their own number."""
    numbers = np.arange(first, first + count, dtype=np.int64)
    book = FullBook("rest", first, first, first) if is_book else None
    return Rows(*key, {"sequence": numbers, "word": [str(n) for n in numbers]}, numbers, book)


def numbers(batches: list[Rows]) -> list[int]:
    """Return the numbers in batches, as column and as text."""
    found = [n for rows in batches for n in rows.columns["sequence"].tolist()]
    assert [w for rows in batches for w in rows.columns["word"]] == [str(n) for n in found]
    return found


class Clock:
    """Seconds that pass when they are told to."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.now = 100.0
        patch.setattr(checkpoints, "monotonic_s", lambda: self.now)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


@pytest.fixture
def raw_log(tmp_path: Path) -> list[RawSegment]:
    """Five segments of a kilobyte."""
    paths = [tmp_path / f"{number}.zst" for number in range(1, 6)]
    for path in paths:
        path.write_bytes(bytes(1000))
    return [RawSegment(path, RUN, number) for number, path in enumerate(paths, 1)]


class Catalog:
    """What the catalog knows of the run."""

    def __init__(self, lines: int = 0, **published: int) -> None:
        self.lines = lines
        names = {"updates": KEY, "trades": OTHER}
        self._published = {names[name]: count for name, count in published.items()}

    def checkpoint(self, run_id: str) -> dict[str, Any] | None:
        return {"lines": self.lines} if run_id == RUN else None

    def published_rows(self, run_id: str) -> dict[tuple[str, str, str], int]:
        assert run_id == RUN
        return self._published


def write(
    writer: Checkpoints,
    lines: int,
    *open_rows: OpenRows,
    made: dict[tuple[str, str, str], int] | None = None,
    segment: int = 1,
    published_lines: int = 0,
) -> None:
    """Write one whose state is its number of lines."""
    made = made or {rows.key: rows.first + len(rows) for rows in open_rows}
    position = RawPosition(segment, 10 * segment, lines)
    writer.write(position, ("state", lines), made, published_lines, open_rows)


def load(
    archive: Path, catalog: Catalog, raw_log: list[RawSegment]
) -> tuple[Loaded | None, list[str]]:
    """Return what is taken up and why others are not."""
    refused: list[str] = []
    loaded = load_checkpoint(archive, catalog, RUN, raw_log, refused.append)  # type: ignore[arg-type]
    return loaded, refused


def names(archive: Path) -> list[str]:
    """Return the files there are."""
    return sorted(path.name for path in (archive / CHECKPOINTS / RUN).glob("*"))


def test_one_is_due_by_lines_or_by_time_and_costs_a_twentieth(tmp_path: Path, clock: Clock) -> None:
    writer = Checkpoints(tmp_path, RUN, CheckpointRules(lines=100, interval_s=10, spacing=20))
    assert not writer.is_due(99)
    assert writer.is_due(100)
    clock.now += 10
    assert writer.is_due(1)
    assert not writer.is_due(0)
    write(writer, 50)
    assert not writer.is_due(149)
    assert writer.is_due(150)
    assert (writer.lines, writer.written, writer.failures) == (50, 1, 0)
    writer.seconds = 3.0
    assert not writer.is_due(10_000)
    clock.now += 60
    assert writer.is_due(10_000)


def test_a_disk_that_refuses_is_asked_again_when_the_next_is_due(
    tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = Checkpoints(tmp_path, RUN, CheckpointRules(lines=100, interval_s=10, spacing=20))
    write(writer, 10)
    before = names(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(checkpoints, "publish_file", _full)
        with pytest.raises(OSError, match="No space"):
            write(writer, 20, OpenRows(KEY, 0, [batch(0, 5)]))
    assert names(tmp_path) == before
    assert (writer.lines, writer.written, writer.failures) == (10, 1, 1)
    assert not writer.is_due(119)
    assert writer.is_due(120)
    write(writer, 120, OpenRows(KEY, 0, [batch(0, 5)]))
    assert "000003.rows.zst" in names(tmp_path)  # what the refused one should have held


def _full(path: Path) -> None:
    raise OSError(28, "No space left on device", str(path))


def test_each_holds_its_new_rows_alone_until_all_are_written_anew(
    tmp_path: Path, raw_log: list[RawSegment], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoints, "_ROWS_SLACK", 0)
    writer = Checkpoints(tmp_path, RUN)
    write(writer, 1, OpenRows(KEY, 0, [batch(0, 4)]))
    write(writer, 2, OpenRows(KEY, 0, [batch(0, 4), batch(4, 4)]))
    write(writer, 3, OpenRows(KEY, 0, [batch(0, 4), batch(4, 4)]))  # nothing new
    assert names(tmp_path) == [
        "000001.rows.zst",
        "000002-000001.state.zst",
        "000002.rows.zst",
        "000003-000001.state.zst",
    ]
    loaded, refused = load(tmp_path, Catalog(), raw_log)
    assert loaded is not None
    assert refused == []
    assert (loaded.state, loaded.position, loaded.made) == (
        ("state", 3),
        RawPosition(1, 10, 3),
        {KEY: 8},
    )
    assert numbers(loaded.open_rows) == list(range(8))
    # Most were published: what the files hold is more than twice of what is open.
    write(writer, 4, OpenRows(KEY, 7, [batch(7, 2)]), published_lines=3)
    assert "000004.rows.zst" in names(tmp_path)
    write(writer, 5, OpenRows(KEY, 7, [batch(7, 2)]), published_lines=3)
    assert names(tmp_path) == [
        "000004-000001.state.zst",
        "000004.rows.zst",
        "000005-000001.state.zst",
    ]
    loaded, _ = load(tmp_path, Catalog(3, updates=7), raw_log)
    assert loaded is not None
    assert numbers(loaded.open_rows) == [7, 8]


@pytest.mark.parametrize("published", range(9))
def test_rows_that_parts_hold_by_now_are_left_out(
    tmp_path: Path, raw_log: list[RawSegment], published: int
) -> None:
    writer = Checkpoints(tmp_path, RUN)
    write(writer, 1, OpenRows(KEY, 0, [batch(0, 3)]))
    write(writer, 2, OpenRows(KEY, 0, [batch(0, 3), batch(3, 2), batch(5, 1)]))
    loaded, _ = load(tmp_path, Catalog(updates=published), raw_log)
    assert loaded is not None
    assert numbers(loaded.open_rows) == list(range(published, 6))


def test_a_full_book_stays_by_itself(tmp_path: Path, raw_log: list[RawSegment]) -> None:
    writer = Checkpoints(tmp_path, RUN)
    batches = [batch(0, 1), batch(1, 1), batch(2, 5, is_book=True), batch(7, 3, is_book=True)]
    write(writer, 1, OpenRows(KEY, 0, [*batches, batch(10, 1), batch(11, 1)]))
    loaded, _ = load(tmp_path, Catalog(), raw_log)
    assert loaded is not None
    assert [len(rows) for rows in loaded.open_rows] == [2, 5, 3, 2]
    assert [rows.full_book for rows in loaded.open_rows] == [
        None,
        FullBook("rest", 2, 2, 2),
        FullBook("rest", 7, 7, 7),
        None,
    ]


def test_rows_that_are_nowhere_are_missed(tmp_path: Path, raw_log: list[RawSegment]) -> None:
    """A catalog that has lost parts since: what they held is not in any file."""
    writer = Checkpoints(tmp_path, RUN)
    write(writer, 1, OpenRows(KEY, 4, [batch(4, 2)]), made={KEY: 6, OTHER: 3})
    for catalog, problem in (
        (Catalog(updates=3, trades=3), "rows 3 to 4 of l2_updates/A-B/l2 are gone"),
        (Catalog(updates=6, trades=2), "rows 2 to 3 of trades/A-B/trades are gone"),
    ):
        loaded, refused = load(tmp_path, catalog, raw_log)
        assert loaded is None
        assert problem in refused[0]
    assert load(tmp_path, Catalog(updates=4, trades=3), raw_log)[0] is not None


def test_what_does_not_fit_is_passed_over_with_its_reason(
    tmp_path: Path, raw_log: list[RawSegment], monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = Checkpoints(tmp_path, RUN)
    write(writer, 1, published_lines=1)
    write(writer, 2, segment=3, published_lines=2)
    loaded, refused = load(tmp_path, Catalog(1), raw_log)
    assert loaded is not None
    assert loaded.position.lines == 1
    assert refused[0].endswith("000002-000003.state.zst: the catalog is older than it is")
    found, refused = load(tmp_path, Catalog(2), raw_log[:2])
    assert found is not None
    assert found.position.lines == 1
    assert refused[0].endswith("segment 3 of the raw log is gone")
    raw_log[2].path.write_bytes(bytes(29))
    _, refused = load(tmp_path, Catalog(2), raw_log)
    assert refused[0].endswith("its place in segment 3 of the raw log is gone")
    monkeypatch.setattr(checkpoints, "state_version", lambda: "another")
    loaded, refused = load(tmp_path, Catalog(2), raw_log)
    assert loaded is None
    assert [why.rpartition(": ")[2] for why in refused] == [
        "another version of the recorder wrote it"
    ] * 2


@pytest.mark.parametrize("harm", ["a bit", "its end", "all of it", "another file's content"])
@pytest.mark.parametrize("name", ["000002-000001.state.zst", "000002.rows.zst"])
def test_a_damaged_file_is_noticed_wherever_it_is_damaged(
    tmp_path: Path, raw_log: list[RawSegment], name: str, harm: str
) -> None:
    writer = Checkpoints(tmp_path, RUN)
    write(writer, 1)
    write(writer, 2, OpenRows(KEY, 0, [batch(0, 50)]))
    path = tmp_path / CHECKPOINTS / RUN / name
    content = path.read_bytes()
    for at in range(4, len(content), max(1, len(content) // 12)):
        spoilt = {
            "a bit": content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :],
            "its end": content[: min(at, len(content) - 5)],
            "all of it": b"",
            "another file's content": (path.parent / "000001-000001.state.zst").read_bytes(),
        }[harm]
        path.write_bytes(spoilt)
        loaded, refused = load(tmp_path, Catalog(), raw_log)
        if loaded is not None and harm == "another file's content" and "state" in name:
            assert loaded.position.lines == 1
        else:
            assert len(refused) == 1, at
            assert loaded is not None
            assert loaded.position.lines == 1


def test_a_segment_before_the_oldest_kept_one_is_not_needed(tmp_path: Path) -> None:
    assert first_needed_segment(tmp_path, RUN, default=1) == 1
    writer = Checkpoints(tmp_path, RUN)
    for lines, segment in ((1, 1), (2, 2), (3, 4)):
        write(writer, lines, segment=segment)
    assert first_needed_segment(tmp_path, RUN, default=1) == 2
    writer.remove()
    assert first_needed_segment(tmp_path, RUN, default=7) == 7


def test_a_writer_that_goes_on_keeps_the_one_before(
    tmp_path: Path, raw_log: list[RawSegment]
) -> None:
    write(Checkpoints(tmp_path, RUN), 1, OpenRows(KEY, 0, [batch(0, 3)]))
    write(Checkpoints(tmp_path, RUN), 2, OpenRows(KEY, 0, [batch(0, 4)]))
    (tmp_path / CHECKPOINTS / RUN / "000002-000001.state.zst").unlink()
    loaded, refused = load(tmp_path, Catalog(), raw_log)
    assert refused == []
    assert loaded is not None
    assert numbers(loaded.open_rows) == [0, 1, 2]


def test_the_checkpoints_of_other_runs_are_removed(tmp_path: Path) -> None:
    for run_id in (RUN, "another"):
        write(Checkpoints(tmp_path, run_id), 1)
    keep_checkpoints(tmp_path, {RUN})
    assert [path.name for path in (tmp_path / CHECKPOINTS).iterdir()] == [RUN]
    keep_checkpoints(tmp_path, ())
    assert list((tmp_path / CHECKPOINTS).iterdir()) == []


def test_they_count_as_room_that_the_archive_takes(tmp_path: Path) -> None:
    with ArchiveFolder(tmp_path):
        before = archive_bytes(tmp_path)
        write(Checkpoints(tmp_path, RUN), 1, OpenRows(KEY, 0, [batch(0, 3)]))
        sizes = [path.stat().st_size for path in (tmp_path / CHECKPOINTS / RUN).iterdir()]
        assert archive_bytes(tmp_path) == before + sum(sizes)


def test_a_state_of_what_no_state_holds_is_passed_over(
    tmp_path: Path, raw_log: list[RawSegment]
) -> None:
    writer = Checkpoints(tmp_path, RUN)
    writer.write(RawPosition(1, 1, 1), (Path("x"),), {}, 0, [])
    loaded, refused = load(tmp_path, Catalog(), raw_log)
    assert loaded is None
    assert "a state holds no pathlib" in refused[0]
    assert issubclass(StateRefused, ValueError)
