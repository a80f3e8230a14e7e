"""Audits of one book, line by line: how they end, and what the record takes back."""

from __future__ import annotations

from dataclasses import replace

import pytest

from recorder.pipeline.auditing import OLDER_ANSWERS
from recorder.pipeline.output import Audited
from recorder.raw_line import AUDIT
from schemas.kucoin.rest import BookAnswer, format_book
from tests.support.audit_lines import answer, check, corrupt, decide, verdicts, why
from tests.support.classic_shell import SYMBOL, URL, ClassicShell, book


def test_the_same_book_is_not_kept_twice() -> None:
    shell = ClassicShell().synced()
    for _ in range(3):
        decide(shell)
        answer(shell, book(101))
    assert verdicts(shell) == [("equal", 101, 40)] * 3
    assert len(shell.books("audit")) == 40
    stamps = [audit.ts for audit in shell.made.entries(Audited)]
    assert len(set(stamps)) == 3


def test_the_record_takes_back_no_more_than_since_the_last_proof() -> None:
    shell = ClassicShell().synced()
    shell.update(102, 102, bids=[("99", "3", 102)])
    shell.update(103, 103, bids=[("99", "1", 103)])
    decide(shell)
    shell.update(104, 104, bids=[("97", "1", 104)])
    answer(shell, book(103))
    assert verdicts(shell) == [("equal", 103, 40)]
    shell.update(105, 105, bids=[("96", "1", 105)])
    corrupt(shell)
    decide(shell)
    answer(shell, book(105))
    (gap,), (interval,) = shell.made.gaps(), shell.made.intervals()
    assert (gap.sequence_expected, gap.ordinal_from) == (104, 3)
    assert (interval.ordinal_last, interval.messages, interval.rows) == (3, 3, 43)


def test_a_proof_is_one_of_the_book_as_it_was_when_it_was_copied() -> None:
    """The book goes wrong while the copy, which is right, follows the stream to the answer."""
    shell = ClassicShell().synced()
    decide(shell)
    corrupt(shell)
    shell.update(102, 102, bids=[("99", "3", 102)])
    shell.update(103, 103, bids=[("99", "1", 103)])
    answer(shell, book(103))
    decide(shell)
    answer(shell, book(103))
    assert [verdict[0] for verdict in verdicts(shell)] == ["equal", "unequal"]
    (gap,) = shell.made.gaps()
    assert (gap.reason, gap.sequence_expected) == ("drift", 102)


def test_what_the_last_proof_did_not_reach_may_have_been_wrong_before_it() -> None:
    shell = ClassicShell().synced()
    decide(shell)
    answer(shell, book(101, top=100, bids=20))
    shell.update(102, 102, bids=[("85", "0", 102)])
    decide(shell)
    body = format_book(
        BookAnswer(
            102,
            None,
            [(str(100 - n), "1") for n in range(21) if n != 15],
            [(str(101 + n), "1") for n in range(20)],
        )
    )
    # The second comparison is cut off at 81 by what we know, as the first was.
    answer(shell, body)
    assert [verdict[0] for verdict in verdicts(shell)] == ["equal", "equal"]
    corrupt(shell, price=90)
    audits = shell.made.pipeline._streams.book((SYMBOL, "l2")).audits
    assert audits._proof is not None
    audits._proof = replace(audits._proof, known_bid_from=(95, 0), known_ask_to=(110, 0))
    decide(shell)
    answer(shell, body)
    (gap,) = shell.made.gaps()
    assert gap.sequence_expected == 101


@pytest.mark.parametrize(("deeper", "expected"), [(97, 103), (90, 101)])
def test_a_difference_behind_another_may_be_the_older_one(deeper: int, expected: int) -> None:
    """The one at the touch is since the last proof; the other lies where that did not reach."""
    shell = ClassicShell().synced()
    shell.update(102, 102, bids=[("99", "1", 102)])
    decide(shell)
    answer(shell, book(102))
    assert verdicts(shell) == [("equal", 102, 40)]
    shell.update(103, 103, bids=[("99", "1", 103)])
    corrupt(shell, price=100)
    corrupt(shell, price=deeper)
    audits = shell.made.pipeline._streams.book((SYMBOL, "l2")).audits
    assert audits._proof is not None
    audits._proof = replace(audits._proof, known_bid_from=(95, 0), known_ask_to=(110, 0))
    decide(shell)
    answer(shell, book(103))
    (gap,) = shell.made.gaps()
    assert gap.sequence_expected == expected


def test_books_that_know_nothing_in_common_prove_nothing() -> None:
    shell = ClassicShell().synced()
    for n in range(20):
        shell.update(102 + n, 102 + n, bids=[(str(100 - n), "0", 102 + n)])
    for n in range(20):
        shell.update(122 + n, 122 + n, asks=[(str(101 + n), "0", 122 + n)])
    decide(shell)
    sides = [[(str(base + n), "1") for n in range(20)] for base in (1, 200)]
    answer(shell, format_book(BookAnswer(141, None, *sides)))
    assert verdicts(shell) == [("inconclusive", 141, 0)]
    assert why(shell) == "no level is known to both"


def test_without_a_book_nothing_is_asked() -> None:
    shell = ClassicShell()
    shell.update(101, 101, bids=[("100", "1", 101)])
    assert decide(shell) == []
    assert shell.made.pipeline.counts["audit_uncovered"] == 1
    answer(shell, book(101))
    assert shell.made.pipeline.counts["audit_ignored"] == 1
    assert verdicts(shell) == []


def test_an_answer_that_fails_or_cannot_be_read_ends_the_audit() -> None:
    shell = ClassicShell().synced()
    decide(shell)
    fields = {"url": URL, "symbol": SYMBOL, "stream": "l2", "purpose": AUDIT}
    shell.line("rest_failure", error="no answer in time", **fields)
    assert why(shell) == "no answer in time"
    decide(shell)
    answer(shell, b'{"code":"200000","data":{}}')
    assert why(shell) == "the answer cannot be used"
    assert [result for result, *_ in verdicts(shell)] == ["inconclusive"] * 2


def test_of_a_book_there_is_one_audit_at_a_time() -> None:
    shell = ClassicShell().synced()
    decide(shell)
    shell.update(102, 102, bids=[("98", "1", 102)])
    assert decide(shell) == []
    answer(shell, book(101))
    assert verdicts(shell) == [("equal", 101, 40)]
    assert shell.made.pipeline.counts["audit_under_way"] == 1


def test_a_book_that_is_lost_meanwhile_ends_the_audit() -> None:
    shell = ClassicShell().synced()
    decide(shell)
    shell.update(103, 103, bids=[("100", "1", 103)])
    assert why(shell) == "the book was lost: sequence"
    (gap,) = shell.made.gaps()
    assert gap.reason == "sequence"


@pytest.mark.parametrize("comes_back", [False, True])
def test_older_answers_count_no_more_once_the_book_is_lost(comes_back: bool) -> None:
    """They spoke of a subscription that is gone: they bring no stream up, and end no new book."""
    shell = ClassicShell().synced()
    for older in range(OLDER_ANSWERS):
        decide(shell)
        answer(shell, book(50 + older))
    shell.line("close", connection=1, reason="closed")
    if comes_back:
        shell.line("open", connection=2)
        shell.update(101, 101, connection=2, bids=[("100", "1", 101)])
        shell.seed(101, request_id=2)
    assert check(shell) == []
    (gap,) = shell.made.gaps()
    assert (gap.reason, gap.healed_by) == ("closed", "snapshot" if comes_back else None)
