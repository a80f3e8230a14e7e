"""One websocket connection, from its opening to its close, as lines of the raw log.

The reader stamps a frame, appends it and reads on. Only after that does it look at the first bytes,
for the four control types the connection itself waits for.
"""

from __future__ import annotations

import asyncio
import re
import uuid
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import suppress
from urllib.parse import quote

import aiohttp

from recorder.clock import monotonic_ns, stamp_line, wall_ns
from recorder.logs import Log
from recorder.raw_line import RawLine
from recorder.subscriptions import Topic, Wish
from recorder.transport.endings import DISCONNECTED, SILENT, STOPPED, Broken
from recorder.transport.rate_limit import Budget
from recorder.transport.session import Session
from recorder.transport.sink import HeldLines, Sink
from recorder.transport.subscriber import (
    ACK_TIMEOUT_S,
    TOKEN_REFUSED,
    OnAnswered,
    Subscriber,
)
from schemas.kucoin.control import (
    Control,
    ErrorMessage,
    Subscription,
    WireError,
    format_control,
    parse_control,
    parse_frame,
)
from schemas.kucoin.profile import Profile
from schemas.kucoin.rest import Bullet

CONNECT_TIMEOUT_S = 10.0
WELCOME_TIMEOUT_S = 10.0
# The venue cuts us at its interval; half of it leaves a whole ping to be lost.
PING_SHARE = 0.5
# A full level-3 book in a frame would be some megabytes; beyond this it is no message of theirs.
FRAME_BYTES_MAX = 64 << 20
# A peer that does not answer our close must not hold up a stop or a reconnect.
CLOSE_TIMEOUT_S = 1.0
# An answer to a ping comes within a round trip and what is queued before it.
CATCH_UP_TIMEOUT_S = 5.0

_CONTROL = re.compile(rb'"type"\s*:\s*"(?:welcome|ack|pong|error)"')
_TOPIC = re.compile(rb'"topic"\s*:\s*"([^"]*)"')
_HEAD = 160

_Socket = aiohttp.ClientWebSocketResponse[bool]


class ConnectFailed(Exception):
    """No websocket was opened."""


