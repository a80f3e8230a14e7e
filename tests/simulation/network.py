"""The venue and the way to it, as one object in memory that is as bad as a seed wants it.

`SimulatedSession` is what the recorder takes for its HTTP session: it has the few methods the
transport calls, and raises the library's own exceptions.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable
from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import Any
from urllib.parse import parse_qs, urlsplit

import aiohttp
import orjson
from multidict import CIMultiDict
from yarl import URL

from schemas.kucoin.control import (
    Control,
    ErrorMessage,
    Subscription,
    format_control,
    parse_control,
    parse_frame,
)
from schemas.kucoin.profile import Profile
from schemas.kucoin.rest import (
    Bullet,
    format_answer,
    format_api_error,
    format_bullet,
    format_histories,
    format_instruments,
    format_timestamp,
)
from schemas.kucoin.topics import parse_topic
from schemas.kucoin.venue_state import VenueStatus, format_status
from tests.simulation.faults import OF_MESSAGES, Faults
from tests.simulation.loop import VirtualClock
from tests.simulation.market import REFUSED, SYMBOLS, Message, Truth, listed, truth_of

# Short, so that a connection that died is noticed inside a seed.
PING_INTERVAL_MS, PING_TIMEOUT_MS = 6_000, 3_000
TURN_S = 0.3
GARBAGE = (b"\xff\x00\x9d", b"", b"{", b"[1]", b"null", b'{"type":7}')
MESSAGE_FAULTS = tuple(OF_MESSAGES)
ENDS = {"cut", "reset", "bad_frame", "half_open", "no_pong", "token_expires"}
TOPIC_GONE = 404


class _Frame:
    """What a socket hands out."""

    __slots__ = ("data", "type")

    def __init__(self, kind: aiohttp.WSMsgType, data: Any) -> None:
        self.type = kind
        self.data = data


class SimulatedSocket:
    """One websocket, both ends of it.

    Attributes
    ----------
    number : int         of the connection in its process, from 1
    delivered : list     frames the client has been handed, in order; None: one it refused
    troubles : list      faults that may end it
    silent : set         (feed, symbol) that are acknowledged, and nothing comes of
    ever_silent : set    that were
    closed_ts : int      wall clock when the client let go of it, ns
    """

    def __init__(self, venue: Venue, number: int) -> None:
        self.number = number
        self.delivered: list[bytes | None] = []
        self.troubles: list[str] = []
        self.closed_ts = 0
        self.topics: set[tuple[str, str]] = set()
        self.silent: set[tuple[str, str]] = set()
        self.ever_silent: set[tuple[str, str]] = set()
        self.is_open = True
        self.is_mute = False
        self.has_pong = True
        self.close_code: int | None = None
        self._venue = venue
        self._queue: deque[_Frame] = deque()
        self._waiting: asyncio.Future[None] | None = None
        self._blocked: list[_Frame] | None = None
        self._is_reset = False

    # The client's end

    async def receive(self) -> _Frame:
        """Return the next frame, or what there is instead."""
        while not self._queue:
            self._waiting = asyncio.get_running_loop().create_future()
            try:
                await self._waiting
            finally:
                self._waiting = None
        frame = self._queue.popleft()
        if frame.type in {aiohttp.WSMsgType.TEXT, aiohttp.WSMsgType.BINARY}:
            self.delivered.append(frame.data)
        elif frame.type is aiohttp.WSMsgType.ERROR:
            self.delivered.append(None)
        return frame

    async def send_str(self, text: str) -> None:
        """Send a message to the venue."""
        if self._is_reset or not self.is_open:
            raise aiohttp.ClientConnectionResetError("cannot write to closing transport")
        self._venue.hear(self, text)

    async def close(self) -> bool:
        """Close it."""
        self.closed_ts = self._venue.now_ns()
        if self._venue.faults.strikes("slow_close"):
            await asyncio.sleep(5.0)
        self.leave()
        return True

    # The venue's end

    def push(self, data: bytes, *, binary: bool = False) -> None:
        """Send a frame to the client."""
        if self.is_mute or not self.is_open:
            return
        kind = aiohttp.WSMsgType.BINARY if binary else aiohttp.WSMsgType.TEXT
        self._put(_Frame(kind, data))

    def end(self, kind: aiohttp.WSMsgType, data: Any, code: int | None) -> None:
        """End it from this side; what was sent before is still read."""
        if self.is_open:
            self.is_open = False
            self.close_code = code
            self._put(_Frame(kind, data))
            self._venue.forget(self)

    def reset(self) -> None:
        """End it at once: what is on its way is lost, and a send fails."""
        if self.is_open:
            self._is_reset = True
            self._queue.clear()
            if self._blocked is not None:
                self._blocked.clear()
            self.end(aiohttp.WSMsgType.CLOSED, None, 1006)

    def leave(self) -> None:
        """Take it off the venue's list."""
        self.is_open = False
        self._venue.forget(self)

    def block(self, seconds: float) -> None:
        """Hold everything up for a while; order stays."""
        if self._blocked is None:
            self._blocked = []
            asyncio.get_running_loop().call_later(seconds, self._unblock)

    def _unblock(self) -> None:
        held, self._blocked = self._blocked or [], None
        for frame in held:
            self._put(frame)

    def _put(self, frame: _Frame) -> None:
        if self._blocked is not None:
            self._blocked.append(frame)
            return
        self._queue.append(frame)
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)


