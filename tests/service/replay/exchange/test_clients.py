"""Unmodified ccxt.pro, a client written by others, keeps the exchange's own top ten."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from replay.exchange.api_keys import ApiKeys, ServedKey
from replay.exchange.synthetic.market import SyntheticMarket
from replay.exchange.synthetic.orders import EngineEvent
from replay.exchange.synthetic.source import SyntheticSource
from schemas.kucoin.profiles.kucoin_2019 import KUCOIN_2019
from tests.service.replay.exchange.conftest import CLASSIC, running

SYMBOLS = ("BTC-USDT", "SHIB-BTC", "WIN-USDT")
KEY = ServedKey("6705-ccxt", "secret-of-ccxt", "words-of-ccxt", "3")

Side = list[tuple[float, float]]


class TopTen:
    """The ten best levels of each side at every sequence, as floats: ccxt has no others."""

    def __init__(self, source: SyntheticSource) -> None:
        self.at: dict[tuple[str, int], list[Side]] = {}
        for symbol in SYMBOLS:
            source.market(symbol).observe(self._keep)

    def _keep(self, market: SyntheticMarket, event: EngineEvent) -> None:
        made = market.instrument
        self.at[made.symbol, event.sequence] = [
            [(float(made.price_text(p)), float(made.size_text(s))) for p, s in side[:10]]
            for side in market.engine.l2()
        ]


@pytest.mark.parametrize(
    ("dialect", "key", "seed"),
    [
        (KUCOIN_2019.name, None, "level2_100"),
        (CLASSIC, None, "level2_100"),
        (CLASSIC, KEY, "/api/v3/market/orderbook/level2"),
    ],
    ids=["2019", "classic-keyless", "classic-signed"],
)
async def test_an_unmodified_ccxt_keeps_the_exchanges_own_top_ten(
    dialect: str, key: ServedKey | None, seed: str
) -> None:
    ccxt = pytest.importorskip("ccxt.pro", reason="ccxt, an independent client, is not installed")
    keys = ApiKeys([KEY])
    async with running(*SYMBOLS, rate=150.0, dialect=dialect, keys=keys) as (server, client):
        assert isinstance(server.source, SyntheticSource)
        truth = TopTen(server.source)
        credentials: dict[str, Any] = {}
        if key is not None:
            credentials = {"apiKey": key.key, "secret": key.secret, "password": key.passphrase}
        # Spot and the classic account: with a key it would ask about accounts first.
        options = {"fetchMarkets": {"types": ["spot"]}, "uta": False, "hf": True}
        exchange = ccxt.kucoin({"options": options, **credentials})
        exchange.urls["api"] = {
            name: client.url if isinstance(url, str) else url
            for name, url in exchange.urls["api"].items()
        }
        asked: list[str] = []
        send = exchange.fetch

        async def fetch(url: str, *rest: Any) -> Any:
            asked.append(url)
            return await send(url, *rest)

        exchange.fetch = fetch

        async def watch(symbol: str) -> int:
            compared = 0
            until = asyncio.get_running_loop().time() + 4
            while asyncio.get_running_loop().time() < until:
                book = await exchange.watch_order_book(symbol)
                mine = [[(row[0], row[1]) for row in book[s][:10]] for s in ("bids", "asks")]
                assert mine == truth.at[symbol.replace("/", "-"), book["nonce"]]
                compared += 1
            return compared

        try:
            # What may be lent is behind a path this exchange does not have.
            await exchange.load_markets(False, {"marginables": False})
            names = [symbol.replace("-", "/") for symbol in SYMBOLS]
            counts = await asyncio.gather(*(watch(name) for name in names))
            trades = await exchange.fetch_trades(names[0])
        finally:
            await exchange.close()
        assert min(counts) > 5, "few on a slow machine"
        assert sum(seed in url for url in asked) >= len(SYMBOLS)
        assert len({trade["info"]["sequence"] for trade in trades}) == len(trades) > 0
