"""What streams tell of what they met: everything odd is counted, nothing odd ends anything."""

from __future__ import annotations

import pytest

from recorder.pipeline.output import ArmTimer, RequestBook
from recorder.pipeline.pipeline import Pipeline
from recorder.raw_line import RawLine
from schemas.kucoin.market import L3Event, format_l3_event
from schemas.kucoin.rest import BookAnswer, format_book
from schemas.timestamps import NS_PER_S
from tests.support.classic_shell import SYMBOL, ClassicShell
from tests.support.market_log import PROFILE, RUN, T0
from tests.support.pipeline_rows import Made
from tests.support.trade_shell import TradeShell

FAR = 1_636_276_324_710


def tally(shell: ClassicShell) -> dict[str, int]:
    """Return what the level-2 stream met, without what it met none of."""
    met = shell.made.pipeline.status()[SYMBOL, "l2"]["tally"]
    return {name: count for name, count in met.items() if count}


def change(shell: ClassicShell, sequence: int, price: str = "99", size: str = "7") -> None:
    shell.update(sequence, sequence, bids=[(price, size, sequence)])


def test_a_message_that_comes_seven_times_is_written_once() -> None:
    shell = ClassicShell().synced(bids=5, asks=5)
    for sequence in (102, 103):
        for _ in range(7):
            change(shell, sequence)
    assert [row["sequence"] for row in shell.made.rows("l2_updates", SYMBOL)] == [101, 102, 103]
    assert shell.made.gaps() == []
    assert tally(shell)["updates_stale"] == 12
    assert tally(shell)["updates_written"] == 3


def test_messages_out_of_order_are_a_gap_that_heals() -> None:
    shell = ClassicShell().synced(bids=5, asks=5)
    change(shell, 103)
    change(shell, 102)
    shell.seed(103, bids=5, asks=5, request_id=2)
    change(shell, 104)
    (gap,) = shell.made.gaps()
    assert (gap.reason, gap.sequence_expected, gap.sequence_received) == ("sequence", 102, 103)
    assert [row["sequence"] for row in shell.made.rows("l2_updates", SYMBOL)] == [101, 104]
    assert shell.made.pipeline.status()[SYMBOL, "l2"]["state"] == "synced"


def test_changes_out_of_order_inside_a_message_are_rows_in_order() -> None:
    shell = ClassicShell().synced(bids=5, asks=5)
    told = [("99", "1", 104), ("98", "2", 102), ("97", "3", 103)]
    shell.update(102, 104, bids=told)
    rows = shell.made.rows("l2_updates", SYMBOL)[1:]
    assert [(row["sequence"], row["is_last"]) for row in rows] == [
        (102, False), (103, False), (104, True),
    ]  # fmt: skip


def test_removing_a_level_that_is_not_there_is_a_row_and_is_counted() -> None:
    shell = ClassicShell().synced(bids=5, asks=5)
    change(shell, 102, "55", "0")
    change(shell, 103, "55", "0")
    change(shell, 104, "99", "0")
    assert tally(shell)["absent_removals"] == 2
    assert [row["sequence"] for row in shell.made.rows("l2_updates", SYMBOL)] == [
        101,
        102,
        103,
        104,
    ]
    assert shell.made.gaps() == []


def test_an_answer_older_than_what_is_held_is_counted_and_asked_again() -> None:
    shell = ClassicShell()
    change(shell, 101)
    for request_id in (1, 2, 3):
        shell.seed(90, bids=5, asks=5, request_id=request_id)
    assert tally(shell) == {"snapshots_requested": 4, "snapshots_too_old": 3}
    shell.seed(100, bids=5, asks=5, request_id=4)
    assert shell.made.gaps() == [], "there was no book before: nothing is lost"
    assert tally(shell) == {
        "snapshots_requested": 4, "snapshots_too_old": 3, "snapshots_written": 1,
        "updates_written": 1,
    }  # fmt: skip


def test_an_answer_nobody_waits_for_any_more_changes_nothing() -> None:
    shell = ClassicShell()
    change(shell, 101)
    shell.line("rest_failure", symbol=SYMBOL, stream="l2", request_id=1, url="", error="timeout")
    shell.seed(100, bids=5, asks=5, request_id=1)  # late, behind its own failure
    assert shell.made.pipeline.status()[SYMBOL, "l2"]["state"] == "buffering"
    assert tally(shell) == {"snapshots_requested": 2, "snapshots_failed": 1, "snapshots_ignored": 1}


