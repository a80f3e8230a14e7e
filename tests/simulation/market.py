"""The truth: what each market did, number by number, and how every dialect tells it.

Made once a process and kept: a seed takes a stretch of it at its own pace, so that what is costly
about a market, its orders and its JSON, is not paid again for each of thousands of seeds.
"""

from __future__ import annotations

import random
from bisect import bisect_left, bisect_right
from dataclasses import dataclass, field
from functools import cache, cached_property, lru_cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import orjson

from replay.exchange.synthetic import wire
from replay.exchange.synthetic.engine import Engine
from replay.exchange.synthetic.instruments import Instrument
from replay.exchange.synthetic.orders import EngineEvent, NewOrder
from replay.exchange.synthetic.wording import Wording2019, WordingClassic
from schemas.datasets import SIDE_CODES
from schemas.kucoin.market import L2Update, format_l2_update, format_l3_event, format_match
from schemas.kucoin.profile import Profile
from schemas.kucoin.profiles import profile_named
from schemas.kucoin.rest import BookAnswer, HistoryTrade, format_book
from schemas.kucoin.rest import Instrument as WireInstrument

# Prices and sizes of all markets here, as integers of this many digits: whole in int64.
DIGITS = 10
# What a row without a number comes to.
NOT_TOLD = -(10**DIGITS)

INSTRUMENTS = (
    Instrument("AAA-USDT", 2, 4, 6, 50_000, 20_000),
    Instrument("BBB-USDT", 5, 2, 6, 310_000, 7_000),
)
SYMBOLS = tuple(instrument.symbol for instrument in INSTRUMENTS)
# Listed and refused by the websocket: the one bad name of a batch.
REFUSED = Instrument("ZZZ-USDT", 2, 2, 4, 1_000, 100)

# A message of today's dialect stands for more events than one of 2019.
EVENTS = {"strict": 2_600, "overlap": 6_500}
LEVELS = 9  # a side, about
KEPT_TRADES = 100
START_NS = 1_795_341_600_000_000_000  # 2026-11-22T10:00:00Z; only a mark in the events' own clock
EVENT_NS = 40_000_000

Int64Array = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Message:
    """One message of the websocket.

    Attributes
    ----------
    feed : str          level2, level3 or match
    first, last : int   the numbers it stands for
    data : bytes        the frame
    position : int      where it stands among the messages of its symbol
    """

    feed: str
    first: int
    last: int
    data: bytes
    position: int


@dataclass(frozen=True, slots=True)
class Change:
    """What one number of a level-2 message did: side code, price, size; all 0 for nothing."""

    sequence: int
    side: int
    price: int
    size: int


class Trade(NamedTuple):
    """What the venue tells of a trade, in the words of its row."""

    price: int
    size: int
    aggressor_side: str
    ts_event: int
    trade_id: str | None
    maker_order_id: str | None
    taker_order_id: str | None


