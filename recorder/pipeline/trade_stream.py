"""Trades of one symbol, each once: in a number space of their own, or in that of the book."""

from __future__ import annotations

from collections.abc import Iterable, Set

from recorder.pipeline.decode import (
    SIDE_OF_ORDER,
    Scales,
    check_int64,
    check_texts,
    parse_optional,
)
from recorder.pipeline.missed_trades import HEALED, Hole, MissedTrades
from recorder.pipeline.output import Backfill, Output, Resubscribe
from recorder.pipeline.push_stream import PushStream
from recorder.pipeline.routes import MATCH_TOPIC
from recorder.pipeline.trade_audits import TradeAudits
from schemas.kucoin.market import L3Event, Match
from schemas.kucoin.rest import HistoryTrade

# Ids are remembered for this long, in log time: longer than two connections overlap in a rotation
# or than a venue takes to repeat itself.
_IDS_REMEMBERED_NS = 600_000_000_000
# And no more than this many of a symbol, whatever it trades.
_TRADES_REMEMBERED = 65_536
# How long a level-3 match may wait for its twin of the match topic, in log time.
_TWIN_WAIT_NS = 5_000_000_000

Numbers = tuple[tuple[int, int], ...]
Words = tuple[str | None, ...]


class TradeStream(PushStream):
    """Trades told by the match topic alone, told apart by their trade ids.

    Their numbers are not the book's and have holes: neither order nor a loss can be seen in them.

    What was missed while nothing told of them is asked from the exchange's history, and is written
    where it still has it.

    Parameters
    ----------
    last_trade : int or None   the last trade that an earlier run recorded
    is_proven : bool           that run has missed none before it

    Attributes
    ----------
    match_topic_up : bool   whether the match topic is subscribed
    audits : TradeAudits
    """

    def __init__(
        self, symbol: str, last_trade: int | None = None, *, is_proven: bool = True
    ) -> None:
        super().__init__(symbol, "trades")
        self._is_proven = is_proven
        self.match_topic_up = False
        # Id → when it was known, and its number; the oldest first.
        self._ids: dict[str | int, tuple[int, int]] = {}
        self._missed = MissedTrades()
        self.audits = TradeAudits(symbol, self._clock)
        self._known_until = 0  # the last row, or the beginning of the interval
        self._last_whole = last_trade  # up to here every topic has told what it tells
        self._topics: set[str] = set()  # that bring trades in this interval
        self._newest: dict[str, int] = {}  # by topic, in this interval

    def on_up(self, ts: int, output: Output) -> None:
        """Begin an interval, and ask for what was missed before it."""
        gap = self._gap
        super().on_up(ts, output)
        self._known_until = self._clock.now
        self.audits.restart()
        joins_runs = gap is None and self._is_proven
        self._missed.begin(self._end_interval(), gap, joins_runs=joins_runs)
        # Also where a question is on its way: a shell that has forgotten it would never answer.
        if self._missed.is_wanting:
            self._ask(output)

    def on_match(self, ts_recv: int, match: Match, scales: Scales, output: Output) -> bool:
        """Take in a message of the match topic; False when it came before.

        Raises
        ------
        ValueError   for what no row can hold; nothing has changed then
        """
        numbers, words = match_row(match, scales)
        if self._is_known_id(match.trade_id or match.sequence, match.sequence, ts_recv):
            return False
        if match.sequence < self._newest.get(MATCH_TOPIC, match.sequence):
            self._missed.disorder()
        self._reach(MATCH_TOPIC, match.sequence)
        self._tell(match.sequence, output)
        if self._missed.was_filled_in(match.sequence):
            return False
        self.write(ts_recv, match.ts_event, match.sequence, numbers, words, output)
        return True

    def on_l3_match(self, ts_recv: int, event: L3Event, scales: Scales, output: Output) -> None:
        """Leave a match of level 3 to the match topic: nothing tells which trade it is."""

    def on_histories(
        self, ts_recv: int, trades: list[HistoryTrade], scales: Scales, output: Output
    ) -> None:
        """Take in the answer to a `Backfill`; an answer to a stream that is down is of no use.

        Raises
        ------
        ValueError   for what no row can hold; nothing has changed then
        """
        rows = {trade.sequence: (trade, *history_row(trade, scales)) for trade in trades}
        if not self.up:
            self._missed.is_asked = False
            return
        missed = self._missed.answer(rows, self._told().__contains__)
        for sequence in missed:
            trade, numbers, words = rows[sequence]
            self.write(ts_recv, trade.ts_event, sequence, numbers, words, output)
        output.counts["trade_backfilled"] += len(missed)
        self._go_on(self._missed.settle(), output)

    def on_histories_failed(self, output: Output) -> None:
        """Note that a `Backfill` will not be answered."""
        self._missed.fail()
        self._go_on(self._missed.settle(), output)

    def on_audit_answered(self, ts_recv: int, trades: list[HistoryTrade], output: Output) -> None:
        """Take in the history an audit asked for."""
        numbers = {trade.sequence for trade in trades}
        self.audits.on_answered(ts_recv, numbers, self._told(), self._last_told, output)

    def on_check(self, ts: int, output: Output) -> bool:
        """Look at the audit that goes on.

        Returns
        -------
        bool   the topic has been found silent, and is to be subscribed to anew
        """
        silent = self.audits.check(ts, self._last_told, output)
        if silent is None:
            return False
        output.incidents.append(str(silent))
        self.on_silent(ts, self._known_until, output)
        output.commands.append(Resubscribe(self.symbol, self.stream))
        return True

    def on_down(self, ts: int, ts_alive: int, reason: str, output: Output) -> None:
        """End the interval, and with it the audit under way."""
        self.audits.on_down(ts, reason, output)
        super().on_down(ts, ts_alive, reason, output)

    def on_silent(self, ts: int, told_until: int, output: Output) -> None:
        """End the interval where trades were last told, and with it the audit under way."""
        self.audits.on_down(ts, "silent", output)
        super().on_silent(ts, max(told_until, self._known_until), output)

    @property
    def _last_told(self) -> int | None:
        """The newest trade told in this interval, news or not."""
        return max(self._newest.values(), default=None)

    def write(
        self,
        ts_recv: int,
        ts_event: int | None,
        sequence: int,
        numbers: tuple[tuple[int, int], ...],
        words: tuple[str | None, ...],
        output: Output,
    ) -> None:
        """Add one row. What is filled in is older: an interval tells its lowest and highest."""
        interval = self._interval
        first, last = (
            (interval.sequence_first, interval.sequence_last) if interval else (None, None)
        )
        super().write(ts_recv, ts_event, sequence, numbers, words, output)
        self._known_until = self._clock.now
        if interval is not None and first is not None and last is not None:
            interval.sequence_first = min(first, sequence)
            interval.sequence_last = max(last, sequence)

    def settle(self, ts: int, output: Output, *, everything: bool = False) -> None:
        """Write what has waited long enough; here nothing ever waits."""

    def note_topics(self, topics: Iterable[str]) -> None:
        """Note which topics bring trades now."""
        self._topics.update(topics)

    def on_match_topic_down(self, ts_alive: int, output: Output) -> None:
        """Note that the match topic, last heard of at `ts_alive` (ns), is no longer subscribed."""
        self.match_topic_up = False
        self.settle(ts_alive, output, everything=True)

    def _tell(self, sequence: int, output: Output) -> None:
        """Note that a socket told of a trade for the first time."""
        self._go_on(self._missed.tell(sequence), output)

    def _reach(self, topic: str, sequence: int) -> None:
        """Note how far a topic has come, with what is no news too."""
        self._newest[topic] = max(sequence, self._newest.get(topic, sequence))

    def _end_interval(self) -> int | None:
        """Return the last trade up to which no topic of the interval can have more to tell.

        A trade may come by one of two topics only. So what one has told does not show that the
        other, which was not as far when both were cut off, had nothing else.
        """
        if self._newest and self._topics <= self._newest.keys():
            self._last_whole = min(self._newest.values())
        self._newest.clear()
        self._topics.clear()
        return self._last_whole

    def _told(self) -> Set[int]:
        """Return the trades that were told: where they came out of order, also some in a hole."""
        return {number for _, number in self._ids.values()}

    def _go_on(self, settled: list[Hole], output: Output) -> None:
        """Tell what became of holes, and ask again where that can help."""
        for hole in settled:
            outcome = hole.outcome
            output.counts[f"backfill_{outcome}"] += 1
            if outcome == HEALED and hole.joins_runs:
                output.trades_joined.append(self.symbol)
            for gap in hole.gaps:
                gap.healed_by = "backfill" if outcome == HEALED else None
                gap.sequence_received = hole.until if outcome == HEALED else hole.known_from
                output.touch(gap)
        if self.up and self._missed.is_wanting and not self._missed.is_asked:
            self._ask(output)

    def _ask(self, output: Output) -> None:
        self._missed.is_asked = True
        output.commands.append(Backfill(self.symbol))

    def _is_known_id(self, trade_id: str | int, sequence: int, ts_recv: int) -> bool:
        if trade_id in self._ids:
            return True
        now = max(self._clock.now, ts_recv)
        self._ids[trade_id] = (now, sequence)
        while len(self._ids) > 1:
            oldest, (since, _) = next(iter(self._ids.items()))
            if since >= now - _IDS_REMEMBERED_NS and len(self._ids) <= _TRADES_REMEMBERED:
                break
            del self._ids[oldest]
        return False


