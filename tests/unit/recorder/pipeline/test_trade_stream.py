"""Trades each once, in whatever order they come, and those that were missed filled in."""

from __future__ import annotations

import pytest

from recorder.pipeline import trade_stream
from recorder.pipeline.missed_trades import FRUITLESS_MAX
from recorder.pipeline.output import Backfill
from recorder.raw_line import PAUSED
from schemas.kucoin.profile import Profile
from schemas.kucoin.profiles.kucoin_2019 import KUCOIN_2019
from schemas.kucoin.profiles.kucoin_classic import KUCOIN_CLASSIC
from schemas.kucoin.rest import format_api_error
from tests.support.classic_shell import SYMBOL, ClassicShell
from tests.support.market_log import RUN
from tests.support.pipeline_rows import make
from tests.support.trade_shell import QUESTION, TradeShell, event_time

S = 1_000_000_000


def ids(shell: ClassicShell) -> list[str]:
    """Return the trades recorded, in order."""
    return [row["trade_id"] for row in shell.made.rows("trades", SYMBOL)]


def test_ids_with_holes_and_out_of_order_are_no_gap() -> None:
    shell = ClassicShell()
    for trade_id in (11067996711960577, 11067996711960601, 11067996711960590):
        shell.match(trade_id)
    assert ids(shell) == ["11067996711960577", "11067996711960601", "11067996711960590"]
    assert shell.made.gaps() == []
    rows = shell.made.rows("trades", SYMBOL)
    assert {row["source"] for row in rows} == {"match"}
    assert {row["ts_event"] for row in rows} == {1_729_816_425_625_000_000}


def test_a_trade_stands_once_though_it_came_twice_or_by_two_connections() -> None:
    shell = ClassicShell()
    shell.line("open", connection=2)
    for trade_id, connection in ((5, 1), (5, 1), (7, 2), (6, 1), (5, 2), (7, 1), (6, 2)):
        shell.match(trade_id, connection)
    shell.line("close", connection=1, reason="disconnected")
    shell.match(6, 2)
    assert ids(shell) == ["5", "7", "6"]
    assert shell.made.pipeline.counts["push_repeated"] == 5
    assert shell.made.gaps() == []


def test_what_is_remembered_is_bounded_in_time() -> None:
    shell = ClassicShell()
    shell.match(1)
    shell.ts += 601 * S
    shell.match(1)  # the last trade of a quiet symbol is not forgotten
    shell.match(2)
    shell.match(1)
    assert ids(shell) == ["1", "2", "1"]


def test_what_is_remembered_is_bounded_in_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trade_stream, "_TRADES_REMEMBERED", 3)
    shell = ClassicShell()
    for trade_id in (1, 2, 3, 4, 4, 2, 1):
        shell.match(trade_id)
    assert ids(shell) == ["1", "2", "3", "4", "1"]


def test_trades_and_books_never_mix_their_numbers() -> None:
    shell = ClassicShell().synced()
    shell.match(102)
    shell.update(102, 102, bids=[("100", "2", 102)])
    assert ids(shell) == ["102"]
    assert shell.made.pipeline.status()[SYMBOL, "l2"]["sequence"] == 102


both_dialects = pytest.mark.parametrize("profile", [KUCOIN_2019, KUCOIN_CLASSIC])


def cut(profile: Profile = KUCOIN_2019) -> TradeShell:
    """Return a run that has been told of trades up to 10 and was cut off."""
    shell = TradeShell(profile)
    assert shell.up() == []
    shell.match(8, 10)
    shell.down()
    return shell


@both_dialects
def test_what_was_missed_in_a_disconnect_is_filled_in(profile: Profile) -> None:
    shell = cut(profile)
    assert shell.up() == [Backfill("A-B")]
    assert shell.match(20) == [], "one question at a time"
    assert shell.answer([6, 8, 10, 12, 15, 20, 21]) == []
    shell.match(21)
    assert shell.told() == [8, 10, 20, 12, 15, 21]
    assert shell.gaps == [("disconnected", "backfill", 20)]
    first = shell.rows[3]
    assert (first["source"], first["aggressor_side"], first["ordinal"]) == ("backfill", "buy", 3)
    assert [first[name] for name in ("trade_id", "maker_order_id", "taker_order_id")] == [None] * 3
    assert (first["ts_event"], first["held_ns"]) == (event_time(12), 0)
    assert (first["price_mantissa"], first["size_mantissa"]) == (2, 12)
    assert shell.rows[4]["ts_recv"] == first["ts_recv"] > shell.rows[2]["ts_recv"]
    before, after = shell.made.intervals("A-B", "trades")
    assert (before.sequence_first, before.sequence_last, before.rows) == (8, 10, 2)
    assert (after.sequence_first, after.sequence_last, after.rows) == (12, 21, 4)
    assert (after.ordinal_first, after.ordinal_last) == (2, 5)
    assert shell.count("trade_backfilled") == 2
    assert shell.count("backfill_healed") == 1


