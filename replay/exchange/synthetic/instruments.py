"""What the synthetic exchange lists: scales, increments and typical sizes of each symbol.

Four symbols are written by hand because their scales differ by orders of magnitude; any other
well-formed name gets an instrument derived from the name alone, the same one every time.
"""

import hashlib
import re
from dataclasses import dataclass

from replay.exchange.errors import BadSymbol
from replay.exchange.synthetic.decimal_text import decimal_text

_SYMBOL = re.compile(r"[A-Z0-9]{1,12}-[A-Z0-9]{1,12}")

MARKETS = ("BTC", "ETH", "KCS", "USDT")
"""Quote currencies with a market of their own; every other quote is listed under ``ALTS``."""


@dataclass(frozen=True, slots=True)
class Instrument:
    """One listed symbol, in integers.

    Attributes
    ----------
    symbol : str
        Base and quote currency joined by a hyphen.
    price_digits, size_digits, quote_digits : int
        Decimal places of one tick, one lot and one quote increment. Increments are powers of ten.
    start_price : int
        Where the random walk begins, in ticks.
    typical_size : int
        Median order size, in lots.
    """

    symbol: str
    price_digits: int
    size_digits: int
    quote_digits: int
    start_price: int
    typical_size: int

    @property
    def base_currency(self) -> str:
        """The currency that is bought and sold."""
        return self.symbol.split("-")[0]

    @property
    def quote_currency(self) -> str:
        """The currency prices are stated in."""
        return self.symbol.split("-")[1]

    @property
    def market(self) -> str:
        """The market the symbol is listed under."""
        return self.quote_currency if self.quote_currency in MARKETS else "ALTS"

    @property
    def funds_digits(self) -> int:
        """Decimal places of one tick times one lot."""
        return self.price_digits + self.size_digits

    def price_text(self, ticks: int) -> str:
        """Write a price as exact decimal text."""
        return decimal_text(ticks, self.price_digits)

    def size_text(self, lots: int) -> str:
        """Write a size as exact decimal text."""
        return decimal_text(lots, self.size_digits)

    def funds_text(self, funds: int) -> str:
        """Write funds (ticks × lots) as exact decimal text."""
        return decimal_text(funds, self.funds_digits)


_LISTED = (
    Instrument("BTC-USDT", 1, 8, 6, 600_000, 5_000_000),
    Instrument("ETH-BTC", 8, 8, 8, 3_715_004, 80_000_000),
    Instrument("SHIB-BTC", 13, 4, 8, 112_345, 25_000_000_000),
    Instrument("WIN-USDT", 8, 4, 6, 7_612, 15_000_000_000_000),
)

DEFAULT_SYMBOLS = tuple(instrument.symbol for instrument in _LISTED)

_MADE_UP_QUOTES = ("USDT", "USDT", "BTC", "USDT", "ETH", "USDT")


def made_up_symbols(count: int) -> tuple[str, ...]:
    """Return so many names nobody lists, over three quote currencies, S0000-USDT the first."""
    digits = max(4, len(str(count)))
    quotes = _MADE_UP_QUOTES
    return tuple(f"S{n:0{digits}}-{quotes[n % len(quotes)]}" for n in range(count))


def instrument_for(symbol: str) -> Instrument:
    """Return the instrument listed under `symbol`, deriving one for a name not in the table.

    Raises
    ------
    BadSymbol
        The name is not two upper-case currencies joined by a hyphen.
    """
    for listed in _LISTED:
        if listed.symbol == symbol:
            return listed
    if not _SYMBOL.fullmatch(symbol):
        raise BadSymbol(symbol)
    draw = int.from_bytes(hashlib.blake2b(symbol.encode(), digest_size=8).digest(), "big")
    price_digits = 2 + draw % 8
    size_digits = (0, 2, 4, 6, 8)[draw // 8 % 5]
    start_price = 5_000 + draw // 40 % 200_000
    typical_size = max(20, 10**size_digits * (1 + draw // 8_000_000 % 500) // 10)
    quote_digits = min(8, price_digits + size_digits)
    return Instrument(symbol, price_digits, size_digits, quote_digits, start_price, typical_size)
