"""Seeded order flow: what traders send next, and how long they wait before sending it.

Most limit orders are placed within a few ticks of the touch, some far away (a Pareto tail); most
are cancelled before they trade. Takers lean towards a fair price that walks at random and is drawn
back to where it began, so a market runs for hours without leaving its scale. The chance of a cancel
grows with the number of resting orders, so the book's size returns to its target. Now and then
orders come in bursts, or one order sweeps many levels.

Only `random.Random(seed)` decides, and time is never asked: the same seed gives the same orders.
"""

import random
from dataclasses import dataclass

from replay.exchange.synthetic.book import BookSide
from replay.exchange.synthetic.engine import Engine
from replay.exchange.synthetic.instruments import Instrument
from replay.exchange.synthetic.orders import EngineEvent, NewOrder, SelfTrade, Side, opposite

TARGET_ORDERS = 1_500
"""Resting orders a book returns to: some 250 levels a side, so a 100-level book is partial."""

USUAL_LEVELS = 250
"""Levels a side that so many orders make."""

MIN_LEVELS = 25
"""A side thinner than this gets the next order, whatever the dice say."""

_STRANGERS = 0
_OWNERS = 40
"""Traders who may meet their own orders; everybody else is a stranger."""

_SIDES: tuple[Side, ...] = ("bid", "ask")
_MARKET_RULES: tuple[SelfTrade, ...] = ("CO", "CN", "CB")
_LIMIT_RULES: tuple[SelfTrade, ...] = ("DC", "DC", "DC", "CO", "CN", "CB")


_WALK_EVENTS_MAX = 50
"""A command causes some events, seldom more; the opening's thousands are no walk."""

_FOLLOW_TICKS = 4
"""A walking price is followed at once when the touch is further away than this."""


@dataclass(frozen=True, slots=True)
class Habit:
    """How deep a book is and how far its price goes.

    Attributes
    ----------
    levels : int
        Levels a side the book returns to, about.
    drift_ticks : float
        How far the fair price walks in one direction in each event of the engine, before it turns
        round. 0: it only trembles, and is drawn back to where it began.
    """

    levels: int = USUAL_LEVELS
    drift_ticks: float = 0.0


@dataclass(frozen=True, slots=True)
class Cancel:
    """Take one resting order off the book."""

    order_id: str


_USUAL = Habit()


class Drift:
    """A walk in one direction until it has gone far enough, then in the other."""

    def __init__(self, start: int, draw: random.Random) -> None:
        self._low, self._high = start * 0.6, start * 1.6
        self._random = draw
        self._direction = 1 if draw.random() < 0.5 else -1
        self._left = self._leg()

    def step(self, price: float, ticks: float) -> float:
        """Return how far the price moves from `price` when it moves by `ticks`."""
        if self._left <= 0 or not self._low < price + self._direction * ticks < self._high:
            self._direction = (
                1 if price <= self._low else -1 if price >= self._high else -self._direction
            )
            self._left = self._leg()
        self._left -= ticks
        return self._direction * ticks

    def _leg(self) -> float:
        return self._random.uniform(300.0, 900.0)