class Venue:
    """The exchange, over all processes of a run.

    Parameters
    ----------
    profile : Profile
    starts : dict      symbol → message its market stands at
    """

    def __init__(
        self, profile: Profile, faults: Faults, clock: VirtualClock, starts: dict[str, int]
    ) -> None:
        self.profile = profile
        self.faults = faults
        self.rate = 1.0
        self.sockets: list[SimulatedSocket] = []  # of this process, all it ever had
        self.variants: dict[bytes, bytes] = {}  # of messages with a field more
        self.stale_books: set[tuple[str, str, int]] = set()
        self.told: dict[str, int] = dict(starts)
        self.epochs: dict[str, list[Truth]] = {
            symbol: [truth_of(profile.name, symbol, 0)] for symbol in starts
        }
        self.epoch_ts: dict[str, int] = {}  # when numbers began anew
        self._starts = dict(starts)
        self._clock = clock
        self._feeds = {wire: feed for feed, wire in profile.topics.items()}
        self._open: list[SimulatedSocket] = []
        self._tokens = 0
        self._stopped_s = 0.0
        self._spent_tokens: set[str] = set()
        self._refuses = ""
        self._swapped: dict[int, tuple[SimulatedSocket, Message, str]] = {}
        self._next_turn: asyncio.TimerHandle | None = None

    @property
    def draw(self) -> Any:
        """The seed's dice."""
        return self.faults.draw

    def now_ns(self) -> int:
        """Return the wall clock."""
        return self._clock.peek_ns()

    def truth(self, symbol: str) -> Truth:
        """Return the market of a symbol as it goes now."""
        return self.epochs[symbol][-1]

    def start(self, *, refuses_symbol: bool) -> None:
        """Serve a new process."""
        self._open.clear()
        self.sockets = []
        self._swapped.clear()
        self._refuses = REFUSED.symbol if refuses_symbol else ""
        self._go_on_without()
        self._plan_turn()

    def _go_on_without(self) -> None:
        """Let the market go on as it did while no process was there to hear."""
        away_s = self._clock.now_s - self._stopped_s
        for symbol, told in self.told.items():
            missed = int(away_s * self.draw.uniform(4.0, 8.0))
            self.told[symbol] = min(told + missed, len(self.truth(symbol).messages) - 1)

    def stop(self) -> None:
        """Serve nobody any more."""
        self._stopped_s = self._clock.now_s
        if self._next_turn is not None:
            self._next_turn.cancel()

    def begin_epoch(self, symbol: str) -> None:
        """Number a market anew, from far below."""
        if len(self.epochs[symbol]) == 1:
            self.faults.struck["sequence_epoch"] += 1
            self.epochs[symbol].append(truth_of(self.profile.name, symbol, 1))
            self.told[symbol] = self._starts[symbol] % 200
            self.epoch_ts[symbol] = self.now_ns()

    def sequence(self, symbol: str, stream: str) -> int:
        """Return the last number of a stream that has been told."""
        truth, told = self.truth(symbol), self.told[symbol]
        feed = {"l2": "level2", "l3": "level3"}[stream]
        for position in range(told - 1, -1, -1):
            if truth.messages[position].feed == feed:
                return truth.messages[position].last
        return 0

    def forget(self, socket: SimulatedSocket) -> None:
        """Take a socket off."""
        if socket in self._open:
            self._open.remove(socket)

    # The market's turns

    def _plan_turn(self) -> None:
        loop = asyncio.get_running_loop()
        wait_s = TURN_S * self.draw.uniform(0.2, 1.8) / self.rate
        self._next_turn = loop.call_later(wait_s, self._turn)

    def _turn(self) -> None:
        symbol = self.draw.choice(SYMBOLS)
        for _ in range(self.draw.choice((1, 1, 2, 4, 9))):
            self.tell_next(symbol)
        self._plan_turn()

    def tell_next(self, symbol: str) -> None:
        """Tell everybody the next message of a symbol."""
        truth = self.truth(symbol)
        position = self.told[symbol]
        if position >= len(truth.messages):
            return
        self.told[symbol] = position + 1
        message = truth.messages[position]
        for socket in list(self._open):
            if (message.feed, symbol) in socket.topics:
                self._tell(socket, message, symbol)

    def _tell(self, socket: SimulatedSocket, message: Message, symbol: str) -> None:
        """Tell one socket a message, or whatever becomes of it."""
        held = self._swapped.pop(id(socket), None)
        self._tell_or_spoil(socket, message, symbol)
        if held is not None:
            socket.push(held[1].data)

    def _tell_or_spoil(self, socket: SimulatedSocket, message: Message, symbol: str) -> None:
        data = message.data
        if (message.feed, symbol) in socket.silent or socket.is_mute:
            self._lose(message, symbol)
            return
        fault = self.faults.which(MESSAGE_FAULTS)
        if not fault:
            socket.push(data)
            return
        if fault in {"drop", "garbage", "malformed", "reorder"} or fault in ENDS:
            self._lose(message, symbol)
        if fault in {"garbage", "garbage_beside", "malformed", "bad_frame"}:
            self.faults.note(fault, self._clock.peek_ns(), socket.topics)
        if fault in ENDS or fault == "late":
            socket.troubles.append(fault)
        if fault == "duplicate_7":
            for _ in range(7):
                socket.push(data)
        elif fault == "reorder":
            self._swapped[id(socket)] = (socket, message, symbol)
        elif fault == "late":
            socket.block(self.draw.uniform(0.1, 4.0))
            socket.push(data)
        elif fault == "garbage":
            socket.push(data[: self.draw.randrange(len(data) - 1)])
        elif fault == "garbage_beside":
            socket.push(data)
            socket.push(self.draw.choice(GARBAGE))
        elif fault == "binary":
            socket.push(data, binary=True)
        elif fault == "unknown_type":
            socket.push(data)
            socket.push(b'{"id":"5","type":"notice","data":{"text":"maintenance soon"}}')
        elif fault == "unknown_topic":
            socket.push(data)
            socket.push(data.replace(b"/market/", b"/weather/"))
        elif fault == "new_field":
            widened = data.replace(b'"symbol"', b'"extraField":[1,{"a":null}],"symbol"', 1)
            self.variants[widened] = data
            socket.push(widened)
        elif fault == "malformed":
            socket.push(data.replace(b'"sequence', b'"Sequence'))
        elif fault == "cut":
            socket.end(aiohttp.WSMsgType.CLOSE, 1001, 1001)
        elif fault == "reset":
            socket.reset()
        elif fault == "bad_frame":
            error = aiohttp.WebSocketError(1002, "reserved bits are set")
            socket.end(aiohttp.WSMsgType.ERROR, error, 1002)
        elif fault == "half_open":
            socket.is_mute = True
        elif fault == "no_pong":
            socket.has_pong = False
        elif fault == "token_expires":
            expired = ErrorMessage("", 401, "token is expired")
            socket.push(format_control(expired))
            socket.end(aiohttp.WSMsgType.CLOSE, 1000, 1000)

    def _lose(self, message: Message, symbol: str) -> None:
        self.faults.note_lost(symbol, message.feed, message.position)

    # What clients say

    def hear(self, socket: SimulatedSocket, text: str) -> None:
        """Take in a message of a client."""
        message = parse_control(parse_frame(text))
        if isinstance(message, Subscription):
            self._hear_subscription(socket, message)
        elif isinstance(message, Control) and message.type == "ping" and socket.has_pong:
            socket.push(format_control(Control("pong", message.id)))

    def _hear_subscription(self, socket: SimulatedSocket, asked: Subscription) -> None:
        prefix, symbols = parse_topic(asked.topic)
        topics = [(self._feeds[prefix], symbol) for symbol in symbols]
        if asked.type == "unsubscribe":
            socket.topics.difference_update(topics)
            socket.silent.difference_update(topics)
            socket.push(format_control(Control("ack", asked.id)))
            return
        if self._refuses in symbols:
            self.faults.struck["refused_symbol"] += 1
            text = f"topic {asked.topic} is not found"
            self._answer(socket, format_control(ErrorMessage(asked.id, TOPIC_GONE, text)))
            return
        if self.faults.strikes("too_many_subscriptions"):
            text = "too many requests"
            self._answer(socket, format_control(ErrorMessage(asked.id, 429, text)))
            return
        if self.faults.strikes("no_ack"):
            socket.troubles.append("no_ack")
            return
        if self._feeds[prefix] != "match" and self.faults.strikes("silent_topic"):
            # Acknowledged, and nothing comes: for trades only more trades could show it.
            socket.silent.update(topics)
            socket.ever_silent.update(topics)
        delay_s = self.draw.uniform(0.1, 3.0) if self.faults.strikes("late_ack") else 0.0
        if self.faults.strikes("message_before_ack"):
            socket.topics.update(topics)
            delay_s += 0.4
            self._answer(socket, format_control(Control("ack", asked.id)), delay_s)
        else:
            self._answer(socket, format_control(Control("ack", asked.id)), delay_s, topics)

    def _answer(
        self,
        socket: SimulatedSocket,
        data: bytes,
        delay_s: float = 0.0,
        topics: Iterable[tuple[str, str]] = (),
    ) -> None:
        """Answer after a round trip; the topics are carried from then on."""

        def answer() -> None:
            socket.push(data)
            socket.topics.update(topics)

        loop = asyncio.get_running_loop()
        loop.call_later(delay_s + self.draw.uniform(0.005, 0.06), answer)

    # Connections

    async def connect(self, url: str) -> SimulatedSocket:
        """Open a websocket."""
        socket = SimulatedSocket(self, len(self.sockets) + 1)
        self.sockets.append(socket)
        token = URL(url).query["token"]
        is_spent = token in self._spent_tokens
        self._spent_tokens.add(token)
        await asyncio.sleep(self.draw.uniform(0.005, 0.08))
        faults = self.faults
        if faults.strikes("connect_hangs"):
            await asyncio.sleep(3_600.0)
        if faults.strikes("connect_refused"):
            raise _refused(url)
        if faults.strikes("connect_http_error"):
            raise aiohttp.WSServerHandshakeError(_request_info(url), (), status=503)
        self._open.append(socket)
        if is_spent or faults.strikes("token_refused"):
            socket.troubles.append("token_refused")
            socket.push(format_control(ErrorMessage("", 401, "token is invalid")))
            socket.end(aiohttp.WSMsgType.CLOSE, 1000, 1000)
        elif faults.strikes("no_welcome"):
            socket.troubles.append("no_welcome")
        else:
            socket.push(format_control(Control("welcome", str(socket.number))))
        return socket

    # REST

    async def answer(self, path: str, timeout_s: float) -> tuple[int, CIMultiDict[str], bytes]:
        """Answer a request: status, headers, body.

        Raises
        ------
        aiohttp.ClientError, TimeoutError
        """
        faults, draw = self.faults, self.draw
        url = f"http://venue{path}"
        if faults.strikes("slow_answer"):
            await asyncio.sleep(draw.uniform(0.2, 6.0))
        else:
            await asyncio.sleep(draw.uniform(0.005, 0.15))
        if faults.strikes("rest_refused"):
            raise _refused(url)
        if faults.strikes("rest_reset"):
            raise aiohttp.ServerDisconnectedError
        if faults.strikes("rest_timeout"):
            await asyncio.sleep(timeout_s)
            raise TimeoutError
        headers: CIMultiDict[str] = CIMultiDict()
        if faults.strikes("limit_429"):
            return 429, headers, format_api_error("429", "too many requests")
        if faults.strikes("limit_429_stated"):
            headers["gw-ratelimit-reset"] = str(draw.randrange(100, 6_000))
            return 429, headers, format_api_error("429000", "too many requests")
        if faults.strikes("overload_429000"):
            return 429, headers, format_api_error("429000", "server overload")
        if faults.strikes("crowded_200002"):
            return 429, headers, format_api_error("200002", "too many requests in a short period")
        if faults.strikes("wall_1015"):
            return 429, headers, b"<html><title>Access denied</title>error code: 1015</html>"
        if faults.strikes("server_error"):
            return draw.choice((500, 502, 503, 504)), headers, b"<html>bad gateway</html>"
        body = self._body(path)
        if faults.strikes("truncated_json"):
            # The front of it says that all is well.
            body = body[: draw.randrange(min(len(body) - 1, 40), len(body))]
        return 200, headers, body

    def _body(self, path: str) -> bytes:
        address, profile = urlsplit(path), self.profile
        if address.path == profile.bullet_path:
            self._tokens += 1
            bullet = Bullet(f"t{self._tokens}", "ws://venue", PING_INTERVAL_MS, PING_TIMEOUT_MS)
            return format_bullet(bullet)
        if address.path == profile.symbols_path:
            return format_instruments(listed())
        if address.path == profile.timestamp_path:
            return format_timestamp(self._clock.peek_ns())
        if address.path == profile.status_path:
            return format_status(VenueStatus("open"))
        symbol = parse_qs(address.query).get("symbol", [""])[0]
        if symbol not in self.told:
            return format_api_error("900001", "symbol does not exist")
        if address.path == urlsplit(profile.histories_path).path:
            return format_histories(self.truth(symbol).history[max(0, self.told[symbol] - 1)])
        source = profile.source_of_path(address.path)
        if source is None:
            return format_api_error("404000", "Url Not Found")
        return self._book(symbol, source.stream)

    def _book(self, symbol: str, stream: str) -> bytes:
        """Answer a book: as it is, or as it was."""
        answers = self.truth(symbol).books[stream]
        at = max(0, self.told[symbol] - 1)
        if self.faults.strikes("empty_book"):
            self.stale_books.add((symbol, stream, 0))
            return format_answer({"sequence": "0", "bids": None, "asks": None})
        older = 0
        if self.faults.strikes("stale_book"):
            older = self.draw.randrange(1, 60)
        elif self.faults.strikes("book_far_behind"):
            older = self.draw.randrange(200, 1_000)
        body = answers[max(0, at - older)]
        if older:
            sequence = int(orjson.loads(body)["data"]["sequence"])
            self.stale_books.add((symbol, stream, sequence))
        return body