class BookTradeStream(TradeStream):
    """Trades numbered as the book's events are, so that level 3 tells of the same ones.

    While the match topic is up, a match seen on level 3 waits for its twin there; when the match
    topic moves past it, falls silent or goes down, only level 3 had it.
    """

    def __init__(
        self, symbol: str, last_trade: int | None = None, *, is_proven: bool = True
    ) -> None:
        super().__init__(symbol, last_trade, is_proven=is_proven)
        self._seen: dict[int, None] = {}
        self._waiting: dict[int, tuple[int, L3Event, Scales]] = {}

    def on_match(self, ts_recv: int, match: Match, scales: Scales, output: Output) -> bool:
        """Take in a message of the match topic; False when it came before.

        Raises
        ------
        ValueError   for what no row can hold; nothing has changed then
        """
        numbers, words = match_row(match, scales)
        for sequence in sorted(s for s in self._waiting if s < match.sequence):
            self._write_waiting(sequence, ts_recv, output)
        self._reach(MATCH_TOPIC, match.sequence)
        waited = self._waiting.pop(match.sequence, None) is not None
        if self._is_repeat(match.sequence):
            return False
        if not waited:  # else level 3 has told of it
            self._tell(match.sequence, output)
        if self._missed.was_filled_in(match.sequence):
            return False
        self.write(ts_recv, match.ts_event, match.sequence, numbers, words, output)
        return True

    def on_l3_match(self, ts_recv: int, event: L3Event, scales: Scales, output: Output) -> None:
        """Take in a match of level 3, whose fields have been checked."""
        self._reach("l3", event.sequence)
        if event.sequence in self._seen or event.sequence in self._waiting:
            return
        self._tell(event.sequence, output)
        if self._missed.was_filled_in(event.sequence):
            self._is_repeat(event.sequence)
            return
        self._waiting[event.sequence] = (ts_recv, event, scales)
        if not self.match_topic_up:
            self._write_waiting(event.sequence, ts_recv, output)

    def settle(self, ts: int, output: Output, *, everything: bool = False) -> None:
        """Write the matches that have waited long enough for a twin, or all of them."""
        late: list[int] = []
        for sequence, (since, _, _) in self._waiting.items():  # the oldest first
            if not everything and since >= ts - _TWIN_WAIT_NS:
                break
            late.append(sequence)
        for sequence in sorted(late):
            self._write_waiting(sequence, ts, output)

    def on_down(self, ts: int, ts_alive: int, reason: str, output: Output) -> None:
        """End the interval; what waited is written into it first, and does not make it longer."""
        self.settle(ts_alive, output, everything=True)
        super().on_down(ts, ts_alive, reason, output)

    def on_silent(self, ts: int, told_until: int, output: Output) -> None:
        """End the interval where trades were last told; what waited is written into it first."""
        self.settle(told_until, output, everything=True)
        super().on_silent(ts, told_until, output)

    def _told(self) -> Set[int]:
        return self._seen.keys() | self._waiting.keys()

    def _is_repeat(self, sequence: int) -> bool:
        if sequence in self._seen:
            return True
        self._seen[sequence] = None
        if len(self._seen) > _TRADES_REMEMBERED:
            del self._seen[next(iter(self._seen))]
        return False

    def _write_waiting(self, sequence: int, ts: int, output: Output) -> None:
        ts_recv, event, scales = self._waiting.pop(sequence)
        if self._is_repeat(sequence):
            return
        self._clock.advance(ts)  # it was not known as a trade before now
        self.write(
            ts_recv,
            event.ts_event,
            sequence,
            (
                parse_optional(event.price, scales.price),
                parse_optional(event.size, scales.size),
            ),
            (event.trade_id, event.side, event.order_id, event.taker_order_id, "level3"),
            output,
        )


