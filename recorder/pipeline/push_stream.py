"""Streams without a book: an interval while the socket carries them, and a row a push."""

from __future__ import annotations

from typing import Any

import numpy as np

from recorder.pipeline.decode import Scales, check_int64, check_texts, parse_optional
from recorder.pipeline.known_clock import KnownClock
from recorder.pipeline.output import NO_TIME, RUN_ENDS, Gap, Interval, Output, Rows
from schemas.datasets import DATASETS, MARKET_SNAPSHOT_TEXTS
from schemas.kucoin.market import Ticker

# Text columns of each stream, in the order `PushStream.write` takes them.
WORDS: dict[str, tuple[str, ...]] = {
    "tickers": ("channel",),
    "trades": ("trade_id", "aggressor_side", "maker_order_id", "taker_order_id", "source"),
    "market_snapshots": ("channel", *MARKET_SNAPSHOT_TEXTS, "extra"),
}


class PushStream:
    """Tickers, market snapshots or trades of one symbol.

    Parameters
    ----------
    symbol, stream : str
    """

    def __init__(self, symbol: str, stream: str) -> None:
        self.symbol = symbol
        self.stream = stream
        self.up = False
        self.last_sequence: int | None = None
        self._clock = KnownClock()
        self._next_ordinal = 0
        self._interval: Interval | None = None
        self._gap: Gap | None = None
        self._clocks: list[tuple[int, int, int, int, int]] = []
        self._numbers: list[tuple[tuple[int, int], ...]] = []
        self._words: list[tuple[str | None, ...]] = []

    def on_up(self, ts: int, output: Output) -> None:
        """Begin an interval. The gap before it ends; what was missed in it stays missed.

        No gap is of no length: while the wall clock stands behind what is known, interval after
        interval without a row would begin at one and the same moment.
        """
        self.up = True
        known = self._clock.advance(ts if self._gap is None else max(ts, self._gap.ts_from + 1))
        if self._gap is not None:
            # Also a gap that was the end of a run, had this run not gone on.
            self._gap.ts_to = known
            output.touch(self._gap)
            self._gap = None
        self._interval = Interval(
            self.symbol,
            self.stream,
            self._next_ordinal,
            self._next_ordinal - 1,
            known,
            known,
            None,
            None,
        )
        output.touch(self._interval)

    def extend(self, ts_alive: int, output: Output) -> None:
        """Note that the socket was still heard of at `ts_alive`: silence there is data."""
        if self._interval is not None and ts_alive > self._interval.ts_to:
            self._interval.ts_to = ts_alive
            output.touch(self._interval)

    def on_down(self, ts: int, ts_alive: int, reason: str, output: Output) -> None:
        """End the interval when the socket was last heard of."""
        if self._interval is not None:
            ts_alive = max(self._interval.ts_to, ts_alive)
            self._end_interval_at(self._clock.advance(ts_alive), ts, reason, output)
        self.up = False

    def _end_interval_at(self, ts_to: int, ts: int, reason: str, output: Output) -> None:
        interval, self._interval = self._interval, None
        assert interval is not None
        interval.ts_to = ts_to
        interval.is_open = False
        output.touch(interval)
        self._gap = Gap(
            self.symbol,
            self.stream,
            interval.ordinal_last,
            reason,
            interval.ts_to,
            self._clock.advance(ts),
            None,
        )
        if reason not in RUN_ENDS:
            output.touch(self._gap)

    def on_silent(self, ts: int, told_until: int, output: Output) -> None:
        """End the interval where its topic last told of anything, though the socket was heard of.

        Parameters
        ----------
        ts, told_until : int   when that was found, and until when nothing was missed, ns
        """
        if self._interval is not None:
            ts_to = max(self._interval.ts_from, told_until)
            self._end_interval_at(ts_to, ts, "silent", output)
        self.up = False

    def on_unreadable(self, ts: int, ts_alive: int, reason: str, output: Output) -> None:
        """Note that a push may be lost: nothing later would show it, so a gap says it now.

        Parameters
        ----------
        ts, ts_alive : int   now, and when the socket was heard of before, ns
        reason : str         decode or garbage
        """
        interval = self._interval
        if interval is not None and (interval.rows or interval.ts_from < ts):
            self.on_down(ts, ts_alive, reason, output)
            self.on_up(ts, output)

    def write(
        self,
        ts_recv: int,
        ts_event: int | None,
        sequence: int,
        numbers: tuple[tuple[int, int], ...],
        words: tuple[str | None, ...],
        output: Output,
    ) -> None:
        """Add one row; `flush` hands over what was added.

        Parameters
        ----------
        ts_recv, ts_event : int   ns
        numbers : (mantissa, scale) in the order of the dataset's numbers
        words : text in the order of `WORDS`

        Raises
        ------
        ValueError   for what no column can hold; nothing is added then
        """
        check_int64(sequence, ts_event)
        check_texts(*words)
        known = self._clock.advance(ts_recv)
        self._clocks.append(
            (ts_recv, NO_TIME if ts_event is None else ts_event, known - ts_recv, sequence, known)
        )
        self._numbers.append(numbers)
        self._words.append(words)
        self.last_sequence = sequence
        interval = self._interval
        if interval is not None:
            interval.ordinal_last = self._next_ordinal
            interval.ts_to = max(interval.ts_to, known)
            if interval.sequence_first is None:
                interval.sequence_first = sequence
            interval.sequence_last = sequence
            interval.messages += 1
            interval.rows += 1
            output.touch(interval)
        self._next_ordinal += 1

    def flush(self, output: Output) -> None:
        """Hand over the rows added since the last flush."""
        n = len(self._clocks)
        if not n:
            return
        clocks = np.array(self._clocks, np.int64)
        numbers = np.array(self._numbers, np.int64).reshape(n, -1, 2)
        columns: dict[str, Any] = {
            "ts_recv": clocks[:, 0],
            "ts_event": clocks[:, 1],
            "held_ns": clocks[:, 2],
            "sequence": clocks[:, 3],
            "ordinal": np.arange(self._next_ordinal - n, self._next_ordinal, dtype=np.int64),
        }
        for index, name in enumerate(DATASETS[self.stream].numbers):
            columns[f"{name}_mantissa"] = numbers[:, index, 0]
            columns[f"{name}_scale"] = numbers[:, index, 1].astype(np.int8)
        for name, texts in zip(WORDS[self.stream], zip(*self._words, strict=True), strict=True):
            columns[name] = list(texts)
        output.rows.append(Rows(self.stream, self.symbol, self.stream, columns, clocks[:, 4]))
        self._clocks, self._numbers, self._words = [], [], []


def write_ticker(
    stream: PushStream, ts_recv: int, ticker: Ticker, scales: Scales, output: Output
) -> None:
    """Write one ticker push, every field."""
    stream.write(
        ts_recv,
        ticker.ts_event,
        ticker.sequence,
        (
            parse_optional(ticker.price, scales.price),
            parse_optional(ticker.size, scales.size),
            parse_optional(ticker.best_bid, scales.price),
            parse_optional(ticker.best_bid_size, scales.size),
            parse_optional(ticker.best_ask, scales.price),
            parse_optional(ticker.best_ask_size, scales.size),
        ),
        (ticker.channel,),
        output,
    )