class SimulatedSession:
    """The recorder's HTTP session."""

    def __init__(self, venue: Venue) -> None:
        self._venue = venue

    async def __aenter__(self) -> SimulatedSession:
        return self

    async def __aexit__(self, *_: object) -> None:
        pass

    async def ws_connect(self, url: str, **_: object) -> SimulatedSocket:
        """Open a websocket."""
        return await self._venue.connect(url)

    def request(
        self, method: str, url: URL, *, headers: object, timeout: aiohttp.ClientTimeout
    ) -> AbstractAsyncContextManager[_Response]:
        """Ask by HTTP."""
        del method, headers
        return _Request(self._venue, url.raw_path_qs, timeout.total or 300.0)


class _Request:
    def __init__(self, venue: Venue, path: str, timeout_s: float) -> None:
        self._venue, self._path, self._timeout_s = venue, path, timeout_s

    async def __aenter__(self) -> _Response:
        return _Response(*await self._venue.answer(self._path, self._timeout_s))

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        pass


class _Response:
    def __init__(self, status: int, headers: CIMultiDict[str], body: bytes) -> None:
        self.status = status
        self.headers = headers
        self._body = body

    async def read(self) -> bytes:
        return self._body


def _request_info(url: str) -> aiohttp.RequestInfo:
    return aiohttp.RequestInfo(URL(url), "GET", CIMultiDict(), URL(url))  # type: ignore[arg-type]


def _refused(url: str) -> aiohttp.ClientConnectorError:
    key = aiohttp.client_reqrep.ConnectionKey(
        URL(url).host or "", 80, False, True, None, None, None
    )
    return aiohttp.ClientConnectorError(key, ConnectionRefusedError(111, "connection refused"))