@dataclass
class Truth:
    """One market in one dialect.

    Attributes
    ----------
    messages : list[Message]      in the order they are told
    sequence_at : list[int]       the book's number once the message has been told
    is_half_told : list[bool]     changes of level 2 wait for a message by then
    books : dict                  stream → the REST answer at each message
    changes : list                of each level-2 message, by number, that are new in it
    events : dict                 number → (kind, order id, side code, price, size) of level 3
    trades : dict                 number → what the match topic tells of a trade
    """

    instrument: Instrument
    profile: Profile
    messages: list[Message] = field(default_factory=list)
    sequence_at: list[int] = field(default_factory=list)
    is_half_told: list[bool] = field(default_factory=list)
    books: dict[str, list[bytes]] = field(default_factory=dict)
    l2: list[Message] = field(default_factory=list)
    changes: list[list[Change]] = field(default_factory=list)
    l2_ends: list[int] = field(default_factory=list)
    events: dict[int, tuple[str, str, int, int, int]] = field(default_factory=dict)
    trades: dict[int, Trade] = field(default_factory=dict)
    history: list[list[HistoryTrade]] = field(default_factory=list)

    def has(self, sequence: int) -> bool:
        """Say whether a number is of this series."""
        return self.sequence_at[0] - 1_000 < sequence <= self.sequence_at[-1]

    def expected_changes(self, after: int, last: int) -> Int64Array:
        """Return the changes that lead from the book at `after` to the book at `last`.

        Returns
        -------
        int64[n, 4]   number, side code, price, size
        """
        table, ends = self.change_table
        first = int(np.searchsorted(table[:, 0], after, "right"))
        return table[first : max(first, int(np.searchsorted(ends, last, "right")))]

    @cached_property
    def change_table(self) -> tuple[Int64Array, Int64Array]:
        """All changes as rows, and the end of the message of each."""
        rows = [
            (change.sequence, change.side, change.price, change.size, end)
            for changes, end in zip(self.changes, self.l2_ends, strict=True)
            for change in changes
        ]
        table = np.array(rows, dtype=np.int64)
        return table[:, :4].copy(), table[:, 4].copy()

    def answer_at(self, stream: str, sequence: int) -> bytes | None:
        """Return the REST answer of a stream whose book stands at a number."""
        at = bisect_right(self.sequence_at, sequence) - 1
        if at < 0 or self.sequence_at[at] != sequence:
            return None
        return self.books[stream][at]

    def messages_with(self, feed: str, sequence: int) -> list[int]:
        """Return the positions of the messages of a feed that stand for a number."""
        of_feed, ends = self.by_feed[feed]
        found = []
        for message in of_feed[bisect_left(ends, sequence) :]:
            if message.first > sequence + 1_000:
                break
            if message.first <= sequence <= message.last:
                found.append(message.position)
        return found

    @cached_property
    def by_feed(self) -> dict[str, tuple[list[Message], list[int]]]:
        """Messages of each feed, and their last numbers."""
        feeds: dict[str, list[Message]] = {}
        for message in self.messages:
            feeds.setdefault(message.feed, []).append(message)
        return {feed: (told, [m.last for m in told]) for feed, told in feeds.items()}

    @cached_property
    def by_frame(self) -> dict[bytes, Message]:
        """Messages by what is sent."""
        return {message.data: message for message in self.messages}


def scaled(text: str) -> int:
    """Return decimal text as an integer of `DIGITS` digits."""
    whole, _, fraction = text.partition(".")
    return int(whole) * 10**DIGITS + int((fraction + "0" * DIGITS)[:DIGITS])


@lru_cache(maxsize=4096)
def book_levels(answer: bytes) -> tuple[int, frozenset[tuple[int, int, int]]]:
    """Return sequence and levels (side code, price, size) of an answer of level 2."""
    data = orjson.loads(answer)["data"]
    levels = {
        (SIDE_CODES[side], scaled(price), scaled(size))
        for side, name in (("bid", "bids"), ("ask", "asks"))
        for price, size, *_ in data[name]
    }
    return int(data["sequence"]), frozenset(levels)


@lru_cache(maxsize=4096)
def book_orders(answer: bytes) -> tuple[int, tuple[tuple[int, str, int, int], ...]]:
    """Return sequence and orders (side code, id, price, size), in queue order, of level 3."""
    data = orjson.loads(answer)["data"]
    orders = [
        (SIDE_CODES[side], order_id, scaled(price), scaled(size))
        for side, name in (("bid", "bids"), ("ask", "asks"))
        for order_id, price, size, *_ in data[name]
    ]
    return int(data["sequence"]), tuple(orders)


class _Traders:
    """Who trades in a small market: mostly near the touch, and never until a side is gone."""

    def __init__(self, engine: Engine, instrument: Instrument, draw: random.Random) -> None:
        self._engine = engine
        self._instrument = instrument
        self._draw = draw

    def act(self, now: int) -> None:
        draw, engine = self._draw, self._engine
        side = draw.choice(("bid", "ask"))
        bids, asks = len(engine.bids.levels), len(engine.asks.levels)
        if min(bids, asks) < LEVELS - 3:
            side = "bid" if bids < asks else "ask"
            self._place(side, now)
            return
        resting = list(engine.orders)
        chance = draw.random()
        if chance < 0.42 and len(resting) < 5 * LEVELS:
            self._place(side, now)
        elif chance < 0.80:
            engine.cancel(draw.choice(resting), now)
        else:
            lots = draw.randint(1, 2 * self._instrument.typical_size)
            engine.submit(NewOrder(side, lots), now)

    def _place(self, side: str, now: int) -> None:
        draw, engine = self._draw, self._engine
        own, other = (engine.bids, engine.asks) if side == "bid" else (engine.asks, engine.bids)
        sign = -1 if side == "bid" else 1
        touch = own.best().price if len(own.levels) else self._instrument.start_price
        price = touch + sign * draw.randint(-2, LEVELS)
        if len(other.levels):
            best = other.best().price
            price = min(price, best - 1) if side == "bid" else max(price, best + 1)
        lots = draw.randint(1, self._instrument.typical_size)
        engine.submit(NewOrder(side, lots, price=price), now)  # type: ignore[arg-type]


