"""Trades of one symbol, each once: in a number space of their own, or in that of the book."""

from __future__ import annotations

from recorder.pipeline.decode import (
    SIDE_OF_ORDER,
    Scales,
    check_int64,
    check_texts,
    parse_optional,
)
from recorder.pipeline.output import Output
from recorder.pipeline.push_stream import PushStream
from schemas.kucoin.market import L3Event, Match

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

    Attributes
    ----------
    match_topic_up : bool   whether the match topic is subscribed
    """

    def __init__(self, symbol: str) -> None:
        super().__init__(symbol, "trades")
        self.match_topic_up = False
        self._ids: dict[str | int, int] = {}  # id → when it was known, the oldest first

    def on_match(self, ts_recv: int, match: Match, scales: Scales, output: Output) -> bool:
        """Take in a message of the match topic; False when it came before.

        Raises
        ------
        ValueError   for what no row can hold; nothing has changed then
        """
        numbers, words = match_row(match, scales)
        if self._is_known_id(match.trade_id or match.sequence, ts_recv):
            return False
        self.write(ts_recv, match.ts_event, match.sequence, numbers, words, output)
        return True

    def on_l3_match(self, ts_recv: int, event: L3Event, scales: Scales, output: Output) -> None:
        """Leave a match of level 3 to the match topic: nothing tells which trade it is."""

    def settle(self, ts: int, output: Output, *, everything: bool = False) -> None:
        """Write what has waited long enough; here nothing ever waits."""

    def on_match_topic_down(self, ts: int, output: Output) -> None:
        """Note that the match topic is no longer subscribed."""
        self.match_topic_up = False
        self.settle(ts, output, everything=True)

    def _is_known_id(self, trade_id: str | int, ts_recv: int) -> bool:
        if trade_id in self._ids:
            return True
        now = max(self._clock.now, ts_recv)
        self._ids[trade_id] = now
        while len(self._ids) > 1:
            oldest, since = next(iter(self._ids.items()))
            if since >= now - _IDS_REMEMBERED_NS and len(self._ids) <= _TRADES_REMEMBERED:
                break
            del self._ids[oldest]
        return False


class BookTradeStream(TradeStream):
    """Trades numbered as the book's events are, so that level 3 tells of the same ones.

    While the match topic is up, a match seen on level 3 waits for its twin there; when the match
    topic moves past it, falls silent or goes down, only level 3 had it.
    """

    def __init__(self, symbol: str) -> None:
        super().__init__(symbol)
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
        self._waiting.pop(match.sequence, None)
        if self._is_repeat(match.sequence):
            return False
        self.write(ts_recv, match.ts_event, match.sequence, numbers, words, output)
        return True

    def on_l3_match(self, ts_recv: int, event: L3Event, scales: Scales, output: Output) -> None:
        """Take in a match of level 3, whose fields have been checked."""
        if event.sequence in self._seen or event.sequence in self._waiting:
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
        """End the interval; what waited is written into it first."""
        self.settle(ts, output, everything=True)
        super().on_down(ts, ts_alive, reason, output)

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
