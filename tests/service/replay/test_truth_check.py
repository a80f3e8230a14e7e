"""Verifying against the exchange's own books: what is equal, what differs, what must be refused."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import zstandard
from click.testing import CliRunner

from replay import Archive
from replay.cli import main
from replay.errors import BadInput
from replay.truth_check import TruthReport, check_truth
from tests.support.archive_builder import T0, ArchiveBuilder, S

ABC, LMN = "ABC-XYZ", "LMN-XYZ"


@pytest.fixture
def archive(tmp_path: Path) -> Iterator[Archive]:
    """Known: ABC level 2, 100 to 103 and 110 to 112 (one message); LMN level 3, 100 to 102."""
    builder = ArchiveBuilder(tmp_path / "archive")
    l2 = builder.book(ABC)
    l2.snapshot(T0, 100, [("9", "1")], [("11", "1")])
    l2.message(T0 + S, [("bid", "8.5", "2")])
    l2.message(T0 + 2 * S, [("ask", "11", "0")])
    l2.message(T0 + 3 * S, [("bid", "0", "0")])
    l2.lose()
    l2.snapshot(T0 + 4 * S, 110, [("9", "7")], [])
    l2.message(T0 + 5 * S, [("bid", "9", "1"), ("ask", "12", "3")])
    l3 = builder.book(LMN, "l3")
    l3.snapshot(T0, 100, [("b1", "9", "1"), ("b2", "9", "2")], [])
    l3.event(T0 + S, "open", "b3", side="bid", price="9", size="3", remain="3")
    l3.event(T0 + 2 * S, "done", "b1", side="bid", price="9", reason="canceled")
    builder.write()
    with Archive(builder.root) as tape:
        yield tape


def book(kind: str, sequence: int, bids: list, asks: list, symbol: str = ABC) -> dict[str, Any]:
    return {"symbol": symbol, "book": kind, "sequence": sequence, "bids": bids, "asks": asks}


RIGHT = [
    book("l2", 99, [], []),
    book("l2", 100, [["9", "1"]], [["11", "1"]]),
    book("l2", 101, [["9", "1"], ["8.5", "2"]], [["11", "1"]]),
    book("l2", 103, [["9", "1"], ["8.5", "2"]], []),
    book("l2", 106, [], []),
    book("l2", 109, [], []),
    book("l2", 111, [["9", "1"]], []),
    book("l2", 112, [["9", "1"]], [["12", "3"]]),
    book("l2", 113, [], []),
    book("l3", 101, [["b1", "9", "1"], ["b2", "9", "2"], ["b3", "9", "3"]], [], symbol=LMN),
    book("l3", 102, [["b2", "9", "2"], ["b3", "9", "3"]], [], symbol=LMN),
    book("l2", 100, [], [], symbol="ELSE-XYZ"),
]


def check(archive: Archive, folder: Path, lines: list[dict[str, Any]]) -> TruthReport:
    path = folder / "truth.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return check_truth(archive.engine(), path)


def test_every_book_has_its_place(archive: Archive, tmp_path: Path) -> None:
    report = check(archive, tmp_path, RIGHT)
    assert report.ok
    l2, l3 = report.counts
    assert (l2.symbol, l2.book, l3.symbol, l3.book) == (ABC, "l2", LMN, "l3")
    assert (l2.equal, l2.refused, l2.inconclusive, l2.outside) == (4, 2, 1, 2)
    assert (l2.unequal, l2.wrong, l2.compared) == (0, 0, 4)
    assert (l3.equal, l3.compared) == (2, 2)
    assert report.to_json()["truth"][0]["equal"] == 4
    assert report.lines()[1].startswith("LMN-XYZ l3: 2 books compared with the exchange at the")


def test_the_order_of_the_file_does_not_matter(archive: Archive, tmp_path: Path) -> None:
    forward, backward = (
        check(archive, tmp_path, lines).to_json()["truth"] for lines in (RIGHT, RIGHT[::-1])
    )
    assert sorted(map(str, forward)) == sorted(map(str, backward))


@pytest.mark.parametrize(
    ("at", "side", "rows", "says"),
    [
        (
            2,
            "bids",
            [["9", "1"], ["8.5", "3"]],
            "sequence 101: bids, row 2: rebuilt [('8.5', '2')]",
        ),
        (2, "bids", [["9", "1"]], "sequence 101: bids, row 2: rebuilt [('8.5', '2')], exchange []"),
        (7, "asks", [], "sequence 112: asks, row 1: rebuilt [('12', '3')], exchange []"),
        (10, "bids", [["b3", "9", "3"], ["b2", "9", "2"]], "sequence 102: bids, row 1: rebuilt"),
    ],
)
def test_one_level_or_one_place_in_a_queue_is_a_difference(
    archive: Archive, tmp_path: Path, at: int, side: str, rows: list, says: str
) -> None:
    lines = [dict(line) for line in RIGHT]
    lines[at][side] = rows
    report = check(archive, tmp_path, lines)
    assert not report.ok
    (count,) = [count for count in report.counts if count.unequal]
    assert count.unequal == 1
    assert count.differences[0].startswith(says)


def test_a_gap_must_be_where_a_book_is_refused_and_nowhere_else(
    archive: Archive, tmp_path: Path
) -> None:
    snapshot = archive.snapshot
    (gap,) = snapshot.gaps[ABC, "l2"]
    for gaps, wrong in (([], 2), ([gap, gap.__class__(**_moved(gap, 102, 103))], 0)):
        snapshot.gaps[ABC, "l2"][:] = gaps
        snapshot.memo.clear()
        report = check(archive, tmp_path, RIGHT)
        assert report.counts[0].wrong == wrong
        assert report.ok is (wrong == 0)
    snapshot.gaps[ABC, "l2"][:] = [gap, gap.__class__(**_moved(gap, 101, 102))]
    snapshot.memo.clear()
    report = check(archive, tmp_path, RIGHT)
    assert report.counts[0].wrong == 1
    assert report.counts[0].differences == ["sequence 101: answered, though it lies in a gap"]


def test_an_old_book_that_led_nowhere_takes_back_nothing(tmp_path: Path) -> None:
    builder = ArchiveBuilder(tmp_path / "archive")
    l2 = builder.book(ABC)
    l2.snapshot(T0, 100, [("9", "1")], [("11", "1")])
    l2.message(T0 + S, [("bid", "8.5", "2")])
    l2.message(T0 + 2 * S, [("ask", "11", "0")])
    l2.lose("disconnected")
    # It was older than what had been recorded, and nothing followed on it.
    l2.snapshot(T0 + 3 * S, 100, [("9", "1")], [("11", "1")])
    l2.lose("bridge")
    l2.snapshot(T0 + 4 * S, 110, [("9", "7")], [])
    builder.write()
    books = [
        book("l2", 101, [["9", "1"], ["8.5", "2"]], [["11", "1"]]),
        book("l2", 102, [["9", "1"], ["8.5", "2"]], []),
        book("l2", 105, [], []),
    ]
    with Archive(builder.root) as tape:
        (count,) = check(tape, tmp_path, books).counts
    assert (count.equal, count.refused, count.wrong) == (2, 1, 0)


def _moved(gap: Any, expected: int, received: int) -> dict[str, Any]:
    fields = {name: getattr(gap, name) for name in gap.__slots__}
    return fields | {"sequence_expected": expected, "sequence_received": received}


def test_nothing_compared_is_no_proof(archive: Archive, tmp_path: Path) -> None:
    assert not check(archive, tmp_path, RIGHT[:1]).ok
    assert not check(archive, tmp_path, []).ok


def test_a_file_that_is_no_truth_is_named(archive: Archive, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"truth\.jsonl, line 2 is no book"):
        check(archive, tmp_path, [RIGHT[0], {"symbol": ABC}])
    with pytest.raises(BadInput, match=r"nowhere\.jsonl cannot be read"):
        check_truth(archive.engine(), tmp_path / "nowhere.jsonl")
    broken = tmp_path / "broken.jsonl.zst"
    broken.write_bytes(b"no zstd at all")
    with pytest.raises(BadInput, match="cannot be read"):
        check_truth(archive.engine(), broken)


def test_the_command_says_no_with_its_exit_code(archive: Archive, tmp_path: Path) -> None:
    packed = tmp_path / "truth.jsonl.zst"
    text = "".join(json.dumps(line) + "\n" for line in RIGHT)
    packed.write_bytes(zstandard.compress(text.encode()))
    words = ["verify", str(archive.path), "--truth", str(packed)]
    outcome = CliRunner().invoke(main, [*words, "--json"])
    assert outcome.exit_code == 0, outcome.output
    assert json.loads(outcome.stdout)["ok"] is True
    packed.write_bytes(zstandard.compress(text.replace('"8.5"', '"8.6"').encode()))
    outcome = CliRunner().invoke(main, [*words, "--json"])
    assert outcome.exit_code == 1
    assert json.loads(outcome.stdout)["ok"] is False
    outcome = CliRunner().invoke(main, words)
    assert outcome.exit_code == 1
    assert "4 books compared with the exchange at the same sequence, 2 equal" in outcome.stdout


@pytest.fixture
def partial(tmp_path: Path) -> Iterator[Archive]:
    """Known of ABC at first: bids from 8.5, asks to 11; at 101 a bid far below, at 102 no ask."""
    builder = ArchiveBuilder(tmp_path / "archive")
    l2 = builder.book(ABC)
    l2.snapshot(T0, 100, [("9", "1"), ("8.5", "1")], [("11", "1")], known=("8.5", "11"))
    l2.message(T0 + S, [("bid", "7", "2")])
    l2.message(T0 + 2 * S, [("ask", "11", "0")])
    l2.message(T0 + 3 * S, [("bid", "9", "0"), ("bid", "8.5", "0")])
    builder.write()
    with Archive(builder.root) as tape:
        yield tape


PARTLY = [
    book("l2", 100, [["9", "1"], ["8.5", "1"], ["8", "4"]], [["11", "1"], ["12", "5"]]),
    book("l2", 101, [["9", "1"], ["8.5", "1"], ["8", "4"], ["7", "2"]], [["11", "1"], ["12", "5"]]),
    book("l2", 102, [["9", "1"], ["8.5", "1"], ["8", "4"], ["7", "2"]], [["12", "5"]]),
    book("l2", 104, [["8", "4"], ["7", "2"]], [["12", "5"]]),
]


def test_a_partial_book_must_be_right_to_its_bound_and_say_no_more(
    partial: Archive, tmp_path: Path
) -> None:
    report = check(partial, tmp_path, PARTLY)
    assert report.ok, report.lines()
    (count,) = report.counts
    assert (count.equal, count.partial, count.empty, count.touch_unknown) == (3, 3, 1, 2)
    assert report.lines()[1].startswith("  3 of the compared inside their known depth, 1 more with")


@pytest.mark.parametrize(
    ("at", "side", "rows", "says"),
    [
        (1, "bids", [["9", "1"], ["8.5", "2"], ["7", "2"]], "bids, row 2: rebuilt [('8.5', '1')]"),
        (1, "asks", [["10.5", "1"], ["11", "1"]], "asks, row 1: rebuilt [('11', '1')]"),
        (1, "bids", [["9", "1"], ["8.5", "1"], ["7", "3"]], "bids, beyond the known depth"),
        (3, "bids", [["8.7", "4"], ["7", "2"]], "bids, row 1: rebuilt [], exchange [('8.7', '4')]"),
    ],
)
def test_a_level_of_a_partial_book_that_is_not_the_exchanges_is_a_difference(
    partial: Archive, tmp_path: Path, at: int, side: str, rows: list, says: str
) -> None:
    lines = [dict(line) for line in PARTLY]
    lines[at][side] = rows
    report = check(partial, tmp_path, lines)
    assert not report.ok
    assert says in report.counts[0].differences[0]
