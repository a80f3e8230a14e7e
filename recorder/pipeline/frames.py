"""Websocket frames → streams: each message goes where its topic says.

What cannot be read never stops the recording: it is counted, told once, and leaves a gap where
nothing else would show that a row is missing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from recorder.pipeline.decode import UNKNOWN_INSTRUMENT, L3Batch, Scales
from recorder.pipeline.output import Counts, Output
from recorder.pipeline.push_stream import WORDS, write_ticker
from recorder.pipeline.routes import MATCH_TOPIC, Key, can_be_symbol, keys_of_topic
from recorder.pipeline.streams import Streams
from recorder.raw_line import RawLine
from schemas.kucoin.control import (
    MESSAGE,
    Control,
    Subscription,
    WireError,
    parse_control,
    parse_frame,
)
from schemas.kucoin.market import FIELDS, parse_l2_update, parse_l3_event, parse_match, parse_ticker
from schemas.kucoin.market_snapshot import parse_market_snapshot, row_of_entry
from schemas.kucoin.profile import Profile
from schemas.kucoin.topics import ALL, parse_topic
from schemas.timestamps import is_plausible

# What a parser raises on a message that is not as the dialect says; FixedPointError and
# WireError are ValueErrors.
MALFORMED = (
    ValueError,
    KeyError,
    TypeError,
    AttributeError,
    IndexError,
    OverflowError,
    RecursionError,
)

FrameHandler = Callable[[RawLine, dict[str, Any], str, Output], None]


class Frames:
    """What the run knows of its frames.

    Parameters
    ----------
    profile : Profile
    streams : Streams
    scales : dict[str, Scales]   by symbol; the instruments in force, filled by whoever owns it
    counts : Counter             frames by what became of them; written
    """

    def __init__(
        self, profile: Profile, streams: Streams, scales: dict[str, Scales], counts: Counts
    ) -> None:
        self._profile = profile
        self._streams = streams
        self._scales = scales
        self._counts = counts
        self._told: set[Key] = set()
        self._derive()

    def _derive(self) -> None:
        """Make what follows from the profile, and begin the cache of routes."""
        profile = self._profile
        self._routes: dict[str, tuple[FrameHandler, str] | None] = {}
        self._units = {feed: profile.unit_ns(feed) for feed in profile.feeds}
        handlers: dict[str, FrameHandler] = {
            "level2": self._on_level2,
            "level3": self._on_level3,
            "match": self._on_match,
            "ticker": self._on_ticker,
            "snapshot": self._on_market_snapshot,
        }
        self._handlers = {
            prefix: handlers[feed] for feed, prefix in profile.topics.items() if feed in handlers
        }

    def __getstate__(self) -> dict[str, Any]:
        """Return what a checkpoint keeps: not what `_derive` makes."""
        return {
            name: value
            for name, value in self.__dict__.items()
            if name not in {"_routes", "_units", "_handlers"}
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Take up what `__getstate__` returned."""
        self.__dict__.update(state)
        self._derive()

    def on_send(self, line: RawLine) -> None:
        """Take in a frame we sent: its acknowledgement will name only its id."""
        try:
            message = parse_control(parse_frame(line.data or b""))
        except WireError:
            return
        if isinstance(message, Subscription):
            self._streams.carriage.ask(
                line.connection,
                message.id,
                keys_of_topic(message.topic, self._profile),
                on=message.type == "subscribe",
            )

    def on_recv(self, line: RawLine, output: Output) -> None:
        """Take in a frame we received."""
        self._dispatch(line, output)
        # Behind it: a gap that this frame shows begins when the one before was heard.
        self._streams.carriage.hear(line.connection, line.ts_recv)

    def _dispatch(self, line: RawLine, output: Output) -> None:
        if line.data is None or "error" in line.fields:
            self._on_garbage("frame_refused", line, output)
            return
        try:
            frame = parse_frame(line.data)
        except WireError:
            self._on_garbage("frame_garbage", line, output)
            return
        if frame.get("type") != MESSAGE:
            self._on_control(line, frame, output)
            return
        topic = frame.get("topic")
        if not isinstance(topic, str):
            self._counts["frame_unknown"] += 1
            return
        try:
            route = self._routes[topic]
        except KeyError:
            prefix, symbols = parse_topic(topic)
            handler = self._handlers.get(prefix)
            is_one = len(symbols) == 1 and can_be_symbol(symbols[0])
            route = (handler, symbols[0]) if handler is not None and is_one else None
            self._routes[topic] = route
        if route is None:
            self._counts["frame_unknown"] += 1
            self._counts[f"topic {topic.partition(':')[0]}"] += 1
            return
        handler, symbol = route
        handler(line, frame, symbol, output)

    def _on_garbage(self, count: str, line: RawLine, output: Output) -> None:
        """Note what cannot be read: it may have been a message of any stream of its connection."""
        self._counts[count] += 1
        for key in self._streams.carriage.on_connection(line.connection):
            self._streams.unreadable(key, line.ts_recv, "garbage", output)

    def _on_malformed(self, key: Key, error: Exception, line: RawLine, output: Output) -> None:
        """Note a message of a stream that is not as the dialect says; the first one is told."""
        self._counts["message_malformed"] += 1
        if key not in self._told:
            self._told.add(key)
            output.incidents.append(f"{key[0]} {key[1]}: a message cannot be read: {error}")
        self._streams.unreadable(key, line.ts_recv, "decode", output)

    def _on_control(self, line: RawLine, frame: dict[str, Any], output: Output) -> None:
        try:
            message = parse_control(frame)
        except WireError:
            self._counts["frame_unknown"] += 1
            return
        kind = message.type if isinstance(message, Control | Subscription) else "error"
        self._counts[f"frame_{kind}"] += 1
        if isinstance(message, Control) and kind == "ack":
            on, keys = self._streams.carriage.acknowledged(line.connection, message.id)
            if on:
                for key in keys:
                    self._streams.carried(key, line.connection, line.ts_recv, output)
            else:
                self._streams.unsubscribed(line.connection, keys, line.ts_recv, output)

    def _note_fields(self, data: dict[str, Any], feed: str) -> None:
        """Count by name what a message says beyond its dialect: only the raw log keeps that."""
        if not FIELDS[feed].issuperset(data):
            for name in data.keys() - FIELDS[feed]:
                self._counts[f"field {feed} {name}"] += 1

    def _judge_time(self, ts: int | None, feed: str) -> int | None:
        """Return the venue's time where it can be one; what cannot is counted and left out."""
        if ts is None or is_plausible(ts):
            return ts
        self._counts[f"time_implausible {feed}"] += 1
        return None

    def _on_level2(self, line: RawLine, frame: dict[str, Any], symbol: str, output: Output) -> None:
        key = (symbol, "l2")
        self._streams.carried(key, line.connection, line.ts_recv, output)
        try:
            update = parse_l2_update(frame["data"], self._units["level2"])
            update.ts_event = self._judge_time(update.ts_event, "level2")
            scales = self._scales.get(symbol, UNKNOWN_INSTRUMENT)
            left_out = self._streams.l2_waiting(symbol).add(line.ts_recv, update, scales)
            if left_out:
                self._counts["change_told_again"] += left_out
            self._note_fields(frame["data"], "level2")
        except MALFORMED as error:
            self._on_malformed(key, error, line, output)

    def _on_level3(self, line: RawLine, frame: dict[str, Any], symbol: str, output: Output) -> None:
        streams, key = self._streams, (symbol, "l3")
        for carried in (key, (symbol, "trades")):
            streams.carried(carried, line.connection, line.ts_recv, output)
        scales = self._scales.get(symbol, UNKNOWN_INSTRUMENT)
        try:
            event = parse_l3_event(frame["data"], self._units["level3"])
            event.ts_event = self._judge_time(event.ts_event, "level3")
            if event.kind in {"stop", "activate"}:
                private = L3Batch()
                private.add(line.ts_recv, event, scales)
                streams.stitch(key, output)
                streams.book(key).write_private(private.take(), output)
                return
            streams.l3_waiting(symbol).add(line.ts_recv, event, scales)
            self._note_fields(frame["data"], "level3")
        except MALFORMED as error:
            self._on_malformed(key, error, line, output)
            return
        trades = streams.trades(symbol)
        trades.settle(line.ts_recv, output)
        if event.kind == "match":
            trades.on_l3_match(line.ts_recv, event, scales, output)

    def _on_match(self, line: RawLine, frame: dict[str, Any], symbol: str, output: Output) -> None:
        for carried in ((symbol, "trades"), (symbol, MATCH_TOPIC)):
            self._streams.carried(carried, line.connection, line.ts_recv, output)
        scales = self._scales.get(symbol, UNKNOWN_INSTRUMENT)
        try:
            match = parse_match(frame["data"], self._units["match"])
            match.ts_event = self._judge_time(match.ts_event, "match")
            self._note_fields(frame["data"], "match")
            if not self._streams.trades(symbol).on_match(line.ts_recv, match, scales, output):
                self._counts["push_repeated"] += 1
        except MALFORMED as error:
            self._on_malformed((symbol, "trades"), error, line, output)

    def _on_ticker(self, line: RawLine, frame: dict[str, Any], symbol: str, output: Output) -> None:
        channel = "symbol"
        if symbol == ALL:
            channel, symbol = ALL, frame.get("subject", "")  # the only place that names it
            if type(symbol) is not str or not can_be_symbol(symbol):
                self._counts["message_malformed"] += 1
                return
        key = (symbol, "tickers")
        try:
            ticker = parse_ticker(symbol, frame["data"], channel, self._units["ticker"])
            ticker.ts_event = self._judge_time(ticker.ts_event, "ticker")
            self._streams.carried(key, line.connection, line.ts_recv, output)
            if self._is_repeat(key, ticker.sequence):
                return
            scales = self._scales.get(symbol, UNKNOWN_INSTRUMENT)
            write_ticker(self._streams.push(key), line.ts_recv, ticker, scales, output)
            self._note_fields(frame["data"], "ticker")
        except MALFORMED as error:
            self._on_malformed(key, error, line, output)

    def _on_market_snapshot(
        self, line: RawLine, frame: dict[str, Any], channel: str, output: Output
    ) -> None:
        del frame  # numbers must stay text: it is parsed again
        try:
            snapshot = parse_market_snapshot(line.data or b"")
            for entry in snapshot.entries:
                symbol, ts_event, columns = row_of_entry(entry, self._units["snapshot"])
                ts_event = self._judge_time(ts_event, "snapshot")
                if not can_be_symbol(symbol):
                    raise ValueError("an entry names no symbol that can be one")
                key = (symbol, "market_snapshots")
                self._streams.carried(key, line.connection, line.ts_recv, output)
                if self._is_repeat(key, snapshot.sequence):
                    continue
                words = (snapshot.channel, *(columns[name] for name in WORDS[key[1]][1:]))
                push = self._streams.push(key)
                push.write(line.ts_recv, ts_event, snapshot.sequence, (), words, output)
        except MALFORMED as error:
            # Of a whole market's push nobody can say whose row is missing.
            keys = [(channel, "market_snapshots")]
            if "-" not in channel:
                carried = self._streams.carriage.on_connection(line.connection)
                keys = [key for key in carried if key[1] == "market_snapshots"]
            for key in keys:
                self._on_malformed(key, error, line, output)

    def _is_repeat(self, key: Key, sequence: int) -> bool:
        repeat = self._streams.is_repeat(key, sequence)
        if repeat:
            self._counts["push_repeated"] += 1
        return repeat
