"""One side of the engine's book: levels in price order, orders in time order inside each."""

from bisect import bisect_left, insort
from collections.abc import Iterator

from replay.exchange.synthetic.orders import Order, Side


class Level:
    """All orders at one price, oldest first, and their total."""

    __slots__ = ("orders", "price", "size")

    def __init__(self, price: int) -> None:
        self.price = price
        self.size = 0
        # A dict keeps insertion order and gives up an order from its middle in one step.
        self.orders: dict[str, Order] = {}

    def oldest(self) -> Order:
        """Return the order first in the queue."""
        return next(iter(self.orders.values()))


class BookSide:
    """Bids or asks."""

    def __init__(self, side: Side) -> None:
        self.side = side
        self._sign = 1 if side == "bid" else -1
        self.levels: dict[int, Level] = {}
        # Price × sign, ascending: the best price is always last, where removing costs nothing.
        self._ranks: list[int] = []

    def __len__(self) -> int:
        return len(self._ranks)

    def best(self) -> Level | None:
        """Return the level that trades first, or None when the side is empty."""
        if not self._ranks:
            return None
        return self.levels[self._ranks[-1] * self._sign]

    def best_price(self) -> int | None:
        """Return the price of the best level in ticks, or None when the side is empty."""
        return self._ranks[-1] * self._sign if self._ranks else None

    def price_at(self, depth: int) -> int:
        """Return the price of the level `depth` places behind the best; the last one if fewer."""
        return self._ranks[max(0, len(self._ranks) - 1 - depth)] * self._sign

    def reaches(self, price: int, limit: int | None) -> bool:
        """Tell whether a taker with `limit` (None: none) may trade at `price` of this side."""
        if limit is None:
            return True
        return price * self._sign >= limit * self._sign

    def walk(self) -> Iterator[Level]:
        """Yield levels from the best outward."""
        for rank in reversed(self._ranks):
            yield self.levels[rank * self._sign]

    def add(self, order: Order) -> int:
        """Queue `order` last at its price and return the level's new total."""
        level = self.levels.get(order.price)
        if level is None:
            level = self.levels[order.price] = Level(order.price)
            insort(self._ranks, order.price * self._sign)
        level.orders[order.order_id] = order
        level.size += order.remaining
        return level.size

    def reduce(self, order: Order, lots: int) -> int:
        """Take `lots` from a resting order, drop it at 0, and return the level's new total."""
        level = self.levels[order.price]
        order.remaining -= lots
        level.size -= lots
        if order.remaining == 0:
            del level.orders[order.order_id]
            if not level.orders:
                del self.levels[order.price]
                del self._ranks[bisect_left(self._ranks, order.price * self._sign)]
        return level.size
