"""The matching engine, order by order."""

import pytest

from replay.exchange.errors import OrderRefused
from replay.exchange.synthetic.engine import Engine
from replay.exchange.synthetic.orders import EngineEvent, NewOrder, Side


class Desk:
    """An engine, what it said, and a short way to say things to it."""

    def __init__(self) -> None:
        self.events: list[EngineEvent] = []
        self.engine = Engine("AA-BB", 1, 100, self.events.append)
        self.names: dict[str, str] = {}

    def send(self, name: str, side: Side, **fields: object) -> str:
        order_id = self.engine.submit(NewOrder(side, **fields), 10)  # type: ignore[arg-type]
        self.names[order_id] = name
        return order_id

    def story(self, since: int = 0) -> list[str]:
        """Say each event in one line: kind, order, side, size, and the level it left behind."""
        lines = []
        for event in self.events[since:]:
            words = [event.kind, self.names[event.order_id], event.side]
            if event.size_before is not None:
                words.append(f"{event.size_before}→{event.size}")
            elif event.size is not None:
                words.append(str(event.size))
            if event.reason:
                words.append(event.reason)
            words.append(f"[{event.level_price}:{event.level_size}]")
            lines.append(" ".join(words))
        return lines


@pytest.fixture
def desk() -> Desk:
    """Two asks at 101 (5 then 3), one at 102 (4), one bid at 99 (6)."""
    desk = Desk()
    desk.send("a1", "ask", price=101, size=5)
    desk.send("a2", "ask", price=101, size=3, owner=7)
    desk.send("a3", "ask", price=102, size=4)
    desk.send("b1", "bid", price=99, size=6)
    return desk


def test_resting_orders_are_received_then_open(desk: Desk) -> None:
    assert desk.story() == [
        "received a1 ask 5 [0:0]",
        "open a1 ask 5→5 [101:5]",
        "received a2 ask 3 [0:0]",
        "open a2 ask 3→3 [101:8]",
        "received a3 ask 4 [0:0]",
        "open a3 ask 4→4 [102:4]",
        "received b1 bid 6 [0:0]",
        "open b1 bid 6→6 [99:6]",
    ]
    assert [event.sequence for event in desk.events] == list(range(100, 108))
    assert [event.ts for event in desk.events] == list(range(10, 18))


