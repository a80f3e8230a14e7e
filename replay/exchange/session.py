"""One websocket connection: welcome, ping, subscriptions, and a bounded queue towards the client.

Nothing here waits for a slow client: when its queue is full the connection is cut.
"""

import asyncio
import contextlib
from collections import deque
from dataclasses import dataclass, field

from aiohttp import WSCloseCode, WSMsgType, web

from replay.exchange.dialect import Dialect
from replay.exchange.faulty_line import Cut, FaultyLine
from replay.exchange.frame_log import FrameLog
from replay.exchange.frames import Opcode, encode_frame
from replay.exchange.hub import Hub, Topic
from replay.exchange.rate_limit import SlidingWindow
from replay.exchange.request_log import RequestLog
from replay.exchange.source import Push, Source
from replay.exchange.topic_names import TopicRefused
from schemas.kucoin.control import (
    Control,
    ErrorMessage,
    Subscription,
    WireError,
    format_control,
    parse_control,
    parse_frame,
)
from schemas.kucoin.profile import Limits, Rate
from schemas.kucoin.profiles.kucoin_2019 import KUCOIN_2019
from schemas.kucoin.topics import parse_topic

NS = 1_000_000_000

_FRAMES_PER_WRITE = 512
_UNSENT_MAX = 1 << 20
"""Bytes the operating system has not yet taken; beyond, messages wait in the bounded queue."""

_LOOK_AGAIN_S = 0.002

_GOODBYE_S = 1.0
"""What a stopping exchange gives a client to take what is queued for it and to say goodbye."""

BAD_REQUEST, DENIED, TOO_MANY_REQUESTS, TOO_MANY_TOPICS = 400, 401, 429, 509
TOKEN_ENDED = 4401
"""Close code of a connection whose token is no good, or no longer."""


@dataclass(frozen=True, slots=True)
class SessionLimits:
    """What one connection may do.

    Attributes
    ----------
    topics_max : int or None
        Topics a connection carries; None: any number.
    uplink : Rate or None
        Messages of a kind, as the dialect counts them together; None: any number.
    topics_per_message_max : int or None
        Topics of one subscription; None: any number.
    life_ns : int or None
        Age at which the connection ends; None: never.
    idle_ns : int
        A client that sends no ping for so long is disconnected.
    queue_max, queue_bytes_max : int
        What may wait for a slow client before it is cut.
    """

    topics_max: int | None = KUCOIN_2019.limits.topics_per_connection
    uplink: Rate | None = KUCOIN_2019.limits.uplink_messages
    topics_per_message_max: int | None = KUCOIN_2019.limits.topics_per_message
    life_ns: int | None = None
    idle_ns: int = KUCOIN_2019.limits.idle_disconnect_s * NS
    queue_max: int = 50_000
    queue_bytes_max: int = 64 << 20

    @classmethod
    def of(cls, limits: Limits) -> "SessionLimits":
        """Return what a profile allows."""
        life = limits.token_life_s
        return cls(
            limits.topics_per_connection,
            limits.uplink_messages,
            limits.topics_per_message,
            None if life is None else life * NS,
            limits.idle_disconnect_s * NS,
        )


