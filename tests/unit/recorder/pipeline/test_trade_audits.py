"""Audits of trades, line by line: a quiet market and a dead topic look the same on the socket."""

from __future__ import annotations

import pytest

from recorder.pipeline.auditing import CHECKS_MAX, SILENT_CHECKS
from recorder.pipeline.output import AskAudit, Backfill, Resubscribe
from recorder.raw_line import AUDIT, BACKFILL
from schemas.kucoin.control import Control, Subscription, format_control
from schemas.kucoin.profiles.kucoin_classic import KUCOIN_CLASSIC
from schemas.kucoin.rest import HistoryTrade, format_histories
from tests.support.audit_lines import check, decide, verdicts, why
from tests.support.classic_shell import SYMBOL, TOLD, ClassicShell

HISTORIES = f"http://127.0.0.1:1{KUCOIN_CLASSIC.histories_path.format(symbol=SYMBOL)}"
TOPIC = f"{KUCOIN_CLASSIC.topics['match']}:{SYMBOL}"


def history(*sequences: int) -> bytes:
    """Return an answer of last trades."""
    return format_histories([HistoryTrade(n, "2", "0.5", "buy", TOLD) for n in sequences])


def answer(shell: ClassicShell, *sequences: int, purpose: str = AUDIT) -> list[object]:
    """Answer a question for the last trades."""
    fields = {"symbol": SYMBOL, "stream": "trades", "purpose": purpose}
    return shell.line("rest_answer", history(*sequences), url=HISTORIES, **fields)


def audit(shell: ClassicShell, *sequences: int) -> None:
    """Ask for the last trades, and answer."""
    assert decide(shell, "trades") == [AskAudit(SYMBOL, "trades")]
    answer(shell, *sequences)


def subscribed(*trades: int) -> ClassicShell:
    """Return a stream that has told of some trades."""
    shell = ClassicShell()
    renew(shell, ["subscribe"])
    for trade in trades:
        shell.match(trade)
    return shell


def renew(shell: ClassicShell, kinds: list[str]) -> list[object]:
    """Unsubscribe, or subscribe; acknowledged."""
    commands: list[object] = []
    for kind in kinds:
        shell.line("send", format_control(Subscription(kind, kind, TOPIC)), 1)
        commands += shell.line("recv", format_control(Control("ack", kind)), 1)
    return commands


def look(shell: ClassicShell, times: int = 1) -> list[object]:
    """Look at everything, while the connection is heard of."""
    commands: list[object] = []
    for _ in range(times):
        shell.line("recv", format_control(Control("pong", "1")), 1)
        commands += check(shell)
    return commands


def test_a_history_that_ends_where_the_topic_does_is_a_quiet_market() -> None:
    shell = subscribed(7, 9)
    audit(shell, 5, 7, 9)
    assert verdicts(shell) == [("equal", 9, 2)]
    assert look(shell, 9) == []
    assert shell.made.gaps() == []


def test_a_newer_trade_that_never_comes_is_a_silent_topic() -> None:
    shell = subscribed(7, 9)
    told_until = shell.ts
    audit(shell, 7, 9, 12)
    assert look(shell, SILENT_CHECKS - 1) == []
    assert look(shell) == [Resubscribe(SYMBOL, "trades")]
    assert why(shell) == "the stream is silent"
    (gap,), (interval,) = shell.made.gaps(), shell.made.intervals()
    assert (gap.stream, gap.reason, gap.ts_from) == ("trades", "silent", told_until)
    assert (interval.ts_to, interval.is_open) == (told_until, False)
    assert look(shell, 9) == [], "and no frame of the socket lengthens it"
    assert interval.ts_to == told_until
    assert renew(shell, ["unsubscribe", "subscribe"]) == [Backfill(SYMBOL)]
    answer(shell, 7, 9, 12, purpose=BACKFILL)
    shell.match(13)
    answer(shell, 9, 12, 13, purpose=BACKFILL)
    assert (gap.reason, gap.healed_by) == ("silent", "backfill")
    assert [(row["sequence"], row["source"]) for row in shell.made.rows("trades", SYMBOL)] == [
        (7, "match"), (9, "match"), (12, "backfill"), (13, "match"),
    ]  # fmt: skip


