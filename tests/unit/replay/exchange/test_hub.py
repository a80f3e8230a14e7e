"""Subscriptions."""

import orjson

from replay.exchange.hub import Hub
from replay.exchange.source import Push
from schemas.kucoin.market import L2Update


class Ear:
    """A subscriber that remembers."""

    def __init__(self) -> None:
        self.heard: list[bytes] = []

    def deliver(self, push: Push, frame: bytes) -> None:
        assert orjson.loads(frame)["topic"].endswith(push.name)
        self.heard.append(frame)


def update(symbol: str) -> Push:
    return Push("level2", symbol, 1, 1, L2Update(symbol, 1, 1, [], []))


def test_only_subscribers_hear_and_everybody_hears_the_same_bytes() -> None:
    hub, one, two = Hub(), Ear(), Ear()
    hub.subscribe(one, ("level2", "AA-BB"))
    hub.subscribe(two, ("level2", "AA-BB"))
    hub.subscribe(two, ("level3", "CC-BB"))
    hub.publish(update("AA-BB"))
    hub.publish(update("CC-BB"))
    assert len(one.heard) == 1
    assert one.heard[0] is two.heard[0]
    assert hub.messages == 1
    assert hub.topics("level3") == ["CC-BB"]


def test_nobody_left_nothing_wanted() -> None:
    hub, ear = Hub(), Ear()
    hub.subscribe(ear, ("level2", "AA-BB"))
    assert hub.wants("level2", "AA-BB")
    hub.unsubscribe(ear, ("level2", "AA-BB"))
    hub.unsubscribe(ear, ("level2", "AA-BB"))
    assert not hub.wants("level2", "AA-BB")
    hub.publish(update("AA-BB"))
    assert not ear.heard
