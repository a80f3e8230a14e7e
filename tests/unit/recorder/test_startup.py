"""Symbols wanted against symbols listed."""

from __future__ import annotations

import pytest

from recorder.errors import UnknownSymbols
from recorder.startup import check_symbols

LISTED = {"BTC-USDT", "ETH-USDT", "ETH-BTC", "KCS-BTC"}


def test_listed_symbols_pass() -> None:
    check_symbols(["BTC-USDT", "KCS-BTC"], LISTED)


@pytest.mark.parametrize(
    ("wanted", "unknown", "near"),
    [
        (["btc-usdt"], ("btc-usdt",), "BTC-USDT"),
        (["BTCUSDT", "ETH-BTC"], ("BTCUSDT",), "BTC-USDT"),
        (["KCS-BCT", "ETH-UDST"], ("KCS-BCT", "ETH-UDST"), "KCS-BTC"),
    ],
)
def test_unknown_ones_are_named_with_the_nearest(
    wanted: list[str], unknown: tuple[str, ...], near: str
) -> None:
    with pytest.raises(UnknownSymbols) as caught:
        check_symbols(wanted, LISTED)
    assert caught.value.symbols == unknown
    assert f"did you mean {near}" in caught.value.remedy


def test_nothing_near_means_no_guess() -> None:
    with pytest.raises(UnknownSymbols) as caught:
        check_symbols(["XYZ"], LISTED)
    assert "did you mean" not in str(caught.value)
    assert "exchange's own spelling" in caught.value.remedy
