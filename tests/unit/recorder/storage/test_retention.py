"""Whole days go from the front, and the catalog says what is left."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from recorder.storage import retention
from recorder.storage.archive_folder import ArchiveFolder
from recorder.storage.raw_log import list_segments
from recorder.storage.retention import GIB, RetentionRules
from recorder.verification import verify
from replay import Archive
from replay.errors import BookUnknown, OutsideArchive, ReplayError
from schemas.archive_layout import RAW
from schemas.timestamps import NS_PER_DAY, day_start, format_iso
from tests.support.archive_content import archive_rows, table_rows
from tests.support.jobs_archive import (
    DAYS,
    EVERY_DATASET,
    KEEP_TWO_DAYS,
    NOW,
    days_archive,
    days_log,
    live_paths,
    part_files,
    record,
    rows_by_day,
    run_removal,
    run_retention,
)
from tests.support.market_log import RUN, Story


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An archive of five days whose books live through the nights."""
    archive = tmp_path_factory.mktemp("recorded") / "archive"
    days_archive(archive, chance=0.0, steps=120)
    return archive


@pytest.fixture
def archive(recorded: Path, tmp_path: Path) -> Path:
    """A copy to change."""
    return Path(shutil.copytree(recorded, tmp_path / "archive"))


def _days_planned(archive: Path, rules: RetentionRules, ts_now: int = NOW) -> dict[str, set[str]]:
    with ArchiveFolder(archive) as folder:
        planned = retention.plan(archive, folder.catalog, rules, ts_now)
    days: dict[str, set[str]] = {}
    for row in planned.removals:
        stream = f" {row['stream']}" if row["dataset"] == "book_snapshots" else ""
        days.setdefault(row["dataset"] + stream, set()).add(row["date"])
    return days


def test_each_dataset_has_its_age_and_full_books_go_with_their_changes(archive: Path) -> None:
    rules = RetentionRules({"l2_updates": 2, "l3_events": 3, "trades": 4}, raw_days=2)
    assert _days_planned(archive, rules) == {
        "l2_updates": set(DAYS[:3]), "book_snapshots l2": set(DAYS[:3]),
        "l3_events": set(DAYS[:2]), "book_snapshots l3": set(DAYS[:2]),
        "trades": set(DAYS[:1]), RAW: set(DAYS[:3]),
    }  # fmt: skip


def test_without_rules_everything_stays(archive: Path) -> None:
    assert _days_planned(archive, RetentionRules()) == {}


def test_today_and_yesterday_stay_whatever_the_rules(archive: Path) -> None:
    everything = RetentionRules(dict.fromkeys(EVERY_DATASET, 1), total_bytes=1, raw_days=1)
    at_the_last_day = NOW - NS_PER_DAY
    days = _days_planned(archive, everything, at_the_last_day)
    assert set.union(*days.values()) == set(DAYS[:3])
    assert _days_planned(archive, everything, NOW - 4 * NS_PER_DAY) == {}


def test_beyond_the_total_size_the_oldest_days_go(archive: Path) -> None:
    parts = table_rows(archive, "parts")
    segments = [s.path for found in list_segments(archive).values() for s in found]
    size = {
        day: sum(p["bytes"] for p in parts if p["date"] == day)
        + sum(path.stat().st_size for path in segments if path.parent.name == day)
        for day in DAYS
    }
    total = sum(size.values())
    with ArchiveFolder(archive) as folder:
        for limit, gone in (
            (total, 0), (total - size[DAYS[0]], 1), (total - size[DAYS[0]] - size[DAYS[1]], 2),
        ):  # fmt: skip
            rules = RetentionRules(total_bytes=limit)
            planned = retention.plan(archive, folder.catalog, rules, NOW)
            assert {row["date"] for row in planned.removals} == set(DAYS[:gone])
            assert (planned.bytes_kept, planned.over_bytes) == (limit, 0)
        planned = retention.plan(archive, folder.catalog, RetentionRules(total_bytes=1), NOW)
    assert {row["date"] for row in planned.removals} == set(DAYS[:-1])
    assert planned.over_bytes == size[DAYS[-1]] - 1
    assert "above retention.total_gib" in planned.detail
    assert {row["rule"] for row in planned.removals} == {f"retention.total_gib = {1 / GIB:g}"}


def test_the_raw_log_of_a_run_that_has_not_ended_is_held_back(tmp_path: Path) -> None:
    archive = tmp_path / "archive"
    record(archive, days_log(Story(5, steps=60, chance=0.0, stops=False)), ends=False)
    rules = RetentionRules(total_bytes=1, raw_days=2)
    with ArchiveFolder(archive) as folder:
        planned = retention.plan(archive, folder.catalog, rules, NOW)
        retention.apply(archive, folder.catalog, planned, NOW)
    assert all(row["dataset"] != RAW for row in planned.removals)
    segments = list_segments(archive)[RUN]
    old = [s.path for s in segments if s.path.parent.name < DAYS[4]]
    assert planned.held_segments == len(old) > 0
    assert planned.held_bytes == sum(path.stat().st_size for path in old)
    assert f"{len(old)} raw-log segments" in planned.detail
    assert "1 runs have not ended" in planned.detail
    assert planned.over_bytes > 0


