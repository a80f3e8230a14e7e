"""Holes in what was told of trades: what answers fill in, and when nothing is missing any more."""

from __future__ import annotations

import pytest

from recorder.pipeline import missed_trades
from recorder.pipeline.missed_trades import (
    FAILED,
    FRUITLESS_MAX,
    HEALED,
    PARTIAL,
    UNREACHABLE,
    MissedTrades,
)
from recorder.pipeline.output import Gap


def gap(ts: int = 1) -> Gap:
    """Return a gap that has ended."""
    return Gap("A-B", "trades", 0, "disconnected", ts, ts, None, ts + 1)


def never(_: int) -> bool:
    """Say of no trade that a socket told of it."""
    return False


def begun(after: int | None = 10) -> MissedTrades:
    """Return one hole."""
    missed = MissedTrades()
    missed.begin(after, gap())
    return missed


def outcomes(missed: MissedTrades) -> list[str]:
    """Return what became of the holes that can be let go of."""
    return [hole.outcome for hole in missed.settle()]


def test_an_answer_that_holds_both_ends_fills_the_hole() -> None:
    missed = begun()
    assert missed.tell(20) == []
    assert missed.answer([8, 10, 19, 12, 20, 21], never) == [12, 19]
    assert outcomes(missed) == [HEALED]
    assert not missed.is_wanting


def test_nothing_was_missed_and_that_can_be_shown() -> None:
    missed = begun()
    missed.tell(20)
    assert missed.answer([10, 20], never) == []
    assert outcomes(missed) == [HEALED]


def test_an_answer_from_before_the_hole_ended_proves_nothing() -> None:
    missed = begun()
    missed.tell(20)
    assert missed.answer([9, 10, 12], never) == [12]
    assert outcomes(missed) == []
    assert missed.is_wanting
    assert missed.answer([12, 15, 20], never) == [15]  # overlaps with what is known
    assert outcomes(missed) == [HEALED]


def test_windows_that_do_not_overlap_prove_nothing() -> None:
    missed = begun()
    missed.tell(20)
    missed.answer([9, 10, 12], never)
    assert missed.answer([13, 15, 20], never) == [13, 15]
    [hole] = missed.settle()
    assert hole.outcome == PARTIAL
    assert hole.known_from == 13


def test_an_answer_that_begins_too_late_keeps_what_it_has() -> None:
    missed = begun()
    missed.tell(20)
    assert missed.answer([11, 12, 20], never) == [11, 12]
    [hole] = missed.settle()
    assert (hole.outcome, hole.known_from) == (PARTIAL, 11)


def test_an_answer_newer_than_all_of_the_hole_has_nothing() -> None:
    missed = begun()
    missed.tell(20)
    assert missed.answer([21, 22], never) == []
    [hole] = missed.settle()
    assert (hole.outcome, hole.known_from) == (UNREACHABLE, 20)


def test_while_nothing_is_told_the_hole_stays_open_and_nothing_more_is_asked() -> None:
    missed = begun()
    assert missed.is_wanting
    assert missed.answer([9, 10, 12, 14], never) == [12, 14]
    assert outcomes(missed) == []
    assert not missed.is_wanting
    assert missed.tell(20) == []
    assert missed.is_wanting
    assert missed.answer([12, 14, 20], never) == []
    assert outcomes(missed) == [HEALED]


def test_a_trade_filled_in_before_it_is_told_ends_the_hole() -> None:
    missed = begun()
    assert missed.answer([10, 12, 14], never) == [12, 14]
    assert missed.was_filled_in(14)
    assert [hole.outcome for hole in missed.tell(14)] == [HEALED]


def test_a_trade_told_that_a_window_around_it_does_not_hold_belies_the_numbers() -> None:
    missed = begun()
    missed.answer([10, 12, 14], never)
    assert [hole.outcome for hole in missed.tell(13)] == [PARTIAL]


@pytest.mark.parametrize("numbers", [[9, 11, 20], [9, 10, 19, 21]])
def test_a_window_without_the_trades_it_must_hold_proves_nothing(numbers: list[int]) -> None:
    missed = begun()
    missed.tell(20)
    missed.answer(numbers, never)
    assert outcomes(missed) == [PARTIAL]


def test_numbers_that_begin_anew_prove_nothing() -> None:
    missed = begun()
    assert [hole.outcome for hole in missed.tell(3)] == [FAILED]


def test_a_trade_told_again_is_no_other_beginning() -> None:
    missed = begun()
    assert missed.tell(10) == []
    missed.tell(20)
    missed.answer([10, 15, 20], never)
    assert outcomes(missed) == [HEALED]


def test_disorder_ends_what_is_open_and_whatever_begins_later() -> None:
    missed = begun()
    missed.tell(20)
    missed.disorder()
    assert outcomes(missed) == [FAILED]
    missed.begin(30, gap())
    missed.tell(40)
    missed.answer([30, 35, 40], never)
    assert HEALED not in outcomes(missed)


def test_what_a_socket_told_of_is_not_filled_in() -> None:
    missed = begun()
    missed.tell(20)
    assert missed.answer([10, 15, 17, 20], {15}.__contains__) == [17]


def test_nothing_is_filled_in_twice() -> None:
    missed = begun()
    assert missed.answer([10, 12], never) == [12]
    missed.begin(10, gap(5))  # down and up again, and nothing told between
    assert missed.answer([10, 12, 14], never) == [14]
    [hole] = missed.tell(14)
    assert hole.outcome == HEALED
    assert len(hole.gaps) == 2


def test_two_holes_are_filled_each_by_itself() -> None:
    missed = begun()
    missed.tell(20)
    missed.begin(29, gap(5))
    missed.tell(40)
    assert missed.answer([18, 20, 29, 33, 40], never) == [18, 33]
    assert outcomes(missed) == [PARTIAL, HEALED]


def test_without_a_trade_before_it_nothing_can_be_asked() -> None:
    missed = begun(None)
    assert not missed.is_wanting
    assert missed.tell(5) == []


def test_what_leads_nowhere_is_asked_so_many_times() -> None:
    missed = begun()
    missed.tell(20)
    for _ in range(FRUITLESS_MAX - 1):
        missed.answer([9, 10], never)
        assert outcomes(missed) == []
    missed.answer([], never)
    [hole] = missed.settle()
    assert (hole.outcome, hole.known_from) == (UNREACHABLE, 20)


def test_questions_that_fail_are_given_up_until_a_trade_is_told() -> None:
    missed = begun()
    for _ in range(FRUITLESS_MAX):
        assert missed.is_wanting
        missed.fail()
    assert not missed.is_wanting
    missed.tell(20)
    assert missed.is_wanting
    for _ in range(FRUITLESS_MAX):
        missed.fail()
    assert outcomes(missed) == [FAILED]


def test_the_end_of_an_earlier_run_is_told_apart() -> None:
    missed = MissedTrades()
    missed.begin(10, None, joins_runs=True)
    missed.begin(10, gap())
    missed.answer([10, 20], never)
    [hole] = missed.tell(20)
    assert (hole.outcome, hole.joins_runs, len(hole.gaps)) == (HEALED, True, 1)


def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(missed_trades, "_REMEMBERED", 2)
    missed = begun()
    missed.answer([11, 12, 13], never)
    assert [missed.was_filled_in(n) for n in (11, 12, 13)] == [False, True, True]
