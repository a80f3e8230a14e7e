"""The synthetic source under a clock of our own."""

from collections import Counter
from decimal import Decimal

from replay.exchange.source import Feed, Push
from replay.exchange.synthetic.source import SyntheticSource
from schemas.kucoin.market import L2Update, L3Event, Match

S = 1_000_000_000


class Ear:
    """A sink that wants everything."""

    def __init__(self) -> None:
        self.pushes: list[Push] = []

    def wants(self, _feed: Feed, _name: str) -> bool:
        return True

    def publish(self, push: Push) -> None:
        self.pushes.append(push)


class Clock:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.ns = 1_550_000_000 * S

    def __call__(self) -> int:
        return self.ns


def trade(seconds: int, **options: object) -> tuple[SyntheticSource, Ear]:
    """Run a source for so many seconds of its own clock, ten milliseconds at a time."""
    clock, ear = Clock(), Ear()
    source = SyntheticSource(["BTC-USDT", "WIN-USDT"], clock=clock, **options)  # type: ignore[arg-type]
    source.start(ear)
    for _ in range(seconds * 100):
        clock.ns += S // 100
        while source.pump():
            pass
    return source, ear


def test_pace_is_events_per_second_and_symbol() -> None:
    _, ear = trade(20, rate=300)
    counts = Counter(push.name for push in ear.pushes if push.feed == "level3")
    assert set(counts) == {"BTC-USDT", "WIN-USDT"}
    assert all(0.75 < n / 6_000 < 1.25 for n in counts.values())


def test_every_sequence_is_in_both_books_and_matches_remove_their_size_from_the_best() -> None:
    source, ear = trade(10, rate=300)
    for symbol in ("BTC-USDT", "WIN-USDT"):
        l2 = [p for p in ear.pushes if p.feed == "level2" and p.name == symbol]
        l3 = [p for p in ear.pushes if p.feed == "level3" and p.name == symbol]
        first = l2[0].first_sequence
        dense = list(range(first, first + len(l2)))
        assert [p.first_sequence for p in l2] == [p.last_sequence for p in l2] == dense
        assert [p.first_sequence for p in l3] == dense
        assert dense[-1] == source.l2_book(symbol).sequence
        matches = [p for p in ear.pushes if p.feed == "match" and p.name == symbol]
        assert len(matches) > 100
        at = {p.first_sequence: p.message for p in l2}
        of = {p.first_sequence: p.message for p in l3}
        for push in matches:
            traded = push.message
            assert isinstance(traded, Match)
            update, event = at[traded.sequence], of[traded.sequence]
            assert isinstance(update, L2Update)
            assert isinstance(event, L3Event)
            maker_side = update.asks if traded.side == "buy" else update.bids
            assert [change[0] for change in maker_side] == [traded.price]
            assert (event.price, event.size, event.side) == (traded.price, traded.size, traded.side)


def test_batches_applied_in_order_end_in_the_same_book() -> None:
    source, ear = trade(10, rate=300, l2_batch=12)
    source.close()
    updates = [p.message for p in ear.pushes if p.feed == "level2" and p.name == "WIN-USDT"]
    single = trade(10, rate=300)[1]
    plain = [p.message for p in single.pushes if p.feed == "level2" and p.name == "WIN-USDT"]
    assert len(updates) < len(plain) / 2
    assert _fold(updates) == _fold(plain)
    book = source.l2_book("WIN-USDT")
    assert updates[-1].sequence_end == book.sequence  # type: ignore[union-attr]
    touched = _fold(updates)
    rows = {("bid", p): s for p, s in book.bids} | {("ask", p): s for p, s in book.asks}
    assert {key: rows.get(key, "0") for key in touched} == touched


def _fold(updates: list[object]) -> dict[tuple[str, str], str]:
    """Return the last size of every level that was touched."""
    levels: dict[tuple[str, str], str] = {}
    for update in updates:
        assert isinstance(update, L2Update)
        for side, changes in (("ask", update.asks), ("bid", update.bids)):
            levels.update({(side, p): s for p, s, _ in changes if p != "0"})
    return levels


def test_books_agree_and_are_sorted() -> None:
    source, _ = trade(5, rate=300)
    for symbol in ("BTC-USDT", "WIN-USDT"):
        l2, l3 = source.l2_book(symbol), source.l3_book(symbol)
        assert l2.sequence == l3.sequence
        for levels, orders in ((l2.bids, l3.bids), (l2.asks, l3.asks)):
            totals: dict[str, Decimal] = {}
            for _, price, size in orders:
                totals[price] = totals.get(price, Decimal(0)) + Decimal(size)
            assert [(p, Decimal(s)) for p, s in levels] == list(totals.items())
        assert [Decimal(p) for p, _ in l2.asks] == sorted(Decimal(p) for p, _ in l2.asks)
        bids = [Decimal(p) for p, _ in l2.bids]
        assert bids == sorted(bids, reverse=True)
        ticker = source.ticker(symbol)
        assert (ticker.best_bid, ticker.best_bid_size) == l2.bids[0]
        assert (ticker.best_ask, ticker.best_ask_size) == l2.asks[0]


def test_a_stopped_clock_is_not_raced_after() -> None:
    clock, ear = Clock(), Ear()
    source = SyntheticSource(["BTC-USDT"], rate=100, clock=clock)
    source.start(ear)
    clock.ns += 3600 * S
    while source.pump():
        pass
    assert len([p for p in ear.pushes if p.feed == "level3"]) < 1_000
