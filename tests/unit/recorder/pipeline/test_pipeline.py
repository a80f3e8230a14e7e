"""The pipeline, line by line: what each kind of line and frame comes to."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from recorder.pipeline.output import (
    ArmTimer,
    FullBook,
    InstrumentSeen,
    InstrumentsListed,
    RequestBook,
)
from recorder.pipeline.pipeline import Pipeline, PipelineError
from recorder.raw_line import RAW_LOG_DAMAGED, RawLine
from schemas.kucoin.control import Control, Subscription, format_control
from schemas.kucoin.market import L3Event, Match, Ticker, format_l3_event, format_match
from schemas.kucoin.market import format_ticker as ticker_frame
from schemas.kucoin.market_snapshot import MarketSnapshot, NumberText, format_market_snapshot
from schemas.kucoin.rest import BookAnswer, format_api_error, format_book
from tests.support.market_log import PROFILE, RUN, T0, l2_frame, whole_l2_book
from tests.support.pipeline_rows import Made

SYMBOL = "A-B"
S = 1_000_000_000
TOLD = 1_550_653_727_731_000_000  # a time the venue tells


class Shell:
    """Lines one after the other, a millisecond apart, in one run."""

    def __init__(self, **limits: int) -> None:
        self.made = Made(Pipeline())
        self.ts = T0
        fields = {"run_id": RUN, "profile": PROFILE.name, "limits": limits}
        self.line("run_start", **fields)
        self.line("open", connection=1)

    def line(
        self, kind: str, data: bytes | None = None, connection: int = 0, **fields: Any
    ) -> list[Any]:
        """Feed one line; return the commands it led to."""
        self.ts += 1_000_000
        output = self.made.pipeline.feed([RawLine(kind, self.ts, 0, connection, data, fields)])
        self.made.take(output)
        return output.commands

    def recv(self, data: bytes, connection: int = 1) -> list[Any]:
        """Feed a frame."""
        return self.line("recv", data, connection)

    def book(self, sequence: int, stream: str = "l2", request_id: int | None = 1) -> list[Any]:
        """Feed an answer: one bid of 1 at 1, one ask of 1 at 2."""
        path = PROFILE.book_source(stream, signed=False).path
        url = "http://127.0.0.1:1" + path.format(symbol=SYMBOL)
        sides = ([("1", "1")], [("2", "1")])
        if stream == "l3":
            sides = ([("b1", "1", "1")], [("a1", "2", "1")])  # type: ignore[assignment]
        body = format_book(BookAnswer(sequence, TOLD, *sides))
        fields = {"symbol": SYMBOL, "stream": stream}
        if request_id is not None:
            fields["request_id"] = request_id  # type: ignore[assignment]
        return self.line("rest_answer", body, url=url, **fields)

    def synced(self) -> Shell:
        """Bring level 2 to sequence 101."""
        self.recv(l2_frame(SYMBOL, 101, 101, bids=[("1", "3", 101)]))
        self.book(100)
        return self

    def stop(self) -> Made:
        """End the run."""
        self.line("run_stop", reason="stopped")
        return self.made

    def l2(self) -> list[dict[str, Any]]:
        """Return the level-2 rows."""
        return self.made.rows("l2_updates", SYMBOL)


def numbers(row: dict[str, Any]) -> tuple[Any, ...]:
    """Return what a level-2 row says."""
    names = ("sequence", "side", "price_mantissa", "price_scale", "size_mantissa", "size_scale")
    return (*(row[name] for name in names), row["is_last"])


def l3(kind: str, sequence: int, **fields: Any) -> bytes:
    """Return a level-3 frame."""
    given = {"side": "buy", "order_id": "o1", "price": "1", "size": "1", **fields}
    return format_l3_event(L3Event(kind, SYMBOL, sequence, ts_event=TOLD, **given))


def match(sequence: int, **fields: Any) -> bytes:
    """Return a frame of the match topic."""
    given = {"side": "buy", "price": "2", "size": "0.5", "maker_order_id": "a1", **fields}
    given = {"taker_order_id": "t1", "trade_id": f"m{sequence}", "ts_event": TOLD, **given}
    return format_match(Match(SYMBOL, sequence, **given))


# Lines


def test_a_run_begins_with_its_start_and_has_only_one() -> None:
    with pytest.raises(PipelineError, match="recv"):
        Pipeline().feed([RawLine("recv", 1, 1, 1, b"{}")])
    shell = Shell()
    with pytest.raises(PipelineError, match="second run_start"):
        shell.line("run_start", run_id="x", profile=PROFILE.name)


def test_the_first_update_asks_for_the_book_and_is_held_behind_it() -> None:
    shell = Shell()
    commands = shell.recv(l2_frame(SYMBOL, 101, 101, bids=[("1", "3", 101)]))
    assert commands == [ArmTimer(SYMBOL, "l2", 1), RequestBook(SYMBOL, "l2", 1)]
    held_from = shell.ts
    shell.book(100)
    (row,) = shell.l2()
    assert numbers(row) == (101, "bid", 1, 0, 3, 0, True)
    assert (row["ts_recv"], row["held_ns"], row["ordinal"]) == (held_from, 1_000_000, 1)
    full = shell.made.rows("book_snapshots", SYMBOL, "l2")
    assert [(r["side"], r["level"], r["ordinal"], r["origin"], r["sequence"]) for r in full] == [
        ("bid", 1, 0, "rest", 100),
        ("ask", 1, 0, "rest", 100),
    ]
    assert {r["ts_event"] for r in full} == {TOLD}
    assert shell.made.gaps() == []


def test_a_timer_asks_on_a_quiet_market_and_a_failure_asks_again() -> None:
    shell = Shell()
    topic = f"{PROFILE.topics['level2']}:{SYMBOL}"
    shell.line("send", format_control(Subscription("subscribe", "9", topic)), 1)
    assert shell.recv(format_control(Control("ack", "9"))) == [ArmTimer(SYMBOL, "l2", 1)]
    fields = {"symbol": SYMBOL, "stream": "l2"}
    assert shell.line("timer", timer_id=1, **fields) == [RequestBook(SYMBOL, "l2", 1)]
    again = shell.line("rest_failure", request_id=1, error="timeout", url="", **fields)
    assert again == [RequestBook(SYMBOL, "l2", 2)]
    url = "http://127.0.0.1:1" + PROFILE.book_source("l2", signed=False).path.format(symbol=SYMBOL)
    for request_id, body in ((2, format_api_error("429000", "wait")), (3, b"<html>")):
        commands = shell.line("rest_answer", body, url=url, request_id=request_id, **fields)
        assert commands == [RequestBook(SYMBOL, "l2", request_id + 1)]
    assert shell.book(100, request_id=4) == []
    assert len(shell.made.rows("book_snapshots", SYMBOL, "l2")) == 2
    assert len(shell.made.incidents) == 1  # the page; a refusal is nothing to look into


def test_a_capture_may_begin_with_the_book() -> None:
    shell = Shell()
    shell.book(100, request_id=None)
    shell.recv(l2_frame(SYMBOL, 101, 101, bids=[("1", "3", 101)]), connection=0)
    assert [row["held_ns"] for row in shell.l2()] == [0]
    (interval,) = shell.stop().intervals(SYMBOL, "l2")
    assert (interval.sequence_first, interval.sequence_last, interval.rows) == (100, 101, 3)


def test_answers_that_are_no_books_of_a_symbol_change_nothing() -> None:
    shell = Shell()
    path = PROFILE.book_source("l2", signed=False).path.partition("?")[0]
    for url in (f"http://h{path}", "http://h/api/v1/timestamp"):
        shell.line("rest_answer", whole_l2_book(1, [], []), url=url)
    assert shell.made.pipeline.counts["rest_answer_other"] == 2
    assert shell.made.pipeline.status() == {}


def test_a_message_is_written_once_though_two_connections_carry_it() -> None:
    shell = Shell().synced()
    shell.line("open", connection=2)
    for sequence in (102, 103):
        frame = l2_frame(SYMBOL, sequence, sequence, bids=[("1", "4", sequence)])
        shell.recv(frame, 1)
        shell.recv(frame, 2)
    shell.line("close", connection=1, reason="disconnected")
    shell.recv(l2_frame(SYMBOL, 104, 104, bids=[("1", "5", 104)]), 2)
    assert [row["sequence"] for row in shell.l2()] == [101, 102, 103, 104]
    assert shell.made.gaps() == []
    shell.line("close", connection=2, reason="silent")
    (gap,) = shell.made.gaps()
    assert (gap.reason, gap.sequence_expected, gap.ts_to) == ("silent", 105, None)


@pytest.mark.parametrize("order", [("level3", "match"), ("match", "level3")])
def test_trades_end_with_the_second_of_their_topics(order: tuple[str, str]) -> None:
    shell = Shell()
    for feed in order:
        topic = f"{PROFILE.topics[feed]}:{SYMBOL}"
        shell.line("send", format_control(Subscription("subscribe", feed, topic)), 1)
        shell.recv(format_control(Control("ack", feed)))
    shell.recv(format_match(Match(SYMBOL, 7, "buy", "1", "1", "m", "t", "x", TOLD)))
    for number, feed in enumerate(order):
        topic = f"{PROFILE.topics[feed]}:{SYMBOL}"
        shell.line("send", format_control(Subscription("unsubscribe", f"-{feed}", topic)), 1)
        shell.recv(format_control(Control("ack", f"-{feed}")))
        status = shell.made.pipeline.status()
        assert status[SYMBOL, "trades"]["state"] == ("down" if number else "up")
    made = shell.stop()
    assert made.gaps() == []
    assert len(made.intervals(SYMBOL, "trades")) == 1


def test_a_subscription_that_ends_inside_a_run_leaves_its_gap() -> None:
    shell = Shell().synced()
    topic = f"{PROFILE.topics['level2']}:{SYMBOL}"
    shell.line("send", format_control(Subscription("unsubscribe", "5", topic)), 1)
    shell.recv(format_control(Control("ack", "5")))
    assert shell.made.gaps() == []  # as at the end of a run
    shell.recv(l2_frame(SYMBOL, 200, 200, bids=[("1", "9", 200)]))
    shell.book(199, request_id=2)
    (gap,) = shell.made.gaps()
    assert (gap.reason, gap.sequence_expected, gap.sequence_received) == ("stopped", 102, 199)
    first, second = shell.made.intervals(SYMBOL, "l2")
    assert (gap.ts_from, gap.ts_to, gap.ordinal_from) == (
        first.ts_to,
        second.ts_from,
        first.ordinal_last,
    )


def test_the_wall_clock_set_back_never_turns_known_time_back() -> None:
    shell = Shell().synced()
    newest = shell.ts
    shell.ts -= 3600 * S
    shell.recv(l2_frame(SYMBOL, 102, 102, bids=[("1", "4", 102)]))
    row = shell.l2()[-1]
    assert row["ts_recv"] + row["held_ns"] == newest
    shell.recv(l2_frame(SYMBOL, 104, 104, bids=[("1", "4", 104)]))
    shell.book(104, request_id=2)
    (gap,) = shell.made.gaps()
    assert gap.ts_from <= gap.ts_detected <= gap.ts_to == newest


# Level 2


def test_changes_are_written_in_sequence_and_the_last_one_ends_the_message() -> None:
    shell = Shell().synced()
    asks, bids = [("2", "5", 104)], [("1", "0", 103), ("0.5", "7.50", 102)]
    shell.recv(l2_frame(SYMBOL, 102, 105, asks=asks, bids=bids))
    assert [numbers(row) for row in shell.l2()[1:]] == [
        (102, "bid", 5, 1, 75, 1, False),
        (103, "bid", 1, 0, 0, 0, False),
        (104, "ask", 2, 0, 5, 0, True),
    ]
    assert {(row["sequence_start"], row["sequence_end"]) for row in shell.l2()[1:]} == {(102, 105)}
    assert shell.made.pipeline.status()[SYMBOL, "l2"]["sequence"] == 105


def test_a_message_that_straddles_the_book_keeps_what_is_newer() -> None:
    shell = Shell()
    bids = [("1", "8", 99), ("1.5", "9", 100), ("1.2", "4", 101), ("1.3", "5", 102)]
    shell.recv(l2_frame(SYMBOL, 99, 102, bids=bids))
    shell.book(100)
    assert [(row["sequence"], row["is_last"]) for row in shell.l2()] == [(101, False), (102, True)]


def test_a_message_whose_changes_the_book_all_has_advances_it() -> None:
    shell = Shell()
    shell.recv(l2_frame(SYMBOL, 99, 103, bids=[("1", "8", 99), ("1.5", "9", 100)]))
    shell.book(101)
    (row,) = shell.l2()
    assert numbers(row) == (103, None, 0, 1, 0, 0, True)
    shell.recv(l2_frame(SYMBOL, 104, 104, bids=[("1", "1", 104)]))
    assert shell.made.gaps() == []


def test_a_message_without_changes_is_one_row_of_price_0() -> None:
    shell = Shell().synced()
    shell.recv(l2_frame(SYMBOL, 102, 106))
    assert numbers(shell.l2()[-1]) == (106, None, 0, 0, 0, 0, True)
    shell.recv(l2_frame(SYMBOL, 107, 107, asks=[("0", "0", 107)]))
    assert numbers(shell.l2()[-1]) == (107, "ask", 0, 0, 0, 0, True)
    assert shell.made.gaps() == []


def test_scales_are_the_instruments_once_it_is_known() -> None:
    shell = Shell().synced()
    entry = {
        "symbol": SYMBOL, "name": SYMBOL, "baseCurrency": "A", "quoteCurrency": "B",
        "baseIncrement": "0.0001", "quoteIncrement": "0.01", "priceIncrement": "0.00001",
        "enableTrading": True,
    }  # fmt: skip
    body = orjson.dumps({"code": "200000", "data": [entry]})
    url = "http://h" + PROFILE.symbols_path
    shell.line("rest_answer", body, url=url)
    shell.recv(l2_frame(SYMBOL, 102, 102, bids=[("1.50", "2", 102)]))
    shell.recv(l2_frame(SYMBOL, 103, 103, bids=[("1.5000001", "0.0", 103)]))
    assert [numbers(row)[2:6] for row in shell.l2()] == [
        (1, 0, 3, 0),
        (150_000, 5, 20_000, 4),
        (15_000_001, 7, 0, 4),
    ]
    seen, listed = shell.made.instruments
    assert listed == InstrumentsListed(seen.ts, frozenset({SYMBOL}))
    shell.line("rest_answer", body, url=url)
    assert (len(shell.made.instruments), seen.instrument.price_scale) == (2, 5)
    broken = orjson.dumps({"code": "200000", "data": [{**entry, "name": {}}]})
    shell.line("rest_answer", broken, url=url)
    assert len(shell.made.instruments) == 2
    assert shell.made.pipeline.counts["rest_answer_malformed"] == 1


def symbols_answer(*symbols: str) -> bytes:
    """Return a list of symbols as the exchange answers it."""
    entries = [
        {
            "symbol": symbol, "name": symbol, "baseCurrency": "A", "quoteCurrency": "B",
            "baseIncrement": "0.1", "quoteIncrement": "0.1", "priceIncrement": "0.1",
            "enableTrading": True,
        }
        for symbol in symbols
    ]  # fmt: skip
    return orjson.dumps({"code": "200000", "data": entries})


def test_a_symbol_that_is_listed_no_more_is_told_and_so_is_its_return() -> None:
    shell = Shell()
    url = "http://h" + PROFILE.symbols_path
    told = []
    for symbols in (("A-B", "C-D"), ("A-B", "C-D"), ("A-B",), (), ("A-B", "C-D")):
        before = len(shell.made.instruments)
        shell.line("rest_answer", symbols_answer(*symbols), url=url)
        told.append(
            [
                set(each.symbols) if isinstance(each, InstrumentsListed) else each.instrument.symbol
                for each in shell.made.instruments[before:]
            ]
        )
    assert told == [["A-B", "C-D", {"A-B", "C-D"}], [], [{"A-B"}], [], ["C-D"]]


def test_a_capture_ends_no_instrument() -> None:
    shell = Shell()
    shell.made.pipeline.start["source"] = "capture.jsonl"
    shell.line("rest_answer", symbols_answer("A-B"), url="http://h" + PROFILE.symbols_path)
    assert [type(each) for each in shell.made.instruments] == [InstrumentSeen]


MALFORMED_L2 = {
    "number that fits no int64": {"bids": [("1", "99999999999999999999", 102)]},
    "price that is no number": {"bids": [("one", "1", 102)]},
    "negative size": {"bids": [("1", "-1", 102)]},
    "negative price": {"asks": [("-1", "1", 102)]},
    "change behind its message": {"bids": [("1", "1", 103)]},
    "change before its message": {"bids": [("1", "1", 101)]},
    "number instead of text": {"bids": [(1, "1", 102)]},
    "sequence beyond int64": {"bids": [("1", "1", 10**30)]},
}


@pytest.mark.parametrize("changes", MALFORMED_L2.values(), ids=MALFORMED_L2)
def test_an_unreadable_message_costs_a_gap_of_its_own_reason(changes: dict[str, Any]) -> None:
    shell = Shell().synced()
    shell.recv(l2_frame(SYMBOL, 102, 102, **changes))
    assert shell.made.gaps() == []
    shell.recv(l2_frame(SYMBOL, 103, 103, bids=[("1", "4", 103)]))
    shell.book(103, request_id=2)
    (gap,) = shell.made.gaps()
    assert (gap.reason, gap.sequence_expected, gap.healed_by) == ("decode", 102, "snapshot")
    assert len(shell.made.incidents) == 1
    assert shell.made.incidents[0].startswith("A-B l2: a message cannot be read")


def test_an_unreadable_message_nobody_missed_blames_no_later_gap() -> None:
    shell = Shell().synced()
    shell.recv(l2_frame(SYMBOL, 101, 101, bids=[("?", "1", 101)]))
    shell.recv(l2_frame(SYMBOL, 102, 102, bids=[("1", "4", 102)]))
    shell.recv(l2_frame(SYMBOL, 105, 105, bids=[("1", "4", 105)]))
    assert [gap.reason for gap in shell.made.gaps()] == ["sequence"]


@pytest.mark.parametrize(
    "frame",
    [
        b'{"type":"message","topic":"/market/level2:A-B"}',
        b'{"type":"message","topic":"/market/level2:A-B","data":[]}',
        b'{"type":"message","topic":"/market/level3:A-B","data":{"type":"open"}}',
        b'{"type":"message","topic":"/market/match:A-B","data":null}',
        b'{"type":"message","topic":"/market/ticker:A-B","data":{"sequence":"x"}}',
        b'{"type":"message","topic":"/market/ticker:A-B","data":{"sequence":1e30}}',
        b'{"type":"message","topic":"/market/ticker:A-B","data":{"sequence":1,"price":7}}',
        b'{"type":"message","topic":"/market/ticker:all","data":{"sequence":"1"}}',
        b'{"type":"message","topic":"/market/ticker:all","subject":7,"data":{"sequence":"1"}}',
        b'{"type":"message","topic":"/market/snapshot:A-B","data":{}}',
        b'{"type":"message","topic":"/market/snapshot:A-B","data":{"sequence":"1","data":{"symbol":""}}}',
        b'{"type":"message","topic":"/market/snapshot:B","data":{"sequence":"9","data":[]'
        + b"[" * 900
        + b"]" * 900
        + b"}}",
        b'{"type":"message","topic":7}',
        b'{"type":"message","topic":"/market/level2:"}',
        b'{"type":"message","topic":"/market/level2:A-B,C-D"}',
        b'{"type":"message"}',
        b'{"type":7}',
        b"{}",
        b'{"type":[]}',
        b'{"type":"message","topic":"/market/ticker:all","data":{"sequence":1},"subject":"'
        + b"x" * 81
        + b'"}',
        b'{"type":{"a":1},"topic":"/market/level2:A-B"}',
        b"[]",
        b"",
        b"\xff",
    ],
)
def test_no_frame_stops_the_recording(frame: bytes) -> None:
    shell = Shell().synced()
    shell.recv(frame)
    shell.line("recv", None, 1, error="frame refused")
    shell.recv(l2_frame(SYMBOL, 102, 102, bids=[("1", "4", 102)]))
    assert [row["sequence"] for row in shell.l2()] == [101, 102]
    counts = shell.made.pipeline.counts
    bad = ("message_malformed", "frame_unknown", "frame_garbage")
    assert sum(counts[name] for name in bad) == 1
    assert counts["frame_refused"] == 1
    shell.stop()


def test_a_book_that_overflows_quarantines_its_stream_alone() -> None:
    """A size of ten digits before the point cannot be held with sizes of ten behind it."""
    shell = Shell().synced()
    shell.recv(l2_frame(SYMBOL, 102, 102, bids=[("1", "1.0000000001", 102)]))
    shell.recv(l2_frame(SYMBOL, 103, 103, bids=[("0.5", "9000000000", 103)]))
    shell.recv(l2_frame(SYMBOL, 104, 104, bids=[("1", "2", 104)]))
    (gap,) = shell.made.gaps()
    assert (gap.reason, gap.sequence_expected) == ("internal", 103)
    assert [row["sequence"] for row in shell.l2()] == [101, 102]
    assert "9000000000" in shell.made.incidents[0]
    shell.book(103, request_id=2)
    assert gap.healed_by == "snapshot"
    assert [row["sequence"] for row in shell.l2()] == [101, 102, 104]


# Level 3


def test_level3_rows_and_their_sides() -> None:
    shell = Shell()
    shell.recv(l3("received", 101, order_type="limit"))
    shell.book(100, "l3")
    shell.recv(l3("open", 102, remain_size="1"))
    shell.recv(l3("match", 103, taker_order_id="t1", trade_id="m1", side="sell", size="0.4"))
    shell.recv(l3("change", 104, size="0.3", old_size="0.6"))
    shell.recv(l3("stop", 104, stop_type="loss"))
    shell.recv(l3("done", 105, reason="canceled", price=None, size="0.3"))
    rows = shell.made.rows("l3_events", SYMBOL)
    assert [(r["kind"], r["side"], r["aggressor_side"], r["sequence"]) for r in rows] == [
        ("received", "bid", None, 101),
        ("open", "bid", None, 102),
        ("match", "bid", "sell", 103),
        ("change", "bid", None, 104),
        ("stop", "bid", None, 104),
        ("done", "bid", None, 105),
    ]
    assert [r["ordinal"] for r in rows] == [1, 2, 3, 4, 5, 6]
    assert rows[5]["price_mantissa"] is None
    assert rows[3]["old_size_mantissa"] == 6
    assert shell.made.gaps() == []
    (interval,) = shell.made.intervals(SYMBOL, "l3")
    assert interval.messages == 5  # the private one stands outside continuity


@pytest.mark.parametrize(
    "fields",
    [
        {"side": None, "remain_size": "1"},
        {"side": "bid", "remain_size": "1"},
        {"order_id": 17, "remain_size": "1"},
        {"remain_size": "99999999999999999999"},
        {"remain_size": "-1"},
    ],
)
def test_an_order_no_book_can_hold_is_a_gap_not_an_end(fields: dict[str, Any]) -> None:
    shell = Shell()
    shell.recv(l3("received", 101))
    shell.book(100, "l3")
    shell.recv(l3("open", 102, **fields))
    shell.recv(l3("received", 103))
    assert [gap.reason for gap in shell.made.gaps(SYMBOL, "l3")] == ["decode"]


# Trades, tickers, market snapshots


def test_a_trade_stands_once_whichever_topic_is_first() -> None:
    shell = Shell()
    shell.recv(match(1))  # the match topic is up from here
    shell.recv(l3("match", 1, trade_id="m1"))
    shell.recv(l3("match", 2, trade_id="m2"))
    shell.recv(match(2))
    shell.recv(l3("match", 3, trade_id="m3"))  # its twin never comes
    shell.recv(match(4))
    trades = shell.made.rows("trades", SYMBOL)
    assert [(t["sequence"], t["source"], t["trade_id"]) for t in trades] == [
        (1, "match", "m1"),
        (2, "match", "m2"),
        (3, "level3", "m3"),
        (4, "match", "m4"),
    ]
    assert [t["ordinal"] for t in trades] == [0, 1, 2, 3]
    assert trades[2]["held_ns"] == 1_000_000
    assert {t["aggressor_side"] for t in trades} == {"buy"}


def test_a_twin_is_not_waited_for_longer_than_level3_talks_on() -> None:
    shell = Shell()
    shell.recv(match(1))
    shell.recv(l3("match", 2))
    shell.ts += 6 * S
    shell.recv(l3("received", 3))
    assert [t["sequence"] for t in shell.made.rows("trades", SYMBOL)] == [1, 2]
    shell.recv(match(2))
    assert len(shell.made.rows("trades", SYMBOL)) == 2


def test_an_unreadable_match_does_not_cost_its_level3_twin() -> None:
    shell = Shell()
    shell.recv(match(1))
    shell.recv(l3("match", 2, trade_id="m2"))
    shell.recv(match(2, price="two"))
    shell.recv(match(3))
    trades = shell.made.rows("trades", SYMBOL)
    assert [(t["sequence"], t["source"]) for t in trades] == [
        (1, "match"), (2, "level3"), (3, "match"),
    ]  # fmt: skip
    assert shell.made.gaps(SYMBOL, "trades") == []


def test_a_lost_push_is_a_gap_because_nothing_else_would_show_it() -> None:
    shell = Shell()
    shell.recv(ticker_frame(Ticker(SYMBOL, 5, "1", "2", "1", "1", "2", None)))
    heard = shell.ts
    shell.recv(b'{"type":"message","topic":"/market/ticker:A-B","data":{"sequence":"?"}}')
    shell.recv(b"\xff\xff")
    shell.recv(ticker_frame(Ticker(SYMBOL, 6, None, "", "1", "1", None, None)))
    gaps = shell.made.gaps(SYMBOL, "tickers")
    assert [(gap.reason, gap.ts_from - heard, gap.ts_to - heard) for gap in gaps] == [
        ("decode", 0, 1_000_000),
        ("garbage", 1_000_000, 2_000_000),
    ]
    first, second = shell.made.rows("tickers", SYMBOL)
    assert (first["best_ask_mantissa"], first["best_ask_size_mantissa"]) == (2, None)
    assert (second["price_mantissa"], second["size_mantissa"]) == (None, None)


def test_ticker_all_names_its_symbol_in_the_subject() -> None:
    shell = Shell()
    shell.recv(ticker_frame(Ticker(SYMBOL, 5, "1", "2", "1", "1", "2", "1", None, "all")))
    shell.recv(ticker_frame(Ticker("C-D", 6, "1", "2", "1", "1", "2", "1", None, "all")))
    assert [r["channel"] for r in shell.made.rows("tickers", SYMBOL)] == ["all"]
    assert [r["sequence"] for r in shell.made.rows("tickers", "C-D")] == [6]


def test_a_market_snapshot_is_one_row_a_symbol_with_its_numbers_as_text() -> None:
    shell = Shell()
    entries = [
        {
            "symbol": "A-B",
            "buy": NumberText("1.0E-5"),
            "trading": True,
            "datetime": NumberText("1550653727731"),
        },
        {"symbol": "C-B", "buy": None, "averagePrice": NumberText("2.50")},
    ]
    shell.recv(format_market_snapshot(MarketSnapshot("B", 9, entries, is_list=True)))
    (row,) = shell.made.rows("market_snapshots", "A-B")
    assert (row["buy"], row["trading"], row["channel"], row["ts_event"]) == (
        "1.0E-5", "true", "B", TOLD,
    )  # fmt: skip
    (row,) = shell.made.rows("market_snapshots", "C-B")
    assert (row["buy"], orjson.loads(row["extra"])) == (None, {"averagePrice": 2.5})


def test_push_intervals_reach_to_the_last_frame_of_their_socket() -> None:
    shell = Shell()
    shell.recv(ticker_frame(Ticker(SYMBOL, 5, "1", "2", "1", "1", "2", "1")))
    shell.recv(format_control(Control("pong", "1")))
    alive = shell.ts
    shell.ts += 5 * S
    shell.line("close", connection=1, reason="silent")
    (interval,) = shell.made.intervals(SYMBOL, "tickers")
    (gap,) = shell.made.gaps(SYMBOL, "tickers")
    assert interval.ts_to == gap.ts_from == alive
    assert (gap.reason, gap.ts_detected) == ("silent", shell.ts)


def test_damage_of_the_raw_log_is_a_gap_wherever_it_may_be_a_loss() -> None:
    shell = Shell().synced()
    shell.recv(ticker_frame(Ticker(SYMBOL, 5, "1", "2", "1", "1", "2", "1")))
    shell.line("decision", what="audit", symbol=SYMBOL)
    shell.line("decision", what=RAW_LOG_DAMAGED)
    shell.recv(l2_frame(SYMBOL, 109, 109, bids=[("1", "4", 109)]))
    assert [(gap.stream, gap.reason) for gap in shell.made.gaps()] == [
        ("tickers", "garbage"),
        ("l2", "garbage"),
    ]


def test_an_audit_is_kept_and_not_applied() -> None:
    shell = Shell().synced()
    shell.book(101, request_id=None)
    full = [rows.full_book for rows in shell.made.batches["book_snapshots", SYMBOL, "l2"]]
    assert [(b.origin, b.ordinal, b.sequence) for b in full if isinstance(b, FullBook)] == [
        ("rest", 0, 100),
        ("audit", 1, 101),
    ]
    shell.recv(l2_frame(SYMBOL, 102, 102, bids=[("1", "4", 102)]))
    assert [row["ordinal"] for row in shell.l2()] == [1, 2]


def test_an_empty_book_is_one_row_without_side() -> None:
    shell = Shell()
    shell.recv(l2_frame(SYMBOL, 1, 1, bids=[("1", "3", 1)]))
    url = "http://h" + PROFILE.book_source("l2", signed=False).path.format(symbol=SYMBOL)
    body = b'{"code":"200000","data":{"sequence":"0","bids":null,"asks":null}}'
    shell.line("rest_answer", body, url=url, symbol=SYMBOL, stream="l2", request_id=1)
    (row,) = shell.made.rows("book_snapshots", SYMBOL, "l2")
    names = ("side", "level", "position", "order_id", "price_mantissa", "size_scale")
    assert [row[name] for name in names] == [None] * 6
    assert [r["sequence"] for r in shell.l2()] == [1]


def test_a_run_without_run_stop_ends_at_its_last_line() -> None:
    shell = Shell().synced()
    shell.recv(ticker_frame(Ticker(SYMBOL, 5, "1", "2", "1", "1", "2", "1")))
    shell.made.take(shell.made.pipeline.finish("crashed"))
    assert shell.made.pipeline.stop_reason == "crashed"
    assert shell.made.gaps() == []  # the next run will tell
    assert not any(interval.is_open for interval in shell.made.intervals())
    (interval,) = shell.made.intervals(SYMBOL, "tickers")
    assert interval.ts_to == shell.ts
