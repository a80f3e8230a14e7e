"""What a currency is worth in dollars, from the last trades of the listed symbols. Pure.

USDT stands for the dollar. A currency without a USDT symbol is priced through one currency that has
one (SHIB through BTC); what cannot be reached that way has no price.
"""

from collections.abc import Iterable
from decimal import ROUND_HALF_EVEN, Context, Decimal

from replay.exchange.source import DayFigures

DOLLAR = "USDT"
_EXACT_ENOUGH = Context(prec=40, rounding=ROUND_HALF_EVEN)


def dollar_prices(days: Iterable[DayFigures]) -> dict[str, str]:
    """Return dollars per unit of each currency that can be priced, as plain decimal text."""
    traded = [(day, Decimal(day.last)) for day in days if day.last is not None]
    prices = {DOLLAR: Decimal(1)}
    for day, last in traded:
        if day.quote_currency == DOLLAR:
            prices[day.base_currency] = last
    through = dict(prices)
    for day, last in traded:
        if day.quote_currency in through:
            price = _EXACT_ENOUGH.multiply(last, through[day.quote_currency])
            prices.setdefault(day.base_currency, price)
    return {currency: _plain(price) for currency, price in prices.items()}


def _plain(price: Decimal) -> str:
    text = f"{price:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
