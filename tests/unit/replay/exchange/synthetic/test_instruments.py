"""What is listed."""

import pytest

from replay.exchange.errors import BadSymbol
from replay.exchange.synthetic.instruments import (
    DEFAULT_SYMBOLS,
    instrument_for,
    made_up_symbols,
)


def test_scales_differ_by_orders_of_magnitude() -> None:
    prices = {s: float(i.price_text(i.start_price)) for s, i in _default().items()}
    sizes = {s: float(i.size_text(i.typical_size)) for s, i in _default().items()}
    assert prices["BTC-USDT"] == 60_000
    assert 1e-8 < prices["SHIB-BTC"] < 2e-8
    assert sizes["WIN-USDT"] > 1e9


def _default():
    return {symbol: instrument_for(symbol) for symbol in DEFAULT_SYMBOLS}


def test_any_well_formed_name_is_listed_the_same_every_time() -> None:
    made = instrument_for("DOGE-USDT")
    assert made == instrument_for("DOGE-USDT") != instrument_for("DOGE-BTC")
    assert (made.base_currency, made.quote_currency, made.market) == ("DOGE", "USDT", "USDT")
    assert made.quote_digits <= made.funds_digits
    assert instrument_for("AA-BB").market == "ALTS"


@pytest.mark.parametrize("name", ["", "BTC", "btc-usdt", "BTC/USDT", "A-B-C", "BTC-", "BTC-USDT "])
def test_other_names_are_refused_with_the_remedy(name: str) -> None:
    with pytest.raises(BadSymbol) as caught:
        instrument_for(name)
    assert str(caught.value) == (
        f"cannot list the symbol {name!r}; "
        "write it like BTC-USDT: two upper-case currency codes joined by a hyphen"
    )


def test_made_up_symbols_are_as_many_as_asked_for_and_can_all_be_listed() -> None:
    symbols = made_up_symbols(1_200)
    assert len(set(symbols)) == 1_200
    assert symbols[:3] == ("S0000-USDT", "S0001-USDT", "S0002-BTC")
    made = [instrument_for(symbol) for symbol in symbols]
    assert {instrument.market for instrument in made} == {"USDT", "BTC", "ETH"}
    assert made_up_symbols(20)[:20] == symbols[:20]
