"""The market: the same seed gives the same day, and it stays a market."""

from collections import Counter

import pytest

from replay.exchange.synthetic.instruments import DEFAULT_SYMBOLS, instrument_for
from replay.exchange.synthetic.market import SyntheticMarket
from replay.exchange.synthetic.orders import EngineEvent

START = 1_550_000_000_000_000_000


def run(symbol: str, seed: int, events: int, keep_books: bool = False) -> SyntheticMarket:
    """Trade until there are so many events after the opening."""
    market = SyntheticMarket(instrument_for(symbol), seed, keep_books=keep_books)
    market.open_market(START)
    done = 0
    while done < events:
        done += market.step(START + done)
    return market


def record(symbol: str, seed: int, events: int) -> list[EngineEvent]:
    """Return the first events of a market, the opening's among them."""
    market = SyntheticMarket(instrument_for(symbol), seed)
    said: list[EngineEvent] = []
    market.observe(lambda _market, event: said.append(event))
    market.open_market(START)
    while len(said) < events:
        market.step(START + len(said))
    return said[:events]


def test_the_same_seed_gives_the_same_events() -> None:
    first = record("BTC-USDT", 7, 12_000)
    assert first == record("BTC-USDT", 7, 12_000)
    assert first != record("BTC-USDT", 8, 12_000)
    assert [e.sequence for e in first] == list(range(first[0].sequence, first[0].sequence + 12_000))


@pytest.mark.parametrize("symbol", DEFAULT_SYMBOLS)
def test_a_market_stays_a_market(symbol: str) -> None:
    market = run(symbol, 1, 30_000)
    bids, asks = market.engine.l2()
    assert 800 < len(market.engine.orders) < 2_200
    assert min(len(bids), len(asks)) > 120
    start = market.instrument.start_price
    assert 0.9 * start < bids[0][0] < asks[0][0] < 1.1 * start


def test_every_kind_of_event_happens_and_depth_often_stays() -> None:
    events = record("WIN-USDT", 3, 40_000)
    kinds = Counter((event.kind, event.reason) for event in events)
    assert {kind for kind, _ in kinds} == {"received", "open", "match", "done", "change"}
    assert kinds["done", "filled"] > 100 < kinds["done", "canceled"]
    unchanged = sum(event.level_price == 0 for event in events) / len(events)
    assert 0.3 < unchanged < 0.6
    sizes = [event.size for event in events if event.kind == "open" and event.size]
    assert max(sizes) > 10**9 * 10**4, "sizes of a thousand million units"


def test_opening_has_traded() -> None:
    market = run("ETH-BTC", 1, 1)
    assert market.history.last is not None


def test_old_books_are_what_they_were() -> None:
    market = SyntheticMarket(instrument_for("BTC-USDT"), 1, keep_books=True)
    market.open_market(START)
    was = {}
    for n in range(1_500):
        market.step(START + n)
        was[market.engine.sequence] = market.engine.l2()
    old = market.books_before(700)
    assert 700 <= market.engine.sequence - old.sequence < 900
    assert old.l2 == was[old.sequence]
    assert market.books_before(10**9).sequence < old.sequence


def test_without_old_books_now_is_all_there_is() -> None:
    market = run("BTC-USDT", 1, 100)
    assert market.books_before(50) == market.books()