@cache
def truth_of(profile_name: str, symbol: str, epoch: int) -> Truth:
    """Return the market of a symbol as a dialect tells it; the same in every process.

    Parameters
    ----------
    epoch : int   0; 1: another series of numbers, far below the first one
    """
    profile = profile_named(profile_name)
    instrument = next(each for each in INSTRUMENTS if each.symbol == symbol)
    wording = WordingClassic() if profile.continuity == "overlap" else Wording2019()
    truth = Truth(instrument, profile)
    has_l3 = "level3" in profile.topics
    truth.books = {"l2": [], "l3": []} if has_l3 else {"l2": []}
    seed = f"{profile_name}/{symbol}/{epoch}"
    draw = random.Random(seed)
    first = (1_545_896_668_000, 8_005_280_396)[epoch] + draw.randrange(100_000)
    batcher = wording.batcher(instrument, 5, draw.randrange(10**6))
    history: list[HistoryTrade] = []

    def tell(feed: str, first: int, last: int, data: bytes) -> None:
        truth.messages.append(Message(feed, first, last, data, len(truth.messages)))
        truth.sequence_at.append(engine.sequence)
        truth.is_half_told.append(len(batcher) > 0)
        for stream, answers in truth.books.items():
            answers.append(_answer(engine, instrument, stream))
        truth.history.append(history[-KEPT_TRADES:])

    def on_event(event: EngineEvent) -> None:
        if is_opening:
            return
        if (update := batcher.add(event)) is not None:
            _take_update(truth, update)
            ends = (update.sequence_start, update.sequence_end)
            tell("level2", *ends, format_l2_update(update))
            truth.l2.append(truth.messages[-1])
        if has_l3:
            told = wire.l3_event(instrument, event)
            truth.events[event.sequence] = (
                event.kind,
                event.order_id,
                SIDE_CODES[event.side],
                NOT_TOLD if told.price is None else scaled(told.price),
                NOT_TOLD if told.size is None else scaled(told.size),
            )
            tell("level3", event.sequence, event.sequence, format_l3_event(told))
        if event.kind == "match":
            match = wording.match(instrument, event)
            truth.trades[match.sequence] = Trade(
                scaled(match.price),
                scaled(match.size),
                match.side,
                match.ts_event,
                match.trade_id,
                match.maker_order_id,
                match.taker_order_id,
            )
            side = match.side
            history.append(
                HistoryTrade(match.sequence, match.price, match.size, side, match.ts_event)
            )
            tell("match", match.sequence, match.sequence, format_match(match))

    engine = Engine(symbol, 1, first, on_event, wording.trade_ids(7 + epoch, symbol))
    traders = _Traders(engine, instrument, draw)
    is_opening, now = True, START_NS
    while min(len(engine.bids.levels), len(engine.asks.levels)) < LEVELS:
        traders.act(now := now + EVENT_NS)
    is_opening = False
    opened = engine.sequence
    while engine.sequence - opened < EVENTS[profile.continuity]:
        traders.act(now := now + EVENT_NS)
    return truth


def _take_update(truth: Truth, update: L2Update) -> None:
    """Note the changes of a message by number, but those an earlier message has told."""
    before = truth.l2_ends[-1] if truth.l2_ends else 0
    rows = [
        Change(sequence, SIDE_CODES[side], scaled(price), scaled(size))
        if price != "0"
        else Change(sequence, SIDE_CODES[side], 0, 0)
        for side, changes in (("ask", update.asks), ("bid", update.bids))
        for price, size, sequence in changes
        if sequence > before
    ]
    truth.changes.append(sorted(rows, key=lambda change: change.sequence))
    truth.l2_ends.append(update.sequence_end)


def _answer(engine: Engine, instrument: Instrument, stream: str) -> bytes:
    price, size = instrument.price_text, instrument.size_text
    if stream == "l2":
        sides = [[(price(p), size(s)) for p, s in side] for side in engine.l2()]
    else:
        sides = [[(o, price(p), size(s)) for o, p, s in side] for side in engine.l3()]
    return format_book(BookAnswer(engine.sequence, engine.ts, *sides))  # type: ignore[arg-type]


def listed() -> list[WireInstrument]:
    """Return what the venue lists."""
    return [wire.wire_instrument(each) for each in (*INSTRUMENTS, REFUSED)]
