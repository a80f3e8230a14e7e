"""A capture is imported whole, once, or not at all; each refusal names the thing and the remedy."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from recorder.errors import (
    AlreadyImported,
    ArchiveLocked,
    ArchiveUnwritable,
    CaptureError,
    CatalogDamaged,
)
from recorder.importing import import_capture
from recorder.recovery import recover
from recorder.storage.archive_folder import ArchiveFolder
from recorder.storage.open_parts import RollRules
from recorder.storage.raw_log import list_segments
from recorder.verification import verify
from schemas.kucoin.profiles import profile_named
from tests.support.archive_content import archive_rows, assert_same_content, table_rows
from tests.support.captures import capture_lines

KUCOIN = profile_named("kucoin-2019")

T0_S = 1_700_000_000  # s


@pytest.fixture
def capture(tmp_path: Path) -> Path:
    """A small whole capture."""
    path = tmp_path / "capture.jsonl"
    path.write_text("\n".join(capture_lines(30)) + "\n")
    return path


def test_a_capture_that_begins_with_the_book_is_covered_from_it(
    capture: Path, tmp_path: Path
) -> None:
    imported = import_capture(capture, tmp_path / "archive", KUCOIN)
    assert imported.lines == 30
    rows = archive_rows(tmp_path / "archive")["l2_updates", "A-B", "l2", imported.run_id]
    assert rows["sequence"].to_pylist() == list(range(101, 130))
    (interval,) = table_rows(tmp_path / "archive", "coverage")
    assert interval["ts_from"] == 1_700_000_000_500_000_000
    assert interval["ts_to"] == 1_700_000_029_000_001_000
    assert (interval["sequence_first"], interval["sequence_last"]) == (100, 129)
    (run,) = table_rows(tmp_path / "archive", "runs")
    assert (run["stop_reason"], run["profile"]) == ("source", "kucoin-2019")
    assert run["run_id"] == f"1700000000500000000-{run['source_sha256'][:8]}"


def test_the_same_file_again_is_refused(capture: Path, tmp_path: Path) -> None:
    first = import_capture(capture, tmp_path / "archive", KUCOIN)
    copy = tmp_path / "renamed.jsonl"
    copy.write_bytes(capture.read_bytes())
    with pytest.raises(AlreadyImported) as raised:
        import_capture(copy, tmp_path / "archive", KUCOIN)
    assert raised.value.run_id == first.run_id


def _refused(capture: Path, tmp_path: Path) -> CaptureError:
    with pytest.raises(CaptureError) as raised:
        import_capture(capture, tmp_path / "archive", KUCOIN)
    assert not (tmp_path / "archive").exists()
    assert raised.value.remedy
    assert raised.value.path == str(capture)
    return raised.value


def test_a_truncated_capture_names_its_last_line(capture: Path, tmp_path: Path) -> None:
    capture.write_bytes(capture.read_bytes()[:-20])
    error = _refused(capture, tmp_path)
    assert error.line == 30
    assert "ends in the middle" in str(error)


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("no json", "is not a capture line"),
        ('{"kind":"frame","data":"{}"}', "ts_recv"),
        ('{"kind":"quote","ts_recv":"1","data":"{}"}', "quote"),
        ('{"kind":"rest","ts_recv":"1","data":"{}"}', "url"),
        ('{"kind":"frame","ts_recv":"noon","data":"{}"}', "noon"),
        ('{"kind":"frame","ts_recv":"1.0000000001","data":"{}"}', "finer than a nanosecond"),
        ('{"kind":"frame","ts_recv":"99999999999999","data":"{}"}', "2262"),
        ('{"kind":"frame","ts_recv":"1","data":7}', "is not a capture line"),
        ("[]", "is not a capture line"),
    ],
)
def test_a_line_that_is_none_is_named(
    capture: Path, tmp_path: Path, line: str, problem: str
) -> None:
    lines = capture_lines(5)
    capture.write_text("\n".join([*lines[:2], line, *lines[2:]]) + "\n")
    error = _refused(capture, tmp_path)
    assert error.line == 3
    assert problem in str(error)


def test_an_empty_or_missing_file_is_refused(tmp_path: Path) -> None:
    empty = tmp_path / "empty.jsonl"
    empty.write_text("\n\n")
    assert "holds no line" in str(_refused(empty, tmp_path))
    assert "No such file" in str(_refused(tmp_path / "missing.jsonl", tmp_path))
    assert "directory" in str(_refused(tmp_path, tmp_path)).lower()


def test_an_archive_below_a_file_cannot_be_written(capture: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for archive in (tmp_path / "file", tmp_path / "file" / "archive"):
        with pytest.raises(ArchiveUnwritable) as raised:
            import_capture(capture, archive, KUCOIN)
        assert raised.value.path == str(archive)


def test_an_archive_whose_catalog_is_no_database_is_damaged(capture: Path, tmp_path: Path) -> None:
    archive = tmp_path / "archive"
    archive.mkdir()
    (archive / "catalog.db").write_bytes(b"no database at all" * 100)
    with pytest.raises(CatalogDamaged, match="rebuild"):
        import_capture(capture, archive, KUCOIN)
    with pytest.raises(CatalogDamaged):  # and not locked by the attempt before
        import_capture(capture, archive, KUCOIN)


HOLD = """
import sys
from pathlib import Path
from recorder.storage.archive_folder import ArchiveFolder
with ArchiveFolder(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_an_archive_another_process_writes_is_refused(capture: Path, tmp_path: Path) -> None:
    archive = tmp_path / "archive"
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, archive], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == b"held\n"
    with pytest.raises(ArchiveLocked) as raised:
        import_capture(capture, archive, KUCOIN)
    assert raised.value.holder == f"process {holder.pid}"
    holder.communicate(b"")
    import_capture(capture, archive, KUCOIN)


