"""Turn what the engine says into the dialect's words: sides as buy and sell, numbers as text."""

from dataclasses import replace

from replay.exchange.source import QUIET_WINDOW, CandleText, DayFigures, WindowFigures
from replay.exchange.synthetic.book import Level
from replay.exchange.synthetic.decimal_text import decimal_text
from replay.exchange.synthetic.history import DAY_MINUTES, Candle, Trade
from replay.exchange.synthetic.instruments import Instrument
from replay.exchange.synthetic.market import SyntheticMarket
from replay.exchange.synthetic.orders import EngineEvent, Side, opposite
from schemas.kucoin.market import L3Event, Match, Ticker
from schemas.kucoin.rest import HistoryTrade
from schemas.kucoin.rest import Instrument as WireInstrument

_WORD: dict[Side, str] = {"bid": "buy", "ask": "sell"}


def l3_event(instrument: Instrument, event: EngineEvent) -> L3Event:
    """Translate an engine event; a match names the taker's side, as the document does."""
    is_match = event.kind == "match"
    side = opposite(event.side) if is_match else event.side
    price, size = event.price, event.size
    funds, before = event.funds, event.size_before
    size_text = None if size is None else instrument.size_text(size)
    before_text = None if before is None else instrument.size_text(before)
    is_open = event.kind == "open"
    return L3Event(
        event.kind,
        instrument.symbol,
        event.sequence,
        _WORD[side],
        event.ts,
        event.order_id,
        # A done names no price: whoever needs it has the order.
        None if price is None or event.kind == "done" else instrument.price_text(price),
        before_text if is_open else size_text,
        remain_size=size_text if is_open else None,
        old_size=None if is_open else before_text,
        funds=None if funds is None else instrument.funds_text(funds),
        order_type=event.order_type,
        reason=event.reason,
        taker_order_id=event.taker_order_id,
        trade_id=event.trade_id,
    )


def match(instrument: Instrument, event: EngineEvent) -> Match:
    """Translate a match event for the match topic."""
    assert event.price is not None, "a match has a price"
    assert event.size is not None, "a match has a size"
    return Match(
        instrument.symbol,
        event.sequence,
        _WORD[opposite(event.side)],
        instrument.price_text(event.price),
        instrument.size_text(event.size),
        event.order_id,
        event.taker_order_id,
        event.trade_id,
        event.ts,
    )


def ticker(market: SyntheticMarket) -> Ticker:
    """Read best bid and offer and the last trade at the market's present sequence."""
    instrument = market.instrument
    bid, ask, last = market.engine.bids.best(), market.engine.asks.best(), market.history.last
    return Ticker(
        instrument.symbol,
        market.engine.sequence,
        None if last is None else instrument.price_text(last.price),
        None if last is None else instrument.size_text(last.size),
        None if bid is None else instrument.price_text(bid.price),
        None if bid is None else instrument.size_text(bid.size),
        None if ask is None else instrument.price_text(ask.price),
        None if ask is None else instrument.size_text(ask.size),
    )


def history_trade(instrument: Instrument, trade: Trade) -> HistoryTrade:
    """Translate a trade for `histories`."""
    return HistoryTrade(
        trade.sequence,
        instrument.price_text(trade.price),
        instrument.size_text(trade.size),
        _WORD[trade.taker_side],
        trade.ts,
    )


def candle_text(instrument: Instrument, candle: Candle) -> CandleText:
    """Translate a candle."""
    return CandleText(
        candle.start * 60,
        instrument.price_text(candle.open),
        instrument.price_text(candle.close),
        instrument.price_text(candle.high),
        instrument.price_text(candle.low),
        instrument.size_text(candle.volume),
        instrument.funds_text(candle.turnover),
    )


def day_figures(market: SyntheticMarket, now: int) -> DayFigures:
    """Sum up the last 24 hours."""
    instrument = market.instrument
    bid, ask = market.engine.bids.best(), market.engine.asks.best()
    day = window_figures(market, now)

    def price(level: Level | None) -> str | None:
        return None if level is None else instrument.price_text(level.price)

    def size(level: Level | None) -> str | None:
        return None if level is None else instrument.size_text(level.size)

    return replace(
        quiet_day(instrument),
        sequence=market.engine.sequence,
        buy=price(bid),
        sell=price(ask),
        bid_size=size(bid),
        ask_size=size(ask),
        last=day.close,
        high=day.high,
        low=day.low,
        vol=day.vol,
        vol_value=day.vol_value,
        change_price=day.change_price,
        change_rate=day.change_rate,
    )


def quiet_day(instrument: Instrument) -> DayFigures:
    """Return the figures of a symbol on which nothing has happened yet."""
    return DayFigures(
        symbol=instrument.symbol,
        market=instrument.market,
        base_currency=instrument.base_currency,
        quote_currency=instrument.quote_currency,
        sequence=0,
        buy=None,
        sell=None,
        last=None,
        high=None,
        low=None,
        vol="0",
        vol_value="0",
        change_price=None,
        change_rate=None,
    )


def window_figures(market: SyntheticMarket, now: int, minutes: int = DAY_MINUTES) -> WindowFigures:
    """Sum up the last so many minutes."""
    instrument = market.instrument
    window = market.history.window(now, minutes)
    if window is None:
        return QUIET_WINDOW
    change = window.last - window.open
    price = instrument.price_text
    return WindowFigures(
        open=price(window.open),
        close=price(window.last),
        high=price(window.high),
        low=price(window.low),
        vol=instrument.size_text(window.volume),
        vol_value=instrument.funds_text(window.turnover),
        change_price=price(change),
        change_rate=decimal_text(round_half_up(change * 10_000, window.open), 4),
    )


def round_half_up(numerator: int, denominator: int) -> int:
    """Divide integers and round the quotient to the nearest, halves upward; denominator > 0."""
    return (2 * numerator + denominator) // (2 * denominator)


def wire_instrument(
    instrument: Instrument, name: str | None = None, *, enable_trading: bool = True
) -> WireInstrument:
    """Describe an instrument as `symbols` does; its name is its symbol until it is renamed."""
    return WireInstrument(
        instrument.symbol,
        name or instrument.symbol,
        instrument.base_currency,
        instrument.quote_currency,
        instrument.size_text(1),
        decimal_text(1, instrument.quote_digits),
        instrument.size_text(instrument.typical_size * 1_000_000),
        instrument.funds_text(instrument.typical_size * instrument.start_price * 1_000_000),
        instrument.size_text(1),
        decimal_text(1, instrument.quote_digits),
        instrument.price_text(1),
        enable_trading,
    )
