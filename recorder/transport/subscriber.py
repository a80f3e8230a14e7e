"""Bring what one connection carries to what is wanted of it, one question at a time.

An error names no topic and, in the document, not even the request: it answers the one request
outstanding, which is why there is never more than one.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Sequence

from recorder.clock import wall_ns
from recorder.logs import Log
from recorder.subscriptions import Topic, Wish, group_wishes
from recorder.transport.endings import DISCONNECTED, Broken
from recorder.transport.rate_limit import Budget
from schemas.kucoin.control import Control, ErrorMessage, Subscription
from schemas.kucoin.profile import Profile

# An ack comes within a round trip; after three silences a new connection is the better idea.
ACK_TIMEOUT_S = 5.0
ACK_TRIES = 3
REFUSED_SUBSCRIBE_PAUSE_S = 10.0
# A topic refused may be listed later, or may have been refused by mistake: it is not given up.
REFUSED_AGAIN_S = 300.0

TOKEN_REFUSED = 401
TOO_MANY_REQUESTS = 429

SUBSCRIBE, UNSUBSCRIBE = "subscribe", "unsubscribe"

Answer = Control | ErrorMessage
# Told of each subscription answered at last: the wish, and None or what it was refused with, one
# symbol each then.
OnAnswered = Callable[[Wish, str | None], None]
Send = Callable[[Subscription], Awaitable[None]]


class Subscriber:
    """What is wanted, asked for, carried and refused on one connection.

    Parameters
    ----------
    topics : iterable      wanted at first, in the order to ask for them
    profile : Profile
    uplink : Budget        of subscription messages, shared by all connections
    on_answered : callable
    """

    def __init__(
        self,
        topics: Iterable[Topic],
        profile: Profile,
        uplink: Budget,
        log: Log,
        on_answered: OnAnswered,
        ack_timeout_s: float = ACK_TIMEOUT_S,
    ) -> None:
        self._profile = profile
        self._uplink = uplink
        self._log = log
        self._on_answered = on_answered
        self._ack_timeout_s = ack_timeout_s
        self._wanted: dict[Topic, None] = dict.fromkeys(topics)
        self._carried: set[Topic] = set()
        self._refused: dict[Topic, float] = {}
        self._renewed: set[Topic] = set()
        self._changed = asyncio.Event()
        self._settled = asyncio.Event()
        self._stuck = asyncio.Event()
        self._asked: tuple[str, asyncio.Future[Answer]] | None = None

    @property
    def carried(self) -> frozenset[Topic]:
        """The topics acknowledged, and not unsubscribed since."""
        return frozenset(self._carried)

    @property
    def topics(self) -> int:
        """How many topics are carried."""
        return len(self._carried)

    def want(self, topics: Iterable[Topic]) -> None:
        """Want these topics, and no others, from now on."""
        wanted = dict.fromkeys(topics)
        if wanted == self._wanted:
            return
        self._wanted = wanted
        self._settled.clear()
        self._changed.set()

    def renew(self, topic: Topic) -> None:
        """Subscribe to a topic anew that is carried and brings nothing; else do nothing."""
        if topic in self._carried and topic in self._wanted:
            self._renewed.add(topic)
            self._settled.clear()
            self._changed.set()

    async def wait_settled(self) -> None:
        """Wait until everything wanted is carried or refused, and nothing else is carried."""
        await self._settled.wait()

    async def wait_stuck(self) -> None:
        """Wait until the venue refuses to end a subscription: only the connection can, then."""
        await self._stuck.wait()

    def hear(self, message: Answer) -> bool:
        """Take in an acknowledgement or an error; False when it answers nothing that was asked."""
        if self._asked is None or self._asked[1].done():
            return False
        if isinstance(message, Control) and message.id != self._asked[0]:
            return False
        self._asked[1].set_result(message)
        return True

    async def run(self, send: Send) -> None:
        """Ask for ever for what is missing, and give up what is not wanted any more.

        Raises
        ------
        Broken   when the connection is of no more use
        """
        while True:
            self._changed.clear()
            per_message = self._profile.limits.topics_per_message
            surplus = [
                topic
                for topic in self._carried
                if topic not in self._wanted or topic in self._renewed
            ]
            self._renewed.clear()
            # First what goes: it may be the room for what comes.
            await self._give_up(send, group_wishes(sorted(surplus), per_message))
            refused = self._due_again()
            missing = [
                topic
                for topic in self._wanted
                if topic not in self._carried and topic not in self._refused
            ]
            wishes = group_wishes(missing, per_message)
            # What was refused goes alone: together they would have to be told apart again.
            wishes += tuple(Wish(feed, (symbol,)) for feed, symbol in refused)
            await self._ask_for(send, wishes)
            if wishes or surplus:
                self._log.info(
                    "subscribed",
                    topics=len(self._carried),
                    given_up=len(surplus),
                    refused=len(self._refused),
                )
            if self._changed.is_set():
                continue
            self._settled.set()
            await self._wait_for_work()

    def _due_again(self) -> list[Topic]:
        """Forget refusals of what is not wanted any more; return those to ask for again."""
        now = asyncio.get_running_loop().time()
        self._refused = {t: at for t, at in self._refused.items() if t in self._wanted}
        return [topic for topic, at in self._refused.items() if at <= now]

    async def _wait_for_work(self) -> None:
        """Wait for another wish, or until what was refused is to be asked for again."""
        next_at = min(self._refused.values(), default=None)
        try:
            async with asyncio.timeout_at(next_at):
                await self._changed.wait()
        except TimeoutError:
            pass

    async def _ask_for(self, send: Send, wishes: Sequence[Wish]) -> None:
        """Subscribe to one wish after the other until each is answered."""
        queue = deque(wishes)
        while queue:
            wish = queue.popleft().within(self._wanted)
            if wish is None:
                continue
            answer = await self._ask(send, SUBSCRIBE, wish)
            if not isinstance(answer, ErrorMessage):
                self._carried.update(wish.topics)
                for topic in wish.topics:
                    self._refused.pop(topic, None)
                self._on_answered(wish, None)
            elif answer.code == TOO_MANY_REQUESTS:
                self._uplink.pause(REFUSED_SUBSCRIBE_PAUSE_S)
                queue.appendleft(wish)
            elif halves := self._halve(wish, answer):
                queue.extendleft(reversed(halves))
            else:
                self._on_answered(wish, f"code {answer.code} {answer.text}")
                again_at = asyncio.get_running_loop().time() + REFUSED_AGAIN_S
                self._refused[wish.topics[0]] = again_at

    async def _give_up(self, send: Send, wishes: Sequence[Wish]) -> None:
        """Unsubscribe from one wish after the other until each is answered."""
        queue = deque(wishes)
        while queue:
            wish = queue.popleft()
            answer = await self._ask(send, UNSUBSCRIBE, wish)
            if not isinstance(answer, ErrorMessage):
                self._carried.difference_update(wish.topics)
            elif answer.code == TOO_MANY_REQUESTS:
                self._uplink.pause(REFUSED_SUBSCRIBE_PAUSE_S)
                queue.appendleft(wish)
            elif halves := self._halve(wish, answer):
                queue.extendleft(reversed(halves))
            else:
                # Not asked again. Without an acknowledgement it counts as carried in the raw log.
                self._log.warning(
                    "end of a subscription refused",
                    topic=wish.topic(self._profile),
                    code=answer.code,
                    text=answer.text,
                )
                self._carried.difference_update(wish.topics)
                self._stuck.set()

    def _halve(self, wish: Wish, answer: ErrorMessage) -> tuple[Wish, ...]:
        """Split a message that was refused: one bad symbol silences all of it and is not named."""
        halves = wish.halves()
        if halves:
            self._log.warning(
                "subscription refused, asking for each half",
                topic=wish.topic(self._profile),
                code=answer.code,
                text=answer.text,
            )
        return halves

    async def _ask(self, send: Send, kind: str, wish: Wish) -> Answer:
        """Send one message until it is answered; each try has an id of its own."""
        topic = wish.topic(self._profile)
        for attempt in range(1, ACK_TRIES + 1):
            await self._uplink.take()
            identifier = str(wall_ns())
            answered: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
            self._asked = (identifier, answered)
            try:
                await send(Subscription(kind, identifier, topic, response=True))
                async with asyncio.timeout(self._ack_timeout_s):
                    answer = await answered
                if isinstance(answer, ErrorMessage) and answer.code == TOKEN_REFUSED:
                    raise Broken(DISCONNECTED, f"token refused: {answer.text}")
                return answer
            except TimeoutError:
                self._log.warning("subscription not acknowledged", topic=topic, attempt=attempt)
            finally:
                self._asked = None
        raise Broken(DISCONNECTED, f"{topic} not acknowledged after {ACK_TRIES} tries")
