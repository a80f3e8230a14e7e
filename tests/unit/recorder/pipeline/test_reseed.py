"""Partial books, line by line: what is known, when more is asked, and what comes of an answer."""

from __future__ import annotations

import pytest

from recorder.pipeline.output import RequestBook, Reseed
from schemas.kucoin.rest import format_api_error
from tests.support.classic_shell import SYMBOL, URL, ClassicShell, book
from tests.support.judge import known_ns

WANTED = Reseed(SYMBOL, "l2")


def bounds(rows: list[dict[str, int | None]]) -> set[tuple[int | None, int | None]]:
    """Return the bounds that rows state; here every price is a whole number."""
    assert {row["known_bid_from_scale"] for row in rows} <= {0, None}
    return {(row["known_bid_from_mantissa"], row["known_ask_to_mantissa"]) for row in rows}


def walk_down(shell: ClassicShell, first: int, count: int) -> list[object]:
    """Trade away `count` bids from 100 down, a message each."""
    commands: list[object] = []
    for n in range(count):
        sequence = first + n
        commands += shell.update(sequence, sequence, bids=[(str(100 - n), "0", sequence)])
    return commands


def test_a_cut_side_is_known_to_its_worst_price_and_a_short_one_is_whole() -> None:
    shell = ClassicShell().synced(asks=19)
    assert bounds(shell.books("rest")) == {(81, None)}
    shell = ClassicShell().synced()
    assert bounds(shell.books("rest")) == {(81, 120)}


def test_a_whole_book_asks_for_nothing_more() -> None:
    shell = ClassicShell().synced(bids=5, asks=5)
    assert walk_down(shell, 102, 4) == []
    assert bounds(shell.books("rest")) == {(None, None)}


def test_depth_is_asked_once_when_fewer_than_twenty_known_levels_are_left() -> None:
    shell = ClassicShell().synced()
    assert WANTED not in shell.made.commands  # twenty are enough
    assert walk_down(shell, 102, 3) == [WANTED]
    shell.ask()
    shell.line("rest_failure", url=URL, symbol=SYMBOL, stream="l2", purpose="reseed", error="x")
    assert shell.update(105, 105, bids=[("97", "0", 105)]) == [WANTED]


def test_an_answer_widens_the_book_without_a_gap() -> None:
    shell = ClassicShell().synced()
    walk_down(shell, 102, 3)  # at 104: bids 97 … 81
    shell.ask()
    shell.update(105, 105, bids=[("97", "5", 105)])
    shell.update(106, 106, bids=[("75", "7", 106)], asks=())  # beyond our bound
    shell.answer(book(104, bids=17, asks=20, top=97))  # whole bids now: 97 … 81
    shell.update(107, 107, bids=[("96", "2", 107)])
    audit, keyframe = shell.books("audit"), shell.books("keyframe")
    assert {row["sequence"] for row in audit} == {104}
    assert bounds(audit) == {(None, 120)}
    assert {row["sequence"] for row in keyframe} == {106}
    assert {row["ordinal"] for row in keyframe} == {row["ordinal"] for row in audit} == {6}
    assert bounds(keyframe) == {(None, 120)}
    bids = {row["price_mantissa"]: row["size_mantissa"] for row in keyframe if row["side"] == "bid"}
    assert bids == {**dict.fromkeys(range(81, 97), 1), 97: 5, 75: 7}
    assert shell.made.gaps() == []
    assert len(shell.made.intervals(SYMBOL, "l2")) == 1
    assert shell.made.pipeline.counts["reseed_taken"] == 1


def test_an_answer_in_a_silence_is_covered_and_a_gap_begins_behind_it() -> None:
    shell = ClassicShell().synced()
    walk_down(shell, 102, 2)
    shell.ask()
    shell.ts += 5_000_000_000
    shell.answer(book(103, bids=18, asks=20, top=98))
    answered = shell.ts
    assert {known_ns(row) for row in shell.books("keyframe")} == {answered}
    (interval,) = shell.made.intervals(SYMBOL, "l2")
    assert interval.ts_to == answered
    shell.line("close", connection=1, reason="disconnected")
    (gap,) = shell.made.gaps(SYMBOL, "l2")
    assert gap.ts_from == answered


def test_an_answer_ahead_of_the_stream_waits_for_it() -> None:
    shell = ClassicShell().synced()
    walk_down(shell, 102, 2)
    shell.ask()
    shell.answer(book(106, bids=20, asks=20, top=98))  # 98 … 79
    shell.update(104, 105, bids=[("79", "1", 104), ("80", "1", 105)])
    assert shell.books("keyframe") == []
    shell.update(106, 107, bids=[("98", "3", 107)])
    assert {row["sequence"] for row in shell.books("keyframe")} == {107}
    assert bounds(shell.books("keyframe")) == {(79, 120)}
    assert shell.made.gaps() == []