IMPORT_AND_DIE = """
import os, signal, sys
from pathlib import Path
from recorder import run_writer
from recorder.importing import import_capture
from recorder.storage.open_parts import RollRules
from schemas.kucoin.profiles import profile_named
commits = 0
process = run_writer.RunWriter.process
def process_and_die(self, lines):
    global commits
    commits += 1
    done = process(self, lines)
    if commits == int(sys.argv[3]):
        os.kill(os.getpid(), signal.SIGKILL)
    return done
run_writer.RunWriter.process = process_and_die
import_capture(Path(sys.argv[1]), Path(sys.argv[2]), profile_named("kucoin-2019"),
               RollRules(rows_min=1, roll_interval_s=2))
"""


@pytest.mark.parametrize("commits", [1, 12])
def test_an_import_cut_off_by_a_kill_is_forgotten_and_can_be_repeated(
    capture: Path, tmp_path: Path, commits: int
) -> None:
    archive = tmp_path / "archive"
    done = subprocess.run(
        [sys.executable, "-c", IMPORT_AND_DIE, capture, archive, str(commits)], check=False
    )
    assert done.returncode == -signal.SIGKILL
    assert list_segments(archive) != {}
    assert (len(table_rows(archive, "parts")) > 0) == (commits > 1)
    with ArchiveFolder(archive) as folder:
        (recovered,) = recover(folder, RollRules())
        assert recovered.damage == ""
    assert list_segments(archive) == {}
    assert table_rows(archive, "runs") == []
    assert list(archive.glob("l2_updates/*/*/*")) == []
    import_capture(capture, archive, KUCOIN)
    import_capture(capture, tmp_path / "uninterrupted", KUCOIN)
    assert_same_content(archive, tmp_path / "uninterrupted")


def test_older_captures_join_runs_with_exactly_one_gap_each(tmp_path: Path) -> None:
    """The middle one comes last, in several publications: its end meets the run after it."""
    archive = tmp_path / "archive"
    for second, first in ((1_700_000_000, 100), (1_700_900_000, 9000), (1_700_400_000, 4000)):
        path = tmp_path / f"{second}.jsonl"
        path.write_text("\n".join(capture_lines(30, first, second)))
        import_capture(path, archive, KUCOIN, RollRules(rows_min=1, roll_interval_s=3))
    gaps = sorted(table_rows(archive, "gaps"), key=lambda gap: gap["ts_from"])
    assert [
        (gap["reason"], gap["sequence_expected"], gap["sequence_received"], gap["healed_by"])
        for gap in gaps
    ] == [("source", 130, 4000, "next_run"), ("source", 4030, 9000, "next_run")]
    assert [gap["ts_to"] - gap["ts_from"] for gap in gaps] == [
        399_971_499_999_000,
        499_971_499_999_000,
    ]


@pytest.mark.parametrize("order", [(0, 1, 2, 3), (3, 0, 2, 1), (1, 3, 2, 0)])
def test_captures_of_the_same_time_leave_no_gap_where_one_of_them_covers(
    tmp_path: Path, order: tuple[int, ...]
) -> None:
    """The second begins inside the first, the third lies inside the second, the fourth is later."""
    archive = tmp_path / "archive"
    begins = ((0, 100), (20, 500), (25, 800), (900, 9000))
    for number in order:
        second, first = begins[number]
        path = tmp_path / f"{number}.jsonl"
        path.write_text("\n".join(capture_lines(10 if number == 2 else 30, first, T0_S + second)))
        import_capture(path, archive, KUCOIN)
    gaps = table_rows(archive, "gaps")
    assert [(gap["sequence_expected"], gap["sequence_received"]) for gap in gaps] == [(530, 9000)]
    assert verify(archive, with_books=False).problems == []


def test_this_process_does_not_hold_the_lock_afterwards(capture: Path, tmp_path: Path) -> None:
    import_capture(capture, tmp_path / "archive", KUCOIN)
    assert (tmp_path / "archive" / "writer.lock").read_text() == ""
    with ArchiveFolder(tmp_path / "archive"):
        assert (tmp_path / "archive" / "writer.lock").read_text() == f"{os.getpid()}\n"
