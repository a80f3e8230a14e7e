"""The synthetic source under a clock of our own."""

from collections import Counter
from decimal import Decimal

from replay.exchange.events import VenueEvent
from replay.exchange.source import Feed, Push
from replay.exchange.synthetic.instruments import made_up_symbols
from replay.exchange.synthetic.source import OPENED_AT_ONCE, SyntheticSource
from replay.exchange.synthetic.wording import WordingClassic
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


class Stage:
    """A source under a clock of our own, told what happens."""

    def __init__(self, *symbols: str, **options: object) -> None:
        self.clock, self.ear = Clock(), Ear()
        self.source = SyntheticSource(symbols, clock=self.clock, rate=200, **options)  # type: ignore[arg-type]
        self.source.start(self.ear)

    def trade(self, seconds: float) -> dict[str, int]:
        """Let time pass; return how many level-3 events each symbol had."""
        del self.ear.pushes[:]
        for _ in range(int(seconds * 100)):
            self.clock.ns += S // 100
            while self.source.pump():
                pass
        return dict(Counter(push.name for push in self.ear.pushes if push.feed == "level3"))

    def happen(self, kind: str, symbol: str = "", name: str = "", status: str = "") -> None:
        """Let an event happen now."""
        self.source.carry_out(VenueEvent(kind, 0, symbol, name, status))  # type: ignore[arg-type]


def test_symbols_come_go_and_come_back_in_their_old_numbers() -> None:
    stage = Stage("AA-USDT", "BB-USDT")
    assert set(stage.trade(1)) == {"AA-USDT", "BB-USDT"}
    stage.happen("list", "CC-BTC")
    stage.happen("delist", "AA-USDT")
    assert set(stage.trade(1)) == {"BB-USDT", "CC-BTC"}
    assert (stage.source.lists("AA-USDT"), stage.source.lists("CC-BTC")) == (False, True)
    assert [made.symbol for made in stage.source.instruments()] == ["BB-USDT", "CC-BTC"]
    assert stage.source.markets() == ["BTC", "USDT"]
    stage.happen("list", "AA-USDT")
    # One order may cause hundreds of events, and is made up for by a long silence.
    counts = stage.trade(30)
    assert set(counts) == {"AA-USDT", "BB-USDT", "CC-BTC"}
    assert all(0.7 < count / 6_000 < 1.4 for count in counts.values()), "paced once, not twice"
    again = [
        p.first_sequence for p in stage.ear.pushes if (p.feed, p.name) == ("level3", "AA-USDT")
    ]
    assert again == list(range(again[0], again[0] + len(again)))


def test_a_disabled_symbol_stands_still_and_a_renamed_one_goes_on() -> None:
    stage = Stage("AA-USDT", "BB-USDT")
    stage.happen("disable", "AA-USDT")
    stage.happen("rename", "BB-USDT", name="BETA-USDT")
    assert set(stage.trade(1)) == {"BB-USDT"}
    listed = [(i.symbol, i.name, i.enable_trading) for i in stage.source.instruments()]
    assert listed == [("AA-USDT", "AA-USDT", False), ("BB-USDT", "BETA-USDT", True)]
    stage.happen("enable", "AA-USDT")
    assert set(stage.trade(1)) == {"AA-USDT", "BB-USDT"}


def test_a_closed_exchange_is_silent_and_one_that_only_cancels_shrinks() -> None:
    stage = Stage("AA-USDT")
    assert (stage.source.status().status, stage.source.status().is_open) == ("open", True)
    stage.happen("status", status="close")
    assert stage.trade(1) == {}
    assert stage.source.status().message != ""
    stage.happen("status", status="cancelonly")
    assert sum(stage.trade(2).values()) > 100
    kinds = {(p.message.kind, p.message.reason) for p in stage.ear.pushes if p.feed == "level3"}  # type: ignore[union-attr]
    assert kinds == {("done", "canceled")}
    stage.happen("status", status="open")
    assert sum(stage.trade(1).values()) > 100


def test_of_many_symbols_each_opens_when_somebody_wants_it() -> None:
    symbols = made_up_symbols(OPENED_AT_ONCE + 10)
    stage = Stage(*symbols, levels=30)
    source = stage.source
    assert stage.trade(0.5) == {}
    assert source.opened == 0
    assert (source.day(symbols[3]).last, source.day(symbols[3]).vol) == (None, "0")
    assert source.opened == 0
    source.wake(symbols[0])
    source.wake("all")
    assert source.opened == 0, "waking takes no time"
    assert set(stage.trade(1)) == {symbols[0]}
    source.l2_book(symbols[1])
    source.ticker(symbols[2])
    assert source.opened == 3
    assert set(stage.trade(1)) == set(symbols[:3])
    assert source.day(symbols[0]).last is not None


def test_in_classic_a_batch_waits_no_longer_than_a_tenth_of_a_second() -> None:
    clock, ear = Clock(), Ear()
    source = SyntheticSource(["AA-USDT"], clock=clock, rate=20, wording=WordingClassic())
    source.start(ear)
    late = []
    for _ in range(3_000):
        clock.ns += S // 100
        before = len(ear.pushes)
        source.pump()
        for push in ear.pushes[before:]:
            if push.feed == "level2":
                assert isinstance(push.message, L2Update)
                assert push.message.ts_event is not None
                late.append(clock.ns - push.message.ts_event)
    assert len(late) > 150
    assert max(late) <= S // 10 + S // 50