class Flow:
    """The traders of one symbol.

    Parameters
    ----------
    instrument : Instrument
        Scales, start price and typical size.
    engine : Engine
        Read for the touch and the number of resting orders, never changed.
    seed : int
        Together with the symbol it decides everything.
    habit : Habit
        How deep the book is and how far the price goes.
    """

    def __init__(
        self, instrument: Instrument, engine: Engine, seed: int, habit: Habit = _USUAL
    ) -> None:
        self._instrument = instrument
        self._target = max(2 * MIN_LEVELS, TARGET_ORDERS * habit.levels // USUAL_LEVELS)
        # Deeper books reach further: a level more is mostly a price further away.
        self._reach = habit.levels / USUAL_LEVELS
        self._drift_ticks = habit.drift_ticks
        self._drift = Drift(
            instrument.start_price, random.Random(f"{seed}/{instrument.symbol}/drift")
        )
        self._walked_at = 0
        self._engine = engine
        self._random = random.Random(f"{seed}/{instrument.symbol}/flow")
        self._fair = float(instrument.start_price)
        self._resting: list[str] = []
        self._place: dict[str, int] = {}
        self._burst_left = 0
        self._burst_side: Side = "bid"

    @property
    def resting_count(self) -> int:
        """Orders the flow believes to rest."""
        return len(self._resting)

    def resting_ids(self) -> set[str]:
        """Return the ids of the orders the flow believes to rest."""
        return set(self._resting)

    def opening_orders(self) -> list[NewOrder]:
        """Draw the orders that fill the book before anybody may take."""
        return [
            self._limit("bid" if n % 2 else "ask", crossing_allowed=False)
            for n in range(self._target)
        ]

    def next_wait(self) -> float:
        """Draw the wait before the next command, in units of the mean wait.

        Waits are exponential but clustered: inside a burst next to nothing, and one in five is a
        tenth of the others, made up for by the rest.
        """
        if self._burst_left:
            return 0.02
        slow = self._random.random() < 0.8
        return self._random.expovariate(1.0) * (1.22 if slow else 0.122)

    def next_command(self) -> NewOrder | Cancel:
        """Draw what a trader sends next, given the book as it stands."""
        rng = self._random
        self._walk()
        thin = self._thin_side()
        if thin is not None:
            return self._limit(thin, crossing_allowed=False)
        if self._drift_ticks and (followed := self._follow()) is not None:
            return followed
        if self._burst_left:
            self._burst_left -= 1
            return self._burst_command()
        if rng.random() < 0.002:
            self._burst_left = rng.randint(15, 60)
            self._burst_side = self._lean()
        crowd = len(self._resting) / self._target
        draw = rng.random()
        if draw < 0.06:
            return self._market()
        if draw < 0.063:
            return self._sweep()
        if draw < 0.09:
            return self._immediate()
        if draw < 0.13:
            return self._limit(self._any_side(), post_only=True)
        if draw < 0.13 + min(0.80, max(0.05, 0.40 * crowd**3)):
            return Cancel(self._pick_resting())
        return self._limit(self._any_side())

    def next_cancel(self) -> Cancel | None:
        """Draw a cancel while nothing may be added; None once the book is as thin as it may be."""
        if self._thin_side() is not None:
            return None
        return Cancel(self._pick_resting())

    def observe(self, event: EngineEvent) -> None:
        """Keep the list of resting orders; to be called with every event, in order."""
        if event.kind == "open":
            self._place[event.order_id] = len(self._resting)
            self._resting.append(event.order_id)
        elif event.kind == "done":
            place = self._place.pop(event.order_id, None)
            if place is None:
                return
            last = self._resting.pop()
            if place < len(self._resting):
                self._resting[place] = last
                self._place[last] = place

    def _walk(self) -> None:
        start = self._instrument.start_price
        pull = (start - self._fair) * 2e-6
        # The book is as dense in ticks on every scale, so a step is bounded in ticks: a price
        # crosses a hundred levels in minutes, not in seconds.
        step = self._random.gauss(0.0, min(0.5, 0.12 + start * 1e-6))
        if self._drift_ticks:
            events = min(self._engine.sequence - self._walked_at, _WALK_EVENTS_MAX)
            pull = self._drift.step(self._fair, events * self._drift_ticks)
        self._walked_at = self._engine.sequence
        self._fair = max(50.0, self._fair + pull + step)

    def _follow(self) -> NewOrder | None:
        """Take everything that stands between the touch and a fair price that walked past it."""
        for side in _SIDES:
            book, towards = self._book(opposite(side)), 1 if side == "bid" else -1
            best = book.best_price()
            assert best is not None, "thin sides are filled first"
            if (self._fair - best) * towards <= _FOLLOW_TICKS:
                continue
            price, total = int(self._fair), 0
            for level in book.walk():
                if (price - level.price) * towards < 0:
                    break
                total += level.size
            # What is left over rests there: the touch of the own side comes along.
            return NewOrder(side, size=total + self._size(), price=price, owner=_STRANGERS)
        return None

    def _any_side(self) -> Side:
        return "bid" if self._random.random() < 0.5 else "ask"

    def _lean(self) -> Side:
        """Draw a taker's side: likelier towards the fair price, the further away the surer."""
        bid, ask = self._engine.bids.best_price(), self._engine.asks.best_price()
        assert bid is not None, "thin sides are filled first"
        assert ask is not None, "thin sides are filled first"
        distance = self._fair - (bid + ask) / 2
        pull = distance / (6.0 + self._instrument.start_price * 5e-5)
        chance = 0.5 + max(-0.4, min(0.4, pull))
        return "bid" if self._random.random() < chance else "ask"

    def _thin_side(self) -> Side | None:
        if len(self._engine.bids) < MIN_LEVELS:
            return "bid"
        if len(self._engine.asks) < MIN_LEVELS:
            return "ask"
        return None

    def _book(self, side: Side) -> BookSide:
        return self._engine.bids if side == "bid" else self._engine.asks

    def _size(self, factor: float = 1.0) -> int:
        """Draw a size: log-normal, and like people's orders often round."""
        size = self._instrument.typical_size * factor * self._random.lognormvariate(0.0, 1.1)
        lots = max(1, int(size))
        if self._random.random() < 0.6:
            step = 10 ** max(0, len(str(lots)) - 2)
            lots = max(step, lots // step * step)
        return lots

    def _distance(self) -> int:
        """Draw how far behind the touch a limit order is placed, in ticks."""
        draw = self._random.random()
        if draw < 0.50:
            return int(self._random.expovariate(1 / 4))
        if draw < 0.88:
            return int(self._random.expovariate(1 / 160) * self._reach)
        far = 100.0 * self._random.paretovariate(1.1) * self._reach
        return int(min(far, self._instrument.start_price * 0.6))

    def _limit(
        self, side: Side, *, crossing_allowed: bool = True, post_only: bool = False
    ) -> NewOrder:
        """Draw a limit order; a few go through the touch and trade at once."""
        rng = self._random
        touch = self._book(opposite(side)).best_price()
        fair = int(self._fair)
        towards = 1 if side == "bid" else -1
        # Behind the fair price and never through the other side, unless meant to.
        anchor = fair - towards
        if touch is not None and (touch - anchor) * towards <= 0:
            anchor = touch - towards
        own = self._book(side).best_price()
        if own is not None and rng.random() < 0.7:
            # Most join or improve the touch of their own side.
            improved = own + towards * (rng.random() < 0.25)
            if touch is None or (touch - improved) * towards > 0:
                anchor = improved
        price = anchor - towards * self._distance()
        if touch is not None and rng.random() < (0.3 if post_only else 0.04) and crossing_allowed:
            price = touch + towards * rng.randint(0, 3)
        return NewOrder(
            side,
            size=self._size(),
            price=max(1, price),
            post_only=post_only,
            owner=self._owner(),
        )

    def _owner(self) -> int:
        return self._random.randint(1, _OWNERS) if self._random.random() < 0.6 else _STRANGERS

    def _market(self) -> NewOrder:
        rng = self._random
        side = self._lean()
        if rng.random() < 0.4:
            best = self._book(opposite(side)).best_price()
            assert best is not None, "thin sides are filled first"
            # Funds are stated in quote increments, not in ticks times lots.
            step = 10 ** (self._instrument.funds_digits - self._instrument.quote_digits)
            funds = max(1, self._size(1.5) * best // step) * step
            return NewOrder(side, funds=funds, owner=self._owner())
        if rng.random() < 0.15:
            return self._against_own_order(side, market=True)
        return NewOrder(side, size=self._size(1.5), owner=self._owner())

    def _immediate(self) -> NewOrder:
        """Draw an IOC or FOK order, or one that meets its owner's own order."""
        rng = self._random
        side = self._lean()
        if rng.random() < 0.4:
            return self._against_own_order(side, market=False)
        price = self._book(opposite(side)).price_at(rng.randint(0, 4))
        return NewOrder(
            side,
            size=self._size(rng.choice((0.5, 2.0, 12.0))),
            price=price,
            time_in_force=rng.choice(("IOC", "FOK")),
            owner=self._owner(),
        )

    def _against_own_order(self, side: Side, *, market: bool) -> NewOrder:
        """Draw an order with self-trade prevention that meets a resting order of its owner."""
        rng = self._random
        owner, price = _STRANGERS, 0
        for depth, level in enumerate(self._book(opposite(side)).walk()):
            price = level.price
            owner = next((order.owner for order in level.orders.values() if order.owner), 0)
            if owner or depth == 5:
                break
        owner = owner or 1
        if market:
            return NewOrder(
                side, size=self._size(4.0), owner=owner, self_trade=rng.choice(_MARKET_RULES)
            )
        return NewOrder(
            side,
            size=self._size(rng.choice((0.3, 3.0))),
            price=price,
            owner=owner,
            self_trade=rng.choice(_LIMIT_RULES),
        )

    def _sweep(self) -> NewOrder:
        """Draw a market order that takes several whole levels."""
        side = self._lean()
        wanted = self._random.randint(3, 15)
        total = 0
        for depth, level in enumerate(self._book(opposite(side)).walk()):
            if depth == wanted:
                break
            total += level.size
        return NewOrder(side, size=max(1, total + self._size()), owner=_STRANGERS)

    def _burst_command(self) -> NewOrder | Cancel:
        draw = self._random.random()
        if draw < 0.25:
            return NewOrder(self._burst_side, size=self._size(0.7))
        if draw < 0.55:
            return Cancel(self._pick_resting())
        return self._limit(self._burst_side)

    def _pick_resting(self) -> str:
        """Draw a resting order: any of them, or (one time in three) one near the touch."""
        rng = self._random
        if rng.random() < 0.33:
            book = self._book(self._any_side())
            level = book.levels[book.price_at(rng.randint(0, 8))]
            return rng.choice(list(level.orders))
        return rng.choice(self._resting)