@pytest.mark.parametrize("sequence", [100, 102, 10**7])
def test_an_answer_from_before_the_question_or_from_nowhere_is_asked_again(sequence: int) -> None:
    shell = ClassicShell().synced()
    walk_down(shell, 102, 2)
    shell.ask()
    shell.answer(book(sequence))
    assert shell.made.pipeline.counts["reseed_ignored"] == 1
    assert shell.books("audit") == []
    assert shell.update(104, 104, bids=[("98", "0", 104)]) == [WANTED]


def test_a_venue_that_answers_out_of_a_cache_is_waited_for() -> None:
    shell = ClassicShell().synced()
    walk_down(shell, 102, 2)  # at 103
    shell.ask()
    shell.answer(book(102, top=99))
    for sequence in range(104, 110):
        assert shell.update(sequence, sequence, bids=[("98", str(sequence), sequence)]) in (
            [WANTED],
            [],
        )
    shell.ask()
    shell.answer(book(105, bids=20, top=97).replace(b'["97","1"]', b'["98","105"],["97","1"]'))
    assert {row["sequence"] for row in shell.books("audit")} == {105}
    assert bounds(shell.books("keyframe")) == {(78, 120)}
    best = shell.books("keyframe")[0]
    assert (best["price_mantissa"], best["size_mantissa"], best["sequence"]) == (98, 109, 109)
    assert shell.made.gaps() == []


def test_books_that_differ_where_both_are_known_are_a_gap_that_heals() -> None:
    shell = ClassicShell().synced()
    walk_down(shell, 102, 2)
    shell.ask()
    shell.answer(book(103, top=97))  # our 98 was never taken away
    (gap,) = shell.made.gaps()
    # Nobody knows since when: right for certain was the book that seeded.
    assert (gap.reason, gap.sequence_expected, gap.ts_to) == ("drift", 101, None)
    (interval,) = shell.made.intervals()
    assert (interval.sequence_last, interval.ordinal_last, interval.messages) == (100, 0, 0)
    assert "the bid at 98 is 1 in one book, 0 in the other" in shell.made.incidents[0]
    assert shell.update(104, 104, bids=[("97", "2", 104)]) == [RequestBook(SYMBOL, "l2", 2)]
    shell.seed(103, request_id=2)
    assert (gap.healed_by, gap.sequence_received) == ("snapshot", 103)
    assert {row["sequence"] for row in shell.books("audit")} == {103}  # the evidence


def test_what_was_asked_before_a_gap_is_no_answer_after_it() -> None:
    shell = ClassicShell().synced()
    walk_down(shell, 102, 2)
    shell.ask()
    shell.line("close", connection=1, reason="disconnected")
    shell.line("open", connection=2)
    shell.update(110, 110, connection=2, bids=[("100", "1", 110)])
    shell.seed(109, request_id=2)
    shell.answer(book(110))
    assert shell.books("audit") == []
    assert shell.made.pipeline.counts["reseed_ignored"] == 1


def test_an_answer_that_cannot_be_read_is_a_failure() -> None:
    shell = ClassicShell().synced()
    walk_down(shell, 102, 2)
    bodies = (b"<html>", format_api_error("429000", "too many requests"))
    for sequence, body in enumerate(bodies, start=104):
        shell.ask()
        assert shell.answer(body) == []
        assert shell.update(sequence, sequence, bids=[("98", "0", sequence)]) == [WANTED]
    (incident,) = shell.made.incidents
    assert incident.startswith(f"the l2 book of {SYMBOL} cannot be read")


def test_an_answer_nobody_asked_for_is_an_audit_with_its_own_bounds() -> None:
    shell = ClassicShell().synced()
    shell.line("rest_answer", book(101, asks=3), url=URL)
    assert bounds(shell.books("audit")) == {(81, None)}
    assert shell.books("keyframe") == []


def captured(shell: ClassicShell, sequence: int, bids: int, *, top: int = 100) -> None:
    """Feed an answer as a capture holds it."""
    shell.line("rest_answer", book(sequence, bids, top=top), url=URL)


def test_a_book_of_a_capture_tells_more_where_more_would_have_been_asked() -> None:
    shell = ClassicShell()
    shell.update(101, 101, bids=[("100", "1", 101)])
    captured(shell, 100, 20)
    walk_down(shell, 102, 3)  # bids 97 … 81
    captured(shell, 103, 18, top=98)  # one message old
    assert bounds(shell.books("keyframe")) == {(None, 120)}
    walk_down(shell, 105, 1)
    captured(shell, 105, 17, top=97)
    assert {row["sequence"] for row in shell.books("audit")} == {103, 105}
    assert {row["sequence"] for row in shell.books("keyframe")} == {104}
    assert shell.made.gaps() == []


def test_a_message_repeated_by_two_connections_changes_no_count_of_levels() -> None:
    shell = ClassicShell().synced()
    shell.line("open", connection=2)
    for connection in (1, 2):
        shell.update(102, 103, connection=connection, asks=[("101", "0", 103)])
    status = shell.made.pipeline.status()[SYMBOL, "l2"]
    assert (status["live"], status["sequence"]) == (39, 103)
