"""One websocket connection, from its opening to its close, as lines of the raw log.

The reader stamps a frame, appends it and reads on. Only after that does it look at the first bytes,
for the four control types the connection itself waits for.
"""

from __future__ import annotations

import asyncio
import re
import time
import uuid
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Protocol
from urllib.parse import quote

import aiohttp

from recorder.clock import stamp_line
from recorder.logs import Log
from recorder.raw_line import RawLine
from recorder.subscriptions import Wish
from recorder.transport.rate_limit import Budget
from recorder.transport.session import Session
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
# An ack comes within a round trip; after three silences a new connection is the better idea.
ACK_TIMEOUT_S = 5.0
ACK_TRIES = 3
# The venue cuts us at its interval; half of it leaves a whole ping to be lost.
PING_SHARE = 0.5
# A full level-3 book in a frame would be some megabytes; beyond this it is no message of theirs.
FRAME_BYTES_MAX = 64 << 20
# A peer that does not answer our close must not hold up a stop or a reconnect.
CLOSE_TIMEOUT_S = 1.0
REFUSED_SUBSCRIBE_PAUSE_S = 10.0
# A topic refused may be listed later, or may have been refused by mistake: it is not given up.
REFUSED_AGAIN_S = 300.0

TOKEN_REFUSED = 401
TOO_MANY_REQUESTS = 429

DISCONNECTED = "disconnected"
SILENT = "silent"
STOPPED = "stopped"

_CONTROL = re.compile(rb'"type"\s*:\s*"(?:welcome|ack|pong|error)"')
_HEAD = 160

_Socket = aiohttp.ClientWebSocketResponse[bool]


class Sink(Protocol):
    """Where lines go."""

    def append(self, line: RawLine) -> None:
        """Take one line."""

    @property
    def is_full(self) -> bool:
        """True while no more should be read."""

    async def wait_room(self) -> None:
        """Wait while `is_full`."""


class ConnectFailed(Exception):
    """No websocket was opened."""


class _Broken(Exception):
    """The connection is of no more use.

    Attributes
    ----------
    reason : str    of the `close` line
    """

    def __init__(self, reason: str, problem: str) -> None:
        self.reason = reason
        super().__init__(problem)


