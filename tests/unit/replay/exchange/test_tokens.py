"""Tokens."""

from replay.exchange.tokens import LIFE_NS, TOKENS_KEPT, Tokens


def test_only_issued_tokens_are_valid_and_for_a_day() -> None:
    tokens = Tokens(1)
    token = tokens.issue(100)
    assert tokens.issue(100) != token
    assert tokens.is_valid(token, 100 + LIFE_NS - 1)
    assert not tokens.is_valid(token, 100 + LIFE_NS)
    assert not tokens.is_valid(token + "x", 100)
    assert not tokens.is_valid("", 100)


def test_memory_is_bounded() -> None:
    tokens = Tokens(1)
    first = tokens.issue(0)
    last = [tokens.issue(0) for _ in range(TOKENS_KEPT)][-1]
    assert not tokens.is_valid(first, 0)
    assert tokens.is_valid(last, 0)
