"""Audits line by line: what is compared when, and what is concluded."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from recorder.pipeline.auditing import CHANGES_MAX, CHECKS_MAX, SILENT_CHECKS
from recorder.pipeline.output import AskAudit, Audited, RequestBook, Resubscribe
from recorder.pipeline.pipeline import Pipeline
from recorder.raw_line import AUDIT, PAUSED, RawLine
from schemas.kucoin.control import Control, Subscription, format_control
from schemas.kucoin.market import L3Event, Match, format_l3_event, format_match
from schemas.kucoin.profiles.kucoin_classic import KUCOIN_CLASSIC
from schemas.kucoin.rest import BookAnswer, format_book
from tests.support.audit_lines import answer, check, corrupt, decide, verdicts, why
from tests.support.classic_shell import SYMBOL, ClassicShell, book
from tests.support.market_log import PROFILE, RUN, T0
from tests.support.pipeline_rows import Made


def test_an_answer_at_our_sequence_is_compared_at_once_and_kept() -> None:
    shell = ClassicShell().synced()
    assert decide(shell) == [AskAudit(SYMBOL, "l2")]
    answer(shell, book(101))
    assert verdicts(shell) == [("equal", 101, 40)]
    assert {(row["sequence"], row["ordinal"]) for row in shell.books("audit")} == {(101, 1)}
    (interval,) = shell.made.intervals()
    assert interval.ts_to == shell.ts, "the silence up to the answer is proven"


def test_an_answer_older_than_the_copy_says_nothing() -> None:
    shell = ClassicShell().synced()
    decide(shell)
    answer(shell, book(100))
    assert verdicts(shell) == [("inconclusive", 100, 0)]
    assert why(shell) == "the answer stands at 100, the book at 101"


def test_an_answer_the_stream_has_passed_is_compared_where_it_stood() -> None:
    shell = ClassicShell().synced()
    decide(shell)
    shell.update(102, 102, bids=[("100", "5", 102)])
    shell.update(103, 103, bids=[("100", "0", 103)])
    answer(shell, book(101))
    assert verdicts(shell) == [("equal", 101, 40)]
    assert shell.made.gaps() == []


def test_an_answer_ahead_waits_for_the_stream() -> None:
    shell = ClassicShell().synced()
    decide(shell)
    answer(shell, book(103, bids=19, top=99))
    assert verdicts(shell) == []
    shell.update(102, 102, bids=[("98", "1", 102)])
    assert verdicts(shell) == []
    shell.update(103, 103, bids=[("100", "0", 103)])
    assert verdicts(shell) == [("equal", 103, 39)]


def test_a_message_across_the_answer_is_no_difference() -> None:
    """98 changed at 102 and again at 104: the message tells of the last change only."""
    shell = ClassicShell().synced()
    decide(shell)
    sides = [(str(100 - n), "9" if n == 2 else "1") for n in range(20)], []
    asks = [(str(101 + n), "1") for n in range(20)]
    answer(shell, format_book(BookAnswer(103, None, sides[0], asks)))
    shell.update(102, 104, bids=[("98", "4", 104)], asks=[("101", "1", 103)])
    assert verdicts(shell) == [("equal", 103, 40)]


def test_a_corrupted_book_is_found_marked_and_healed() -> None:
    shell = ClassicShell().synced()
    shell.update(102, 102, bids=[("99", "3", 102)])
    shell.update(103, 103, bids=[("99", "1", 103)])
    corrupt(shell)
    decide(shell)
    commands = answer(shell, book(103))
    assert verdicts(shell) == [("unequal", 103, 0)]
    told = orjson.loads(shell.made.entries(Audited)[0].detail)
    assert told == {"side": "bid", "price": "100", "recorded": "77", "exchange": "1"}
    assert [type(command).__name__ for command in commands] == ["ArmTimer"]
    (gap,) = shell.made.gaps()
    (interval,) = shell.made.intervals()
    # Known to be right was only what the exchange itself had told.
    assert (gap.reason, gap.sequence_expected, gap.ordinal_from) == ("drift", 101, 0)
    assert (interval.sequence_last, interval.ordinal_last, interval.messages) == (100, 0, 0)
    assert gap.ts_from == interval.ts_to == interval.ts_from
    assert (
        "an audit at sequence 103: the bid at 100 is 77 in one book, 1 in the other"
        in (shell.made.incidents[0])
    )
    assert shell.update(104, 104, bids=[("97", "2", 104)]) == [RequestBook(SYMBOL, "l2", 2)]
    shell.seed(103, request_id=2)
    assert (gap.healed_by, gap.sequence_received) == ("snapshot", 103)


def test_beyond_the_known_depth_nothing_is_compared() -> None:
    shell = ClassicShell().synced()
    shell.update(102, 102, bids=[("50", "5", 102)])
    corrupt(shell, price=50)
    decide(shell)
    answer(shell, book(102))
    assert verdicts(shell) == [("equal", 102, 40)]


def test_too_many_changes_before_the_answer_end_it() -> None:
    shell = ClassicShell().synced()
    decide(shell)
    for n in range(0, CHANGES_MAX, 1000):
        first = 102 + n
        changes = [("100", str(i % 7 + 1), first + i) for i in range(1000)]
        shell.update(first, first + 999, bids=changes)
    shell.update(first + 1000, first + 1000, bids=[("100", "1", first + 1000)])
    answer(shell, book(101))
    assert why(shell) == f"{CHANGES_MAX + 1} changes came before the answer"


def test_a_stream_that_stands_still_behind_the_answer_is_silent() -> None:
    shell = ClassicShell().synced()
    good_until = shell.made.intervals()[0].ts_to
    decide(shell)
    answer(shell, book(105, bids=19))
    assert check(shell, SILENT_CHECKS - 1) == []
    commands = check(shell)
    assert commands[-1] == Resubscribe(SYMBOL, "l2")
    assert verdicts(shell) == [("inconclusive", 105, 0)]
    (gap,) = shell.made.gaps()
    assert (gap.reason, gap.ts_from, gap.sequence_expected) == ("silent", good_until, 102)
    assert "the exchange stands at 105, ours at 101" in shell.made.incidents[0]
    shell.line("timer", symbol=SYMBOL, stream="l2", timer_id=2)
    shell.seed(106, request_id=2)
    assert gap.healed_by == "snapshot"


def test_numbers_that_change_no_level_are_no_proof_of_silence() -> None:
    """The venue need not tell of them before the next one that does change a level."""
    shell = ClassicShell().synced()
    decide(shell)
    answer(shell, book(105))
    assert check(shell, SILENT_CHECKS) == []
    assert why(shell) == "no level differs from a newer answer"
    shell.update(102, 106, bids=[("98", "3", 106)])
    assert shell.made.gaps() == []


def test_an_answer_that_knows_none_of_our_levels_is_new() -> None:
    shell = ClassicShell().synced()
    decide(shell)
    asks = [(str(301 + n), "1") for n in range(20)]
    bids = [(str(300 - n), "1") for n in range(20)]
    answer(shell, format_book(BookAnswer(105, None, bids, asks)))
    assert check(shell, SILENT_CHECKS)[-1] == Resubscribe(SYMBOL, "l2")


def test_a_stream_that_comes_late_is_not_silent() -> None:
    shell = ClassicShell().synced()
    decide(shell)
    answer(shell, book(110))
    for n in range(8):
        check(shell, SILENT_CHECKS - 1)
        shell.update(102 + n, 102 + n, bids=[("98", "1", 102 + n)])
    assert verdicts(shell) == []
    shell.update(110, 110, bids=[("98", "1", 110)])
    assert verdicts(shell) == [("equal", 110, 40)]
    assert shell.made.gaps() == []


def test_a_quiet_market_is_no_silent_stream() -> None:
    shell = ClassicShell().synced()
    decide(shell)
    answer(shell, book(101))
    assert check(shell, 20) == []
    assert verdicts(shell) == [("equal", 101, 40)]


def test_an_audit_nobody_answers_ends_by_itself() -> None:
    shell = ClassicShell().synced()
    decide(shell)
    check(shell, CHECKS_MAX - 1)
    assert verdicts(shell) == []
    check(shell)
    assert why(shell) == "an answer did not come in time"
    assert shell.made.gaps() == []


def older(shell: ClassicShell, *sequences: int) -> list[object]:
    """Audit a book again and again, and look at it after each answer."""
    commands: list[object] = []
    for sequence in sequences:
        decide(shell)
        answer(shell, book(sequence))
        commands += check(shell)
    return commands


def test_older_answers_that_go_on_while_the_book_stands_still_prove_a_dead_stream() -> None:
    """Its numbers have begun anew, and nothing has told of it."""
    shell = ClassicShell().synced()
    assert older(shell, 5, 9) == []
    assert Resubscribe(SYMBOL, "l2") in older(shell, 12)
    (gap,) = shell.made.gaps()
    assert (gap.reason, gap.sequence_expected) == ("silent", 102)
    shell.line("timer", symbol=SYMBOL, stream="l2", timer_id=2)
    shell.seed(14, request_id=2)
    assert gap.healed_by == "snapshot"


def test_older_answers_that_stand_still_or_go_back_are_of_a_cache() -> None:
    shell = ClassicShell().synced()
    older(shell, 5, 9, 9, 9, 7, 8, 6, 7)
    assert shell.made.gaps() == []


def test_a_book_that_goes_on_is_alive_however_old_the_answers_are() -> None:
    shell = ClassicShell().synced()
    for sequence in range(102, 110):
        older(shell, sequence - 60)
        shell.update(sequence, sequence, bids=[("98", "1", sequence)])
    older(shell, 60, 61)
    assert shell.made.gaps() == []


class OrdersShell:
    """A level-3 stream of two orders at one price."""

    def __init__(self) -> None:
        self.made = Made(Pipeline())
        self.ts = T0
        self.line("run_start", run_id=RUN, profile=PROFILE.name)
        self.line("open", connection=1)
        self.event("open", 11, "o2", remain_size="2")
        self.book(10, ["o1"], request_id=1)

    def line(self, kind: str, data: bytes | None = None, connection: int = 0, **fields: Any):
        """Feed one line; return the commands it led to."""
        self.ts += 1_000_000
        output = self.made.pipeline.feed([RawLine(kind, self.ts, 0, connection, data, fields)])
        self.made.take(output)
        return output.commands

    def event(self, kind: str, sequence: int, order: str, **fields: str) -> None:
        """Feed an event at price 1."""
        given = {"side": "buy", "order_id": order, "price": "1", "size": "2", **fields}
        event = L3Event(kind, SYMBOL, sequence, ts_event=T0, **given)
        self.line("recv", format_l3_event(event), 1)

    def book(self, sequence: int, orders: list[str], **fields: Any) -> None:
        """Answer with orders of size 2 at price 1, in their queue."""
        path = PROFILE.book_source("l3", signed=False).path.format(symbol=SYMBOL)
        body = format_book(BookAnswer(sequence, None, [(o, "1", "2") for o in orders], []))
        url = "http://127.0.0.1:1" + path
        self.line("rest_answer", body, url=url, symbol=SYMBOL, stream="l3", **fields)


@pytest.mark.parametrize(
    ("orders", "result"),
    [(["o1", "o2"], "equal"), (["o2", "o1"], "unequal"), (["o1"], "unequal")],
)
def test_level_3_is_compared_order_by_order_in_the_queues(orders: list[str], result: str) -> None:
    shell = OrdersShell()
    decide(shell, "l3")
    shell.event("open", 12, "o3", remain_size="1")
    shell.book(11, orders, purpose=AUDIT)
    ((found, sequence, compared),) = verdicts(shell)
    assert (found, sequence, compared) == (result, 11, 2 if result == "equal" else 0)
    assert [gap.reason for gap in shell.made.gaps()] == ["drift"] * (result == "unequal")


def silent_level_3(*, match_topic: bool) -> tuple[OrdersShell, int]:
    """Return orders whose topic went silent behind a trade, and when that trade was known."""
    shell = OrdersShell()
    match = Match(SYMBOL, 12, "sell", "1", "1", "o1", "o3", "t12", T0)
    if match_topic:
        shell.line("recv", format_match(match), 1)
    shell.event("match", 12, "o1", side="sell", size="1", taker_order_id="o3", trade_id="t12")
    last = shell.ts
    decide(shell, "l3")
    shell.book(15, ["o2"], purpose=AUDIT)
    for _ in range(SILENT_CHECKS):
        shell.line("recv", format_control(Control("pong", "1")), 1)
        check(shell)
    return shell, last


def test_trades_of_a_silent_level_3_end_where_it_last_told() -> None:
    shell, last = silent_level_3(match_topic=False)
    (gap,) = shell.made.gaps(SYMBOL, "trades")
    assert (gap.reason, gap.ts_from, gap.ts_detected, gap.ts_to) == ("silent", last, shell.ts, None)
    commands = check(shell)
    assert commands == []
    (interval,) = shell.made.intervals(SYMBOL, "trades")
    assert (interval.ts_to, interval.is_open) == (last, False), "the socket lengthens nothing"
    shell.event("open", 16, "o9", remain_size="1")
    assert gap.ts_to == shell.ts, "it tells again"
    assert shell.made.intervals(SYMBOL, "trades")[-1].is_open


def test_trades_that_the_match_topic_tells_do_not_end_with_level_3() -> None:
    shell, _ = silent_level_3(match_topic=True)
    assert [gap.stream for gap in shell.made.gaps()] == ["l3"]
    (interval,) = shell.made.intervals(SYMBOL, "trades")
    assert interval.is_open


def renew(shell: ClassicShell, connection: int = 1) -> None:
    """Unsubscribe from level 2 and subscribe anew, both acknowledged."""
    topic = f"{KUCOIN_CLASSIC.topics['level2']}:{SYMBOL}"
    for kind in ("unsubscribe", "subscribe"):
        shell.line("send", format_control(Subscription(kind, kind, topic)), connection)
        shell.line("recv", format_control(Control("ack", kind)), connection)


def silenced() -> ClassicShell:
    """Return a stream that has just been found silent."""
    shell = ClassicShell().synced()
    decide(shell)
    answer(shell, book(105, bids=19))
    check(shell, SILENT_CHECKS)
    return shell


def test_unsubscribing_and_subscribing_anew_leaves_the_gap_as_it_is() -> None:
    shell = silenced()
    renew(shell)
    shell.line("timer", symbol=SYMBOL, stream="l2", timer_id=3)
    shell.seed(106, request_id=2)
    (gap,) = shell.made.gaps()
    assert (gap.reason, gap.healed_by) == ("silent", "snapshot")


def test_a_book_that_comes_before_a_silent_topic_is_taken_off_is_lost_to_the_silence() -> None:
    """A slow acknowledgement: by then the timer has rung, and the book is there."""
    shell = silenced()
    shell.line("timer", symbol=SYMBOL, stream="l2", timer_id=2)
    shell.seed(106, request_id=2)
    renew(shell)
    shell.line("timer", symbol=SYMBOL, stream="l2", timer_id=3)
    shell.seed(107, request_id=3)
    gaps = shell.made.gaps()
    assert [(gap.reason, gap.healed_by) for gap in gaps] == [("silent", "snapshot")] * 2


@pytest.mark.parametrize("between", ["renewed", "handed over", "closed", "paused"])
def test_what_is_taken_off_later_is_no_silence_any_more(between: str) -> None:
    shell = silenced()
    carrier = 1 if between == "renewed" else 2
    if between == "renewed":
        renew(shell)
    elif between == "paused":
        shell.line("decision", what=PAUSED, reason="disk_full")
    else:
        if between == "handed over":
            shell.update(108, 108, bids=[("98", "1", 108)], connection=carrier)
        shell.line("close", connection=1, reason="disconnected")
    shell.update(108, 108, bids=[("98", "1", 108)], connection=carrier)
    shell.seed(107, request_id=2)
    assert shell.made.pipeline.status()[SYMBOL, "l2"]["state"] == "synced"
    renew(shell, carrier)
    shell.update(120, 120, bids=[("98", "1", 120)], connection=carrier)
    shell.seed(119, request_id=3)
    assert [gap.reason for gap in shell.made.gaps()] == ["silent", "stopped"]
