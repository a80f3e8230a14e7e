"""What trades are called."""

from itertools import pairwise

from replay.exchange.synthetic.trade_ids import FIRST_TRADE_NUMBER, IdSpace, TradeNumbers


def test_ids_are_24_hex_digits_unique_and_not_in_order() -> None:
    space = IdSpace(1, "x")
    ids = [space.next() for _ in range(5_000)]
    assert all(len(text) == 24 and int(text, 16) >= 0 for text in ids)
    assert len(set(ids)) == 5_000
    assert ids != sorted(ids)
    assert ids[0] == IdSpace(1, "x").next() != IdSpace(2, "x").next()


def test_trade_numbers_grow_with_holes_and_are_the_same_in_every_run() -> None:
    numbers = TradeNumbers(1, "AA-BB")
    drawn = [int(numbers.next()) for _ in range(2_000)]
    again = TradeNumbers(1, "AA-BB")
    assert drawn == [int(again.next()) for _ in range(2_000)]
    assert drawn != [int(n) for n in (TradeNumbers(1, "AA-CC").next() for _ in range(2_000))]
    assert drawn[0] > FIRST_TRADE_NUMBER
    steps = {after - before for before, after in pairwise(drawn)}
    assert min(steps) > 1
    assert len(steps) > 1_000