def test_a_quiet_symbol_is_healed_by_its_next_trade() -> None:
    shell = cut()
    shell.up()
    assert shell.answer([8, 10, 12]) == []
    assert shell.gaps == [("disconnected", None, None)]
    assert shell.told() == [8, 10, 12]
    assert shell.match(30) == [Backfill("A-B")]
    shell.answer([8, 10, 12, 30])
    assert shell.gaps == [("disconnected", "backfill", 30)]
    assert shell.told() == [8, 10, 12, 30]


def test_an_answer_from_a_cache_is_asked_for_again() -> None:
    shell = cut()
    shell.up()
    shell.match(20)
    assert shell.answer([8, 10]) == [Backfill("A-B")]
    assert shell.fail() == [Backfill("A-B")]
    assert shell.gaps == [("disconnected", None, None)]
    assert shell.answer([10, 15, 20]) == []
    assert shell.gaps == [("disconnected", "backfill", 20)]


def test_what_the_history_has_lost_stays_missing() -> None:
    shell = cut()
    shell.up()
    shell.match(20)
    shell.answer([13, 15, 20])
    assert shell.told("backfill") == [13, 15]
    assert shell.gaps == [("disconnected", None, 13)]
    assert shell.count("backfill_partial") == 1
    shell = cut()
    shell.up()
    shell.match(20)
    assert shell.answer([20, 21]) == []
    assert shell.told("backfill") == []
    assert shell.gaps == [("disconnected", None, 20)]
    assert shell.count("backfill_unreachable") == 1


@both_dialects
def test_a_trade_filled_in_before_the_socket_tells_of_it_stands_once(profile: Profile) -> None:
    shell = cut(profile)
    shell.up()
    shell.answer([10, 15, 20])
    shell.match(20, 20)
    shell.match(21)
    assert shell.told() == [8, 10, 15, 20, 21]
    assert shell.gaps == [("disconnected", "backfill", 20)]
    assert shell.count("push_repeated") == 2


def test_level_3_tells_of_trades_too() -> None:
    shell = TradeShell()
    shell.up("match", "level3")
    shell.l3_match(10)
    shell.match(10)
    shell.down()
    shell.up("match", "level3")
    shell.answer([10, 12, 14])
    shell.l3_match(14)
    shell.match(14)
    shell.l3_match(16)
    shell.match(17)
    assert shell.told() == [10, 12, 14, 16, 17]
    assert shell.gaps == [("disconnected", "backfill", 14)]


def test_a_match_of_level_3_that_waits_for_its_twin_is_not_filled_in() -> None:
    shell = TradeShell()
    shell.up("match", "level3")
    shell.match(10)
    shell.l3_match(10)
    shell.down()
    shell.up("match", "level3")
    shell.match(20)
    shell.l3_match(18)  # told by level 3 alone, which had begun before
    shell.answer([10, 15, 18, 20])
    shell.match(22)
    assert shell.told() == [10, 20, 15, 18, 22]
    assert [row["source"] for row in shell.rows][2:4] == ["backfill", "level3"]


@pytest.mark.parametrize("feeds", [("match", "level3"), ("level3", "match")])
@pytest.mark.parametrize("end", ["disconnected", "full disk"])
def test_a_match_that_waits_for_its_twin_does_not_cover_the_silence_before_a_cut(
    feeds: tuple[str, str], end: str
) -> None:
    shell = TradeShell()
    shell.up(*feeds)
    shell.match(10)
    shell.l3_match(12)
    heard = shell.ts
    shell.ts += 3 * S  # nothing more came, and that is noticed now
    if end == "disconnected":
        shell.down()
    else:
        shell.line("decision", what=PAUSED, reason="disk_full")
    (interval,), (gap,) = shell.made.intervals(SYMBOL, "trades"), shell.made.gaps(SYMBOL, "trades")
    assert shell.told("level3") == [12]
    assert (interval.ts_to, gap.ts_from, gap.ts_detected) == (heard, heard, shell.ts)


def test_what_only_the_slower_topic_would_have_told_is_missed_too() -> None:
    shell = TradeShell()
    shell.up("match", "level3")
    shell.l3_match(10)
    shell.match(10, 14)  # 12 is of level 3 only, which was not as far
    shell.down()
    shell.up("match", "level3")
    shell.match(20)
    shell.answer([12, 14, 20])
    assert shell.told("backfill") == [12]
    assert shell.gaps == [("disconnected", None, 12)], "whatever came between 10 and 12"
    shell.l3_match(20)
    shell.down()
    shell.up()
    shell.match(30)
    shell.answer([20, 30])
    assert shell.gaps[1] == ("disconnected", "backfill", 30)


