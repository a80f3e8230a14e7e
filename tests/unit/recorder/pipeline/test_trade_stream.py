"""Trades in a number space of their own: each once, in whatever order their ids come."""

from __future__ import annotations

import pytest

from recorder.pipeline import trade_stream
from tests.support.classic_shell import SYMBOL, ClassicShell

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
