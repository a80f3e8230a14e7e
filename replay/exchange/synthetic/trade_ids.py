"""Ids of trades: as text that says nothing, or as numbers that grow with holes between them."""

import hashlib
import random
from typing import Protocol

_SCRAMBLE = 0x9E37_79B9_7F4B
"""Odd, hence a one-to-one map of 48-bit counters: ids do not sort in order of arrival."""

FIRST_TRADE_NUMBER = 11_067_996_711_960_577
"""Trade numbers of late 2024 were of this size; those of the book at the same time 14,701,689,783.
"""

_HOLE_MAX = 4_096


class TradeIds(Protocol):
    """Whatever names the next trade of a symbol."""

    def next(self) -> str:
        """Return the next id."""


class IdSpace:
    """24 hex digits per id, unique within a seed and symbol, the same in every run."""

    def __init__(self, seed: int, name: str) -> None:
        self._prefix = hashlib.blake2b(f"{seed}/{name}".encode(), digest_size=6).hexdigest()
        self._count = 0

    def next(self) -> str:
        """Return the next id."""
        self._count += 1
        return f"{self._prefix}{self._count * _SCRAMBLE & 0xFFFF_FFFF_FFFF:012x}"


class TradeNumbers:
    """Decimal numbers that grow, never by a step that could be told beforehand.

    The numbers in between belong to trades of other symbols: a missing trade cannot be seen.
    """

    def __init__(self, seed: int, symbol: str) -> None:
        self._random = random.Random(f"{seed}/{symbol}/trade numbers")
        self._last = FIRST_TRADE_NUMBER + self._random.randrange(10**12)

    def next(self) -> str:
        """Return the next number."""
        self._last += self._random.randint(2, _HOLE_MAX)
        return str(self._last)
