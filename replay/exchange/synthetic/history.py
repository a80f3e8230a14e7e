"""What a market remembers of its trades: the last hundred, candles, the last 24 hours."""

from collections import deque
from dataclasses import dataclass

from replay.exchange.synthetic.orders import EngineEvent, Side, opposite

RECENT_TRADES = 100
MINUTE_NS = 60_000_000_000
DAY_MINUTES = 24 * 60
CANDLES_KEPT = 7 * DAY_MINUTES


@dataclass(frozen=True, slots=True)
class Trade:
    """One match, seen from the taker. Price in ticks, size in lots, `ts` in ns UTC."""

    sequence: int
    ts: int
    taker_side: Side
    price: int
    size: int
    trade_id: str = ""


@dataclass(slots=True)
class Candle:
    """Trading within one bucket of time: integers, `start` in minutes since the epoch."""

    start: int
    open: int
    close: int
    high: int
    low: int
    volume: int
    turnover: int


@dataclass(frozen=True, slots=True)
class WindowStats:
    """The last hours: prices in ticks, volume in lots, turnover in ticks × lots."""

    open: int
    last: int
    high: int
    low: int
    volume: int
    turnover: int


class TradeHistory:
    """Trades of one symbol, newest last."""

    def __init__(self) -> None:
        self.recent: deque[Trade] = deque(maxlen=RECENT_TRADES)
        self._minutes: deque[Candle] = deque(maxlen=CANDLES_KEPT)

    @property
    def last(self) -> Trade | None:
        """The newest trade, if there was one."""
        return self.recent[-1] if self.recent else None

    def observe(self, event: EngineEvent) -> None:
        """Take in one engine event; everything but a match is ignored."""
        if event.kind != "match":
            return
        assert event.price is not None, "a match has a price"
        assert event.size is not None, "a match has a size"
        trade = Trade(
            event.sequence,
            event.ts,
            opposite(event.side),
            event.price,
            event.size,
            event.trade_id or "",
        )
        self.recent.append(trade)
        minute = event.ts // MINUTE_NS
        funds = trade.price * trade.size
        if not self._minutes or self._minutes[-1].start != minute:
            price = trade.price
            self._minutes.append(Candle(minute, price, price, price, price, trade.size, funds))
            return
        candle = self._minutes[-1]
        candle.close = trade.price
        candle.high = max(candle.high, trade.price)
        candle.low = min(candle.low, trade.price)
        candle.volume += trade.size
        candle.turnover += funds

    def window(self, now: int, minutes: int = DAY_MINUTES) -> WindowStats | None:
        """Sum up the `minutes` before `now` (ns); None where there was no trade in them."""
        oldest = now // MINUTE_NS - minutes
        candles = []
        for candle in reversed(self._minutes):
            if candle.start <= oldest:
                break
            candles.append(candle)
        if not candles:
            return None
        return WindowStats(
            candles[-1].open,
            candles[0].close,
            max(candle.high for candle in candles),
            min(candle.low for candle in candles),
            sum(candle.volume for candle in candles),
            sum(candle.turnover for candle in candles),
        )

    def candles(self, minutes: int, start: int, end: int) -> list[Candle]:
        """Group trades into buckets of `minutes`, newest first.

        Parameters
        ----------
        minutes : int
            Length of a bucket; buckets begin at its multiples since the epoch.
        start, end : int
            Minutes since the epoch; buckets beginning in [start, end).
        """
        buckets: dict[int, Candle] = {}
        for candle in self._minutes:
            begin = candle.start // minutes * minutes
            if not start <= begin < end:
                continue
            bucket = buckets.get(begin)
            if bucket is None:
                buckets[begin] = Candle(
                    begin,
                    candle.open,
                    candle.close,
                    candle.high,
                    candle.low,
                    candle.volume,
                    candle.turnover,
                )
                continue
            bucket.close = candle.close
            bucket.high = max(bucket.high, candle.high)
            bucket.low = min(bucket.low, candle.low)
            bucket.volume += candle.volume
            bucket.turnover += candle.turnover
        return sorted(buckets.values(), key=lambda candle: -candle.start)
