"""The venue of a run: who hears which message, and what becomes of it on the way."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

import aiohttp
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
from schemas.kucoin.topics import parse_topic
from tests.simulation.faults import OF_MESSAGES, Faults
from tests.simulation.loop import VirtualClock
from tests.simulation.market import REFUSED, SYMBOLS, Message, Truth, truth_of
from tests.simulation.oddities import Oddities
from tests.simulation.rest import Rest, refused, request_info
from tests.simulation.sockets import SimulatedSocket

TURN_S = 0.3
# The longest that a change waits for the message that tells of it.
HALF_TOLD_S = 1.0
GARBAGE = (b"\xff\x00\x9d", b"", b"{", b"[1]", b"null", b'{"type":7}')
MESSAGE_FAULTS = tuple(OF_MESSAGES)
ENDS = {"cut", "reset", "bad_frame", "half_open", "no_pong", "token_expires"}
TOPIC_GONE = 404


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
        self.rest = Rest(self)
        self.faults = faults
        self.odd = Oddities(faults)
        self.rate = 1.0
        self.sockets: list[SimulatedSocket] = []  # of this process, all it ever had
        self.variants: dict[bytes, bytes] = {}  # of messages with a field more
        self.told: dict[str, int] = dict(starts)
        self.epochs: dict[str, list[Truth]] = {
            symbol: [truth_of(profile.name, symbol, 0)] for symbol in starts
        }
        self.epoch_ts: dict[str, int] = {}  # when numbers began anew
        self._starts = dict(starts)
        self._clock = clock
        self._feeds = {wire: feed for feed, wire in profile.topics.items()}
        self._open: list[SimulatedSocket] = []
        self._stopped_s = 0.0
        self._told_s = dict.fromkeys(starts, 0.0)  # when something was told last
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

    def truth_at(self, symbol: str, sequence: int) -> Truth | None:
        """Return the market of a symbol in whose series a number is."""
        return next((t for t in self.epochs[symbol] if t.has(sequence)), None)

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
        feed = {"l2": "level2", "l3": "level3", "trades": "match"}[stream]
        for position in range(told - 1, -1, -1):
            if truth.messages[position].feed == feed:
                return truth.messages[position].last
        return 0

    def tells(self, feed: str, symbol: str) -> bool:
        """Say whether somebody is subscribed to a topic and told of it.

        Where level 3 tells of trades, too, nothing is lost by a match topic that is silent.
        """
        topic = (feed, symbol)
        may_be_silent = feed == "match" and "level3" in self.profile.topics
        return any(
            topic in socket.topics and (may_be_silent or topic not in socket.silent)
            for socket in self._open
            if not socket.is_mute
        )

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
        for symbol in SYMBOLS:
            if self._clock.now_s - self._told_s[symbol] > HALF_TOLD_S:
                while self._is_half_told(symbol):
                    self.tell_next(symbol)
        self._plan_turn()

    def _is_half_told(self, symbol: str) -> bool:
        """Say whether a book has changed and nobody was told of it yet."""
        truth, told = self.truth(symbol), self.told[symbol]
        return 0 < told < len(truth.messages) and truth.is_half_told[told - 1]

    def tell_next(self, symbol: str) -> None:
        """Tell everybody the next message of a symbol."""
        truth = self.truth(symbol)
        position = self.told[symbol]
        if position >= len(truth.messages):
            return
        self.told[symbol] = position + 1
        self._told_s[symbol] = self._clock.now_s
        message = self.odd.instead_of(truth.messages[position], truth)
        for socket in list(self._open):
            if (message.feed, symbol) in socket.topics:
                self._tell(socket, message, symbol)

    def _tell(self, socket: SimulatedSocket, message: Message, symbol: str) -> None:
        """Tell one socket a message, or whatever becomes of it."""
        held = self._swapped.pop(id(socket), None)
        self._tell_or_spoil(socket, message, symbol)
        if held is not None:
            socket.push(held[1].data)
            if (held[1].feed, held[2]) == (message.feed, symbol):
                self._lose(message, symbol)  # it came before its turn

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
        if self.faults.strikes("silent_topic"):
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
            raise refused(url)
        if faults.strikes("connect_http_error"):
            raise aiohttp.WSServerHandshakeError(request_info(url), (), status=503)
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
