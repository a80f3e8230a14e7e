"""Readers while parts are swapped and files removed: every row once, or a plain refusal."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from replay import Archive
from replay.errors import OutsideArchive, SnapshotExpired
from replay.sql import connection
from replay.sql.connection import definition
from tests.support.archive_builder import T0, ArchiveBuilder, S
from tests.support.part_swaps import remove_files, remove_front, split_parts, swap_parts

SYMBOL = "ABC-XYZ"
MESSAGES = 120


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """One book of many parts and keyframes, and as many trades."""
    builder = ArchiveBuilder(tmp_path / "archive", rows_per_part=11, row_group=4)
    stream = builder.book(SYMBOL).snapshot(T0, 100, [("9", "1")], [("11", "1")])
    for at in range(1, MESSAGES + 1):
        size = str(1 + at % 7)
        stream.message(T0 + at * S, [("bid", "9", size), ("ask", f"{11 + at % 3}", size)])
        if at % 10 == 0:
            stream.keyframe()
    prices = {"price_mantissa": 1, "price_scale": 0, "size_mantissa": 1, "size_scale": 0}
    trades = [
        {
            "ts_recv": T0 + at * S,
            "sequence": at,
            "aggressor_side": "buy",
            "source": "match",
            **prices,
        }
        for at in range(MESSAGES)
    ]
    builder.add("trades", SYMBOL, trades)
    builder.catalog(
        "coverage", symbol=SYMBOL, stream="trades", run_id="20261122T100000.000000Z-test-1",
        ordinal_first=0, ordinal_last=MESSAGES - 1, ts_from=T0, ts_to=T0 + MESSAGES * S,
        sequence_first=0, sequence_last=MESSAGES - 1, messages=MESSAGES, rows=MESSAGES, is_open=0,
    )  # fmt: skip
    return builder.write()


@pytest.fixture
def tape(root: Path) -> Iterator[Archive]:
    with Archive(root) as opened:
        yield opened


SPAN = (T0 - 5 * S, T0 + (MESSAGES + 5) * S)
QUESTIONS: dict[str, Callable[[Archive], Any]] = {
    "rows by SQL": lambda tape: tape.sql(
        "SELECT count(*) AS n, count(DISTINCT ordinal) AS ordinals, sum(ordinal) AS total, "
        "sum(size) AS size FROM l2_updates"
    ).to_pylist(),
    "trades by SQL": lambda tape: tape.sql(
        "SELECT count(*) AS n, sum(sequence) AS total FROM trades"
    ).to_pylist(),
    "macro": lambda tape: tape.sql(f"FROM bbo('{SYMBOL}')").column("sequence").to_pylist(),
    "bbo": lambda tape: tape.bbo(SYMBOL).column("sequence").to_pylist(),
    "depth": lambda tape: tape.depth(SYMBOL, *SPAN, "1s", 3).column("size").to_pylist(),
    "bars": lambda tape: tape.bars(SYMBOL, *SPAN, "1m").column("trades").to_pylist(),
    "coverage": lambda tape: tape.coverage(SYMBOL, T0 + S, SPAN[1]).column("rows").to_pylist(),
    "book": lambda tape: tape.book(SYMBOL, T0 + 77 * S).to_json(),
    "replay": lambda tape: [(event.sequence, event.book.bbo) for event in tape.replay(SYMBOL)],
    "verify": lambda tape: tape.verify().to_json(),
}


@pytest.mark.parametrize("name", QUESTIONS)
def test_whatever_is_swapped_between_two_reads_the_answer_is_the_same(
    root: Path, tape: Archive, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every fifth time that a part is about to be read, it has just been replaced and removed."""
    ask = QUESTIONS[name]
    expected = ask(tape)
    numbers, calls = count(), count(1)
    lock, mine = threading.Lock(), threading.local()
    swapped = 0

    def swap() -> None:
        remove_files(swap_parts(root, next(numbers)))
        remove_files(split_parts(root, 9, next(numbers)))

    reader = tape.engine().reader
    for method in ("rows", "full_book"):
        original = getattr(reader, method)

        def read(*arguments: Any, original: Any = original) -> Any:
            nonlocal swapped
            with lock:
                is_second_try, mine.failed = getattr(mine, "failed", False), False
                if not is_second_try and next(calls) % 5 == 1 and swapped < 6:
                    swapped += 1
                    swap()
                try:
                    return original(*arguments)
                except SnapshotExpired:
                    mine.failed = True
                    raise

        monkeypatch.setattr(reader, method, read)
    if "SQL" in name:
        session = tape._session
        assert session is not None
        run = session._run

        def run_late(*arguments: Any) -> Any:
            nonlocal swapped
            swapped += 1
            if swapped == 1:
                swap()
            return run(*arguments)

        monkeypatch.setattr(session, "_run", run_late)
    assert ask(tape) == expected
    assert swapped
    if "SQL" in name:
        assert swapped == 2, "it ran once more"