@dataclass(eq=False)
class Session:
    """The server's end of one connection.

    Parameters
    ----------
    connection : str
        The client's connectId, or one made up for it.
    transport : asyncio.Transport
        Aborted when the connection is cut.
    line : FaultyLine or None
        The faults on the way to this client; None: none can happen.
    frame_log : FrameLog or None
        Numbers what is sent; None: nobody counts.
    """

    connection: str
    socket: web.WebSocketResponse
    transport: asyncio.Transport
    source: Source
    hub: Hub
    dialect: Dialect
    limits: SessionLimits
    line: FaultyLine | None = None
    log: RequestLog = field(default_factory=RequestLog)
    frame_log: FrameLog | None = None
    cut_because: str | None = None
    topics: set[Topic] = field(default_factory=set)
    _queue: deque[tuple[bytes, Opcode]] = field(default_factory=deque)
    _queued_bytes: int = 0
    _written: int = 0
    _wake: asyncio.Event = field(default_factory=asyncio.Event)
    _last_ping: int = 0
    _opened: int = 0
    _windows: dict[frozenset[str], SlidingWindow] = field(default_factory=dict)
    _ending: asyncio.Task[None] | None = None

    async def serve(self, now: int) -> None:
        """Talk to the client until either side has had enough."""
        self._last_ping = self._opened = now
        uplink = self.limits.uplink
        if uplink is not None:
            self._windows = {
                kinds: SlidingWindow(uplink.count, round(uplink.window_s * NS))
                for kinds in self.dialect.uplinks
            }
        writer = asyncio.create_task(self._write())
        try:
            self._say(Control("welcome", self.connection))
            async for message in self.socket:
                if message.type in (WSMsgType.TEXT, WSMsgType.BINARY):
                    self._hear(message.data)
                elif message.type is WSMsgType.ERROR:
                    break
        finally:
            self.leave()
            writer.cancel()
            with contextlib.suppress(asyncio.CancelledError, ConnectionError):
                await writer

    @property
    def waiting(self) -> int:
        """Messages the client has not yet taken."""
        return len(self._queue)

    def leave(self) -> None:
        """Give up all subscriptions."""
        for topic in self.topics:
            self.hub.unsubscribe(self, topic)
        self.topics.clear()

    @property
    def ended_because(self) -> str | None:
        """Why the exchange ended the connection, if it did while it went on itself."""
        return "token expired" if self._ending is not None else self.cut_because

    async def close(
        self, code: int = WSCloseCode.GOING_AWAY, reason: bytes = b"exchange stops"
    ) -> None:
        """End the connection with a closing handshake: the exchange goes away.

        A client that neither reads nor answers is cut after a second.
        """
        self.leave()
        try:
            async with asyncio.timeout(_GOODBYE_S):
                while self._queue:  # noqa: ASYNC110 - the writer tells nobody
                    await asyncio.sleep(0.01)
                await self.socket.close(code=code, message=reason)
        except TimeoutError:
            self.cut("stopped")

    def cut(self, why: str) -> None:
        """End the connection at once, without a closing handshake."""
        if self.cut_because is None:
            self.cut_because = why
            self.leave()
            self._queue.clear()
            self._queued_bytes = 0
            self.transport.abort()

    def deliver(self, push: Push, frame: bytes) -> None:
        """Queue a push, or whatever the faults make of it."""
        if self.line is None:
            self._enqueue(frame)
            return
        for action in self.line.offer(push, frame, self.source.now()):
            if isinstance(action, Cut):
                self.cut("fault")
                return
            self._enqueue(action.data, action.opcode)

    def tick(self, now: int) -> None:
        """Do what time alone brings about: release delayed messages, miss the client's ping."""
        if now - self._last_ping > self.limits.idle_ns:
            self.cut("no ping")
            return
        life = self.limits.life_ns
        if life is not None and now - self._opened >= life and self._ending is None:
            # In band first, then the connection ends, as clients of the exchange report it.
            self._refuse(self.connection, DENIED, "token is expired")
            self._ending = asyncio.create_task(self.close(TOKEN_ENDED, b"token is expired"))
            return
        if self.line is not None:
            for send in self.line.release(now):
                self._enqueue(send.data, send.opcode)

    def _enqueue(self, data: bytes, opcode: Opcode = "text") -> None:
        if self.cut_because is not None:
            return
        limits = self.limits
        if len(self._queue) >= limits.queue_max or self._queued_bytes >= limits.queue_bytes_max:
            self.cut("slow client")
            return
        # Framed only when written: all sessions share the bytes of a push.
        self._queue.append((data, opcode))
        self._queued_bytes += len(data)
        self._wake.set()

    async def _write(self) -> None:
        """Write what is queued, many frames a call, no faster than the client reads."""
        queue, transport = self._queue, self.transport
        while True:
            while queue:
                # asyncio tells only the protocol, which is aiohttp's, when the buffer is low again.
                # A closed TLS transport cannot even be asked; what is queued for it is nobody's.
                while (  # noqa: ASYNC110
                    not transport.is_closing() and transport.get_write_buffer_size() > _UNSENT_MAX
                ):
                    await asyncio.sleep(_LOOK_AGAIN_S)
                if transport.is_closing():
                    return
                taken = [queue.popleft() for _ in range(min(len(queue), _FRAMES_PER_WRITE))]
                self._queued_bytes -= sum(len(data) for data, _ in taken)
                if self.frame_log is not None:
                    # Only here is a frame sure to be sent, and what came before it as well.
                    taken = self.frame_log.number(
                        self.connection, self._written + 1, taken, self.source.now()
                    )
                self._written += len(taken)
                transport.write(b"".join([encode_frame(*frame) for frame in taken]))
            self._wake.clear()
            await self._wake.wait()

    def _say(self, message: Control | ErrorMessage) -> None:
        if self.line is None or not self.line.is_mute(self.source.now()):
            self._enqueue(format_control(message))

    def _refuse(self, identifier: str, code: int, text: str) -> None:
        self._say(ErrorMessage(identifier, code, text))

    def _hear(self, data: str | bytes) -> None:
        now = self.source.now()
        try:
            message = parse_control(parse_frame(data))
        except WireError as problem:
            self._refuse(self.connection, BAD_REQUEST, f"message is not understood: {problem}")
            return
        if not isinstance(message, ErrorMessage) and not self._may_say(message, now):
            return
        if isinstance(message, Subscription):
            self._change_subscription(message)
        elif isinstance(message, Control) and message.type == "ping":
            self._last_ping = now
            self._say(Control("pong", message.id))
        else:
            kind = message.type if isinstance(message, Control) else "error"
            self._refuse(message.id, BAD_REQUEST, f"type {kind} is not supported")

    def _may_say(self, message: Control | Subscription, now: int) -> bool:
        """Count a message of the client; False, and refused, if it is one too many."""
        self.log.write(
            "uplink",
            now,
            connection=self.connection,
            type=message.type,
            topic=message.topic if isinstance(message, Subscription) else None,
        )
        for kinds, window in self._windows.items():
            if message.type in kinds and not window.allow(now):
                assert self.limits.uplink is not None, "it made the window"
                self._refuse(
                    message.id,
                    TOO_MANY_REQUESTS,
                    f"too many requests: {window.limit} messages ({', '.join(sorted(kinds))}) "
                    f"in {self.limits.uplink.window_s:g} s are allowed",
                )
                return False
        return True

    def _change_subscription(self, request: Subscription) -> None:
        if request.private_channel:
            self._refuse(request.id, DENIED, "a public token opens no private channel")
            return
        if request.type == "unsubscribe" and (held := self._held(request.topic)):
            # Also of a symbol that is listed no more.
            self._give_up(held)
            self._acknowledge(request)
            return
        try:
            topics = self.dialect.resolve(self.source, request.topic)
        except TopicRefused as problem:
            self._refuse(request.id, problem.code, problem.text)
            return
        if request.type == "unsubscribe":
            self._give_up(topics & self.topics)
            self._acknowledge(request)
            return
        limits = self.limits
        if limits.topics_max is not None and len(self.topics | topics) > limits.topics_max:
            self._refuse_topics(request, f"{limits.topics_max} per session")
            return
        most = limits.topics_per_message_max
        if most is not None and len(topics) > most:
            self._refuse_topics(request, f"{most} per time")
            return
        # The ack goes first: a client may not understand messages of a topic before it.
        self._acknowledge(request)
        for topic in topics:
            self.source.wake(topic[1])
            self.hub.subscribe(self, topic)
        self.topics |= topics

    def _held(self, text: str) -> set[Topic] | None:
        """Return the topics of a list, if all of it is subscribed to."""
        prefix, names = parse_topic(text)
        feed = self.dialect.feeds.get(prefix)
        if feed is None:
            return None
        topics: set[Topic] = {(feed, name.strip()) for name in names}
        return topics if topics <= self.topics else None

    def _give_up(self, topics: set[Topic]) -> None:
        for topic in topics:
            self.hub.unsubscribe(self, topic)
        self.topics -= topics

    def _refuse_topics(self, request: Subscription, most: str) -> None:
        self._refuse(
            request.id, TOO_MANY_TOPICS, f"exceed max subscription count limitation of {most}"
        )

    def _acknowledge(self, request: Subscription) -> None:
        if request.response:
            self._say(Control("ack", request.id))
