"""Raw-log lines in, rows and commands out: the one function that live run and rebuild share.

It sees no clock, no configuration and no part boundary; what it makes of the lines does not
depend on how they were batched.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any
from urllib.parse import parse_qs, urlsplit

from recorder.pipeline.auditing import AUDITED_STREAMS
from recorder.pipeline.decode import UNKNOWN_INSTRUMENT, Scales, check_texts, decode_book
from recorder.pipeline.frames import MALFORMED, Frames
from recorder.pipeline.output import Counts, InstrumentSeen, InstrumentsListed, Output
from recorder.pipeline.routes import Key, can_be_symbol
from recorder.pipeline.streams import Streams
from recorder.pipeline.trade_stream import TRADE_STREAMS
from recorder.raw_line import AUDIT, BACKFILL, CHECK, PAUSED, RAW_LOG_DAMAGED, RESEED, RawLine
from recorder.stitch.events import Snapshot, SnapshotFailed, Timer
from recorder.stitch.machine import BUFFER_UPDATES_MAX
from recorder.stitch.rules import OverlapRule, StrictRule
from schemas.kucoin.profile import BookSource, Profile
from schemas.kucoin.profiles import profile_named
from schemas.kucoin.rest import (
    ApiError,
    Instrument,
    parse_answer,
    parse_book,
    parse_histories,
    parse_instruments,
)
from schemas.timestamps import is_plausible

RULES: dict[str, type[StrictRule] | type[OverlapRule]] = {
    "strict": StrictRule,
    "overlap": OverlapRule,
}


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
    trades_joined : set[str]   symbols of which no trade is missing between an earlier run and this
    """

    def __init__(self) -> None:
        self.run_id = ""
        self.start: dict[str, Any] = {}
        self.ts_start = 0
        self.ts_last = 0
        self.counts = Counts()
        self.stop_reason = ""
        self.trades_joined: set[str] = set()
        self._scales: dict[str, Scales] = {}
        self._instruments: dict[str, Instrument] = {}
        self._has_listed = False
        self._told: set[str] = set()
        # Set by the `run_start` line, before any other is looked at.
        self._profile: Profile
        self._streams: Streams | None = None
        self._frames: Frames

    def feed(self, lines: Iterable[RawLine]) -> Output:
        """Take in the next lines.

        Raises
        ------
        PipelineError   when the first line of a run is not `run_start`, or a later one is
        """
        output = Output()
        for line in lines:
            self.counts[line.kind] += 1
            self.ts_last = max(self.ts_last, line.ts_recv)
            if self._streams is None:
                self._streams = self._begin(line)
            elif line.kind == "recv":
                self._frames.on_recv(line, output)
            else:
                self._on_line(self._streams, line, output)
        if self._streams is not None:
            self._streams.stitch_all(output)
        self.counts.update(output.counts)
        self.trades_joined.update(output.trades_joined)
        return output

    def finish(self, reason: str) -> Output:
        """End a run that has no `run_stop` line (crashed) or never had one (source).

        Returns
        -------
        Output   what was still waiting; streams end at the last line
        """
        output = Output()
        self.stop_reason = reason
        if self._streams is not None:
            self._streams.stop(self.ts_last, reason, output)
            self._streams.stitch_all(output)
        return output

    def extend_push_intervals(self) -> Output:
        """Bring the intervals of streams without a book up to the last frame of their sockets."""
        output = Output()
        if self._streams is not None:
            self._streams.extend(output)
        return output

    def status(self) -> dict[Key, dict[str, Any]]:
        """Return per (symbol, stream) what an operator asks first."""
        return {} if self._streams is None else self._streams.status()

    def _begin(self, line: RawLine) -> Streams:
        if line.kind != "run_start":
            raise PipelineError(f"the run begins with a {line.kind} line, not run_start")
        self.start = dict(line.fields)
        self.run_id = self.start["run_id"]
        self.ts_start = line.ts_recv
        self._profile = profile_named(self.start["profile"])
        limits = self.start.get("limits") or {}
        streams = Streams(
            RULES[self._profile.continuity](),
            int(limits.get("buffer_updates_max", BUFFER_UPDATES_MAX)),
            TRADE_STREAMS[self._profile.trade_sequences],
            self.start.get("last_trades") or {},
            frozenset(self.start.get("last_trades_unproven") or ()),
        )
        self._frames = Frames(self._profile, streams, self._scales, self.counts)
        return streams

    def _on_line(self, streams: Streams, line: RawLine, output: Output) -> None:
        """Take in any line but a frame we received."""
        fields = line.fields
        match line.kind:
            case "send":
                self._frames.on_send(line)
            case "open":
                streams.carriage.hear(line.connection, line.ts_recv)
            case "close":
                reason = str(fields.get("reason", "disconnected"))
                streams.closed(line.connection, line.ts_recv, reason, output)
            case "timer":
                key = (fields["symbol"], fields["stream"])
                streams.tell_book(key, Timer(line.ts_recv, fields["timer_id"]), output)
            case "rest_answer":
                self._on_rest_answer(streams, line, output)
            case "rest_failure" if fields.get("purpose") == BACKFILL:
                streams.trades(fields["symbol"]).on_histories_failed(output)
            case "rest_failure":
                self._on_book_failed(streams, line, output)
            case "run_stop":
                self.stop_reason = str(fields.get("reason", "stopped"))
                streams.stop(line.ts_recv, self.stop_reason, output)
            case "decision":
                self._on_decision(streams, line, output)
            case "rest_request":
                # Of any other question only the answer matters.
                if fields.get("purpose") == RESEED:
                    streams.reseed_asked((fields["symbol"], fields["stream"]), output)
            case _:
                raise PipelineError(f"run {self.run_id} has a second {line.kind} line")

    def _on_decision(self, streams: Streams, line: RawLine, output: Output) -> None:
        fields = line.fields
        match fields.get("what"):
            case what if what == RAW_LOG_DAMAGED:
                streams.all_unreadable(line.ts_recv, "garbage", output)
            case what if what == CHECK:
                streams.check(line.ts_recv, output)
            case what if what == PAUSED:
                streams.pause(line.ts_recv, str(fields.get("reason", "disk_full")), output)
            case what if what == AUDIT and fields.get("stream") in AUDITED_STREAMS:
                streams.audit_asked((fields["symbol"], fields["stream"]), output)

    def _on_rest_answer(self, streams: Streams, line: RawLine, output: Output) -> None:
        if line.fields.get("purpose") == BACKFILL:
            self._on_histories(streams, line, output)
            return
        if line.fields.get("purpose") == AUDIT and line.fields.get("stream") == "trades":
            self._on_trades_audit(streams, line, output)
            return
        url = urlsplit(line.fields["url"])
        if self._profile.lists_symbols(url.path):
            self._on_symbols(line, output)
            return
        source = self._profile.source_of_path(url.path)
        symbol = parse_qs(url.query).get("symbol", [""])[0]
        if source and can_be_symbol(symbol):
            self._on_book(streams, line, symbol, source, output)
        else:
            self.counts["rest_answer_other"] += 1
            self.counts[f"answer {url.path}"] += 1

    def _on_symbols(self, line: RawLine, output: Output) -> None:
        try:
            instruments = parse_instruments(parse_answer(line.data or b""))
            scales = {
                i.symbol: Scales(i.price_scale, i.size_scale, i.funds_scale) for i in instruments
            }
            for i in instruments:
                check_texts(i.symbol, i.name, i.base_currency, i.quote_currency)
        except MALFORMED as error:
            self._refuse_answer("the list of symbols", error, output)
            return
        self._scales.update(scales)
        for instrument in instruments:
            if self._instruments.get(instrument.symbol) != instrument:
                self._instruments[instrument.symbol] = instrument
                output.instruments.append(InstrumentSeen(line.ts_recv, instrument))
        self._note_delisted(line.ts_recv, frozenset(scales), output)

    def _note_delisted(self, ts: int, listed: frozenset[str], output: Output) -> None:
        """Tell what is listed, where that may end something: delisted, or gone since another run.

        A capture may hold any answer, an example of two symbols too: it ends nothing. Nor does an
        empty list, which is an exchange in trouble.
        """
        if not listed or self.start.get("source"):
            return
        gone = self._instruments.keys() - listed
        if gone or not self._has_listed:
            self._has_listed = True
            output.instruments.append(InstrumentsListed(ts, listed))
        for symbol in gone:
            del self._instruments[symbol]

    def _on_book(
        self, streams: Streams, line: RawLine, symbol: str, source: BookSource, output: Output
    ) -> None:
        stream = source.stream
        key = (symbol, stream)
        try:
            answer = parse_book(parse_answer(line.data or b""))
            if answer.ts_event is not None and not is_plausible(answer.ts_event):
                self.counts["time_implausible book"] += 1
                answer.ts_event = None
            scales = self._scales.get(symbol, UNKNOWN_INSTRUMENT)
            book = decode_book(answer, stream, scales, source.depth)
        except MALFORMED as error:
            self._refuse_answer(f"the {stream} book of {symbol}", error, output)
            self._on_book_failed(streams, line, output)
            return
        request_id = line.fields.get("request_id")
        if line.fields.get("purpose") == AUDIT:
            snapshot = Snapshot(line.ts_recv, answer.sequence, None, book)
            streams.audit_answered(key, snapshot, output)
            return
        if line.fields.get("purpose") == RESEED:
            snapshot = Snapshot(line.ts_recv, answer.sequence, None, book)
            taken = streams.reseed_answered(key, snapshot, output)
            self.counts["reseed_taken" if taken else "reseed_ignored"] += 1
            return
        if request_id is None and not streams.carriage.carriers.get(key):
            # A capture that begins with the book.
            streams.carried(key, line.connection, line.ts_recv, output)
        snapshot = Snapshot(line.ts_recv, answer.sequence, request_id, book)
        streams.tell_book(key, snapshot, output)

    def _on_histories(self, streams: Streams, line: RawLine, output: Output) -> None:
        symbol = line.fields["symbol"]
        trades = streams.trades(symbol)
        try:
            told = parse_histories(parse_answer(line.data or b""))
            for trade in told:
                if trade.ts_event is not None and not is_plausible(trade.ts_event):
                    self.counts["time_implausible histories"] += 1
                    trade.ts_event = None
            scales = self._scales.get(symbol, UNKNOWN_INSTRUMENT)
            trades.on_histories(line.ts_recv, told, scales, output)
        except MALFORMED as error:
            self._refuse_answer(f"the last trades of {symbol}", error, output)
            trades.on_histories_failed(output)

    def _on_trades_audit(self, streams: Streams, line: RawLine, output: Output) -> None:
        symbol = line.fields["symbol"]
        try:
            told = parse_histories(parse_answer(line.data or b""))
        except MALFORMED as error:
            self._refuse_answer(f"the last trades of {symbol}", error, output)
            self._on_book_failed(streams, line, output)
            return
        streams.trades(symbol).on_audit_answered(line.ts_recv, told, output)

    def _on_book_failed(self, streams: Streams, line: RawLine, output: Output) -> None:
        fields = line.fields
        if fields.get("purpose") == RESEED:
            streams.reseed_failed((fields["symbol"], fields["stream"]))
        elif fields.get("purpose") == AUDIT:
            why = str(fields.get("error", "the answer cannot be used"))
            streams.audit_failed((fields["symbol"], fields["stream"]), line.ts_recv, why, output)
        elif "request_id" in fields and "stream" in fields:
            key = (fields["symbol"], fields["stream"])
            failed = SnapshotFailed(line.ts_recv, fields["request_id"])
            streams.tell_book(key, failed, output)

    def _refuse_answer(self, what: str, error: Exception, output: Output) -> None:
        """Note an answer that cannot be read; the first of its kind is told."""
        if isinstance(error, ApiError):
            self.counts["rest_answer_refused"] += 1
            return
        self.counts["rest_answer_malformed"] += 1
        if what not in self._told:
            self._told.add(what)
            output.incidents.append(f"{what} cannot be read: {error}")