def test_parts_that_go_while_views_are_made_of_them_are_asked_for_again(
    root: Path, tape: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask = QUESTIONS["rows by SQL"]
    expected = ask(tape)
    swap_parts(root, 1)
    swapped = []

    def swap_and_define(name: str) -> str:
        if not swapped:
            swapped.extend(swap_parts(root, 2))
            remove_files(swapped)
        return definition(name)

    monkeypatch.setattr(connection, "definition", swap_and_define)
    assert ask(tape) == expected
    assert swapped
    with Archive(root, pin=True) as pinned:
        swapped.clear()
        with pytest.raises(SnapshotExpired, match="open the archive again"):
            ask(pinned)


def test_readers_in_threads_never_see_a_row_twice_or_miss_one(root: Path) -> None:
    """Parts are swapped all the time; files go a little after they were replaced."""
    stop = threading.Event()
    answers: dict[str, list[Any]] = {name: [] for name in QUESTIONS}
    problems: list[BaseException] = []

    def ask(names: list[str]) -> None:
        try:
            with Archive(root) as tape:
                while not stop.is_set():
                    for name in names:
                        answers[name].append(QUESTIONS[name](tape))
        except BaseException as error:
            problems.append(error)

    names = list(QUESTIONS)
    threads = [threading.Thread(target=ask, args=(names[at::2],)) for at in range(2)]
    for thread in threads:
        thread.start()
    numbers = count()
    old: list[Path] = []
    swaps, began = 0, time.monotonic()

    def goes_on() -> bool:
        """Six seconds, and on a slow machine until everybody has asked twice."""
        spent_s = time.monotonic() - began
        is_enough = swaps > 10 and all(len(found) >= 2 for found in answers.values())
        return not problems and spent_s < (6 if is_enough else 60)

    while goes_on():
        swaps += 1
        replaced = (
            swap_parts(root, next(numbers))
            if next(numbers) % 4 == 1
            else split_parts(root, 13, next(numbers))
        )
        remove_files(old)
        old = replaced
        time.sleep(0.05)
    stop.set()
    for thread in threads:
        thread.join(60)
    assert not problems, problems
    assert swaps > 10
    for name, found in answers.items():
        assert len(found) >= 2, name
        assert all(answer == found[0] for answer in found), name


def test_a_pinned_reader_is_told_what_is_gone_and_what_to_do(root: Path) -> None:
    with Archive(root, pin=True) as pinned:
        before = QUESTIONS["bbo"](pinned)
        old = swap_parts(root, 1)
        assert QUESTIONS["bbo"](pinned) == before, "the old files are still there"
        assert QUESTIONS["rows by SQL"](pinned)[0]["n"] == 2 * MESSAGES
        remove_files(old)
        for name in ("bbo", "book", "rows by SQL", "trades by SQL", "verify"):
            with pytest.raises(SnapshotExpired, match="open the archive again") as caught:
                QUESTIONS[name](pinned)
            assert caught.value.path in {str(path.relative_to(root)) for path in old}
            assert caught.value.retryable
    with Archive(root, pin=True) as again:
        assert QUESTIONS["bbo"](again) == before


def test_several_statements_are_not_run_twice(
    root: Path, tape: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    tape.sql("CREATE TABLE seen (n BIGINT)")
    session = tape._session
    assert session is not None
    run = session._run

    def run_late(*arguments: Any) -> Any:
        remove_files(swap_parts(root, 1))
        return run(*arguments)

    monkeypatch.setattr(session, "_run", run_late)
    with pytest.raises(SnapshotExpired):
        tape.sql("INSERT INTO seen VALUES (1); SELECT sum(price) FROM trades")
    monkeypatch.undo()
    assert tape.sql("SELECT count(*) AS n FROM seen").to_pylist() == [{"n": 1}]


def test_a_file_lost_while_the_catalog_still_names_it_is_no_reason_to_ask_again(
    root: Path, tape: Archive
) -> None:
    part = sorted((root / "l2_updates").rglob("*.parquet"))[3]
    part.unlink()
    for name in ("bbo", "rows by SQL"):
        with pytest.raises(SnapshotExpired, match=part.name):
            QUESTIONS[name](tape)
    report = tape.verify()
    assert not report.ok
    assert any(part.name in difference.detail for difference in report.differences)


def test_what_retention_removes_meanwhile_is_outside_the_archive(
    root: Path, tape: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The front goes in the middle of a call: the answer is that of what is kept, and whole."""
    keyframe = tape.engine().timeline(SYMBOL, 2).slices[0][6].seed
    whole = tape.bbo(SYMBOL)
    reader = tape.engine().reader
    original, removed = reader.rows, []

    def read(*arguments: Any) -> Any:
        if not removed:
            removed.extend(remove_front(root, SYMBOL, "l2", keyframe.ordinal, keyframe.ts))
            remove_files(removed)
        return original(*arguments)

    with Archive(root, pin=True) as pinned:
        monkeypatch.setattr(reader, "rows", read)
        kept = tape.bbo(SYMBOL)
        assert removed
        with pytest.raises(SnapshotExpired):
            pinned.bbo(SYMBOL)
    rows = whole.filter(whole["sequence"].to_numpy() >= keyframe.sequence)
    assert kept.column("sequence").to_pylist() == rows.column("sequence").to_pylist()
    assert kept.column("best_ask").to_pylist() == rows.column("best_ask").to_pylist()
    with pytest.raises(OutsideArchive):
        tape.book(SYMBOL, keyframe.ts - 1)
    book = tape.book(SYMBOL, keyframe.ts)
    assert (book.sequence, book.ts_recv) == (keyframe.sequence, keyframe.ts)
    assert tape.verify().ok
    assert next(event.sequence for event in tape.replay(SYMBOL)) == keyframe.sequence
