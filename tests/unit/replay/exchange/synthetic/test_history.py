"""Trades, candles, the last 24 hours."""

from replay.exchange.synthetic.history import MINUTE_NS, Candle, TradeHistory, WindowStats
from replay.exchange.synthetic.orders import EngineEvent


def history_of(*trades: tuple[float, int, int]) -> TradeHistory:
    """Take in trades given as (minute, price, size)."""
    history = TradeHistory()
    for n, (minute, price, size) in enumerate(trades):
        ts = int(minute * MINUTE_NS)
        history.observe(EngineEvent(n, ts, "match", "ask", "m", price, size, price, 0))
        history.observe(EngineEvent(n, ts, "done", "ask", "m", price, None, reason="filled"))
    return history


def test_day_covers_the_last_24_hours_only() -> None:
    history = history_of((10, 90, 1), (11, 100, 2), (11.5, 120, 3), (1400, 80, 4))
    assert history.window((1440 + 10) * MINUTE_NS) == WindowStats(100, 80, 120, 80, 9, 880)
    assert history.window(1400 * MINUTE_NS) == WindowStats(90, 80, 120, 80, 10, 970)
    assert history.window(9_000 * MINUTE_NS) is None
    assert TradeHistory().window(0) is None


def test_candles_are_grouped_newest_first() -> None:
    history = history_of((10, 90, 1), (11, 100, 2), (14.9, 120, 3), (15, 80, 4))
    assert history.candles(5, 0, 100) == [
        Candle(15, 80, 80, 80, 80, 4, 320),
        Candle(10, 90, 120, 120, 90, 6, 650),
    ]
    assert history.candles(5, 11, 100) == [Candle(15, 80, 80, 80, 80, 4, 320)]
    assert [candle.start for candle in history.candles(1, 0, 15)] == [14, 11, 10]


def test_the_last_hundred_trades_with_the_takers_side() -> None:
    history = history_of(*((n, n + 1, 1) for n in range(150)))
    assert [trade.price for trade in history.recent] == list(range(51, 151))
    assert history.last is not None
    assert history.last.taker_side == "bid"
