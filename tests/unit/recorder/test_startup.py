"""What a selection resolved to, against what was listed before; and what is said about it."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from structlog.testing import capture_logs

from recorder.errors import UnknownSymbols
from recorder.logs import get_log
from recorder.startup import check_symbols, tell_resolution
from recorder.symbols import Resolution

LISTED = ["BTC-USDT", "ETH-USDT", "ETH-BTC", "KCS-BTC"]


def resolution(unknown: Sequence[str]) -> Resolution:
    return Resolution(("KCS-BTC",), (), tuple(unknown), ())


def test_listed_symbols_pass() -> None:
    check_symbols(resolution([]), LISTED, ())


@pytest.mark.parametrize(
    ("unknown", "near"),
    [
        (["btc-usdt"], "BTC-USDT"),
        (["BTCUSDT"], "BTC-USDT"),
        (["KCS-BCT", "ETH-UDST"], "KCS-BTC"),
    ],
)
def test_unknown_ones_are_named_with_the_nearest(unknown: list[str], near: str) -> None:
    with pytest.raises(UnknownSymbols) as caught:
        check_symbols(resolution(unknown), LISTED, ())
    assert caught.value.symbols == tuple(unknown)
    assert f"did you mean {near}" in caught.value.remedy
    assert caught.value.exit_code == 2


def test_nothing_near_means_no_guess() -> None:
    with pytest.raises(UnknownSymbols) as caught:
        check_symbols(resolution(["XYZ"]), LISTED, ())
    assert "did you mean" not in str(caught.value)
    assert "exchange's own spelling" in caught.value.remedy


def test_a_symbol_that_was_listed_once_keeps_nobody_from_starting() -> None:
    check_symbols(resolution(["GONE-BTC"]), LISTED, {"GONE-BTC"})
    with pytest.raises(UnknownSymbols) as caught:
        check_symbols(resolution(["GONE-BTC", "NEVER-BTC"]), LISTED, {"GONE-BTC"})
    assert caught.value.symbols == ("NEVER-BTC",)


def test_what_is_not_there_is_told_and_so_is_nothing_at_all() -> None:
    with capture_logs() as lines:
        tell_resolution(Resolution(("A-B",), ("A-B",), ("GONE-B",), ("*-XYZ",)), get_log("test"))
        tell_resolution(Resolution((), (), (), ()), get_log("test"))
    assert [(line["log_level"], line.get("symbol") or line.get("symbols")) for line in lines] == [
        ("warning", "GONE-B"),
        ("warning", "*-XYZ"),
        ("warning", "A-B"),
        ("warning", None),
    ]
    assert lines[-1]["event"] == "nothing to record now"