class Connection:
    """Open, subscribe, read, ping, and say why it ended.

    Parameters
    ----------
    number : int          of this connection in the run, from 1
    wishes : Sequence     what to subscribe to, in this order
    profile : Profile
    sink : Sink           of every line
    uplink : Budget       of subscription messages, shared by all connections
    log : Log             with this connection bound
    on_answered : callable  told of each subscription answered at last: the wish, and None or what
        the venue refused it with, one symbol each then

    Attributes
    ----------
    is_open : bool   between its `open` and its `close` line
    """

    def __init__(
        self,
        number: int,
        wishes: Sequence[Wish],
        profile: Profile,
        sink: Sink,
        uplink: Budget,
        log: Log,
        on_answered: Callable[[Wish, str | None], None],
        *,
        ack_timeout_s: float = ACK_TIMEOUT_S,
        welcome_timeout_s: float = WELCOME_TIMEOUT_S,
    ) -> None:
        self._number = number
        self._wishes = tuple(wishes)
        self._profile = profile
        self._sink = sink
        self._uplink = uplink
        self._log = log
        self._on_answered = on_answered
        self._ack_timeout_s = ack_timeout_s
        self._welcome_timeout_s = welcome_timeout_s
        self._welcome = asyncio.Event()
        self._pong = asyncio.Event()
        self._asked: tuple[str, asyncio.Future[Control | ErrorMessage]] | None = None
        self._held_back = False
        self.is_open = False

    async def run(self, session: Session, bullet: Bullet) -> str:
        """Live until the connection ends; return the reason. Cancelling it is a clean stop.

        Raises
        ------
        ConnectFailed   when it never opened; no line was written then
        """
        socket = await self._open(session, bullet)
        self._append("open", {"endpoint": bullet.endpoint})
        self.is_open = True
        self._log.info("connected", endpoint=bullet.endpoint)
        reason = STOPPED
        try:
            reason = await self._live(socket, bullet)
        finally:
            # First the line, then the handshake: nothing read after it could still count.
            self._append("close", {"reason": reason})
            self.is_open = False
            with suppress(TimeoutError, aiohttp.ClientError, OSError):
                async with asyncio.timeout(CLOSE_TIMEOUT_S):
                    await socket.close()
        return reason

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
        }
        try:
            pending = tasks
            while True:
                done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    try:
                        await task  # the subscriber alone ends without an error
                    except _Broken as end:
                        self._log.warning("connection lost", reason=end.reason, problem=str(end))
                        return end.reason
                    except (aiohttp.ClientError, OSError) as error:
                        self._log.warning(
                            "connection lost", reason=DISCONNECTED, problem=str(error)
                        )
                        return DISCONNECTED
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _read(self, socket: _Socket) -> None:
        """Stamp and append every frame. The hot loop: nothing else belongs here."""
        number, sink, append = self._number, self._sink, self._sink.append
        receive, wall_ns, mono_ns = socket.receive, time.time_ns, time.monotonic_ns
        text, binary = aiohttp.WSMsgType.TEXT, aiohttp.WSMsgType.BINARY
        while True:
            message = await receive()
            kind = message.type
            if kind is text:
                data = message.data
                append(RawLine("recv", wall_ns(), mono_ns(), number, data))
                if _CONTROL.search(data, 0, _HEAD):
                    self._hear(data)
            elif kind is binary:
                fields = {"opcode": "binary"}
                append(RawLine("recv", wall_ns(), mono_ns(), number, message.data, fields))
                if _CONTROL.search(message.data, 0, _HEAD):
                    self._hear(message.data)
            elif kind is aiohttp.WSMsgType.ERROR:
                self._append("recv", {"error": str(message.data)})
                raise _Broken(DISCONNECTED, f"unreadable frame: {message.data}")
            else:
                code = socket.close_code
                raise _Broken(DISCONNECTED, f"closed by the exchange, code {code}")
            if sink.is_full:
                self._held_back = True
                await sink.wait_room()

    def _hear(self, data: bytes) -> None:
        """Tell whoever waits for this control message."""
        try:
            message = parse_control(parse_frame(data))
        except WireError:
            return  # kept like every frame; the pipeline names it garbage
        if isinstance(message, ErrorMessage):
            # The document gives an error the connection's id, not the request's: it answers
            # the one request outstanding, which is why there is never more than one.
            if not self._answer(message):
                self._log.error("exchange reports an error", code=message.code, text=message.text)
        elif isinstance(message, Control):
            if message.type == "welcome":
                self._welcome.set()
            elif message.type == "pong":
                self._pong.set()
            elif self._asked is not None and message.id == self._asked[0]:
                self._answer(message)

    def _answer(self, message: Control | ErrorMessage) -> bool:
        """Hand an answer to the request outstanding; False when there is none."""
        if self._asked is None or self._asked[1].done():
            return False
        self._asked[1].set_result(message)
        return True

    async def _keep_alive(self, socket: _Socket, bullet: Bullet) -> None:
        """Ping as the venue wants it; a pong that does not come ends the connection.

        Pings are no subscriptions and take nothing of their budget: one that had to queue behind
        a hundred subscriptions would come too late.
        """
        while True:
            await asyncio.sleep(bullet.ping_interval_ms * PING_SHARE / 1000)
            self._pong.clear()
            await self._send(socket, Control("ping", str(time.time_ns() // 1_000_000)))
            while not self._pong.is_set():
                self._held_back = self._sink.is_full
                try:
                    async with asyncio.timeout(bullet.ping_timeout_ms / 1000):
                        await self._pong.wait()
                except TimeoutError:
                    # If it was us who did not read, the pong may be waiting in the socket.
                    if not self._held_back:
                        waited = f"no pong within {bullet.ping_timeout_ms} ms"
                        raise _Broken(SILENT, waited) from None

    async def _subscribe(self, socket: _Socket) -> None:
        """Wait for the welcome, then ask until everything is subscribed."""
        try:
            async with asyncio.timeout(self._welcome_timeout_s):
                await self._welcome.wait()
        except TimeoutError:
            raise _Broken(DISCONNECTED, "no welcome in time") from None
        refused = await self._ask_for(socket, self._wishes)
        self._log.info("subscribed", messages=len(self._wishes), refused=len(refused))
        while refused:
            await asyncio.sleep(REFUSED_AGAIN_S)
            refused = await self._ask_for(socket, refused)

    async def _ask_for(self, socket: _Socket, wishes: Sequence[Wish]) -> list[Wish]:
        """Ask for one wish after the other until each is answered; return those refused."""
        refused = []
        queue = deque(wishes)
        while queue:
            wish = queue.popleft()
            answer = await self._ask(socket, wish)
            if not isinstance(answer, ErrorMessage):
                self._on_answered(wish, None)
                continue
            if answer.code == TOKEN_REFUSED:
                raise _Broken(DISCONNECTED, f"token refused: {answer.text}")
            if answer.code == TOO_MANY_REQUESTS:
                self._uplink.pause(REFUSED_SUBSCRIBE_PAUSE_S)
                queue.appendleft(wish)
            elif halves := wish.halves():
                # One bad symbol silences its whole message and is not named: look in each half.
                self._log.warning(
                    "subscription refused, asking for each half",
                    topic=wish.topic(self._profile),
                    code=answer.code,
                    text=answer.text,
                )
                queue.extendleft(reversed(halves))
            else:
                self._on_answered(wish, f"code {answer.code} {answer.text}")
                refused.append(wish)
        return refused

    async def _ask(self, socket: _Socket, wish: Wish) -> Control | ErrorMessage:
        """Send one subscription until it is answered; each try has an id of its own."""
        topic = wish.topic(self._profile)
        for attempt in range(1, ACK_TRIES + 1):
            await self._uplink.take()
            identifier = str(time.time_ns())
            answered: asyncio.Future[Control | ErrorMessage] = (
                asyncio.get_running_loop().create_future()
            )
            self._asked = (identifier, answered)
            try:
                await self._send(
                    socket, Subscription("subscribe", identifier, topic, response=True)
                )
                async with asyncio.timeout(self._ack_timeout_s):
                    return await answered
            except TimeoutError:
                self._log.warning("subscription not acknowledged", topic=topic, attempt=attempt)
            finally:
                self._asked = None
        raise _Broken(DISCONNECTED, f"{topic} not acknowledged after {ACK_TRIES} tries")

    async def _send(self, socket: _Socket, message: Control | Subscription) -> None:
        data = format_control(message)
        self._append("send", {}, data)
        await socket.send_str(data.decode())

    def _append(self, kind: str, fields: Mapping[str, object], data: bytes | None = None) -> None:
        self._sink.append(stamp_line(kind, fields, connection=self._number, data=data))
