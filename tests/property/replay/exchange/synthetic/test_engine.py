"""What holds after every event, whatever traders send."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from replay.exchange.synthetic.engine import Engine
from replay.exchange.synthetic.instruments import DEFAULT_SYMBOLS, instrument_for
from replay.exchange.synthetic.market import SyntheticMarket
from replay.exchange.synthetic.orders import EngineEvent, NewOrder, Side
from tests.support.order_log_book import OrderLogBook

SIDES: tuple[Side, Side] = ("bid", "ask")


class Watch:
    """Hold every event of an engine against what must be true, using a second book of its own."""

    def __init__(self) -> None:
        self.engine: Engine
        self.naive = OrderLogBook(0, 0)
        self.levels: dict[tuple[Side, int], int] = {}
        self.given: dict[str, int | None] = {}
        self.traded: dict[str, int] = {}
        self.taken: dict[str, int] = {}
        self.ended: set[str] = set()
        self.last: EngineEvent | None = None
        self.events = 0

    def __call__(self, event: EngineEvent) -> None:
        if self.last is not None:
            assert event.sequence == self.last.sequence + 1
            assert event.ts > self.last.ts
        self.last = event
        self.events += 1
        if event.kind == "match":
            self._check_match(event)
        self.naive.apply({**event._asdict(), "symbol": "X"})
        self._check_level(event)
        self._check_quantity(event)
        bid, ask = self.engine.bids.best_price(), self.engine.asks.best_price()
        assert bid is None or ask is None or bid < ask

    def _check_match(self, event: EngineEvent) -> None:
        """The maker is the oldest order at the best price of its side."""
        mine = [order for order in self.naive.orders if order.side == event.side]
        best = (max if event.side == "bid" else min)(order.price for order in mine)
        queue = [order for order in mine if order.price == best]
        assert (event.price, event.order_id) == (best, queue[0].order_id)
        assert event.size is not None
        before = self.levels[event.side, best]
        assert (event.level_price, event.level_size) == (best, before - event.size)

    def _check_level(self, event: EngineEvent) -> None:
        """One level at most changes with an event: the one it names, to the total it names."""
        if event.level_price:
            self.levels[event.side, event.level_price] = event.level_size
        if self.events % 7:
            return
        totals: dict[tuple[Side, int], int] = {}
        for order in self.naive.orders:
            key = (order.side, order.price)
            totals[key] = totals.get(key, 0) + order.left  # type: ignore[index, arg-type]
        assert {key: size for key, size in self.levels.items() if size} == totals

    def _check_quantity(self, event: EngineEvent) -> None:
        """What an order was given is traded, left over, or shrunk away: nothing else."""
        order_id = event.order_id
        if event.kind == "received":
            self.given[order_id] = event.size
            self.traded[order_id] = 0
        elif event.kind == "match":
            assert event.taker_order_id is not None
            assert event.size is not None
            self.traded[order_id] += event.size
            self.traded[event.taker_order_id] += event.size
        elif event.kind == "change":
            assert event.size is not None
            assert event.size_before is not None
            assert 0 < event.size < event.size_before
            given_ = self.given[order_id]
            assert given_ is not None
            self.given[order_id] = given_ - (event.size_before - event.size)
        elif event.kind == "open":
            assert event.size == (self.given[order_id] or 0) - self.traded[order_id] > 0
        else:
            assert order_id not in self.ended, "an order ends once"
            self.ended.add(order_id)
            expected = self.given[order_id]
            if expected is not None:
                left = expected - self.traded[order_id]
                assert left == (event.size or 0)
                assert (event.reason == "filled") == (left == 0)


def compare_books(watch: Watch) -> None:
    """The engine's book is the naive one, with its queues."""
    bids, asks = watch.engine.l3()
    naive = watch.naive.l3()
    assert [[o, str(p), str(s)] for o, p, s in bids] == naive["bids"]
    assert [[o, str(p), str(s)] for o, p, s in asks] == naive["asks"]
    l2 = watch.engine.l2()
    assert [[[str(p), str(s)] for p, s in side] for side in l2] == [
        watch.naive.l2()["bids"],
        watch.naive.l2()["asks"],
    ]


@st.composite
def orders(draw: st.DrawFn) -> NewOrder:
    """Draw an order in a book narrow enough for everything to meet."""
    side = draw(st.sampled_from(SIDES))
    owner = draw(st.integers(0, 2))
    size, price = draw(st.integers(1, 9)), draw(st.integers(1, 12))
    shape = draw(
        st.sampled_from(("limit", "limit", "limit", "post", "IOC", "FOK", "size", "funds"))
    )
    rules: list[Any] = [None, "CO", "CN", "CB"]
    if shape == "funds":
        rule = draw(st.sampled_from(rules))
        return NewOrder(side, funds=draw(st.integers(1, 120)), owner=owner, self_trade=rule)
    if shape == "size":
        return NewOrder(side, size=size, owner=owner, self_trade=draw(st.sampled_from(rules)))
    rule = draw(st.sampled_from([*rules, "DC"]))
    return NewOrder(
        side,
        size=size,
        price=price,
        time_in_force=shape if shape in {"IOC", "FOK"} else "GTC",  # type: ignore[arg-type]
        post_only=shape == "post",
        owner=owner,
        self_trade=rule,
    )


@given(st.lists(st.one_of(orders(), st.integers(0, 30)), max_size=60))
def test_invariants_hold_for_any_orders(commands: list[NewOrder | int]) -> None:
    watch = Watch()
    watch.engine = Engine("AA-BB", 1, 1_000, watch)
    for n, command in enumerate(commands):
        if isinstance(command, NewOrder):
            watch.engine.submit(command, n)
        elif watch.engine.orders:
            resting = list(watch.engine.orders)
            assert watch.engine.cancel(resting[command % len(resting)], n)
        compare_books(watch)
    assert watch.ended == set(watch.given) - set(watch.engine.orders)


def test_invariants_hold_in_a_market_of_every_scale() -> None:
    for symbol in DEFAULT_SYMBOLS:
        watch = Watch()
        market = SyntheticMarket(instrument_for(symbol), 11)
        watch.engine = market.engine
        market.observe(lambda _market, event, watch=watch: watch(event))  # type: ignore[misc]
        market.open_market(0)
        for n in range(1_200):
            market.step(n)
            if n % 100 == 0:
                compare_books(watch)
        compare_books(watch)
