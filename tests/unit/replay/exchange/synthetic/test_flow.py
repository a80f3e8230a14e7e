"""Order flow: waits, and the resting orders it knows."""

from replay.exchange.synthetic.flow import TARGET_ORDERS
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