CASES = {
    "a limit order takes the oldest first, best price first, and rests with the rest": (
        {"side": "bid", "price": 102, "size": 20},
        [
            "received t bid 20 [0:0]",
            "match a1 ask 5 [101:3]",
            "done a1 ask filled [0:0]",
            "match a2 ask 3 [101:0]",
            "done a2 ask filled [0:0]",
            "match a3 ask 4 [102:0]",
            "done a3 ask filled [0:0]",
            "open t bid 20→8 [102:8]",
        ],
    ),
    "a limit order that finds enough is done": (
        {"side": "bid", "price": 105, "size": 6},
        [
            "received t bid 6 [0:0]",
            "match a1 ask 5 [101:3]",
            "done a1 ask filled [0:0]",
            "match a2 ask 1 [101:2]",
            "done t bid filled [0:0]",
        ],
    ),
    "what an immediate order does not get is cancelled and never rests": (
        {"side": "bid", "price": 101, "size": 9, "time_in_force": "IOC"},
        [
            "received t bid 9 [0:0]",
            "match a1 ask 5 [101:3]",
            "done a1 ask filled [0:0]",
            "match a2 ask 3 [101:0]",
            "done a2 ask filled [0:0]",
            "done t bid 1 canceled [0:0]",
        ],
    ),
    "fill or kill kills": (
        {"side": "bid", "price": 101, "size": 9, "time_in_force": "FOK"},
        ["received t bid 9 [0:0]", "done t bid 9 canceled [0:0]"],
    ),
    "fill or kill fills": (
        {"side": "bid", "price": 101, "size": 8, "time_in_force": "FOK"},
        [
            "received t bid 8 [0:0]",
            "match a1 ask 5 [101:3]",
            "done a1 ask filled [0:0]",
            "match a2 ask 3 [101:0]",
            "done a2 ask filled [0:0]",
            "done t bid filled [0:0]",
        ],
    ),
    "post-only does not take": (
        {"side": "bid", "price": 101, "size": 1, "post_only": True},
        ["received t bid 1 [0:0]", "done t bid 1 canceled [0:0]"],
    ),
    "post-only rests": (
        {"side": "bid", "price": 100, "size": 1, "post_only": True},
        ["received t bid 1 [0:0]", "open t bid 1→1 [100:1]"],
    ),
    "a market order by size takes what there is": (
        {"side": "ask", "size": 7},
        [
            "received t ask 7 [0:0]",
            "match b1 bid 6 [99:0]",
            "done b1 bid filled [0:0]",
            "done t ask 1 canceled [0:0]",
        ],
    ),
    "a market order by funds buys whole lots only": (
        {"side": "bid", "funds": 5 * 101 + 250},
        [
            "received t bid [0:0]",
            "match a1 ask 5 [101:3]",
            "done a1 ask filled [0:0]",
            "match a2 ask 2 [101:1]",
            "done t bid filled [0:0]",
        ],
    ),
    "funds for less than a lot buy nothing": (
        {"side": "bid", "funds": 100},
        ["received t bid [0:0]", "done t bid canceled [0:0]"],
    ),
    "decrement and cancel: the smaller taker goes, the maker shrinks in its place": (
        {"side": "bid", "price": 101, "size": 6, "owner": 7, "self_trade": "DC"},
        [
            "received t bid 6 [0:0]",
            "match a1 ask 5 [101:3]",
            "done a1 ask filled [0:0]",
            "change a2 ask 3→2 [101:2]",
            "done t bid 1 canceled [0:0]",
        ],
    ),
    "decrement and cancel: the smaller maker goes, the taker shrinks off the book": (
        {"side": "bid", "price": 101, "size": 9, "owner": 7, "self_trade": "DC"},
        [
            "received t bid 9 [0:0]",
            "match a1 ask 5 [101:3]",
            "done a1 ask filled [0:0]",
            "done a2 ask 3 canceled [101:0]",
            "change t bid 4→1 [0:0]",
            "open t bid 9→1 [101:1]",
        ],
    ),
    "decrement and cancel: equals both go": (
        {"side": "bid", "price": 101, "size": 8, "owner": 7, "self_trade": "DC"},
        [
            "received t bid 8 [0:0]",
            "match a1 ask 5 [101:3]",
            "done a1 ask filled [0:0]",
            "done a2 ask 3 canceled [101:0]",
            "done t bid 3 canceled [0:0]",
        ],
    ),
    "cancel oldest": (
        {"side": "bid", "price": 102, "size": 6, "owner": 7, "self_trade": "CO"},
        [
            "received t bid 6 [0:0]",
            "match a1 ask 5 [101:3]",
            "done a1 ask filled [0:0]",
            "done a2 ask 3 canceled [101:0]",
            "match a3 ask 1 [102:3]",
            "done t bid filled [0:0]",
        ],
    ),
    "cancel newest": (
        {"side": "bid", "price": 102, "size": 6, "owner": 7, "self_trade": "CN"},
        [
            "received t bid 6 [0:0]",
            "match a1 ask 5 [101:3]",
            "done a1 ask filled [0:0]",
            "done t bid 1 canceled [0:0]",
        ],
    ),
    "cancel both": (
        {"side": "bid", "size": 6, "owner": 7, "self_trade": "CB"},
        [
            "received t bid 6 [0:0]",
            "match a1 ask 5 [101:3]",
            "done a1 ask filled [0:0]",
            "done a2 ask 3 canceled [101:0]",
            "done t bid 1 canceled [0:0]",
        ],
    ),
    "without a rule one may trade with oneself": (
        {"side": "bid", "price": 101, "size": 6, "owner": 7},
        [
            "received t bid 6 [0:0]",
            "match a1 ask 5 [101:3]",
            "done a1 ask filled [0:0]",
            "match a2 ask 1 [101:2]",
            "done t bid filled [0:0]",
        ],
    ),
    "fill or kill does not count on its owner's orders": (
        {
            "side": "bid",
            "price": 101,
            "size": 6,
            "owner": 7,
            "self_trade": "CO",
            "time_in_force": "FOK",
        },
        ["received t bid 6 [0:0]", "done t bid 6 canceled [0:0]"],
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_what_an_order_causes(desk: Desk, case: str) -> None:
    order, expected = CASES[case]
    before = len(desk.events)
    next_id = Desk()  # ids are a function of seed and count: the taker is the fifth order
    for _ in range(4):
        next_id.send("x", "bid", price=1, size=1)
    desk.names[next_id.send("t", "bid", price=1, size=1)] = "t"
    desk.send("t", **order)  # type: ignore[arg-type]
    assert desk.story(before) == expected
    assert [event.sequence for event in desk.events] == list(range(100, 100 + len(desk.events)))


def test_a_match_names_maker_taker_and_trade(desk: Desk) -> None:
    taker = desk.send("t", "bid", price=101, size=1)
    match = desk.events[-2]
    assert match.kind == "match"
    assert desk.names[match.order_id] == "a1"
    assert match.taker_order_id == taker
    assert match.trade_id is not None
    assert match.price == 101


def test_cancel_takes_from_the_middle_of_the_queue_and_is_idempotent(desk: Desk) -> None:
    (a2,) = [order_id for order_id, name in desk.names.items() if name == "a2"]
    assert desk.engine.cancel(a2, 50)
    assert desk.story(8) == ["done a2 ask 3 canceled [101:5]"]
    assert not desk.engine.cancel(a2, 51)
    assert len(desk.events) == 9


def test_time_never_runs_backwards(desk: Desk) -> None:
    desk.engine.submit(NewOrder("bid", size=1, price=1), 5)
    assert [event.ts for event in desk.events[-2:]] == [18, 19]


@pytest.mark.parametrize(
    ("order", "why"),
    [
        ({}, "an order has a size, or (market only) funds"),
        ({"size": 1, "funds": 1}, "an order has a size, or (market only) funds"),
        ({"size": 0}, "size must be positive"),
        ({"funds": -1}, "funds must be positive"),
        ({"size": 1, "price": 0}, "price must be positive"),
        ({"funds": 1, "price": 1}, "a limit order has a size"),
        ({"size": 1, "post_only": True}, "a market order cannot be post-only"),
        (
            {"size": 1, "price": 1, "post_only": True, "time_in_force": "IOC"},
            "post-only orders rest: they cannot be IOC or FOK",
        ),
        ({"funds": 1, "time_in_force": "FOK"}, "fill-or-kill needs a size"),
        (
            {"size": 1, "self_trade": "DC"},
            "decrement-and-cancel is not for market orders",
        ),
    ],
)
def test_refused_orders_leave_no_trace(desk: Desk, order: dict[str, object], why: str) -> None:
    with pytest.raises(OrderRefused) as caught:
        desk.engine.submit(NewOrder("bid", **order), 10)  # type: ignore[arg-type]
    assert str(caught.value) == why
    assert len(desk.events) == 8
