"""Hundreds of symbols from a cold start: planned connections, and no limit touched on the way."""

from __future__ import annotations

from dataclasses import replace

import pytest

from schemas.kucoin.profile import PUBLIC, Rate
from tests.support.collecting import LIMITS, collecting, wait_milliseconds
from tests.support.fake_venue import FakeVenue

# Two hundred symbols against a tenth of the real windows: the same pressure in seconds.
MANY = replace(
    LIMITS,
    topics_per_message=30,
    connects=Rate(8, 1.0),
    uplink_messages=Rate(20, 1.0),
    rest={PUBLIC: Rate(200, 1.0)},
    rest_weights={"/api/v2/market/orderbook/level2": 2, "/api/v1/bullet-public": 10},
)


def fullest_window(times: list[float], window_s: float) -> int:
    """Return how many fall in the window that holds the most."""
    return max(sum(at <= t < at + window_s for t in times) for at in times)


async def test_two_hundred_symbols_within_every_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    wait_milliseconds(monkeypatch)
    symbols = [f"S{n}-X" for n in range(200)]
    async with FakeVenue([]) as venue, collecting(venue, symbols, limits=MANY) as scene:
        await scene.settled()
        await scene.until(lambda: scene.synced(*symbols), "every book")
        status = scene.collector.status()
        assert [c.topics for c in status.connections] == [94, 94, 94, 94, 24]
        assert status.topics_carried == 400
        assert len(venue.subscriptions) == 4 * 4 + 2, "no message more than needed"
        assert all(topic.count(",") < 30 for topic in venue.subscriptions)
        asked = [symbol for _, symbol, _ in venue.books_asked]
        assert sorted(asked) == sorted(symbols), "each book once"
        assert fullest_window(venue.connected_at, 1.0) <= 8
        assert fullest_window(venue.subscribed_at, 1.0) <= 20
        assert fullest_window([at for _, _, at in venue.books_asked], 1.0) * 2 <= 200
        ranks = [asked.index(symbol) for symbol in symbols]
        assert sum(ranks[:50]) < sum(ranks[-50:]) / 2, "the most important first"
        assert status.rest[PUBLIC].requests == {"ok": 205}
        assert status.rest[PUBLIC].weight_spent == 200 * 2 + 5 * 10
        assert (status.reconnects, status.refused) == ({}, {})
        assert scene.tape.gaps() == []
