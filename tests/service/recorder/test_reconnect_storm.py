"""Every connection lost at once: hundreds of books are wanted, the budget gives a few a second."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from recorder.transport.rate_limit import BURST_SHARE, SUSTAINED_SHARE
from recorder.transport.rest import IN_FLIGHT_MAX
from schemas.kucoin.profile import PUBLIC, Rate
from tests.support.collecting import LIMITS, collecting, wait_milliseconds
from tests.support.fake_venue import FakeVenue

SYMBOLS = 220
BOOKS_PER_S = 120
# So little that the storm takes seconds, so much that it takes no more of them.
NARROW = replace(
    LIMITS,
    rest={PUBLIC: Rate(BOOKS_PER_S, 1.0)},
    rest_weights={"/api/v2/market/orderbook/level2": 1, "/api/v1/bullet-public": 1},
)


async def test_the_busiest_books_come_first_and_every_book_comes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    wait_milliseconds(monkeypatch)
    symbols = [f"S{n}-X" for n in range(SYMBOLS)]
    # Who is busy has nothing to do with who is asked for first by configuration.
    by_traffic = random.Random(7).sample(symbols, SYMBOLS)
    changes = {symbol: 1 + n // 10 for n, symbol in enumerate(by_traffic)}
    async with (
        FakeVenue([]) as venue,
        collecting(venue, symbols, ("level2",), limits=NARROW) as scene,
    ):
        await scene.until(lambda: scene.synced(*symbols), "every book")
        for turn in range(max(changes.values())):
            for symbol in symbols:
                if turn < changes[symbol]:
                    await venue.publish_l2(symbol)
        written = sum(changes.values())
        await scene.until(lambda: scene.tape.meters.rows["l2_updates"] == written, "the changes")

        venue.books_asked.clear()
        for socket in list(venue.sockets):
            await socket.close()
        longest = 0

        def is_healed() -> bool:
            nonlocal longest
            longest = max(longest, scene.collector.status().rest[PUBLIC].waiting)
            return len(venue.books_asked) == SYMBOLS and scene.synced(*symbols)

        await scene.until(is_healed, "every book again")
        asked = [symbol for _, symbol, _ in venue.books_asked]
        times = [at for _, _, at in venue.books_asked]
        gaps = scene.tape.gaps()
        waiting = scene.collector.status().rest[PUBLIC].waiting

    assert sorted(asked) == sorted(symbols), "each book once"
    fullest = max(sum(at <= t < at + 1.0 for t in times) for at in times)
    # So many are sent in any second; what was on its way while the machine stood still comes with
    # those sent behind it.
    sent = BOOKS_PER_S * (BURST_SHARE + SUSTAINED_SHARE)
    assert BOOKS_PER_S / 2 < fullest <= sent + IN_FLIGHT_MAX
    assert longest > SYMBOLS / 2
    assert waiting == 0
    place = {symbol: number for number, symbol in enumerate(asked)}
    quietest = sum(place[symbol] for symbol in by_traffic[:50]) / 50
    busiest = sum(place[symbol] for symbol in by_traffic[-50:]) / 50
    assert busiest < quietest - SYMBOLS / 4, (busiest, quietest)
    assert sorted(gap.symbol for gap in gaps) == sorted(symbols)
    assert {(gap.reason, gap.healed_by) for gap in gaps} == {("disconnected", "snapshot")}
