"""Level-2 messages under the overlap rule: what every reader must end with."""

import pytest

from replay.exchange.synthetic.coalesced import CoalescingBatcher
from replay.exchange.synthetic.instruments import Instrument, instrument_for
from replay.exchange.synthetic.market import SyntheticMarket
from replay.exchange.synthetic.orders import EngineEvent, Side
from schemas.kucoin.market import L2Update

TOY = Instrument("AA-BB", 1, 2, 2, 1000, 100)
MS = 1_000_000

Book = dict[tuple[str, str], str]


def event(sequence: int, side: Side, price: int, size: int) -> EngineEvent:
    """Make an event that leaves `size` at `price`; price 0 changes nothing."""
    return EngineEvent(sequence, sequence * MS, "open", side, "x", price, size, price, size)


def rows(update: L2Update) -> list[tuple[str, str, str, int]]:
    """Return side, price, size and sequence of each change."""
    return [
        (side, *change)
        for side, changes in (("ask", update.asks), ("bid", update.bids))
        for change in changes
    ]


def test_numbers_that_change_nothing_wait_for_the_next_range() -> None:
    batcher = CoalescingBatcher(TOY, 1, 1)
    assert [batcher.add(event(n, "bid", 0, 0)) for n in (5, 6)] == [None, None]
    assert (len(batcher), batcher.flush()) == (0, None)
    assert batcher.add(event(7, "ask", 1005, 130)) == L2Update(
        "AA-BB", 5, 7, [("100.5", "1.3", 7)], [], 7 * MS
    )
    update = batcher.add(event(8, "bid", 1000, 20))
    assert update is not None
    assert (update.sequence_start, update.sequence_end) == (8, 8)


def test_changes_are_coalesced_with_their_last_sequence() -> None:
    batcher = CoalescingBatcher(TOY, 1_000, 1)
    for one in (
        event(1, "ask", 1005, 100),
        event(2, "ask", 1006, 200),
        event(3, "bid", 0, 0),
        event(4, "bid", 1000, 50),
        event(5, "ask", 1005, 0),
        event(6, "ask", 0, 0),
    ):
        assert batcher.add(one) is None
    assert (len(batcher), batcher.first_ts) == (6, MS)
    assert batcher.flush() == L2Update(
        "AA-BB", 1, 6, [("100.6", "2", 2), ("100.5", "0", 5)], [("100", "0.5", 4)], 6 * MS
    )


@pytest.mark.parametrize("size_max", [1, 8])
def test_whole_ranges_and_fresh_changes_alone_end_in_the_exchanges_book(size_max: int) -> None:
    market = SyntheticMarket(instrument_for("WIN-USDT"), 3)
    market.open_market(0)
    instrument = market.instrument
    batcher = CoalescingBatcher(instrument, size_max, 3)
    whole: Book = _book(market)
    fresh: Book = dict(whole)
    last = market.engine.sequence
    first = last + 1
    seen: list[L2Update] = []
    books: list[Book] = []

    touched: dict[int, tuple[tuple[str, str], str]] = {}

    def take(_market: SyntheticMarket, one: EngineEvent) -> None:
        if one.level_price:
            level = one.side, instrument.price_text(one.level_price)
            touched[one.sequence] = level, instrument.size_text(one.level_size)
        update = batcher.add(one)
        if update is not None:
            seen.append(update)
            books.append(_book(market))

    market.observe(take)
    while len(seen) < 600:
        market.step(market.engine.ts + MS)
    shared = empty = unused = 0
    for update, book in zip(seen, books, strict=True):
        assert update.sequence_start <= last + 1
        assert update.sequence_end > last
        changes = rows(update)
        assert all(
            update.sequence_start <= sequence <= update.sequence_end for *_, sequence in changes
        )
        shared += update.sequence_start <= last
        empty += changes[0][1] == "0"
        unused += len(changes) < update.sequence_end - update.sequence_start + 1
        if changes[0][1] != "0":
            # Exactly the last touch of each level within the range, shared numbers and all.
            within = range(max(update.sequence_start, first), update.sequence_end + 1)
            lasting = {touched[n][0]: (touched[n][1], n) for n in within if n in touched}
            assert {(side, p): (s, n) for side, p, s, n in changes} == lasting
        for side, price, size, sequence in changes:
            whole[side, price] = size
            if sequence > last:
                fresh[side, price] = size
        last = update.sequence_end
        assert _alive(whole) == _alive(fresh) == _alive(book)
    assert shared > 20
    assert empty > 0
    assert unused > 50


def _book(market: SyntheticMarket) -> Book:
    price, size = market.instrument.price_text, market.instrument.size_text
    return {
        (side, price(p)): size(s)
        for side, levels in zip(("bid", "ask"), market.engine.l2(), strict=True)
        for p, s in levels
    }


def _alive(book: Book) -> Book:
    return {key: size for key, size in book.items() if size != "0"}