# By `trade_sequences` of a profile.
TRADE_STREAMS: dict[str, type[TradeStream]] = {"book": BookTradeStream, "trade": TradeStream}


def match_row(match: Match, scales: Scales) -> tuple[Numbers, Words]:
    """Return numbers and words of a trade's row.

    Raises
    ------
    ValueError   for what no row can hold
    """
    if match.side not in SIDE_OF_ORDER:
        raise ValueError(f"a match has side buy or sell, not {match.side!r}")
    numbers = (
        parse_optional(match.price, scales.price),
        parse_optional(match.size, scales.size),
    )
    words = (match.trade_id, match.side, match.maker_order_id, match.taker_order_id, "match")
    check_int64(match.sequence, match.ts_event)
    check_texts(*words)
    return numbers, words


def history_row(trade: HistoryTrade, scales: Scales) -> tuple[Numbers, Words]:
    """Return numbers and words of the row of a trade that only the history tells of.

    Raises
    ------
    ValueError   for what no row can hold
    """
    if trade.side not in SIDE_OF_ORDER:
        raise ValueError(f"a trade has side buy or sell, not {trade.side!r}")
    words = (None, trade.side, None, None, "backfill")
    check_int64(trade.sequence, trade.ts_event)
    check_texts(trade.price, trade.size)
    numbers = (
        parse_optional(trade.price, scales.price),
        parse_optional(trade.size, scales.size),
    )
    return numbers, words
