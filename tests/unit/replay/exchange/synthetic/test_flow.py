"""Order flow: waits, and the resting orders it knows."""

import random

import pytest

from replay.exchange.synthetic.flow import TARGET_ORDERS, Drift, Habit
from replay.exchange.synthetic.instruments import instrument_for
from replay.exchange.synthetic.market import SyntheticMarket


def test_waits_have_mean_one_and_cluster() -> None:
    market = SyntheticMarket(instrument_for("BTC-USDT"), 1)
    waits = [market.flow.next_wait() for _ in range(50_000)]
    assert 0.97 < sum(waits) / len(waits) < 1.03
    short = sum(wait < 0.05 for wait in waits) / len(waits)
    assert short > 0.09, "an exponential alone has 0.049 of them"


def test_flow_knows_exactly_the_resting_orders() -> None:
    market = SyntheticMarket(instrument_for("SHIB-BTC"), 5)
    market.open_market(0)
    for n in range(5_000):
        market.step(n)
        assert market.flow.resting_count == len(market.engine.orders)
    assert market.flow.resting_ids() == set(market.engine.orders)


def test_opening_orders_do_not_cross() -> None:
    market = SyntheticMarket(instrument_for("AA-BB"), 1)
    for order in market.flow.opening_orders():
        market.engine.submit(order, 0)
    assert len(market.engine.orders) == TARGET_ORDERS


@pytest.mark.parametrize("levels", [60, 250, 700])
def test_a_book_keeps_about_so_many_levels(levels: int) -> None:
    market = SyntheticMarket(instrument_for("WIN-USDT"), 2, habit=Habit(levels))
    market.open_market(0)
    for n in range(4_000):
        market.step(n)
    for side in (market.engine.bids, market.engine.asks):
        assert 0.8 * levels < len(side) < 1.8 * levels


@pytest.mark.parametrize("symbol", ["BTC-USDT", "WIN-USDT", "SHIB-BTC"])
def test_a_walking_price_leaves_a_hundred_levels_and_the_book_comes_along(symbol: str) -> None:
    rate, ticks = 200, 60
    market = SyntheticMarket(instrument_for(symbol), 4, habit=Habit(400, ticks / rate))
    market.open_market(0)
    engine = market.engine
    low, high = engine.bids.price_at(100), engine.asks.price_at(100)
    first = engine.sequence
    while low < (engine.asks.best_price() or 0) and (engine.bids.best_price() or 0) < high:
        market.step(engine.ts + 1)
        assert engine.sequence - first < 12 * rate, "within seconds"
    for _ in range(8_000):
        market.step(engine.ts + 1)
        assert min(len(engine.bids), len(engine.asks)) >= 10
    bids, asks = engine.l2()
    assert bids[0][0] < asks[0][0]
    assert min(len(bids), len(asks)) > 100


def test_a_drift_turns_round_before_it_leaves_its_scale() -> None:
    drift, price, turns = Drift(10_000, random.Random(1)), 10_000.0, 0
    last = 0.0
    for _ in range(20_000):
        step = drift.step(price, 3.0)
        assert abs(step) == 3.0
        turns += step * last < 0
        price, last = price + step, step
        assert 5_900 < price < 16_100
    assert turns > 30
