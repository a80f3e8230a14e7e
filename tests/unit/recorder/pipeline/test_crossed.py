"""Crossed books, line by line: two looks in a row, and never the exchange's own doing."""

from __future__ import annotations

from recorder.pipeline.output import RequestBook
from recorder.raw_line import CHECK
from schemas.kucoin.rest import BookAnswer, format_book
from tests.support.classic_shell import SYMBOL, URL, ClassicShell

CROSSING = [("103", "1", 102)]  # a bid above asks at 101 and 102


def look(shell: ClassicShell) -> list[object]:
    """Look at every book, five seconds later."""
    shell.ts += 5_000_000_000
    return shell.line("decision", what=CHECK)


def test_a_book_crossed_at_two_looks_in_a_row_is_a_gap_from_the_last_sound_one() -> None:
    shell = ClassicShell().synced()
    look(shell)
    sound = shell.made.intervals()[0].ts_to
    shell.update(102, 102, bids=CROSSING)
    look(shell)
    assert shell.made.gaps() == []
    shell.update(103, 103, bids=[("90", "2", 103)])
    look(shell)
    (gap,) = shell.made.gaps()
    assert (gap.reason, gap.ts_from, gap.sequence_expected) == ("crossed", sound, 102)
    assert "the best bid is at or above the best ask" in shell.made.incidents[0]
    commands = shell.update(104, 104, bids=[("90", "3", 104)])
    assert commands == [RequestBook(SYMBOL, "l2", 2)]
    shell.seed(104, request_id=2)
    assert gap.healed_by == "snapshot"
    assert [look(shell) for _ in range(3)] == [[]] * 3
    assert len(shell.made.gaps()) == 1


def test_a_book_that_is_crossed_for_a_moment_is_left_alone() -> None:
    shell = ClassicShell().synced()
    for n in range(0, 6, 2):
        shell.update(102 + n, 102 + n, bids=[("103", "1", 102 + n)])
        look(shell)
        shell.update(103 + n, 103 + n, bids=[("103", "0", 103 + n)])
        look(shell)
    assert shell.made.gaps() == []


def test_a_touch_beyond_the_known_depth_is_not_judged() -> None:
    shell = ClassicShell().synced()
    shell.update(102, 102, bids=[("150", "1", 102)], asks=[])
    for n in range(20):
        shell.update(103 + n, 103 + n, asks=[(str(101 + n), "0", 103 + n)])
    shell.update(123, 123, asks=[("140", "1", 123)])  # asks are known up to 120
    for _ in range(3):
        look(shell)
    assert shell.made.gaps() == []


def test_a_book_the_exchange_itself_gives_crossed_is_not_healed_for_ever() -> None:
    shell = ClassicShell()
    shell.update(101, 101, bids=[("100", "1", 101)])
    body = format_book(BookAnswer(100, None, [("103", "1")], [("101", "1")]))
    shell.line("rest_answer", body, url=URL, symbol=SYMBOL, stream="l2", request_id=1)
    for _ in range(4):
        look(shell)
    assert shell.made.gaps() == []
    shell.update(102, 102, bids=[("103", "0", 102)])
    look(shell)
    shell.update(103, 103, bids=[("103", "1", 103)])
    for _ in range(2):
        look(shell)
    assert [gap.reason for gap in shell.made.gaps()] == ["crossed"]


def test_a_stream_without_a_book_is_not_looked_at() -> None:
    shell = ClassicShell()
    shell.update(101, 101, bids=CROSSING)
    for _ in range(3):
        look(shell)
    assert shell.made.gaps() == []
