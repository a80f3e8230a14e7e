"""`recorder verify`: holds on a sound archive, and names what was tampered with."""

from __future__ import annotations

import hashlib
import random
import shutil
import sqlite3
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recorder import recording
from recorder.errors import CatalogDamaged, NotAnArchive
from recorder.rebuilding import rebuild
from recorder.recording import Recording, RecordingSettings
from recorder.storage.open_parts import RollRules
from recorder.storage.part_writer import write_table
from recorder.storage.raw_log import list_segments
from recorder.verification import Verification, verify
from schemas.archive_layout import CATALOG_DB
from tests.support.archive_content import assert_same_content, table_rows
from tests.support.market_log import RUN, Story, market_log, split_batches

RULES = RollRules(rows_min=1, roll_interval_s=0.3)


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An archive of one run with losses and reconnects."""
    archive = tmp_path_factory.mktemp("recorded") / "archive"
    lines = market_log(Story(5, steps=150, chance=0.01))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(recording, "new_run_id", lambda: RUN)
        tape = Recording.create(archive, RecordingSettings(rules=RULES))
    for batch in split_batches(lines, random.Random(3), 80):
        tape.commit(batch)
    tape.close()
    return archive


@pytest.fixture
def archive(recorded: Path, tmp_path: Path) -> Path:
    """A copy to spoil."""
    return Path(shutil.copytree(recorded, tmp_path / "copy"))


def _part(archive: Path, dataset: str) -> dict[str, Any]:
    parts = [part for part in table_rows(archive, "parts") if part["dataset"] == dataset]
    return max(parts, key=lambda part: part["rows"])


def _problem(report: Verification) -> str:
    (problem,) = report.problems
    assert not report.holds
    return problem


def _sql(archive: Path, statement: str, *values: object) -> None:
    db = sqlite3.connect(archive / CATALOG_DB)
    with db:
        db.execute(statement, values)
    db.close()


def test_a_sound_archive_holds(recorded: Path) -> None:
    report = verify(recorded, with_books=False)
    assert report.problems == []
    parts = table_rows(recorded, "parts")
    assert (report.runs, report.parts) == (1, len(parts))
    assert report.rows == sum(part["rows"] for part in parts) > 1000
    assert len(parts) > 30
    assert table_rows(recorded, "gaps") != []


def test_a_run_in_progress_holds(tmp_path: Path) -> None:
    lines = market_log(Story(6, steps=80, chance=0.01))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(recording, "new_run_id", lambda: RUN)
        tape = Recording.create(tmp_path / "archive", RecordingSettings(rules=RULES))
    tape.commit(lines[:600])
    tape.roll(0, force=True)
    tape.commit(lines[600:-1])
    report = verify(tmp_path / "archive", with_books=False)
    tape.abandon()
    assert report.problems == []
    assert report.rows > 0


@pytest.mark.parametrize("dataset", ["l2_updates", "l3_events", "book_snapshots", "trades"])
@pytest.mark.parametrize("where", [0.02, 0.5, 0.98])
def test_one_flipped_byte_is_named(archive: Path, dataset: str, where: float) -> None:
    part = _part(archive, dataset)
    path = archive / part["path"]
    content = bytearray(path.read_bytes())
    content[int(len(content) * where)] ^= 1
    path.write_bytes(content)
    problem = _problem(verify(archive, with_books=False))
    assert part["path"] in problem
    assert "sha256" in problem


def test_a_deleted_part_is_named(archive: Path) -> None:
    part = _part(archive, "l2_updates")
    (archive / part["path"]).unlink()
    assert _problem(verify(archive, with_books=False)) == f"part {part['path']} is missing"


@pytest.mark.parametrize(
    ("dataset", "column"),
    [
        ("l2_updates", "size_mantissa"),
        ("l3_events", "size_mantissa"),
        ("book_snapshots", "price_mantissa"),
        ("trades", "sequence"),
        ("tickers", "held_ns"),
    ],
)
def test_one_changed_row_is_named_though_the_catalog_agrees_with_it(
    archive: Path, dataset: str, column: str
) -> None:
    part = _part(archive, dataset)
    path = archive / part["path"]
    table = pq.read_table(path, partitioning=None)
    row = table.num_rows // 2
    values = np.array(table[column].to_pylist(), dtype=object)
    while values[row] is None:
        row += 1
    values[row] += 1
    index = table.schema.get_field_index(column)
    table = table.set_column(index, table.schema.field(column), pa.array(values, pa.int64()))
    write_table(table, path)
    content = path.read_bytes()
    _sql(
        archive,
        "UPDATE parts SET sha256 = ?, bytes = ? WHERE path = ?",
        hashlib.sha256(content).hexdigest(),
        len(content),
        part["path"],
    )
    problem = _problem(verify(archive, with_books=False))
    assert part["path"] in problem
    assert f"row {row} " in problem
    assert f"column {column}" in problem


def test_rows_that_are_in_no_part_are_named(archive: Path) -> None:
    parts = [part for part in table_rows(archive, "parts") if part["dataset"] == "trades"]
    part = max(parts, key=lambda part: (part["symbol"], part["ordinal_first"]))
    _sql(archive, "DELETE FROM parts WHERE path = ?", part["path"])
    assert _problem(verify(archive, with_books=False)) == (
        f"{part['symbol']} trades: {part['rows']} rows of trades in the raw log are in no part"
    )


def test_a_ledger_that_was_touched_is_named(archive: Path) -> None:
    _sql(archive, "DELETE FROM gaps WHERE rowid = (SELECT max(rowid) FROM gaps)")
    problems = verify(archive, with_books=False).problems
    assert any("gaps of run" in problem for problem in problems)
    _sql(archive, "UPDATE coverage SET ts_to = ts_to + 1 WHERE stream = 'l3'")
    problems = verify(archive, with_books=False).problems
    assert any("coverage of run" in problem for problem in problems)


def test_an_audit_that_never_was_is_named(archive: Path) -> None:
    _sql(
        archive,
        "INSERT INTO audits (symbol, stream, run_id, ts, sequence, result, compared) "
        "SELECT symbol, stream, run_id, ts_to, sequence_last, 'equal', 20 FROM coverage "
        "WHERE stream = 'l2' LIMIT 1",
    )
    assert "audits of run" in _problem(verify(archive, with_books=False))


@pytest.mark.parametrize(
    "change", ["healed_by = 'backfill'", "sequence_received = 1", "ts_to = ts_to + 1"]
)
def test_a_gap_that_ended_otherwise_is_named(archive: Path, change: str) -> None:
    """One that is said to be filled in counts as covered: only the raw log knows better."""
    _sql(
        archive,
        f"UPDATE gaps SET {change} WHERE rowid = "
        "(SELECT min(rowid) FROM gaps WHERE stream = 'l2' AND healed_by = 'snapshot')",
    )
    problems = verify(archive, with_books=False).problems
    assert any("ended otherwise than the raw log says" in problem for problem in problems)


def test_a_damaged_raw_log_is_named_and_rebuilt_around(archive: Path, tmp_path: Path) -> None:
    (segment,) = list_segments(archive)[RUN]
    content = bytearray(segment.path.read_bytes())
    content[len(content) // 2] ^= 1
    segment.path.write_bytes(content)
    problem = _problem(verify(archive, with_books=False))
    assert str(segment.path) in problem
    assert "damaged at byte" in problem
    done = rebuild(archive, tmp_path / "rebuilt", RULES)
    assert [damage.split(":")[0] for damage in done.damage] == [problem.split(":")[0]]
    reasons = {gap["reason"] for gap in table_rows(tmp_path / "rebuilt", "gaps")}
    assert "garbage" in reasons
    assert len(table_rows(tmp_path / "rebuilt", "parts")) > 20


def test_a_run_without_its_raw_log_is_named(archive: Path) -> None:
    (segment,) = list_segments(archive)[RUN]
    segment.path.unlink()
    assert f"run {RUN} has no raw log" in _problem(verify(archive, with_books=False))


def test_what_is_no_archive_is_refused(tmp_path: Path, archive: Path) -> None:
    with pytest.raises(NotAnArchive):
        verify(tmp_path)
    for suffix in ("", "-wal", "-shm"):
        (archive / f"{CATALOG_DB}{suffix}").unlink(missing_ok=True)
    (archive / CATALOG_DB).write_bytes(b"no database" * 100)
    with pytest.raises(CatalogDamaged) as raised:
        verify(archive)
    assert "recorder rebuild" in raised.value.remedy


@pytest.mark.parametrize("interval_s", [1.0, 3600.0])
def test_live_is_rebuilt_however_it_was_rolled(
    recorded: Path, tmp_path: Path, interval_s: float
) -> None:
    rules = RollRules(rows_min=1, roll_interval_s=interval_s)
    rebuild(recorded, tmp_path / "rebuilt", rules)
    assert_same_content(recorded, tmp_path / "rebuilt")
    assert verify(tmp_path / "rebuilt", with_books=False).problems == []