def test_what_is_left_is_what_was_there_and_the_catalog_says_so(archive: Path) -> None:
    before = rows_by_day(archive)
    parts = {part["path"]: part for part in table_rows(archive, "parts")}
    with ArchiveFolder(archive) as folder:
        planned = run_retention(folder)
        assert part_files(archive) == set(parts)  # until readers are done with them
        assert run_removal(folder) == len(planned.removals)
        assert run_retention(folder).removals == ()
    assert part_files(archive) == live_paths(archive)
    after = rows_by_day(archive)
    for key, days in before.items():
        kept = {day: table for day, table in days.items() if day >= DAYS[3]}
        assert set(after.get(key, {})) == set(kept)
        assert all(after[key][day].equals(table) for day, table in kept.items())
    for removal in table_rows(archive, "removals"):
        part = parts.pop(removal["path"])
        same = ("dataset", "date", "symbol", "stream", "run_id", "rows", "bytes")
        assert [removal[name] for name in same] == [part[name] for name in same]
        assert removal["ts_removed"] == NOW
        assert removal["date"] < DAYS[3]
        assert removal["rule"].endswith("_days = 2")
    assert set(parts) == live_paths(archive)
    assert {book["path"] for book in table_rows(archive, "full_books")} <= set(parts)
    report = verify(archive, with_books=False)
    assert (report.problems, report.not_comparable) == ([], [])


def _book_or_error(tape: Archive, ts: int, level: int) -> Any:
    try:
        book = tape.book("BTC-USDT", at=format_iso(ts), level=level)
    except ReplayError as error:
        return error
    return book.bids.texts(), book.asks.texts(), book.sequence


@pytest.mark.parametrize("level", [2, 3])
def test_books_of_removed_days_are_outside_and_all_others_are_as_they_were(
    archive: Path, level: int
) -> None:
    stream = f"l{level}"
    intervals = [row for row in table_rows(archive, "coverage") if row["stream"] == stream]
    (interval,) = [row for row in intervals if row["symbol"] == "BTC-USDT"]
    step = (interval["ts_to"] - interval["ts_from"]) // 400
    times = [interval["ts_from"] + n * step for n in range(401)]
    day_rows = rows_by_day(archive)[
        "l2_updates" if level == 2 else "l3_events", "BTC-USDT", stream, RUN
    ]
    known = [
        int(ts) for table in day_rows.values() for ts in table["ts_recv"].cast("int64").to_pylist()
    ]
    times += known
    with Archive(archive) as tape:
        before = {ts: _book_or_error(tape, ts, level) for ts in times}
    with ArchiveFolder(archive) as folder:
        run_retention(folder)
        run_removal(folder)
    (left,) = [
        row for row in table_rows(archive, "coverage")
        if (row["stream"], row["symbol"]) == (stream, "BTC-USDT")
    ]  # fmt: skip
    assert left["ts_from"] == min(
        ts for ts in known if ts >= NOW - 2 * NS_PER_DAY - NS_PER_DAY // 2
    )
    assert (left["ts_to"], left["ordinal_last"]) == (interval["ts_to"], interval["ordinal_last"])
    assert (left["messages"], left["rows"]) == (None, None)
    with Archive(archive) as tape:
        for ts in times:
            found = _book_or_error(tape, ts, level)
            if ts < left["ts_from"]:
                assert isinstance(found, OutsideArchive | BookUnknown), ts
            else:
                assert found == before[ts], ts


def test_silent_streams_are_covered_from_the_day_behind_the_last_removed(archive: Path) -> None:
    with ArchiveFolder(archive) as folder:
        run_retention(folder)
        run_removal(folder)
    last: dict[str, str] = {}
    for row in table_rows(archive, "removals"):
        if row["dataset"] == "tickers":
            last[row["symbol"]] = max(row["date"], last.get(row["symbol"], ""))
    assert last
    for symbol, date in last.items():
        (left,) = [
            row
            for row in table_rows(archive, "coverage")
            if (row["symbol"], row["stream"]) == (symbol, "tickers")
        ]
        assert left["ts_from"] == day_start(date) + NS_PER_DAY
        found = archive_rows(archive)["tickers", symbol, "tickers", RUN]
        assert left["ordinal_first"] == found["ordinal"][0].as_py() > 0
        assert left["sequence_first"] == found["sequence"][0].as_py()
        assert (left["messages"], left["rows"]) == (None, None)


def test_raw_segments_go_at_once_and_a_crash_before_that_is_made_good(archive: Path) -> None:
    rules = replace(KEEP_TWO_DAYS, raw_days=2)
    kept = [s.path for s in list_segments(archive)[RUN] if s.path.parent.name >= DAYS[3]]
    assert len(kept) < len(list_segments(archive)[RUN])
    with ArchiveFolder(archive) as folder:
        planned = retention.plan(archive, folder.catalog, rules, NOW)
        with folder.catalog.transaction():
            folder.catalog.remove_files([{**row, "ts_removed": NOW} for row in planned.removals])
    assert len(list_segments(archive)[RUN]) > len(kept)
    assert verify(archive, with_books=False).problems == []
    with ArchiveFolder(archive) as folder:
        assert run_retention(folder, rules).removals == ()
    assert [s.path for s in list_segments(archive)[RUN]] == kept
    assert sorted(p.name for p in (archive / RAW).iterdir()) == [*DAYS[3:]]
    report = verify(archive, with_books=False)
    assert report.problems == []
    (told,) = report.not_comparable
    assert f"run {RUN}: " in told
    assert "not comparable, removed by retention" in told


def test_a_segment_or_part_that_nobody_removed_is_a_problem(archive: Path) -> None:
    with ArchiveFolder(archive) as folder:
        run_retention(folder, replace(KEEP_TWO_DAYS, raw_days=3))
        run_removal(folder)
    segments = list_segments(archive)[RUN]
    lost = next(iter(live_paths(archive)))
    for path, told in ((segments[-1].path, "nobody removed"), (archive / lost, "is missing")):
        path.rename(path.with_name("gone"))
        (problem,) = verify(archive, with_books=False).problems
        assert told in problem
        path.with_name("gone").rename(path)
    assert verify(archive, with_books=False).problems == []