def test_frames_that_could_not_be_read_are_filled_in_likewise() -> None:
    shell = TradeShell()
    shell.up()
    shell.match(10)
    assert shell.line("recv", b"{", connection=1) == [Backfill("A-B")]
    shell.match(12)
    shell.answer([10, 11, 12])
    assert shell.told() == [10, 12, 11]
    assert shell.gaps == [("garbage", "backfill", 12)]


def test_down_and_up_without_a_trade_between_is_one_hole_of_two_gaps() -> None:
    shell = cut()
    shell.up()
    shell.down()
    assert shell.up() == [Backfill("A-B")]
    shell.match(20)
    shell.answer([10, 15, 20])
    assert shell.told() == [8, 10, 20, 15]
    assert shell.gaps == [("disconnected", "backfill", 20)] * 2


def test_an_answer_to_a_stream_that_is_down_is_of_no_use() -> None:
    shell = cut()
    shell.up()
    shell.down()
    assert shell.answer([10, 12]) == []
    assert shell.told() == [8, 10]
    assert shell.up() == [Backfill("A-B")]


def test_the_first_interval_of_a_symbol_has_nothing_before_it() -> None:
    shell = TradeShell()
    shell.up()
    shell.down()
    assert shell.up() == [], "nothing shows where the hole begins"
    assert shell.match(5) == []


def test_what_was_missed_between_two_runs_is_filled_in() -> None:
    shell = TradeShell(last_trade=10)
    assert shell.up() == [Backfill("A-B")]
    shell.match(20)
    shell.answer([9, 10, 15, 20])
    assert shell.told() == [20, 15]
    assert shell.gaps == []
    assert shell.made.pipeline.trades_joined == {"A-B"}
    shell = TradeShell(last_trade=10, is_proven=False)
    shell.up()
    shell.match(20)
    shell.answer([9, 10, 15, 20])
    assert shell.told() == [20, 15]
    assert shell.made.pipeline.trades_joined == set()
    shell = TradeShell(last_trade=10)
    shell.up()
    shell.match(20)
    shell.answer([11, 15, 20])
    assert shell.told() == [20, 11, 15]
    assert shell.made.pipeline.trades_joined == set()


def test_numbers_out_of_order_prove_nothing() -> None:
    shell = TradeShell(KUCOIN_CLASSIC)
    shell.up()
    shell.match(8, 10)
    shell.down()
    shell.up()
    shell.match(20, 19)
    assert shell.gaps == [("disconnected", None, 20)]
    shell.answer([8, 10, 12, 19, 20])
    assert sorted(shell.told()) == [8, 10, 19, 20]


@both_dialects
def test_a_trade_told_late_from_inside_a_hole_stands_once(profile: Profile) -> None:
    shell = cut(profile)
    shell.up()
    shell.match(20)
    shell.line("recv", b"{", connection=2)  # what ends an interval between two that swapped places
    shell.match(15)
    shell.answer([8, 10, 12, 15, 20])
    shell.answer([8, 10, 12, 15, 20])
    shell.match(25)
    shell.answer([8, 10, 12, 15, 20, 25])
    assert sorted(shell.told()) == [8, 10, 12, 15, 20, 25]


def test_answers_that_cannot_be_read_are_questions_that_failed() -> None:
    shell = cut()
    shell.up()
    shell.match(20)
    entry = b'{"sequence":"%d","price":"1","size":"1","side":"%s","time":1}'
    bad = [
        b"no json",
        format_api_error("429000", "too many"),
        *(
            b'{"code":"200000","data":%s}' % data
            for data in (
                b"null",
                b"[{}]",
                b"[%s]" % entry % (1, b"up"),
                b"[%s]" % entry % (-1, b"buy"),
            )
        ),
    ]
    for body in bad:
        shell.asked -= 1
        assert shell.line("rest_answer", body, status=200, **QUESTION) == [Backfill("A-B")]
    assert shell.told() == [8, 10, 20]
    assert shell.count("rest_answer_malformed") == 5
    for _ in range(FRUITLESS_MAX - len(bad)):
        shell.fail()
    assert shell.asked == 0
    assert shell.gaps == [("disconnected", None, 20)]
    assert shell.count("backfill_failed") == 1


def test_a_time_that_can_be_none_is_left_out() -> None:
    shell = cut()
    shell.up()
    body = b'{"code":"200000","data":[{"sequence":"11","price":"1","size":"1","side":"sell","time":7}]}'  # noqa: E501
    shell.line("rest_answer", body, status=200, **QUESTION)
    assert (shell.rows[-1]["sequence"], shell.rows[-1]["ts_event"]) == (11, None)


def test_the_same_lines_in_one_batch_give_the_same_rows_and_gaps() -> None:
    shell = cut()
    shell.up()
    shell.match(20)
    shell.answer([10, 15, 20])
    shell.line("run_stop", reason="stopped")
    assert make([shell.lines]).whole() == make([line] for line in shell.lines).whole()
    assert shell.made.pipeline.run_id == RUN
