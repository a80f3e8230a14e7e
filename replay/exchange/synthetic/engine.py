"""A price-time-priority matching engine for one symbol.

Every event takes the next number of one sequence. The listener is called at once, while the book is
exactly what it is at that sequence, so a book may be read between a match and the done behind it.

Order of events: received, then for each trade match (and the maker's done when it is exhausted),
then open if a remainder rests, else done. An order leaves the book when its remaining reaches 0, at
the match: its done changes no depth. Nor does anything that happens to a taker which never rested.
"""

from collections.abc import Callable, Iterator

from replay.exchange.errors import OrderRefused
from replay.exchange.synthetic.book import BookSide
from replay.exchange.synthetic.orders import (
    NO_DEPTH_CHANGE,
    EngineEvent,
    Kind,
    NewOrder,
    Order,
    OrderType,
    Reason,
)
from replay.exchange.synthetic.trade_ids import IdSpace, TradeIds

Listener = Callable[[EngineEvent], None]


class Engine:
    """The book of one symbol and the rules that change it.

    Parameters
    ----------
    symbol : str
        Goes into the ids only.
    seed : int
        Goes into the ids only; the engine itself draws nothing.
    first_sequence : int
        Sequence of the first event.
    listener : callable
        Called with every event, in order, before the engine goes on.
    trade_ids : TradeIds or None
        Names the trades; None: text that says nothing.
    """

    def __init__(
        self,
        symbol: str,
        seed: int,
        first_sequence: int,
        listener: Listener,
        trade_ids: TradeIds | None = None,
    ) -> None:
        self.bids = BookSide("bid")
        self.asks = BookSide("ask")
        self.orders: dict[str, Order] = {}
        self.sequence = first_sequence - 1
        self.ts = 0
        self._listener = listener
        self._order_ids = IdSpace(seed, f"{symbol}/order")
        self._trade_ids = trade_ids or IdSpace(seed, f"{symbol}/trade")

    def submit(self, request: NewOrder, ts: int) -> str:
        """Accept an order and carry it to its end or onto the book.

        Parameters
        ----------
        request : NewOrder
            What the trader wants.
        ts : int
            Now, ns UTC; events never run backwards even if this does.

        Returns
        -------
        str
            The id given to the order.

        Raises
        ------
        OrderRefused
            The request contradicts itself; nothing has happened.
        """
        _check(request)
        order_type: OrderType = "market" if request.price is None else "limit"
        taker = Order(
            self._order_ids.next(),
            request.side,
            request.price or 0,
            request.size or 0,
            request.owner,
        )
        self._emit(
            ts,
            "received",
            taker,
            request.price,
            request.size,
            order_type=order_type,
            funds=request.funds,
        )
        against = self.asks if request.side == "bid" else self.bids
        if request.post_only:
            best = against.best_price()
            if best is not None and against.reaches(best, request.price):
                self._cancel_taker(taker, request, ts)
                return taker.order_id
        if request.time_in_force == "FOK" and not _can_fill(request, against):
            self._cancel_taker(taker, request, ts)
            return taker.order_id
        if request.funds is not None:
            self._spend(taker, request, against, ts)
        else:
            self._trade(taker, request, against, ts)
        return taker.order_id

    def cancel(self, order_id: str, ts: int) -> bool:
        """Take a resting order off the book; False if it does not rest (any more)."""
        order = self.orders.get(order_id)
        if order is None:
            return False
        self._cancel_resting(order, ts)
        return True

    def side_of(self, order: Order) -> BookSide:
        """Return the side `order` rests on."""
        return self.bids if order.side == "bid" else self.asks

    def l2(self) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
        """Copy the aggregated book: (price, size) of bids and asks, best first."""
        return (
            [(level.price, level.size) for level in self.bids.walk()],
            [(level.price, level.size) for level in self.asks.walk()],
        )

    def l3(self) -> tuple[list[tuple[str, int, int]], list[tuple[str, int, int]]]:
        """Copy the order book: (id, price, size) of bids and asks, best first, in queue order."""
        return list(_orders(self.bids)), list(_orders(self.asks))

    def _trade(self, taker: Order, request: NewOrder, against: BookSide, ts: int) -> None:
        """Match an order given by size and settle what is left of it."""
        while taker.remaining:
            level = against.best()
            if level is None or not against.reaches(level.price, request.price):
                break
            maker = level.oldest()
            if request.self_trade and taker.owner and maker.owner == taker.owner:
                if not self._prevent_self_trade(taker, maker, request, ts):
                    return
                continue
            lots = min(maker.remaining, taker.remaining)
            taker.remaining -= lots
            self._match(taker, maker, lots, against, ts)
        if not taker.remaining:
            self._emit(ts, "done", taker, request.price, None, reason="filled")
        elif request.price is not None and request.time_in_force == "GTC":
            self.orders[taker.order_id] = taker
            own = self.side_of(taker)
            total = own.add(taker)
            self._emit(
                ts,
                "open",
                taker,
                taker.price,
                taker.remaining,
                level=(taker.price, total),
                size_before=request.size,
            )
        else:
            self._cancel_taker(taker, request, ts)

    def _spend(self, taker: Order, request: NewOrder, against: BookSide, ts: int) -> None:
        """Match a market order given by funds; what buys no whole lot is left unspent."""
        funds = request.funds or 0
        spent = False
        while True:
            level = against.best()
            if level is None:
                spent = False
                break
            maker = level.oldest()
            if request.self_trade and taker.owner and maker.owner == taker.owner:
                if not self._prevent_self_trade(taker, maker, request, ts):
                    return
                continue
            lots = min(maker.remaining, funds // level.price)
            if not lots:
                break
            spent = True
            funds -= lots * level.price
            self._match(taker, maker, lots, against, ts)
        reason: Reason = "filled" if spent else "canceled"
        self._emit(ts, "done", taker, None, None, reason=reason)

    def _match(self, taker: Order, maker: Order, lots: int, against: BookSide, ts: int) -> None:
        total = against.reduce(maker, lots)
        if not maker.remaining:
            del self.orders[maker.order_id]
        self._emit(
            ts,
            "match",
            maker,
            maker.price,
            lots,
            level=(maker.price, total),
            taker_order_id=taker.order_id,
            trade_id=self._trade_ids.next(),
        )
        if not maker.remaining:
            self._emit(ts, "done", maker, maker.price, None, reason="filled")

    def _prevent_self_trade(self, taker: Order, maker: Order, request: NewOrder, ts: int) -> bool:
        """Apply the taker's rule to a meeting with its owner's order; False ends the taker."""
        if request.self_trade == "CO":
            self._cancel_resting(maker, ts)
            return True
        if request.self_trade == "CN":
            self._cancel_taker(taker, request, ts)
            return False
        if request.self_trade == "CB" or maker.remaining == taker.remaining:
            self._cancel_resting(maker, ts)
            self._cancel_taker(taker, request, ts)
            return False
        old_maker, old_taker = maker.remaining, taker.remaining
        if old_maker > old_taker:
            total = self.side_of(maker).reduce(maker, old_taker)
            self._emit(
                ts,
                "change",
                maker,
                maker.price,
                maker.remaining,
                level=(maker.price, total),
                size_before=old_maker,
            )
            self._cancel_taker(taker, request, ts)
            return False
        self._cancel_resting(maker, ts)
        taker.remaining -= old_maker
        self._emit(ts, "change", taker, taker.price, taker.remaining, size_before=old_taker)
        return True

    def _cancel_resting(self, order: Order, ts: int) -> None:
        left = order.remaining
        total = self.side_of(order).reduce(order, left)
        del self.orders[order.order_id]
        self._emit(
            ts, "done", order, order.price, left, level=(order.price, total), reason="canceled"
        )

    def _cancel_taker(self, taker: Order, request: NewOrder, ts: int) -> None:
        left = None if request.size is None else taker.remaining
        self._emit(ts, "done", taker, request.price, left, reason="canceled")

    def _emit(
        self,
        ts: int,
        kind: Kind,
        order: Order,
        price: int | None,
        size: int | None,
        *,
        level: tuple[int, int] = (NO_DEPTH_CHANGE, 0),
        order_type: OrderType | None = None,
        funds: int | None = None,
        size_before: int | None = None,
        taker_order_id: str | None = None,
        trade_id: str | None = None,
        reason: Reason | None = None,
    ) -> None:
        self.sequence += 1
        self.ts = max(ts, self.ts + 1)
        self._listener(
            EngineEvent(
                self.sequence,
                self.ts,
                kind,
                order.side,
                order.order_id,
                price,
                size,
                level[0],
                level[1],
                order_type,
                funds,
                size_before,
                taker_order_id,
                trade_id,
                reason,
            )
        )


def _orders(side: BookSide) -> Iterator[tuple[str, int, int]]:
    for level in side.walk():
        for order in level.orders.values():
            yield order.order_id, order.price, order.remaining


def _can_fill(request: NewOrder, against: BookSide) -> bool:
    """Tell whether a fill-or-kill order by size finds enough that it may trade with."""
    wanted = request.size or 0
    for level in against.walk():
        if not against.reaches(level.price, request.price):
            return False
        for maker in level.orders.values():
            if request.self_trade and request.owner and maker.owner == request.owner:
                if request.self_trade != "CO":
                    return False
                continue
            wanted -= maker.remaining
            if wanted <= 0:
                return True
    return False


def _check(request: NewOrder) -> None:
    """Refuse what no trader could mean."""
    problems = (
        (
            (request.size is None) == (request.funds is None),
            "an order has a size, or (market only) funds",
        ),
        (request.size is not None and request.size <= 0, "size must be positive"),
        (request.funds is not None and request.funds <= 0, "funds must be positive"),
        (request.price is not None and request.price <= 0, "price must be positive"),
        (request.price is not None and request.size is None, "a limit order has a size"),
        (request.price is None and request.post_only, "a market order cannot be post-only"),
        (
            request.post_only and request.time_in_force != "GTC",
            "post-only orders rest: they cannot be IOC or FOK",
        ),
        (
            request.funds is not None and request.time_in_force == "FOK",
            "fill-or-kill needs a size",
        ),
        (
            request.price is None and request.self_trade == "DC",
            "decrement-and-cancel is not for market orders",
        ),
    )
    for wrong, why in problems:
        if wrong:
            raise OrderRefused(why)
