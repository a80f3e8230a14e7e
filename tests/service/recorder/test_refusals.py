"""Each way the exchange has to refuse a request, met by the client: who is quiet, and how long."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass

import pytest

from recorder.transport.rate_limit import open_budgets
from recorder.transport.rest import RestClient, RestFailed
from recorder.transport.session import open_session
from replay.exchange.app import ExchangeServer, listening
from replay.exchange.dialects import DIALECTS, WORDINGS
from replay.exchange.faults import FaultPlan, parse_fault
from replay.exchange.synthetic.source import SyntheticSource
from schemas.kucoin.profile import PUBLIC
from schemas.kucoin.profiles import profile_named

BOOK, CLOCK = "/api/v1/market/orderbook/level2_20?symbol=BTC-USDT", "/api/v1/timestamp"
LONG = 60.0


async def turn_s(client: RestClient, path: str, patience_s: float) -> float:
    """Return how long a turn takes, seconds; one that takes longer than this is `LONG`."""
    began = asyncio.get_running_loop().time()
    try:
        async with asyncio.timeout(patience_s):
            await client.wait_turn(path)
    except TimeoutError:
        return LONG
    return asyncio.get_running_loop().time() - began


async def answered(client: RestClient) -> None:
    """Ask in turn until there is an answer."""
    async with asyncio.timeout(10.0):
        while True:
            await client.wait_turn(CLOCK)
            with suppress(RestFailed):
                await client.get(CLOCK)
                return


@dataclass(frozen=True)
class Expected:
    """What comes of a refusal: how it is counted, and who is quiet for how long, seconds."""

    outcome: str
    pool_s: float = 0.0
    address_s: float = 0.0


# That of 2019 says of no refusal how long it lasts, and bans who goes on asking.
CASES = {
    ("kucoin-2019", "429"): Expected("limited", pool_s=10.0),
    ("kucoin-2019", "429000"): Expected("limited", pool_s=10.0),
    ("kucoin-2019", "200002"): Expected("endpoint_crowded"),
    ("kucoin-2019", "1015"): Expected("blocked", address_s=30.0),
    ("kucoin-classic", "429"): Expected("limited", pool_s=1.5),
    ("kucoin-classic", "429000"): Expected("overloaded"),
    ("kucoin-classic", "200002"): Expected("endpoint_crowded"),
    ("kucoin-classic", "1015"): Expected("blocked", address_s=30.0),
}


@pytest.mark.parametrize(("profile_name", "kind"), CASES)
async def test_each_refusal_has_its_own_rule(profile_name: str, kind: str) -> None:
    expected, profile = CASES[profile_name, kind], profile_named(profile_name)
    source = SyntheticSource(("BTC-USDT",), wording=WORDINGS[profile_name], rate=10.0)
    plan = FaultPlan([parse_fault(f"{kind}@0s:for=1500ms")])
    server = ExchangeServer(source, faults=plan, dialect=DIALECTS[profile_name])
    budgets = open_budgets(profile.limits)
    async with listening(server) as port, open_session() as session:
        client = RestClient(session, f"http://127.0.0.1:{port}", budgets, profile.limits)
        with pytest.raises(RestFailed) as caught:
            await client.get(CLOCK)
        assert not caught.value.refused, "it may be asked again"
        assert client.status()[PUBLIC].requests == {expected.outcome: 1}
        for pool, budget in budgets.items():
            pause_s = expected.address_s or (expected.pool_s if pool == PUBLIC else 0.0)
            assert budget.paused_s == pytest.approx(pause_s, abs=0.3)
        others_wait = await turn_s(client, BOOK, 0.25) == LONG
        assert others_wait == bool(expected.address_s or expected.pool_s)
        assert await turn_s(client, CLOCK, 0.2) == LONG
        if profile_name == "kucoin-classic" and kind in {"429", "429000"}:
            await answered(client)  # what passes in seconds passes by itself


async def test_an_exchange_that_is_gone_is_no_answer() -> None:
    limits = profile_named("kucoin-2019").limits
    async with open_session() as session:
        client = RestClient(session, "http://127.0.0.1:9", open_budgets(limits), limits)
        with pytest.raises(RestFailed) as caught:
            await client.get(CLOCK)
        assert not caught.value.refused
        assert client.status()[PUBLIC].requests == {"no_answer": 1}
        assert 0.1 < await turn_s(client, CLOCK, 2.0) < 1.0