def test_a_newer_trade_that_comes_late_was_on_its_way() -> None:
    shell = subscribed(9)
    audit(shell, 9, 12)
    look(shell, SILENT_CHECKS - 1)
    shell.match(12)
    assert look(shell, SILENT_CHECKS) == []
    assert [verdict[:2] for verdict in verdicts(shell)] == [("equal", 12)]
    assert shell.made.gaps() == []


def test_whatever_comes_is_progress() -> None:
    shell = subscribed(9)
    audit(shell, 9, 30)
    for trade in range(10, 20):
        shell.match(trade)
        assert look(shell, SILENT_CHECKS - 1) == []
    assert look(shell, SILENT_CHECKS) == [Resubscribe(SYMBOL, "trades")]


def test_before_the_first_trade_two_histories_are_compared() -> None:
    shell = subscribed()
    began = shell.ts
    audit(shell, 5, 9)
    assert why(shell) == "no trade has been told yet"
    audit(shell, 5, 9)
    assert verdicts(shell)[-1] == ("equal", 9, 0)
    audit(shell, 9, 11)
    assert look(shell, SILENT_CHECKS) == [Resubscribe(SYMBOL, "trades")]
    (gap,) = shell.made.gaps()
    assert (gap.reason, gap.ts_from) == ("silent", began)


def test_what_was_traded_while_nothing_was_subscribed_is_no_silence() -> None:
    shell = subscribed(9)
    renew(shell, ["unsubscribe", "subscribe"])
    audit(shell, 9, 14)
    assert why(shell) == "no trade has been told yet"
    assert look(shell, SILENT_CHECKS) == []


@pytest.mark.parametrize("trades", [[9], []])
def test_numbers_that_begin_anew_untold_are_found_by_histories_that_go_on(
    trades: list[int],
) -> None:
    shell = subscribed(*trades)
    if not trades:
        audit(shell, 9)
    for newest in (2, 4):
        audit(shell, newest)
        assert look(shell) == []
    audit(shell, 5)
    assert look(shell) == [Resubscribe(SYMBOL, "trades")]


def test_an_old_history_or_none_at_all_says_nothing() -> None:
    shell = subscribed(9)
    audit(shell, 5, 7)
    assert why(shell) == "the history ends at 7, before 9"
    audit(shell)
    assert why(shell) == "the history is empty"
    assert look(shell, SILENT_CHECKS) == []


def test_an_audit_without_an_answer_ends() -> None:
    shell = subscribed(9)
    decide(shell, "trades")
    fields = {"symbol": SYMBOL, "stream": "trades", "purpose": AUDIT, "error": "HTTP 503"}
    shell.line("rest_failure", url=HISTORIES, **fields)
    assert why(shell) == "HTTP 503"
    decide(shell, "trades")
    shell.line("rest_answer", b"{}", url=HISTORIES, **fields)
    assert why(shell) == "HTTP 503"
    decide(shell, "trades")
    look(shell, CHECKS_MAX)
    assert why(shell) == "an answer did not come in time"
    assert len(verdicts(shell)) == 3


def test_an_audit_ends_with_its_stream() -> None:
    shell = subscribed(9)
    decide(shell, "trades")
    assert decide(shell, "trades") == [], "one at a time"
    shell.line("close", connection=1, reason="disconnected")
    assert why(shell) == "the stream was lost: disconnected"
    assert decide(shell, "trades") == [], "nothing is told"
    answer(shell, 9, 12)
    assert look(shell, SILENT_CHECKS) == []
    assert [gap.reason for gap in shell.made.gaps()] == ["disconnected"]


def test_the_end_of_an_audit_covers_nothing() -> None:
    for ends_by in ("a connection", "an answer"):
        shell = subscribed(9)
        heard = shell.ts
        decide(shell, "trades")
        shell.ts += 3_000_000_000  # and nothing more is heard of the socket
        if ends_by == "an answer":
            answer(shell, 9)
        shell.line("close", connection=1, reason="silent")
        (interval,), (gap,) = shell.made.intervals(), shell.made.gaps()
        assert (interval.ts_to, gap.ts_from, gap.ts_detected) == (heard, heard, shell.ts)
        assert len(verdicts(shell)) == 1


def test_histories_that_go_on_are_forgotten_with_the_connection() -> None:
    shell = subscribed(9)
    for newest in (2, 4, 5):
        audit(shell, newest)
    shell.line("close", connection=1, reason="disconnected")
    assert check(shell) == []
    assert [gap.reason for gap in shell.made.gaps()] == ["disconnected"]
