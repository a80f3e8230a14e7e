"""Turn what the engine says into the dialect's words: sides as buy and sell, numbers as text."""

from replay.exchange.source import CandleText, DayFigures
from replay.exchange.synthetic.decimal_text import decimal_text
from replay.exchange.synthetic.history import Candle, Trade
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
    bid, ask = market.engine.bids.best_price(), market.engine.asks.best_price()
    day = market.history.day(now)
    change = None if day is None else day.last - day.open
    rate = None if day is None else round_half_up((day.last - day.open) * 10_000, day.open)

    def price(ticks: int | None) -> str | None:
        return None if ticks is None else instrument.price_text(ticks)

    return DayFigures(
        symbol=instrument.symbol,
        market=instrument.market,
        base_currency=instrument.base_currency,
        quote_currency=instrument.quote_currency,
        sequence=market.engine.sequence,
        buy=price(bid),
        sell=price(ask),
        last=price(None if day is None else day.last),
        high=price(None if day is None else day.high),
        low=price(None if day is None else day.low),
        vol=instrument.size_text(0 if day is None else day.volume),
        vol_value=instrument.funds_text(0 if day is None else day.turnover),
        change_price=price(change),
        change_rate=None if rate is None else decimal_text(rate, 4),
    )


def round_half_up(numerator: int, denominator: int) -> int:
    """Divide integers and round the quotient to the nearest, halves upward; denominator > 0."""
    return (2 * numerator + denominator) // (2 * denominator)


def wire_instrument(instrument: Instrument) -> WireInstrument:
    """Describe an instrument as `symbols` does."""
    return WireInstrument(
        instrument.symbol,
        instrument.symbol,
        instrument.base_currency,
        instrument.quote_currency,
        instrument.size_text(1),
        decimal_text(1, instrument.quote_digits),
        instrument.size_text(instrument.typical_size * 1_000_000),
        instrument.funds_text(instrument.typical_size * instrument.start_price * 1_000_000),
        instrument.size_text(1),
        decimal_text(1, instrument.quote_digits),
        instrument.price_text(1),
        True,
    )
