"""Level-2 messages from engine events."""

from itertools import pairwise

from replay.exchange.synthetic.instruments import Instrument
from replay.exchange.synthetic.level2 import Level2Batcher
from replay.exchange.synthetic.orders import EngineEvent, Side
from schemas.kucoin.market import L2Update

TOY = Instrument("AA-BB", 1, 2, 2, 1000, 100)


def event(sequence: int, side: Side, price: int, size: int) -> EngineEvent:
    """Make an event that leaves `size` at `price`."""
    return EngineEvent(sequence, sequence, "open", side, "x", price, size, price, size)


def test_one_event_one_message() -> None:
    batcher = Level2Batcher(TOY, 1, 1)
    assert batcher.add(event(5, "ask", 1005, 130)) == L2Update(
        "AA-BB", 5, 5, [("100.5", "1.3", 5)], []
    )
    assert batcher.add(event(6, "bid", 0, 0)) == L2Update("AA-BB", 6, 6, [], [("0", "0", 6)])
    assert batcher.flush() is None


def batch_of(*events: EngineEvent) -> L2Update | None:
    """Coalesce all of these into one message."""
    batcher = Level2Batcher(TOY, 10_000, 3)
    for one in events:
        assert batcher.add(one) is None
    return batcher.flush()


def test_changes_are_coalesced_with_the_last_sequence_and_unsorted() -> None:
    update = batch_of(
        event(1, "ask", 1005, 100),
        event(2, "ask", 1006, 200),
        event(3, "bid", 0, 0),
        event(4, "bid", 1000, 50),
        event(5, "ask", 1005, 0),
        event(6, "ask", 0, 0),
    )
    assert update == L2Update(
        "AA-BB", 1, 6, [("100.5", "0", 5), ("100.6", "2", 2)], [("100", "0.5", 4)]
    )


def test_one_empty_change_stands_for_a_batch_without_depth() -> None:
    assert batch_of(event(1, "ask", 0, 0), event(2, "bid", 0, 0)) == L2Update(
        "AA-BB", 1, 2, [], [("0", "0", 2)]
    )


def test_batches_have_different_sizes_and_leave_no_hole() -> None:
    batcher = Level2Batcher(TOY, 8, 1)
    updates = [batcher.add(event(n, "ask", 1000 + n, 1)) for n in range(1, 2_000)]
    spans = [(u.sequence_start, u.sequence_end) for u in updates if u is not None]
    assert {end - start + 1 for start, end in spans} == set(range(1, 9))
    assert spans[0][0] == 1
    assert all(a[1] + 1 == b[0] for a, b in pairwise(spans))
