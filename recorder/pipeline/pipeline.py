"""Raw-log lines in, rows and commands out: the one function that live run and rebuild share.

It sees no clock, no configuration and no part boundary; what it makes of the lines does not
depend on how they were batched.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any
from urllib.parse import parse_qs, urlsplit

from recorder.pipeline.book_stream import BookStream
from recorder.pipeline.decode import (
    UNKNOWN_INSTRUMENT,
    L2Batch,
    L3Batch,
    Scales,
    decode_book,
)
from recorder.pipeline.output import Counts, InstrumentSeen, Output
from recorder.pipeline.push_stream import WORDS, PushStream, TradeStream, write_ticker
from recorder.pipeline.routes import MATCH_TOPIC, Carriage, Key, keys_of_topic
from recorder.raw_line import RawLine
from recorder.stitch.events import Snapshot, SnapshotFailed, StreamDown, StreamUp, Timer
from recorder.stitch.machine import BUFFER_UPDATES_MAX
from recorder.stitch.rules import ContinuityRule, OverlapRule, StrictRule
from schemas.datasets import BOOK_STREAMS
from schemas.kucoin.control import (
    MESSAGE,
    Control,
    Subscription,
    WireError,
    parse_control,
    parse_frame,
)
from schemas.kucoin.market import parse_l2_update, parse_l3_event, parse_match, parse_ticker
from schemas.kucoin.market_snapshot import parse_market_snapshot, row_of_entry
from schemas.kucoin.profile import Profile
from schemas.kucoin.profiles import profile_named
from schemas.kucoin.rest import Instrument, parse_answer, parse_book, parse_instruments
from schemas.kucoin.topics import ALL, parse_topic

RULES: dict[str, type[StrictRule] | type[OverlapRule]] = {
    "strict": StrictRule,
    "overlap": OverlapRule,
}

# What a parser raises on a message that is not as the dialect says; FixedPointError and
# WireError are ValueErrors.
MALFORMED = (ValueError, KeyError, TypeError, AttributeError, IndexError)

FrameHandler = Callable[[RawLine, dict[str, Any], str, Output], None]


class PipelineError(ValueError):
    """Lines that no recorder wrote in this order."""


class Pipeline:
    """The state of one run: streams by (symbol, stream), carriage, instruments, counts.

    Attributes
    ----------
    run_id : str          empty until the `run_start` line
    start : dict          the fields of the `run_start` line
    counts : Counter      lines by kind, frames by what became of them
    stop_reason : str     empty until the run ended
    """

    def __init__(self) -> None:
        self.run_id = ""
        self.start: dict[str, Any] = {}
        self.ts_start = 0
        self.ts_last = 0
        self.counts = Counts()
        self.stop_reason = ""
        self.books: dict[Key, BookStream] = {}
        self.pushes: dict[Key, PushStream] = {}
        self._profile: Profile | None = None
        self._rule: ContinuityRule = StrictRule()
        self._buffer_updates_max = BUFFER_UPDATES_MAX
        self._carriage = Carriage()
        self._scales: dict[str, Scales] = {}
        self._instruments: dict[str, Instrument] = {}
        self._l2_waiting: dict[str, L2Batch] = {}
        self._l3_waiting: dict[str, L3Batch] = {}
        self._handlers: dict[str, FrameHandler] = {}
        self._topics: dict[str, tuple[FrameHandler, str] | None] = {}

    def feed(self, lines: Iterable[RawLine]) -> Output:
        """Take in the next lines.

        Raises
        ------
        PipelineError   when the first line of a run is not `run_start`
        """
        output = Output()
        for line in lines:
            if not self.run_id and line.kind != "run_start":
                raise PipelineError(f"the run begins with a {line.kind} line, not run_start")
            self.counts[line.kind] += 1
            self.ts_last = max(self.ts_last, line.ts_recv)
            if line.kind == "recv":
                self._on_recv(line, output)
            else:
                getattr(self, f"_on_{line.kind}")(line, output)
        self._stitch_all(output)
        for push in self.pushes.values():
            push.flush(output)
        return output

    def finish(self, reason: str) -> Output:
        """End a run that has no `run_stop` line (crashed) or never had one (source).

        Returns
        -------
        Output   what was still waiting; streams end at the last line
        """
        output = Output()
        self._stop(self.ts_last, reason, output)
        return output

    def extend_push_intervals(self) -> Output:
        """Bring the intervals of streams without a book up to the last frame of their sockets."""
        output = Output()
        for key, push in self.pushes.items():
            if push.up:
                push.extend(self._carriage.heard(key, 0), output)
        return output

    def status(self) -> dict[Key, dict[str, Any]]:
        """Return per (symbol, stream) what an operator asks first."""
        status: dict[Key, dict[str, Any]] = {}
        for key, book in self.books.items():
            machine = book.stitcher
            gap = machine.open_gap
            status[key] = {
                "state": machine.state.value,
                "sequence": machine.last_sequence,
                "gaps": machine.counters.gaps,
                "gap": gap.reason if gap else None,
                "live": book.live,
            }
        for key, push in self.pushes.items():
            status[key] = {"state": "up" if push.up else "down", "sequence": push.last_sequence}
        return status

    # Lines of the shell

    def _on_run_start(self, line: RawLine, output: Output) -> None:  # noqa: ARG002
        if self.run_id:
            raise PipelineError(f"run {self.run_id} starts twice")
        self.start = dict(line.fields)
        self.run_id = self.start["run_id"]
        self.ts_start = line.ts_recv
        profile = profile_named(self.start["profile"])
        self._profile = profile
        self._rule = RULES[profile.continuity]()
        limits = self.start.get("limits") or {}
        self._buffer_updates_max = int(limits.get("buffer_updates_max", BUFFER_UPDATES_MAX))
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

    def _on_run_stop(self, line: RawLine, output: Output) -> None:
        self._stop(line.ts_recv, str(line.fields.get("reason", "stopped")), output)

    def _on_open(self, line: RawLine, output: Output) -> None:  # noqa: ARG002
        self._carriage.last_heard[line.connection] = line.ts_recv

    def _on_close(self, line: RawLine, output: Output) -> None:
        reason = str(line.fields.get("reason", "disconnected"))
        for key in list(self._carriage.carriers):
            alive = self._carriage.heard(key, line.ts_recv)
            if self._carriage.release(line.connection, key):
                self._down(key, line.ts_recv, alive, reason, output)
        self._carriage.release_all(line.connection)

    def _on_send(self, line: RawLine, output: Output) -> None:  # noqa: ARG002
        assert self._profile is not None
        try:
            message = parse_control(parse_frame(line.data or b""))
        except WireError:
            return
        if isinstance(message, Subscription):
            self._carriage.ask(
                line.connection,
                message.id,
                keys_of_topic(message.topic, self._profile),
                on=message.type == "subscribe",
            )

    def _on_rest_request(self, line: RawLine, output: Output) -> None:
        """Change nothing: what matters is the answer."""

    def _on_decision(self, line: RawLine, output: Output) -> None:
        """Change nothing: the line is for whoever reads the log."""

    def _on_rest_failure(self, line: RawLine, output: Output) -> None:
        self._snapshot_failed(line, output)

    def _on_timer(self, line: RawLine, output: Output) -> None:
        key = (line.fields["symbol"], line.fields["stream"])
        self._stitch(key, output)
        self._book(key).handle(Timer(line.ts_recv, line.fields["timer_id"]), output)

    def _on_rest_answer(self, line: RawLine, output: Output) -> None:
        assert self._profile is not None
        url = urlsplit(line.fields["url"])
        if url.path == urlsplit(self._profile.symbols_path).path:
            self._on_symbols(line, output)
            return
        for stream, path in self._profile.book_paths.items():
            if url.path == urlsplit(path).path:
                symbol = parse_qs(url.query).get("symbol", [""])[0]
                self._on_book(line, (symbol, stream), output)
                return
        self.counts["rest_answer_other"] += 1

    def _on_symbols(self, line: RawLine, output: Output) -> None:
        try:
            instruments = parse_instruments(parse_answer(line.data or b""))
            scales = {
                i.symbol: Scales(i.price_scale, i.size_scale, i.funds_scale) for i in instruments
            }
        except MALFORMED:
            self.counts["rest_answer_malformed"] += 1
            return
        self._scales.update(scales)
        for instrument in instruments:
            if self._instruments.get(instrument.symbol) != instrument:
                self._instruments[instrument.symbol] = instrument
                output.instruments.append(InstrumentSeen(line.ts_recv, instrument))

    def _on_book(self, line: RawLine, key: Key, output: Output) -> None:
        symbol, stream = key
        self._stitch(key, output)
        try:
            answer = parse_book(parse_answer(line.data or b""))
            book = decode_book(answer, stream, self._scales.get(symbol, UNKNOWN_INSTRUMENT))
        except MALFORMED:
            self.counts["rest_answer_malformed"] += 1
            self._snapshot_failed(line, output)
            return
        request_id = line.fields.get("request_id")
        if request_id is None and not self._carriage.carriers.get(key):
            self._carried(key, line, output)  # a capture that begins with the book
        self._book(key).handle(Snapshot(line.ts_recv, answer.sequence, request_id, book), output)

    def _snapshot_failed(self, line: RawLine, output: Output) -> None:
        fields = line.fields
        if "request_id" in fields and "stream" in fields:
            key = (fields["symbol"], fields["stream"])
            self._stitch(key, output)
            self._book(key).handle(SnapshotFailed(line.ts_recv, fields["request_id"]), output)

    # Frames

    def _on_recv(self, line: RawLine, output: Output) -> None:
        self._carriage.last_heard[line.connection] = line.ts_recv
        if line.data is None or "error" in line.fields:
            self.counts["frame_refused"] += 1
            return
        try:
            frame = parse_frame(line.data)
        except WireError:
            self.counts["frame_garbage"] += 1
            return
        if frame.get("type") != MESSAGE:
            self._on_control(line, frame, output)
            return
        topic = frame.get("topic")
        if not isinstance(topic, str):
            self.counts["frame_unknown"] += 1
            return
        try:
            route = self._topics[topic]
        except KeyError:
            prefix, symbols = parse_topic(topic)
            handler = self._handlers.get(prefix)
            route = (handler, symbols[0]) if handler is not None and len(symbols) == 1 else None
            self._topics[topic] = route
        if route is None:
            self.counts["frame_unknown"] += 1
            self.counts[f"topic {topic.partition(':')[0]}"] += 1
            return
        handler, symbol = route
        handler(line, frame, symbol, output)

    def _on_control(self, line: RawLine, frame: dict[str, Any], output: Output) -> None:
        try:
            message = parse_control(frame)
        except WireError:
            self.counts["frame_unknown"] += 1
            return
        kind = message.type if isinstance(message, Control | Subscription) else "error"
        self.counts[f"frame_{kind}"] += 1
        if isinstance(message, Control) and kind == "ack":
            on, keys = self._carriage.acknowledged(line.connection, message.id)
            for key in keys:
                if on:
                    self._carried(key, line, output)
                elif self._carriage.release(line.connection, key):
                    self._down(key, line.ts_recv, line.ts_recv, "stopped", output)

    def _on_level2(self, line: RawLine, frame: dict[str, Any], symbol: str, output: Output) -> None:
        key = (symbol, "l2")
        self._carried(key, line, output)
        try:
            waiting = self._l2_waiting[symbol]
        except KeyError:
            waiting = self._l2_waiting[symbol] = L2Batch()
        try:
            waiting.add(
                line.ts_recv,
                parse_l2_update(frame["data"]),
                self._scales.get(symbol, UNKNOWN_INSTRUMENT),
            )
        except MALFORMED:
            self.counts["message_malformed"] += 1
            self._book(key).note_decode_failure()

    def _on_level3(self, line: RawLine, frame: dict[str, Any], symbol: str, output: Output) -> None:
        key = (symbol, "l3")
        for carried in (key, (symbol, "trades")):
            self._carried(carried, line, output)
        scales = self._scales.get(symbol, UNKNOWN_INSTRUMENT)
        try:
            event = parse_l3_event(frame["data"])
            if event.kind in {"stop", "activate"}:
                private = L3Batch()
                private.add(line.ts_recv, event, scales)
                self._stitch(key, output)
                self._book(key).write_private(private.take(), output)
                return
            try:
                waiting = self._l3_waiting[symbol]
            except KeyError:
                waiting = self._l3_waiting[symbol] = L3Batch()
            waiting.add(line.ts_recv, event, scales)
        except MALFORMED:
            self.counts["message_malformed"] += 1
            self._book(key).note_decode_failure()
            return
        if event.kind == "match":
            self._trades(symbol).on_l3_match(line.ts_recv, event, scales, output)

    def _on_match(self, line: RawLine, frame: dict[str, Any], symbol: str, output: Output) -> None:
        for carried in ((symbol, "trades"), (symbol, MATCH_TOPIC)):
            self._carried(carried, line, output)
        scales = self._scales.get(symbol, UNKNOWN_INSTRUMENT)
        try:
            self._trades(symbol).on_match(line.ts_recv, parse_match(frame["data"]), scales, output)
        except MALFORMED:
            self.counts["message_malformed"] += 1

    def _on_ticker(self, line: RawLine, frame: dict[str, Any], symbol: str, output: Output) -> None:
        channel = "symbol"
        if symbol == ALL:
            channel, symbol = "all", str(frame.get("subject"))
        key = (symbol, "tickers")
        try:
            ticker = parse_ticker(symbol, frame["data"], channel)
            self._carried(key, line, output)
            push = self._push(key)
            if not self._is_repeat(key, push, ticker.sequence):
                scales = self._scales.get(symbol, UNKNOWN_INSTRUMENT)
                write_ticker(push, line.ts_recv, ticker, scales, output)
        except MALFORMED:
            self.counts["message_malformed"] += 1

    def _on_market_snapshot(
        self, line: RawLine, frame: dict[str, Any], symbol: str, output: Output
    ) -> None:
        del frame, symbol  # numbers must stay text: the frame is parsed again
        try:
            snapshot = parse_market_snapshot(line.data or b"")
            rows = [row_of_entry(entry) for entry in snapshot.entries]
        except MALFORMED:
            self.counts["message_malformed"] += 1
            return
        for symbol_of_row, ts_event, columns in rows:
            key = (symbol_of_row, "market_snapshots")
            self._carried(key, line, output)
            push = self._push(key)
            if not self._is_repeat(key, push, snapshot.sequence):
                words = (snapshot.channel, *(columns[name] for name in WORDS[key[1]][1:]))
                push.write(line.ts_recv, ts_event, snapshot.sequence, (), words, output)

    # Streams

    def _is_repeat(self, key: Key, push: PushStream, sequence: int) -> bool:
        """Say whether a second connection brought what the first one had."""
        last = push.last_sequence
        repeat = len(self._carriage.carriers[key]) > 1 and last is not None and sequence <= last
        self.counts["push_repeated"] += repeat
        return repeat

    def _book(self, key: Key) -> BookStream:
        try:
            return self.books[key]
        except KeyError:
            book = BookStream(*key, self._rule, self._buffer_updates_max)
            self.books[key] = book
            return book

    def _trades(self, symbol: str) -> TradeStream:
        push = self._push((symbol, "trades"))
        assert isinstance(push, TradeStream)
        return push

    def _push(self, key: Key) -> PushStream:
        try:
            return self.pushes[key]
        except KeyError:
            push = TradeStream(key[0]) if key[1] == "trades" else PushStream(*key)
            self.pushes[key] = push
            return push

    def _carried(self, key: Key, line: RawLine, output: Output) -> None:
        carriers = self._carriage.carriers.get(key)
        if carriers is not None and line.connection in carriers:
            return
        if self._carriage.carry(line.connection, key):
            if key[1] in BOOK_STREAMS:
                self._stitch(key, output)
                self._book(key).handle(StreamUp(line.ts_recv), output)
            elif key[1] == MATCH_TOPIC:
                self._trades(key[0]).match_topic_up = True
            else:
                self._push(key).on_up(line.ts_recv, output)

    def _down(self, key: Key, ts: int, ts_alive: int, reason: str, output: Output) -> None:
        if key[1] in BOOK_STREAMS:
            self._stitch(key, output)
            self._book(key).handle(StreamDown(ts, reason), output)
        elif key[1] == MATCH_TOPIC:
            self._trades(key[0]).on_match_topic_down(ts, output)
        else:
            self._push(key).on_down(ts, ts_alive, reason, output)

    def _stop(self, ts: int, reason: str, output: Output) -> None:
        self.stop_reason = reason
        for key, carriers in self._carriage.carriers.items():
            if carriers:
                self._down(key, ts, self._carriage.heard(key, ts), reason, output)
                carriers.clear()
        for push in self.pushes.values():
            if isinstance(push, TradeStream):
                push.settle(ts, output, everything=True)
            push.flush(output)

    def _stitch(self, key: Key, output: Output) -> None:
        """Stitch what waits for one stream, before an event of another kind reaches it."""
        waiting = (self._l2_waiting if key[1] == "l2" else self._l3_waiting).get(key[0])
        if waiting:
            self._book(key).handle_updates(waiting.take(), output)

    def _stitch_all(self, output: Output) -> None:
        for symbol, l2 in self._l2_waiting.items():
            if l2:
                self._book((symbol, "l2")).handle_updates(l2.take(), output)
        for symbol, l3 in self._l3_waiting.items():
            if l3:
                self._book((symbol, "l3")).handle_updates(l3.take(), output)
