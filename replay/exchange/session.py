"""One websocket connection: welcome, ping, subscriptions, and a bounded queue towards the client.

Nothing here waits for a slow client: when its queue is full the connection is cut.
"""

import asyncio
import contextlib
from collections import deque
from dataclasses import dataclass, field

from aiohttp import WSCloseCode, WSMsgType, web

from replay.exchange.faulty_line import Cut, FaultyLine
from replay.exchange.frames import Opcode, encode_frame
from replay.exchange.hub import Hub, Topic
from replay.exchange.rate_limit import SlidingWindow
from replay.exchange.source import Push, Source
from replay.exchange.topic_names import resolve_topics
from schemas.kucoin.control import (
    Control,
    ErrorMessage,
    Subscription,
    WireError,
    format_control,
    parse_control,
    parse_frame,
)
from schemas.kucoin.profiles.kucoin_2019 import KUCOIN_2019

NS = 1_000_000_000

_FRAMES_PER_WRITE = 512
_UNSENT_MAX = 1 << 20
"""Bytes the operating system has not yet taken; beyond, messages wait in the bounded queue."""

_LOOK_AGAIN_S = 0.002

_GOODBYE_S = 1.0
"""What a stopping exchange gives a client to take what is queued for it and to say goodbye."""

BAD_REQUEST, DENIED, NOT_FOUND, TOO_MANY_REQUESTS, TOO_MANY_TOPICS = 400, 401, 404, 429, 509


@dataclass(frozen=True, slots=True)
class SessionLimits:
    """What one connection may do.

    Attributes
    ----------
    topics_max : int or None
        Topics a connection carries; None: any number.
    subscribes_per_minute : int or None
        Subscribe and unsubscribe messages, each counted apart; None: any number.
    idle_ns : int
        A client that sends no ping for so long is disconnected.
    queue_max, queue_bytes_max : int
        What may wait for a slow client before it is cut.
    """

    topics_max: int | None = KUCOIN_2019.limits.topics_per_connection
    subscribes_per_minute: int | None = KUCOIN_2019.limits.uplink_messages.count
    idle_ns: int = KUCOIN_2019.limits.idle_disconnect_s * NS
    queue_max: int = 50_000
    queue_bytes_max: int = 64 << 20


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
    """

    connection: str
    socket: web.WebSocketResponse
    transport: asyncio.Transport
    source: Source
    hub: Hub
    limits: SessionLimits
    line: FaultyLine | None = None
    cut_because: str | None = None
    topics: set[Topic] = field(default_factory=set)
    _queue: deque[tuple[bytes, Opcode]] = field(default_factory=deque)
    _queued_bytes: int = 0
    _wake: asyncio.Event = field(default_factory=asyncio.Event)
    _last_ping: int = 0
    _windows: dict[str, SlidingWindow] = field(default_factory=dict)

    async def serve(self, now: int) -> None:
        """Talk to the client until either side has had enough."""
        self._last_ping = now
        limit = self.limits.subscribes_per_minute
        if limit is not None:
            self._windows = {
                kind: SlidingWindow(limit, 60 * NS) for kind in ("subscribe", "unsubscribe")
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

    async def close(self) -> None:
        """End the connection with a closing handshake: the exchange goes away.

        A client that neither reads nor answers is cut after a second.
        """
        self.leave()
        try:
            async with asyncio.timeout(_GOODBYE_S):
                while self._queue:  # noqa: ASYNC110 - the writer tells nobody
                    await asyncio.sleep(0.01)
                await self.socket.close(code=WSCloseCode.GOING_AWAY, message=b"exchange stops")
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
        if isinstance(message, Subscription):
            self._change_subscription(message, now)
        elif isinstance(message, Control) and message.type == "ping":
            self._last_ping = now
            self._say(Control("pong", message.id))
        else:
            kind = message.type if isinstance(message, Control) else "error"
            self._refuse(message.id, BAD_REQUEST, f"type {kind} is not supported")

    def _change_subscription(self, request: Subscription, now: int) -> None:
        window = self._windows.get(request.type)
        if window is not None and not window.allow(now):
            self._refuse(
                request.id,
                TOO_MANY_REQUESTS,
                f"too many requests: {window.limit} {request.type} messages a minute are allowed",
            )
            return
        if request.private_channel:
            self._refuse(request.id, DENIED, "a public token opens no private channel")
            return
        topics = resolve_topics(self.source, request.topic)
        if topics is None:
            # One name that is not listed refuses the whole list.
            self._refuse(request.id, NOT_FOUND, f"topic {request.topic} is not found")
            return
        if request.type == "unsubscribe":
            for topic in topics & self.topics:
                self.hub.unsubscribe(self, topic)
            self.topics -= topics
            self._acknowledge(request)
            return
        limit = self.limits.topics_max
        if limit is not None and len(self.topics | topics) > limit:
            self._refuse(
                request.id,
                TOO_MANY_TOPICS,
                f"exceed max subscription count limitation of {limit} per session",
            )
            return
        # The ack goes first: a client may not understand messages of a topic before it.
        self._acknowledge(request)
        for topic in topics:
            self.hub.subscribe(self, topic)
        self.topics |= topics

    def _acknowledge(self, request: Subscription) -> None:
        if request.response:
            self._say(Control("ack", request.id))
