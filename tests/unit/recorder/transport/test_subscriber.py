"""One connection's subscriptions: a silent one is made anew, and only that one."""

from __future__ import annotations

import asyncio

import structlog

from recorder.transport.rate_limit import Budget
from recorder.transport.subscriber import Subscriber
from schemas.kucoin.control import Control, Subscription
from schemas.kucoin.profile import Rate
from schemas.kucoin.profiles import profile_named

PROFILE = profile_named("kucoin-2019")
TOPICS = [("level2", "A-B"), ("level2", "C-D")]


async def test_a_silent_topic_is_given_up_and_asked_for_again() -> None:
    asked: list[tuple[str, str]] = []
    subscriber = Subscriber(
        TOPICS, PROFILE, Budget(Rate(1_000, 1.0)), structlog.get_logger(), lambda *answer: None
    )

    async def send(message: Subscription) -> None:
        asked.append((message.type, message.topic))
        asyncio.get_running_loop().call_soon(subscriber.hear, Control("ack", message.id))

    running = asyncio.create_task(subscriber.run(send))
    try:
        await subscriber.wait_settled()
        assert asked == [("subscribe", "/market/level2:A-B,C-D")]
        subscriber.renew(("level2", "E-F"))  # nothing this connection has
        subscriber.renew(("level2", "C-D"))
        await subscriber.wait_settled()
        assert asked[1:] == [
            ("unsubscribe", "/market/level2:C-D"),
            ("subscribe", "/market/level2:C-D"),
        ]
        assert subscriber.carried == set(TOPICS)
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
