"""Which streams are not in step, and the reason each is given."""

from __future__ import annotations

import pytest

from recorder.health.readiness import Unready, find_unready

BTC, ETH = "BTC-USDT", "ETH-BTC"


def test_all_in_step_is_an_empty_list() -> None:
    streams = {
        (BTC, "l2"): {"state": "synced", "gap": None},
        (BTC, "trades"): {"state": "up"},
        (ETH, "l2"): {"state": "bridging", "gap": None},
        (ETH, "trades"): {"state": "up"},
    }
    assert find_unready([BTC, ETH], ["level2", "match"], streams, {}) == []


@pytest.mark.parametrize(
    ("status", "refused", "reason"),
    [
        (None, None, "not subscribed yet"),
        ({"state": "down"}, None, "not subscribed"),
        ({"state": "down", "gap": "disconnected"}, None, "gap (disconnected), not subscribed"),
        ({"state": "buffering", "gap": None}, None, "waiting for its first book"),
        ({"state": "buffering", "gap": "sequence"}, None, "gap (sequence), waiting for a book"),
        (None, "code 404 no such topic", "refused by the exchange: code 404 no such topic"),
        # What the venue says outweighs what we know of the stream.
        ({"state": "down"}, "code 404", "refused by the exchange: code 404"),
    ],
)
def test_every_stream_that_is_not_says_why(
    status: dict[str, object] | None, refused: str | None, reason: str
) -> None:
    streams = {} if status is None else {(BTC, "l2"): status}
    answers = {} if refused is None else {(BTC, "level2"): refused}
    assert find_unready([BTC], ["level2"], streams, answers) == [Unready(BTC, "l2", reason)]


def test_what_is_not_wanted_any_more_holds_nothing_up() -> None:
    streams = {
        (BTC, "l2"): {"state": "synced"},
        (ETH, "l2"): {"state": "down", "gap": "stopped"},
        (BTC, "tickers"): {"state": "down"},
    }
    assert find_unready([BTC], ["level2"], streams, {(ETH, "level2"): "code 404"}) == []


def test_order_follows_the_symbols() -> None:
    found = find_unready([ETH, BTC], ["match", "level2"], {}, {})
    assert [(each.symbol, each.stream) for each in found] == [
        (ETH, "trades"),
        (ETH, "l2"),
        (BTC, "trades"),
        (BTC, "l2"),
    ]
