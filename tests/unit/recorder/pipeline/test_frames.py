"""Today's dialect, frame by frame: clocks gone wrong, series that begin anew, symbols that go."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from recorder.pipeline.output import ArmTimer, RequestBook
from schemas.kucoin.control import Control, Subscription, format_control
from schemas.kucoin.market import Ticker, format_ticker
from schemas.kucoin.profiles.kucoin_classic import KUCOIN_CLASSIC
from tests.support.classic_shell import SYMBOL, TOLD, URL, ClassicShell, book

MS = 1_000_000


def told(shell: ClassicShell) -> list[int | None]:
    """Return the venue's times of the level-2 rows."""
    return [row["ts_event"] for row in shell.made.rows("l2_updates", SYMBOL)]


@pytest.mark.parametrize("wrong", [5, TOLD // MS, TOLD * 1000, -7 * MS])
def test_a_time_that_cannot_be_one_is_left_out_and_counted(wrong: int) -> None:
    shell = ClassicShell().synced(bids=5, asks=5)
    shell.update(102, 102, bids=[("100", "2", 102)], ts_event=wrong // MS * MS)
    assert told(shell) == [TOLD, None]
    assert shell.made.pipeline.counts["time_implausible level2"] == 1
    assert shell.made.incidents == []


@pytest.mark.parametrize("time", ['"soon"', "1.5", "[]", "99999999999999999999999"])
@pytest.mark.parametrize("feed", ["level2", "match", "ticker"])
def test_a_time_that_is_no_count_loses_no_message(feed: str, time: str) -> None:
    shell = ClassicShell().synced(bids=5, asks=5)
    data: dict[str, Any] = {
        "level2": {"symbol": SYMBOL, "sequenceStart": 102, "sequenceEnd": 102,
                   "changes": {"asks": [], "bids": [["100", "2", "102"]]}},
        "match": {"symbol": SYMBOL, "sequence": "7", "side": "buy", "price": "1", "size": "1",
                  "tradeId": "7"},
        "ticker": {"sequence": "7", "price": "1"},
    }[feed]  # fmt: skip
    data["time"] = "?"
    frame = {"type": "message", "topic": f"{KUCOIN_CLASSIC.topics[feed]}:{SYMBOL}", "data": data}
    shell.line("recv", orjson.dumps(frame).replace(b'"?"', time.encode()), 1)
    dataset = {"level2": "l2_updates", "match": "trades", "ticker": "tickers"}[feed]
    assert shell.made.rows(dataset, SYMBOL)[-1]["ts_event"] is None
    assert shell.made.pipeline.counts[f"time_implausible {feed}"] == 1
    assert shell.made.pipeline.counts["message_malformed"] == 0


def test_a_book_with_a_time_from_nowhere_is_a_book() -> None:
    shell = ClassicShell()
    shell.update(101, 101, bids=[("100", "1", 101)])
    body = book(100).replace(str(TOLD // MS).encode(), b"17")
    shell.line("rest_answer", body, url=URL, symbol=SYMBOL, stream="l2", request_id=1)
    assert {row["ts_event"] for row in shell.books("rest")} == {None}
    assert shell.made.pipeline.counts["time_implausible book"] == 1


def test_a_ticker_is_read_under_either_spelling_of_its_time() -> None:
    shell = ClassicShell()
    for sequence, name in enumerate(("time", "Time"), start=1):
        ticker = Ticker(SYMBOL, sequence, "1", "2", "1", "1", "2", "1", TOLD, time_name=name)
        shell.line("recv", format_ticker(ticker), 1)
    assert {row["ts_event"] for row in shell.made.rows("tickers", SYMBOL)} == {TOLD}


def test_overlapping_ranges_are_one_history_with_each_change_once() -> None:
    shell = ClassicShell().synced(bids=5, asks=5)
    shell.update(100, 104, bids=[("100", "3", 104), ("99", "2", 101)], asks=[("101", "4", 103)])
    shell.update(103, 106, bids=[("100", "9", 106)], asks=[("101", "4", 103)])
    shell.update(104, 109, asks=[("101", "4", 103)][:0], bids=[("100", "9", 106)])
    rows = shell.made.rows("l2_updates", SYMBOL)
    assert [(r["sequence"], r["sequence_end"], r["side"], r["is_last"]) for r in rows] == [
        (101, 101, "bid", True),
        (103, 104, "ask", False),
        (104, 104, "bid", True),
        (106, 106, "bid", True),
        (109, 109, None, True),  # it only advances: its change had been told
    ]
    assert shell.made.gaps() == []


def test_numbers_that_begin_anew_are_one_gap_and_no_loop() -> None:
    shell = ClassicShell()
    far = 1_636_276_324_710
    shell.update(far, far, bids=[("100", "1", far)])
    shell.seed(far - 1)
    commands = shell.update(50, 51, bids=[("100", "2", 51)])
    assert commands == [RequestBook(SYMBOL, "l2", 2)]
    shell.seed(far + 5, request_id=2)  # out of a cache
    assert shell.made.commands[-1] == RequestBook(SYMBOL, "l2", 3)
    shell.seed(49, request_id=3)
    shell.update(52, 52, bids=[("100", "3", 52)])
    (gap,) = shell.made.gaps()
    assert (gap.reason, gap.sequence_expected, gap.sequence_received) == ("sequence", far + 1, 49)
    assert [row["sequence"] for row in shell.made.rows("l2_updates", SYMBOL)] == [far, 51, 52]
    assert len({row["ordinal"] for row in shell.books("rest")}) == 2


@pytest.mark.parametrize("sequence", [-1, 0])
def test_a_new_instrument_begins_empty_and_below_one(sequence: int) -> None:
    shell = ClassicShell()
    topic = f"{KUCOIN_CLASSIC.topics['level2']}:{SYMBOL}"
    shell.line("send", format_control(Subscription("subscribe", "9", topic)), 1)
    shell.line("recv", format_control(Control("ack", "9")), 1)
    assert shell.made.commands == [ArmTimer(SYMBOL, "l2", 1)]
    shell.line("timer", symbol=SYMBOL, stream="l2", timer_id=1)
    body = b'{"code":"200000","data":{"sequence":"%d","bids":null,"asks":null}}' % sequence
    shell.line("rest_answer", body, url=URL, symbol=SYMBOL, stream="l2", request_id=1)
    (row,) = shell.books("rest")
    assert (row["sequence"], row["side"], row["known_bid_from_mantissa"]) == (sequence, None, None)
    shell.update(sequence, sequence)
    shell.update(sequence + 1, sequence + 2, bids=[("1", "1", sequence + 2)])
    assert [row["sequence"] for row in shell.made.rows("l2_updates", SYMBOL)] == [sequence + 2]
    assert shell.made.gaps() == []
    assert shell.made.incidents == []


def unsubscribe(shell: ClassicShell, feeds: tuple[str, ...], on: str = "unsubscribe") -> None:
    """Tell the exchange, and let it acknowledge."""
    for number, feed in enumerate(feeds):
        topic = f"{KUCOIN_CLASSIC.topics[feed]}:{SYMBOL}"
        shell.line("send", format_control(Subscription(on, f"{on} {number}", topic)), 1)
        shell.line("recv", format_control(Control("ack", f"{on} {number}")), 1)


def test_a_symbol_that_is_taken_out_ends_without_a_gap_until_it_comes_back() -> None:
    shell = ClassicShell().synced(bids=5, asks=5)
    shell.match(5)
    feeds = ("level2", "match")
    shell.line("decision", what="symbols", added=[], removed=[SYMBOL], reason="delisted")
    assert shell.made.pipeline.status()[SYMBOL, "l2"]["state"] == "synced"  # until it is done
    unsubscribe(shell, feeds)
    assert shell.made.gaps() == []
    states = {key[1]: state["state"] for key, state in shell.made.pipeline.status().items()}
    assert states == {"l2": "down", "trades": "down"}
    shell.line("decision", what="symbols", added=[SYMBOL], removed=[], reason="listed")
    unsubscribe(shell, feeds, "subscribe")
    shell.update(200, 200, bids=[("100", "1", 200)])
    shell.seed(199, request_id=2)
    shell.match(6)
    gaps = {gap.stream: (gap.reason, gap.ts_to is not None) for gap in shell.made.gaps()}
    assert gaps == {"l2": ("stopped", True), "trades": ("stopped", True)}


def test_what_the_exchange_says_of_itself_is_counted_by_name() -> None:
    shell = ClassicShell()
    status = KUCOIN_CLASSIC.status_path
    body = b'{"code":"200000","data":{"status":"close","msg":"upgrade"}}'
    shell.line("rest_answer", body, url=f"http://127.0.0.1:1{status}")
    assert shell.made.pipeline.counts[f"answer {status}"] == 1
    assert shell.made.batches == {}


def test_a_change_from_before_its_own_message_is_in_the_book_and_left_out() -> None:
    shell = ClassicShell().synced()
    # 98 was last changed at 60, and 99 in this message.
    shell.update(102, 104, bids=[("99", "3", 103), ("98", "9", 60)], asks=[("101", "9", 101)])
    shell.update(105, 105, bids=[("97", "9", 70)])  # nothing new but its number
    shell.update(106, 106, bids=[("96", "5", 106)])
    rows = shell.made.rows("l2_updates", SYMBOL)
    assert [(row["sequence"], row["side"], row["price_mantissa"]) for row in rows] == [
        (101, "bid", 100),
        (103, "bid", 99),
        (105, None, 0),
        (106, "bid", 96),
    ]
    assert shell.made.pipeline.counts["change_told_again"] == 3
    assert shell.made.pipeline.counts["message_malformed"] == 0
    assert shell.made.gaps() == []


@pytest.mark.parametrize("version", [1, 2])
def test_a_list_of_symbols_of_either_version_gives_the_scales(version: int) -> None:
    shell = ClassicShell()
    entry = {
        "symbol": SYMBOL, "baseCurrency": "A", "quoteCurrency": "B", "baseIncrement": "0.01",
        "quoteIncrement": "0.1", "priceIncrement": "0.001", "enableTrading": True,
    }  # fmt: skip
    listing = orjson.dumps({"code": "200000", "data": [entry]})
    shell.line("rest_answer", listing, url=f"https://h/api/v{version}/symbols?market=A")
    shell.synced()
    (row,) = shell.made.rows("l2_updates", SYMBOL)
    assert (row["price_mantissa"], row["price_scale"], row["size_scale"]) == (100_000, 3, 2)


@pytest.mark.parametrize(("length", "kept"), [(80, True), (81, False)])
def test_a_name_too_long_for_a_folder_is_no_symbol(length: int, kept: bool) -> None:
    shell = ClassicShell()
    name = "X" * length
    data = {"sequence": "7", "symbol": name, "side": "buy", "price": "1", "size": "1"}
    frame = {"type": "message", "topic": f"/market/match:{name}", "data": {**data, "tradeId": "7"}}
    shell.line("recv", orjson.dumps(frame), 1)
    assert len(shell.made.rows("trades", name)) == kept
    assert shell.made.pipeline.counts["topic /market/match"] == (not kept)


def test_a_field_the_dialect_does_not_have_costs_nothing_and_is_counted_by_name() -> None:
    shell = ClassicShell().synced()
    changes = {"asks": [], "bids": [["100", "2", "102"]]}
    level2 = {"symbol": SYMBOL, "sequenceStart": 102, "sequenceEnd": 102, "changes": changes}
    match = {"symbol": SYMBOL, "sequence": "7", "side": "buy", "price": "1", "size": "1"}
    ticker = {"sequence": "7", "price": "1"}
    for feed, data in (("level2", level2), ("match", match), ("ticker", ticker)):
        frame = {"type": "message", "topic": f"{KUCOIN_CLASSIC.topics[feed]}:{SYMBOL}"}
        for odd in ({}, {"new": {"a": [1]}}):
            data["sequence" if feed != "level2" else "sequenceEnd"] = 102 + len(odd)
            shell.line("recv", orjson.dumps({**frame, "sn": 1, "data": {**data, **odd}}), 1)
    counts = shell.made.pipeline.counts
    assert {name: n for name, n in counts.items() if name.startswith("field")} == {
        "field level2 new": 1, "field match new": 1, "field ticker new": 1,
    }  # fmt: skip
    assert counts["message_malformed"] == 0
    for dataset, rows in (("l2_updates", 3), ("trades", 2), ("tickers", 2)):
        assert len(shell.made.rows(dataset, SYMBOL)) == rows
