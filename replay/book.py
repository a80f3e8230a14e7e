"""A rebuilt order book: exact, at one sequence."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any, NamedTuple, overload

import numpy as np
import numpy.typing as npt

from replay.numbers import to_decimal
from replay.times import to_text
from schemas.fixed_point import format_fixed

Int64s = npt.NDArray[np.int64]


class Level(NamedTuple):
    """A price with the size resting there."""

    price: Decimal
    size: Decimal


class Order(NamedTuple):
    """A resting order; `position` counts from 1 inside its level, in queue order."""

    price: Decimal
    size: Decimal
    order_id: str
    level: int
    position: int


class Bbo(NamedTuple):
    """Best bid and offer; None where the side is empty.

    Where the best of either side is not known (inside a gap, or the price has left the depth that
    a partial book knows) `valid` is False and all prices are None.
    """

    bid: Decimal | None
    bid_size: Decimal | None
    ask: Decimal | None
    ask_size: Decimal | None
    valid: bool = True

    @property
    def crossed(self) -> bool:
        """Whether the best bid is at or above the best ask."""
        return self.bid is not None and self.ask is not None and self.bid >= self.ask


@dataclass(frozen=True, slots=True, eq=False)
class BookSide(Sequence[Level]):
    """One side, best level first: a sequence of `Level`, and the arrays behind it.

    Attributes
    ----------
    price_mantissa, size_mantissa : int64[levels]   values are mantissa / 10**scale
    price_scale, size_scale : int
    order_ids, order_sizes, order_levels : orders in queue order, level by level (level 3 only):
        text, int64 mantissa, index of the level
    known_mask : bool[levels]   False beyond the depth that a partial book knows: such a level is
        real, but others may be missing around it
    known_to : Decimal | None   worst price of that depth, None where the side is whole
    """

    price_mantissa: Int64s
    size_mantissa: Int64s
    price_scale: int
    size_scale: int
    known_mask: npt.NDArray[np.bool_]
    known_to: Decimal | None = None
    order_ids: tuple[str, ...] = ()
    order_sizes: Int64s | None = None
    order_levels: Int64s | None = None

    def __len__(self) -> int:
        """Return the number of levels."""
        return len(self.price_mantissa)

    @overload
    def __getitem__(self, index: int) -> Level: ...
    @overload
    def __getitem__(self, index: slice) -> list[Level]: ...
    def __getitem__(self, index: int | slice) -> Level | list[Level]:
        """Return a level, best first, or a list of them."""
        if isinstance(index, slice):
            return [self[at] for at in range(*index.indices(len(self)))]
        return Level(
            to_decimal(int(self.price_mantissa[index]), self.price_scale),
            to_decimal(int(self.size_mantissa[index]), self.size_scale),
        )

    def __iter__(self) -> Iterator[Level]:
        """Iterate over levels, best first."""
        return (self[at] for at in range(len(self)))

    def __eq__(self, other: object) -> bool:
        """Compare values: scales and known depth do not matter, orders do."""
        if not isinstance(other, BookSide):
            return NotImplemented
        return self.texts() == other.texts() and self.order_texts() == other.order_texts()

    __hash__ = None  # type: ignore[assignment]

    def texts(self) -> list[tuple[str, str]]:
        """Return (price, size) as the shortest exact decimal text, best first."""
        return [
            (format_fixed(price, self.price_scale), format_fixed(size, self.size_scale))
            for price, size in zip(
                self.price_mantissa.tolist(), self.size_mantissa.tolist(), strict=True
            )
        ]

    def order_texts(self) -> list[tuple[str, str, str]]:
        """Return (price, size, order_id) in queue order, level by level; empty at level 2."""
        if self.order_sizes is None or self.order_levels is None:
            return []
        prices = self.price_mantissa[self.order_levels].tolist()
        return [
            (format_fixed(price, self.price_scale), format_fixed(size, self.size_scale), name)
            for price, size, name in zip(
                prices, self.order_sizes.tolist(), self.order_ids, strict=True
            )
        ]

    @property
    def orders(self) -> list[Order]:
        """Resting orders in queue order, level by level; empty at level 2."""
        found: list[Order] = []
        if self.order_sizes is None or self.order_levels is None:
            return found
        level, position = -1, 0
        for at, size, name in zip(
            self.order_levels.tolist(), self.order_sizes.tolist(), self.order_ids, strict=True
        ):
            position = position + 1 if at == level else 1
            level = at
            price = to_decimal(int(self.price_mantissa[at]), self.price_scale)
            found.append(Order(price, to_decimal(size, self.size_scale), name, level + 1, position))
        return found

    @property
    def known_levels(self) -> int:
        """Levels inside the known depth: the best ones, and exact."""
        return int(np.count_nonzero(self.known_mask))

    @property
    def best_known(self) -> bool:
        """Whether the best level is the best there is; so it is on a whole side without any."""
        return self.known_to is None or self.known_levels > 0

    def top(self, n: int) -> BookSide:
        """Return the n best levels."""
        if n >= len(self):
            return self
        if self.order_sizes is None or self.order_levels is None:
            ids, sizes, levels = self.order_ids, None, None
        else:
            count = int(np.searchsorted(self.order_levels, n))
            ids = self.order_ids[:count]
            sizes, levels = self.order_sizes[:count], self.order_levels[:count]
        return replace(
            self,
            price_mantissa=self.price_mantissa[:n],
            size_mantissa=self.size_mantissa[:n],
            known_mask=self.known_mask[:n],
            order_ids=ids,
            order_sizes=sizes,
            order_levels=levels,
        )


@dataclass(frozen=True, slots=True, repr=False)
class Book:
    """An order book after one complete message.

    Attributes
    ----------
    symbol : str
    level : int             2 (prices) or 3 (orders)
    sequence : int          of the last message applied, or of the full book it came from
    ts_recv : int           ns UTC: when that was known (receipt plus `held_ns`)
    ts_event : int | None   ns UTC: what the venue said, None where it says nothing
    bids, asks : BookSide   best first
    """

    symbol: str
    level: int
    sequence: int
    ts_recv: int
    ts_event: int | None
    bids: BookSide
    asks: BookSide

    def __repr__(self) -> str:
        """Say symbol, sequence, best prices and how deep it is."""
        best = [_best_text(name, side) for name, side in (("bid", self.bids), ("ask", self.asks))]
        return (
            f"Book({self.symbol}, level {self.level}, sequence {self.sequence}, "
            f"{', '.join(best)}, {len(self.bids)} bids, {len(self.asks)} asks)"
        )

    @property
    def bbo(self) -> Bbo:
        """Best bid and offer with their sizes."""
        if not (self.bids.best_known and self.asks.best_known):
            return Bbo(None, None, None, None, valid=False)
        bid = self.bids[0] if len(self.bids) else (None, None)
        ask = self.asks[0] if len(self.asks) else (None, None)
        return Bbo(bid[0], bid[1], ask[0], ask[1])

    def depth(self, n: int) -> Book:
        """Return the book cut to its n best levels a side."""
        return replace(self, bids=self.bids.top(n), asks=self.asks.top(n))

    def to_json(self) -> dict[str, Any]:
        """Return JSON-ready values: exact decimal text, ISO times, orders at level 3.

        `known_bid_from` and `known_ask_to` are the bounds of a partial book: beyond them levels
        may be missing. They are null where a side is whole.
        """
        sides = {
            name: [list(row) for row in (side.texts() if self.level == 2 else side.order_texts())]
            for name, side in (("bids", self.bids), ("asks", self.asks))
        }
        return {
            "symbol": self.symbol,
            "sequence": self.sequence,
            "ts_event": to_text(self.ts_event),
            "ts_recv": to_text(self.ts_recv),
            "known_bid_from": _bound_text(self.bids),
            "known_ask_to": _bound_text(self.asks),
            **sides,
        }


def _bound_text(side: BookSide) -> str | None:
    return None if side.known_to is None else f"{side.known_to:f}"


def _best_text(name: str, side: BookSide) -> str:
    if not side.best_known:
        return f"{name} unknown"
    if not len(side):
        return f"no {name}"
    price, size = side.top(1).texts()[0]
    return f"{name} {price} × {size}"