def test_numbers_that_begin_anew_are_an_epoch_and_a_gap_is_none() -> None:
    shell = ClassicShell()
    change(shell, FAR)
    shell.seed(FAR - 1, bids=5, asks=5)
    change(shell, FAR + 2)
    shell.seed(FAR + 1, bids=5, asks=5, request_id=2)
    assert "epochs" not in tally(shell)
    change(shell, 51)
    shell.seed(50, bids=5, asks=5, request_id=3)
    change(shell, 52)
    assert tally(shell)["epochs"] == 1
    assert [gap.sequence_received for gap in shell.made.gaps()] == [FAR + 1, 50]


@pytest.mark.parametrize(
    ("kind", "fields", "counted"),
    [
        ("match", {"order_id": "nobody"}, "unknown_makers"),
        ("change", {"order_id": "nobody", "old_size": "3"}, "unknown_changes"),
        ("done", {"order_id": "nobody", "reason": "canceled"}, "done_not_resting"),
        ("open", {"order_id": "b1", "remain_size": "1"}, "replaced"),
        ("match", {"order_id": "b1", "size": "9"}, "overfilled"),
    ],
)
def test_level3_events_that_do_not_fit_are_rows_and_are_counted(
    kind: str, fields: dict[str, str], counted: str
) -> None:
    made = Made(Pipeline())

    def line(of: str, data: bytes | None = None, **more: object) -> None:
        made.take(made.pipeline.feed([RawLine(of, T0, 0, 1, data, more)]))

    def event(of: str, sequence: int, **more: str) -> None:
        words = {"order_id": "x", "price": "1", "size": "1", "taker_order_id": "t", **more}
        side = "sell" if of == "match" else "buy"
        line("recv", format_l3_event(L3Event(of, SYMBOL, sequence, side, T0, **words)))

    line("run_start", run_id=RUN, profile=PROFILE.name)
    line("open")
    event("open", 101, remain_size="1")
    book = format_book(BookAnswer(100, T0, [("b1", "1", "2")], [("a1", "2", "1")]))
    url = "http://127.0.0.1:1" + PROFILE.book_source("l3", signed=False).path.format(symbol=SYMBOL)
    line("rest_answer", book, url=url, symbol=SYMBOL, stream="l3", request_id=1)
    event(kind, 102, **fields)
    status = made.pipeline.status()[SYMBOL, "l3"]
    assert (status["state"], status["tally"][counted]) == ("synced", 1)
    assert [row["sequence"] for row in made.rows("l3_events", SYMBOL)] == [101, 102]
    assert made.gaps() == []
    assert made.incidents == []


def test_a_full_disk_takes_everything_down_and_forgets_every_connection() -> None:
    shell = ClassicShell().synced()
    shell.match(1)
    shell.update(102, 102, bids=[("99", "5", 102)])
    last_good = shell.ts
    shell.ts += NS_PER_S
    shell.line("decision", what="paused", reason="disk_full")
    status = shell.made.pipeline.status()
    assert {each["state"] for each in status.values()} == {"down"}
    assert status[SYMBOL, "l2"]["gap"] == "disk_full"
    shell.line("decision", what="resumed", lines_dropped=7)
    shell.line("open", connection=2)
    shell.ts += NS_PER_S
    armed, wanted = shell.update(120, 120, bids=[("99", "6", 120)], connection=2)
    assert (type(armed), type(wanted)) == (ArmTimer, RequestBook)
    shell.seed(120, request_id=wanted.request_id)
    gaps = {gap.stream: gap for gap in shell.made.gaps()}
    assert gaps["trades"].reason == "disk_full"
    book = gaps["l2"]
    assert (book.reason, book.ts_from, book.healed_by) == ("disk_full", last_good, "snapshot")
    shell.line("close", connection=2, reason="disconnected")
    assert shell.made.pipeline.status()[SYMBOL, "l2"]["state"] == "down", "none else carries it"


def test_a_question_for_missed_trades_that_a_full_disk_swallowed_is_asked_again() -> None:
    shell = TradeShell()
    shell.up("match")
    shell.match(1, 2)
    shell.down()
    shell.up("match")
    shell.match(9)
    assert shell.asked == 1
    shell.line("decision", what="paused", reason="disk_full")
    shell.line("decision", what="resumed")
    shell.up("match")
    shell.match(12)
    assert shell.asked == 2
