"""Audits of trades: whether a topic that tells nothing is dead, or nothing has been traded.

On the socket both look the same, and no number of a trade shows that another is missing. The
exchange's history tells them apart. A trade in it that is newer than the last one told is either
on its way, or the topic is silent although it was acknowledged:

    decision "audit" ──▶ rest_answer: the history ends at N, the last one told is T
        N ≤ T: nothing has been missed
        N > T: nothing at all told at three checks in a row since: silent

Before a first trade was told the history of an earlier audit takes its place: from then on every
trade is to be told.
"""

from __future__ import annotations

from collections.abc import Collection, Container

from recorder.pipeline.auditing import (
    CHECKS_MAX,
    SILENT_CHECKS,
    OlderAnswers,
    Silent,
    tell_reason,
)
from recorder.pipeline.known_clock import KnownClock
from recorder.pipeline.output import EQUAL, INCONCLUSIVE, AskAudit, Audited, Output


class TradeAudits:
    """Audit the trades of one symbol, one audit at a time.

    Parameters
    ----------
    symbol : str
    clock : KnownClock   of the stream: no verdict stands before its rows
    """

    def __init__(self, symbol: str, clock: KnownClock) -> None:
        self._symbol = symbol
        self._clock = clock
        self._verdict_ts = 0  # of the last one
        self._is_asked = False
        self._newest: int | None = None  # of the history that the topic has yet to reach
        self._seen: int | None = None  # the last trade told at the last check
        self._checks = 0
        self._still = 0
        self._history_end: int | None = None  # in this interval
        self._older = OlderAnswers()

    @property
    def is_under_way(self) -> bool:
        """Whether one has begun and has no verdict."""
        return self._is_asked or self._newest is not None

    def restart(self) -> None:
        """Begin anew with an interval: histories of earlier times say nothing about it."""
        self._history_end = None

    def on_asked(self, output: Output, *, is_up: bool) -> None:
        """Want the exchange's history, where trades are told at all."""
        if self.is_under_way:
            output.counts["audit_under_way"] += 1
        elif is_up:
            self._is_asked = True
            self._checks = self._still = 0
            output.commands.append(AskAudit(self._symbol, "trades"))
        else:
            output.counts["audit_uncovered"] += 1

    def on_answered(
        self,
        ts: int,
        numbers: Collection[int],
        told: Container[int],
        last: int | None,
        output: Output,
    ) -> None:
        """Take in the history.

        Parameters
        ----------
        ts : int               when it was received, ns
        numbers : collection   of its trades
        told : container       the trades that are known
        last : int or None     the newest told in this interval
        """
        if not self._is_asked:
            output.counts["audit_ignored"] += 1
            return
        self._is_asked = False
        known = self._history_end if last is None else last
        if not numbers:
            self._give_up("the history is empty", ts, output)
            return
        newest = max(numbers)
        if known is None:
            self._history_end = newest
            self._give_up("no trade has been told yet", ts, output, newest)
        elif newest < known:
            self._older.note(known, newest)
            self._give_up(f"the history ends at {newest}, before {known}", ts, output, newest)
        elif newest == known:
            self._end(EQUAL, ts, output, newest, compared=sum(n in told for n in numbers))
        else:
            self._newest, self._seen = newest, last

    def on_failed(self, ts: int, why: str, output: Output) -> None:
        """Note that there will be no history."""
        if self._is_asked:
            self._give_up(why, ts, output)

    def on_down(self, ts: int, reason: str, output: Output) -> None:
        """Note that trades are not told any more."""
        self._older.forget()
        if self.is_under_way:
            self._give_up(f"the stream was lost: {reason}", ts, output)

    def check(self, ts: int, last: int | None, output: Output) -> Silent | None:
        """Look at the audit under way while `last` is the last trade told.

        Returns
        -------
        Silent or None   when the topic is proven to be
        """
        known = self._history_end if last is None else last
        if known is not None and (theirs := self._older.prove(known)) is not None:
            self.on_down(ts, "silent", output)
            return Silent(self._symbol, "trades", last, theirs)
        if not self.is_under_way:
            return None
        self._checks += 1
        newest = self._newest
        if newest is not None:
            if last is not None and last >= newest:
                self._end(EQUAL, ts, output, newest, compared=1)
                return None
            self._still = self._still + 1 if last == self._seen else 0
            self._seen = last
            if self._still >= SILENT_CHECKS:
                self._give_up("the stream is silent", ts, output, newest)
                return Silent(self._symbol, "trades", last, newest)
        if self._checks >= CHECKS_MAX:
            waits_for = "an answer" if newest is None else "the stream"
            self._give_up(f"{waits_for} did not come in time", ts, output)
        return None

    def _give_up(self, why: str, ts: int, output: Output, sequence: int | None = None) -> None:
        self._end(INCONCLUSIVE, ts, output, sequence, detail=tell_reason(why))

    def _end(
        self,
        result: str,
        ts: int,
        output: Output,
        sequence: int | None,
        *,
        compared: int = 0,
        detail: str | None = None,
    ) -> None:
        self._is_asked, self._newest = False, None
        # No row is known by it: the clock stays, or an interval would end where this was found.
        self._verdict_ts = max(self._clock.now, ts, self._verdict_ts + 1)
        output.counts[f"audit_{result}"] += 1
        verdict = (self._verdict_ts, sequence, result, compared, detail)
        output.touch(Audited(self._symbol, "trades", *verdict))