class Connection:
    """Open, subscribe, read, ping, and say why it ended.

    Parameters
    ----------
    number : int          of this connection in the run, from 1
    topics : iterable     what to subscribe to, in this order
    profile : Profile
    sink : Sink           of every line
    uplink : Budget       of subscription messages, shared by all connections
    log : Log             with this connection bound
    on_answered : callable   see `Subscriber`
    listen_for : iterable    topics whose first message `wait_ready` waits for
    held : bool           its lines wait for `release`, which whoever says so must call

    Attributes
    ----------
    is_open : bool      between its `open` and its `close` line
    is_retired : bool   another connection has taken over
    opened_at : int     ns UTC; 0 before
    frames : int        received
    last_frame : int    ns UTC, of the newest; 0 before the first
    """

    def __init__(
        self,
        number: int,
        topics: Iterable[Topic],
        profile: Profile,
        sink: Sink,
        uplink: Budget,
        log: Log,
        on_answered: OnAnswered,
        listen_for: Iterable[Topic] = (),
        *,
        held: bool = False,
        ack_timeout_s: float = ACK_TIMEOUT_S,
        welcome_timeout_s: float = WELCOME_TIMEOUT_S,
    ) -> None:
        self.number = number
        self._sink: Sink = HeldLines(sink) if held else sink
        self._log = log
        self._subscriber = Subscriber(topics, profile, uplink, log, on_answered, ack_timeout_s)
        self._welcome_timeout_s = welcome_timeout_s
        self._welcome = asyncio.Event()
        self._pong = asyncio.Event()
        self._pings: dict[str, asyncio.Future[None]] = {}
        self._unheard = {
            Wish(feed, (symbol,)).topic(profile).encode() for feed, symbol in listen_for
        }
        self._all_heard = asyncio.Event()
        self._relief: Callable[[], Awaitable[None]] | None = None
        self._relieved = asyncio.Event()
        self._socket: _Socket | None = None
        self._held_back = False
        self.is_open = False
        self.opened_at = 0
        self.frames = 0
        self.last_frame = 0

    @property
    def carried(self) -> frozenset[Topic]:
        """The topics acknowledged, and not unsubscribed since."""
        return self._subscriber.carried

    @property
    def topics(self) -> int:
        """How many topics are carried."""
        return self._subscriber.topics

    @property
    def is_retired(self) -> bool:
        """True once another connection was told to take over."""
        return self._relief is not None

    def want(self, topics: Iterable[Topic]) -> None:
        """Want these topics, and no others, from now on."""
        self._subscriber.want(topics)

    def renew(self, topic: Topic) -> None:
        """Subscribe to a topic anew that is carried and brings nothing."""
        self._subscriber.renew(topic)

    def release(self) -> None:
        """Hold lines back no longer."""
        if isinstance(self._sink, HeldLines):
            self._sink.release()
            self._sink = self._sink.sink

    async def wait_settled(self) -> None:
        """Wait until everything wanted is carried or refused, and nothing else is carried."""
        await self._subscriber.wait_settled()

    async def wait_stuck(self) -> None:
        """Wait until it carries what is not wanted, and cannot be made not to."""
        await self._subscriber.wait_stuck()

    async def wait_ready(self, heard_within_s: float) -> None:
        """Wait until it is settled, and what it listens for was heard or had time enough."""
        await self.wait_settled()
        if self._unheard:
            with suppress(TimeoutError):
                async with asyncio.timeout(heard_within_s):
                    await self._all_heard.wait()

    async def catch_up(self) -> None:
        """Read on until everything the venue had sent before now has been read.

        It answers a ping behind what it sent before.

        Raises
        ------
        TimeoutError   when no answer comes
        """
        assert self._socket is not None
        identifier = str(wall_ns())
        answered = self._pings[identifier] = asyncio.get_running_loop().create_future()
        try:
            await self._send(self._socket, Control("ping", identifier))
            async with asyncio.timeout(CATCH_UP_TIMEOUT_S):
                await answered
        finally:
            del self._pings[identifier]

    def retire(self, relief: Callable[[], Awaitable[None]]) -> None:
        """Read no more; end once `relief` says that another connection has everything read here.

        Until then both count as carriers, so that a message both bring is known as one.
        """
        self._relief = relief
        self._relieved.set()

    async def run(self, session: Session, bullet: Bullet) -> str:
        """Live until the connection ends; return the reason. Cancelling it is a clean stop.

        Raises
        ------
        ConnectFailed   when it never opened; no line was written then
        """
        socket = self._socket = await self._open(session, bullet)
        self._append("open", {"endpoint": bullet.endpoint})
        self.is_open = True
        self.opened_at = wall_ns()
        self._log.info("connected", endpoint=bullet.endpoint)
        ending: dict[str, object] = {"reason": STOPPED}
        try:
            ending = {"reason": await self._live(socket, bullet)}
            if self._relief is not None:
                ending["rotated"] = True
                with suppress(TimeoutError, aiohttp.ClientError, OSError):
                    await self._relief()
                    # What nobody else carries now is not wanted any more.
                    ending["reason"] = STOPPED
        finally:
            # First the line, then the handshake: nothing read after it could still count.
            self._append("close", ending)
            self.is_open = False
            with suppress(TimeoutError, aiohttp.ClientError, OSError):
                async with asyncio.timeout(CLOSE_TIMEOUT_S):
                    await socket.close()
        return str(ending["reason"])

    async def _open(self, session: Session, bullet: Bullet) -> _Socket:
        connect_id = uuid.uuid4().hex
        joint = "&" if "?" in bullet.endpoint else "?"
        token = quote(bullet.token, safe="")
        url = f"{bullet.endpoint}{joint}token={token}&connectId={connect_id}"
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                return await session.ws_connect(
                    url,
                    decode_text=False,
                    heartbeat=None,
                    max_msg_size=FRAME_BYTES_MAX,
                    timeout=aiohttp.ClientWSTimeout(ws_close=CLOSE_TIMEOUT_S),
                )
        # The texts of these errors can hold the address, and with it the token.
        except aiohttp.WSServerHandshakeError as error:
            raise ConnectFailed(f"HTTP {error.status} instead of a websocket") from None
        except TimeoutError:
            raise ConnectFailed("no answer in time") from None
        except (aiohttp.ClientError, OSError) as error:
            text = str(error).replace(token, "…").replace(bullet.token, "…")
            raise ConnectFailed(text or type(error).__name__) from None

    async def _live(self, socket: _Socket, bullet: Bullet) -> str:
        """Run reader, pings and subscriptions until the first of them says it is over."""
        tasks = {
            asyncio.create_task(self._read(socket)),
            asyncio.create_task(self._keep_alive(socket, bullet)),
            asyncio.create_task(self._subscribe(socket)),
            asyncio.create_task(self._relieved.wait()),
        }
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                try:
                    await task  # only relief ends without an error
                except Broken as end:
                    self._log.warning("connection lost", reason=end.reason, problem=str(end))
                    return end.reason
                except (aiohttp.ClientError, OSError) as error:
                    self._log.warning("connection lost", reason=DISCONNECTED, problem=str(error))
                    return DISCONNECTED
            self._log.info("another connection takes over")
            return DISCONNECTED
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _read(self, socket: _Socket) -> None:
        """Stamp and append every frame. The hot loop: nothing else belongs here."""
        number = self.number
        receive = socket.receive
        text, binary = aiohttp.WSMsgType.TEXT, aiohttp.WSMsgType.BINARY
        unheard = self._unheard
        while True:
            message = await receive()
            kind = message.type
            if kind is text:
                data = message.data
                now = wall_ns()
                self._sink.append(RawLine("recv", now, monotonic_ns(), number, data))
                if _CONTROL.search(data, 0, _HEAD):
                    self._hear(data)
            elif kind is binary:
                data = message.data
                now = wall_ns()
                fields = {"opcode": "binary"}
                self._sink.append(RawLine("recv", now, monotonic_ns(), number, data, fields))
                if _CONTROL.search(data, 0, _HEAD):
                    self._hear(data)
            elif kind is aiohttp.WSMsgType.ERROR:
                self._append("recv", {"error": str(message.data)})
                raise Broken(DISCONNECTED, f"unreadable frame: {message.data}")
            else:
                code = socket.close_code
                raise Broken(DISCONNECTED, f"closed by the exchange, code {code}")
            self.last_frame = now
            self.frames += 1
            if unheard:
                self._note_heard(data)
            if self._sink.is_full:
                self._held_back = True
                await self._sink.wait_room()

    def _note_heard(self, data: bytes) -> None:
        """Cross a message's topic off what is listened for."""
        if match := _TOPIC.search(data):
            self._unheard.discard(match[1])
            if not self._unheard:
                self._all_heard.set()

    def _hear(self, data: bytes) -> None:
        """Tell whoever waits for this control message."""
        try:
            message = parse_control(parse_frame(data))
        except WireError:
            return  # kept like every frame; the pipeline names it garbage
        if isinstance(message, ErrorMessage):
            if self._subscriber.hear(message):
                return
            if message.code == TOKEN_REFUSED:
                raise Broken(DISCONNECTED, f"token refused: {message.text}")
            self._log.error("exchange reports an error", code=message.code, text=message.text)
        elif isinstance(message, Control):
            if message.type == "welcome":
                self._welcome.set()
            elif message.type == "pong":
                self._pong.set()
                waiting = self._pings.get(message.id)
                if waiting is not None and not waiting.done():
                    waiting.set_result(None)
            else:
                self._subscriber.hear(message)

    async def _keep_alive(self, socket: _Socket, bullet: Bullet) -> None:
        """Ping as the venue wants it; a pong that does not come ends the connection.

        Pings are no subscriptions and take nothing of their budget: one that had to queue behind
        a hundred subscriptions would come too late.
        """
        while True:
            await asyncio.sleep(bullet.ping_interval_ms * PING_SHARE / 1000)
            self._pong.clear()
            await self._send(socket, Control("ping", str(wall_ns() // 1_000_000)))
            while not self._pong.is_set():
                self._held_back = self._sink.is_full
                try:
                    async with asyncio.timeout(bullet.ping_timeout_ms / 1000):
                        await self._pong.wait()
                except TimeoutError:
                    # If it was us who did not read, the pong may be waiting in the socket.
                    if not self._held_back:
                        waited = f"no pong within {bullet.ping_timeout_ms} ms"
                        raise Broken(SILENT, waited) from None

    async def _subscribe(self, socket: _Socket) -> None:
        """Wait for the welcome, then ask for what is wanted."""
        try:
            async with asyncio.timeout(self._welcome_timeout_s):
                await self._welcome.wait()
        except TimeoutError:
            raise Broken(DISCONNECTED, "no welcome in time") from None
        await self._subscriber.run(lambda message: self._send(socket, message))

    async def _send(self, socket: _Socket, message: Control | Subscription) -> None:
        data = format_control(message)
        self._append("send", {}, data)
        await socket.send_str(data.decode())

    def _append(self, kind: str, fields: Mapping[str, object], data: bytes | None = None) -> None:
        self._sink.append(stamp_line(kind, fields, connection=self.number, data=data))
