"""REST answers of later years that today's clients ask for, from the same books.

Nothing here is in the document of February 2019. What cannot be told truthfully, such as loans and
announcements, is not served: it answers 404 like any unknown path.
"""

from typing import Any

from aiohttp import web

from replay.exchange.responses import BadParameter, json_response
from replay.exchange.routes_rest import RestRoutes
from replay.exchange.source import Source
from schemas.kucoin.rest import Instrument, format_answer
from schemas.kucoin.venue_state import format_status

_CALL_AUCTION = (
    "callauctionPriceFloor",
    "callauctionPriceCeiling",
    "callauctionFirstStageStartTime",
    "callauctionSecondStageStartTime",
    "callauctionThirdStageStartTime",
)


class LaterRoutes:
    """Handlers of the later paths.

    Parameters
    ----------
    source : Source
        Knows the answers.
    rest : RestRoutes
        Gives those that are the same as in 2019.
    """

    def __init__(self, source: Source, rest: RestRoutes) -> None:
        self._source = source
        self._rest = rest

    async def status(self, _request: web.Request) -> web.Response:
        """Say whether the market is open."""
        return json_response(format_status(self._source.status()))

    async def my_ip(self, request: web.Request) -> web.Response:
        """Tell the client the address it comes from."""
        return json_response(format_answer(request.remote))

    async def symbols(self, request: web.Request) -> web.Response:
        """List the symbols with the fields they have since 2022."""
        listed = [self._later(instrument) for instrument in self._rest.listed(request)]
        return json_response(format_answer(listed))

    async def symbol(self, request: web.Request) -> web.Response:
        """Answer one symbol."""
        name = request.match_info["symbol"]
        for instrument in self._source.instruments():
            if instrument.symbol == name:
                return json_response(format_answer(self._later(instrument)))
        raise BadParameter(f"symbol {name} does not exist")

    async def currencies(self, _request: web.Request) -> web.Response:
        """List every currency with its chains, of which none exist."""
        known = self._rest.known_currencies().values()
        return json_response(format_answer([_later_currency(currency) for currency in known]))

    async def currency(self, request: web.Request) -> web.Response:
        """Answer one currency with its chains."""
        return json_response(format_answer(_later_currency(self._rest.known_currency(request))))

    def _later(self, instrument: Instrument) -> dict[str, Any]:
        return {
            "symbol": instrument.symbol,
            "name": instrument.name,
            "baseCurrency": instrument.base_currency,
            "quoteCurrency": instrument.quote_currency,
            "feeCurrency": instrument.quote_currency,
            "market": self._source.day(instrument.symbol).market,
            "baseMinSize": instrument.base_min_size,
            "quoteMinSize": instrument.quote_min_size,
            "baseMaxSize": instrument.base_max_size,
            "quoteMaxSize": instrument.quote_max_size,
            "baseIncrement": instrument.base_increment,
            "quoteIncrement": instrument.quote_increment,
            "priceIncrement": instrument.price_increment,
            "minFunds": instrument.quote_min_size,
            "priceLimitRate": "0.1",
            "isMarginEnabled": False,
            "enableTrading": instrument.enable_trading,
            "feeCategory": 1,
            "makerFeeCoefficient": "1.00",
            "takerFeeCoefficient": "1.00",
            "st": False,
            **dict.fromkeys(_CALL_AUCTION),
            "callauctionIsEnabled": False,
            "tradingStartTime": None,
        }


def _later_currency(currency: dict[str, Any]) -> dict[str, Any]:
    return {
        **currency,
        "confirms": None,
        "contractAddress": None,
        "isMarginEnabled": False,
        "isDebitEnabled": False,
        "chains": [],
    }
