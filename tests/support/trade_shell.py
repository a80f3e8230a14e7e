"""One run that records trades, line by line: disconnects, matches of both topics, histories."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from recorder.pipeline.output import Backfill, Command, Output
from recorder.pipeline.pipeline import Pipeline
from recorder.raw_line import BACKFILL, RawLine
from schemas.kucoin.control import Control, Subscription, format_control
from schemas.kucoin.market import L3Event, Match, format_l3_event, format_match
from schemas.kucoin.profile import Profile
from schemas.kucoin.profiles.kucoin_2019 import KUCOIN_2019
from schemas.kucoin.rest import HistoryTrade, format_histories
from tests.support.market_log import RUN, T0
from tests.support.pipeline_rows import Made

SYMBOL = "A-B"
MS = 1_000_000
URL = f"http://127.0.0.1:1/api/v1/market/histories?symbol={SYMBOL}"
QUESTION = {"url": URL, "symbol": SYMBOL, "purpose": BACKFILL}


def event_time(sequence: int) -> int:
    """Return when a trade happened, ns."""
    return T0 + sequence * MS


def history(sequences: Iterable[int]) -> bytes:
    """Return an answer that holds these trades."""
    return format_histories([HistoryTrade(s, "2", str(s), "buy", event_time(s)) for s in sequences])


class TradeShell:
    """Lines one after the other, a millisecond apart; `lines` keeps them.

    Attributes
    ----------
    asked : int   questions put by the pipeline and not answered or failed yet
    """

    def __init__(
        self,
        profile: Profile = KUCOIN_2019,
        last_trade: int | None = None,
        run_id: str = RUN,
        *,
        is_proven: bool = True,
    ) -> None:
        self.made = Made(Pipeline())
        self.ts = T0
        self.lines: list[RawLine] = []
        self.asked = 0
        self.connection = 0
        self._topics = profile.topics
        last: dict[str, Any] = {"last_trades_unproven": [] if is_proven else [SYMBOL]}
        if last_trade is not None:
            last["last_trades"] = {SYMBOL: last_trade}
        self.line("run_start", run_id=run_id, profile=profile.name, **last)

    def line(self, kind: str, data: bytes | None = None, **fields: Any) -> list[Command]:
        """Feed one line; return the commands it led to."""
        self.ts += MS
        connection = fields.pop("connection", 0)
        raw = RawLine(kind, self.ts, 0, connection, data, fields)
        self.lines.append(raw)
        output: Output = self.made.pipeline.feed([raw])
        self.made.take(output)
        self.asked += sum(isinstance(command, Backfill) for command in output.commands)
        return output.commands

    def up(self, *feeds: str) -> list[Command]:
        """Connect, subscribe (to the match topic for want of another word) and be acknowledged."""
        self.connection += 1
        self.line("open", connection=self.connection)
        commands = []
        for feed in feeds or ("match",):
            name = f"{self.connection}/{feed}"
            topic = f"{self._topics[feed]}:{SYMBOL}"
            asked = Subscription("subscribe", name, topic)
            self.line("send", format_control(asked), connection=self.connection)
            ack = format_control(Control("ack", name))
            commands += self.line("recv", ack, connection=self.connection)
        return commands

    def down(self, reason: str = "disconnected") -> None:
        """Lose the connection."""
        self.line("close", connection=self.connection, reason=reason)

    def match(self, *sequences: int) -> list[Command]:
        """Be told of trades by the match topic."""
        commands = []
        for sequence in sequences:
            at = (sequence, "buy", "2", str(sequence), "m", "t", str(sequence))
            frame = format_match(Match(SYMBOL, *at, event_time(sequence)))
            commands += self.line("recv", frame, connection=self.connection)
        return commands

    def l3_match(self, *sequences: int) -> None:
        """Be told of trades by level 3."""
        for sequence in sequences:
            event = L3Event("match", SYMBOL, sequence, "buy", event_time(sequence), "m", "2")
            event.size, event.taker_order_id, event.trade_id = str(sequence), "t", str(sequence)
            self.line("recv", format_l3_event(event), connection=self.connection)

    def answer(self, sequences: Iterable[int]) -> list[Command]:
        """Answer a question with these trades."""
        self.asked -= 1
        return self.line("rest_answer", history(sequences), status=200, **QUESTION)

    def fail(self) -> list[Command]:
        """Leave a question without an answer."""
        self.asked -= 1
        return self.line("rest_failure", error="timeout", **QUESTION)

    @property
    def rows(self) -> list[dict[str, Any]]:
        """The trades recorded."""
        return self.made.rows("trades", SYMBOL)

    def told(self, source: str = "") -> list[int]:
        """Return the numbers of the trades recorded, in order, of one source or of all."""
        return [row["sequence"] for row in self.rows if source in ("", row["source"])]

    @property
    def gaps(self) -> list[tuple[str, str | None, int | None]]:
        """Reason, what healed it and the number it names, of every gap."""
        gaps = self.made.gaps(SYMBOL, "trades")
        return [(gap.reason, gap.healed_by, gap.sequence_received) for gap in gaps]

    def count(self, name: str) -> int:
        """Return one of the run's counts."""
        return self.made.pipeline.counts[name]
