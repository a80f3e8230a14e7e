"""Orders going into the matching engine and events coming out of it. Integers only."""

from dataclasses import dataclass
from typing import Literal, NamedTuple

Side = Literal["bid", "ask"]
Kind = Literal["received", "open", "match", "done", "change"]
Reason = Literal["filled", "canceled"]
OrderType = Literal["limit", "market"]
TimeInForce = Literal["GTC", "IOC", "FOK"]
SelfTrade = Literal["DC", "CO", "CN", "CB"]
"""Self-trade prevention: decrement and cancel, cancel oldest, newest, or both."""

NO_DEPTH_CHANGE = 0
"""Level price of an event that left the aggregated book as it was."""


def opposite(side: Side) -> Side:
    """Return the other side of the book."""
    return "ask" if side == "bid" else "bid"


@dataclass(frozen=True, slots=True)
class NewOrder:
    """An order as a trader sends it.

    Attributes
    ----------
    price : int or None
        Ticks; None makes it a market order.
    size : int or None
        Lots; None only for a market order given by `funds`.
    funds : int or None
        Ticks × lots to spend or to raise; market orders only.
    owner : int
        Who sent it; 0 is a stranger to everybody, itself included.
    self_trade : SelfTrade or None
        What to do on meeting an order of the same owner; None lets them trade.
    """

    side: Side
    size: int | None = None
    price: int | None = None
    funds: int | None = None
    time_in_force: TimeInForce = "GTC"
    post_only: bool = False
    owner: int = 0
    self_trade: SelfTrade | None = None


@dataclass(slots=True)
class Order:
    """An order inside the engine; `remaining` is what may still trade, in lots."""

    order_id: str
    side: Side
    price: int
    remaining: int
    owner: int


class EngineEvent(NamedTuple):
    """One thing the engine did, at one sequence.

    Attributes
    ----------
    sequence : int
        Dense per symbol: every event takes the next one.
    ts : int
        ns UTC, strictly increasing per symbol.
    side : Side
        Of the order acted on; of the maker for a match.
    order_id : str
        The order acted on; the maker for a match.
    price : int or None
        Ticks; None for an order without a limit.
    size : int or None
        Lots: ordered (received), resting (open), traded (match), left over (done, canceled),
        new remaining (change). None where there is none: done filled, orders given by funds.
    level_price, level_size : int
        The level of `side` this event touched and its total afterwards, or `NO_DEPTH_CHANGE`, 0.
    size_before : int or None
        Lots: as ordered, before any trade (open); before the change (change).
    """

    sequence: int
    ts: int
    kind: Kind
    side: Side
    order_id: str
    price: int | None
    size: int | None
    level_price: int = NO_DEPTH_CHANGE
    level_size: int = 0
    order_type: OrderType | None = None
    funds: int | None = None
    size_before: int | None = None
    taker_order_id: str | None = None
    trade_id: str | None = None
    reason: Reason | None = None
