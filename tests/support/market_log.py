"""Raw logs of synthetic markets: what a live shell would have written, faults and all.

The markets are the exchange's engine without a server. The shell is played here: it answers what
the pipeline asks, late, stale or not at all, and every line it makes is kept.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from heapq import heappop, heappush
from itertools import count

from recorder.pipeline.output import Backfill, Output, RequestBook
from recorder.pipeline.pipeline import Pipeline
from recorder.raw_line import RawLine
from replay.exchange.periodic import snapshot_entry
from replay.exchange.synthetic import wire
from replay.exchange.synthetic.instruments import instrument_for
from replay.exchange.synthetic.level2 import Level2Batcher
from replay.exchange.synthetic.market import SyntheticMarket
from replay.exchange.synthetic.orders import EngineEvent
from schemas.kucoin.control import Control, Subscription, format_control
from schemas.kucoin.market import (
    L2Update,
    L3Event,
    format_l2_update,
    format_l3_event,
    format_match,
    format_ticker,
)
from schemas.kucoin.market_snapshot import MarketSnapshot, format_market_snapshot
from schemas.kucoin.profiles import profile_named
from schemas.kucoin.rest import (
    BookAnswer,
    format_api_error,
    format_book,
    format_histories,
    format_instruments,
)
from schemas.kucoin.topics import format_topic

PROFILE = profile_named("kucoin-2019")
T0 = 1_795_341_600_000_000_000  # 2026-11-22T10:00:00Z
MIDNIGHT = 1_795_392_000_000_000_000  # 2026-11-23T00:00:00Z
MS = 1_000_000
RUN = "20261122T100000.000000Z-test-1"


@dataclass(frozen=True)
class Story:
    """What a log tells.

    Attributes
    ----------
    steps : int         engine commands
    chance : float      of each fault, a frame
    level2_only : bool  no other feed
    l2_batch : int      most engine events in one level-2 message
    buffer_max : int    messages a stream holds while it waits for a book
    stops : bool        the run has its run_stop line
    """

    seed: int
    steps: int = 300
    chance: float = 0.01
    symbols: tuple[str, ...] = ("BTC-USDT", "SHIB-BTC")
    start: int = T0
    l2_batch: int = 4
    buffer_max: int = 10_000
    level2_only: bool = False
    lists_symbols: bool = True
    stops: bool = True
    run_id: str = RUN


class MarketLog:
    """Write one log; `lines` holds it."""

    def __init__(self, story: Story) -> None:
        self.story = story
        self.lines: list[RawLine] = []
        self.feeds = ("level2",) if story.level2_only else tuple(PROFILE.topics)
        self._random = random.Random(story.seed)
        # Apart: whether trades are asked for changes nothing else in the story.
        self._random_trades = random.Random(f"{story.seed}/trades")
        self._now = story.start
        self._ids = count(1)
        self._connections = count(1)
        self._up: list[int] = []
        self._due: list[tuple[int, int, Callable[[], None]]] = []
        self._step = 0
        self._pipeline = Pipeline()
        self._markets: dict[str, SyntheticMarket] = {}
        self._batchers: dict[str, Level2Batcher] = {}
        for symbol in story.symbols:
            market = SyntheticMarket(instrument_for(symbol), story.seed, keep_books=True)
            market.open_market(self._now)
            self._markets[symbol] = market
            self._batchers[symbol] = Level2Batcher(market.instrument, story.l2_batch, story.seed)
            market.observe(self._on_event)

    def write(self) -> list[RawLine]:
        """Tell the story."""
        story = self.story
        self._line(
            "run_start",
            run_id=story.run_id,
            version="test",
            profile=PROFILE.name,
            profile_hash=PROFILE.hash,
            symbols=list(story.symbols),
            feeds=list(self.feeds),
            limits={"buffer_updates_max": story.buffer_max},
        )
        if story.lists_symbols:
            instruments = [wire.wire_instrument(m.instrument) for m in self._markets.values()]
            url = f"http://127.0.0.1:1{PROFILE.symbols_path}"
            self._line("rest_answer", data=format_instruments(instruments), url=url, status=200)
        self._connect()
        for self._step in range(story.steps):
            self._turn()
        if story.stops:
            for connection in list(self._up):
                self._close(connection, "stopped")
            self._line("run_stop", reason="stopped")
        return self.lines

    # The shell

    def _turn(self) -> None:
        self._pass_time()
        while self._due and self._due[0][0] <= self._step:
            heappop(self._due)[2]()
        symbol = self._random.choice(self.story.symbols)
        market = self._markets[symbol]
        market.step(self._now)
        if not self.story.level2_only:
            self._push_figures(symbol, market)
        if self._has("rotate") and len(self._up) == 1:
            self._connect()
            old = self._up[0]
            self._later(self._random.randint(2, 20), lambda: self._close(old, "disconnected"))
        elif self._has("disconnect"):
            for connection in list(self._up):
                self._close(connection, "disconnected")
            self._later(self._random.randint(1, 10), self._connect)
        elif self._has("unsubscribe") and self._up:
            self._resubscribe(symbol)
        elif self._has("audit"):
            self._line("decision", what="audit", symbol=symbol)
            self._answer(symbol, "l2", None, 0)

    def _resubscribe(self, symbol: str) -> None:
        connection = self._up[-1]
        feed = self._random.choice(self.feeds)
        self._ask(connection, "unsubscribe", feed, (symbol,))
        self._later(
            self._random.randint(1, 10),
            lambda: connection in self._up and self._ask(connection, "subscribe", feed, (symbol,)),
        )

    def _pass_time(self) -> None:
        step = self._random.choice((0, 1, 7, 40)) * MS + self._random.randint(0, 999_999)
        if self._random.random() < self.story.chance / 4:
            step = -self._random.randint(1, 300) * MS  # the wall clock is set back
        self._now += step

    def _has(self, fault: str) -> bool:
        return self._random.random() < self.story.chance / (4 if fault == "disconnect" else 1)

    def _later(self, steps: int, act: Callable[[], object]) -> None:
        heappush(self._due, (self._step + steps, next(self._ids), act))  # type: ignore[arg-type]

    def _line(
        self, kind: str, connection: int = 0, data: bytes | None = None, **fields: object
    ) -> None:
        self._now += 1_000
        line = RawLine(kind, self._now, self._now - T0, connection, data, fields)
        self.lines.append(line)
        self._carry_out(self._pipeline.feed([line]))

    def _carry_out(self, output: Output) -> None:
        for command in output.commands:
            if isinstance(command, Backfill):
                self._ask_trades(command.symbol)
                continue
            symbol, stream = command.symbol, command.stream
            delay = self._random.randint(1, 12)
            if isinstance(command, RequestBook):
                request_id = command.request_id
                url = self._url(symbol, stream)
                asked = {"url": url, "symbol": symbol, "stream": stream, "request_id": request_id}
                self._later(1, lambda asked=asked: self._line("rest_request", **asked))
                self._later(
                    delay + 1,
                    lambda s=symbol, t=stream, i=request_id: self._answer(s, t, i, self._older()),
                )
            else:
                timer_id = command.timer_id
                self._later(
                    delay,
                    lambda s=symbol, t=stream, i=timer_id: self._line(
                        "timer", symbol=s, stream=t, timer_id=i
                    ),
                )

    def _ask_trades(self, symbol: str) -> None:
        path = PROFILE.histories_path.format(symbol=symbol)
        fields = {"url": f"http://127.0.0.1:1{path}", "symbol": symbol, "purpose": "backfill"}
        self._later(1, lambda: self._line("rest_request", **fields))
        self._later(self._random_trades.randint(2, 9), lambda: self._answer_trades(symbol, fields))

    def _answer_trades(self, symbol: str, fields: dict[str, str]) -> None:
        """Answer with the last trades as they are, or were, or not at all."""
        market = self._markets[symbol]
        trades = [wire.history_trade(market.instrument, t) for t in market.history.recent]
        chance = self._random_trades.random()
        if chance < 0.1:
            self._line("rest_failure", **fields, error="timeout")
        elif chance < 0.15:
            self._line("rest_answer", data=b'{"code":"429000"}', **fields, status=429)
        else:
            stale = self._random_trades.randint(1, 5) if chance < 0.4 else 0
            body = format_histories(trades[: len(trades) - stale])
            self._line("rest_answer", data=body, **fields, status=200)

    def _older(self) -> int:
        """Return how many events an answer lags behind: mostly none."""
        return self._random.randint(1, 200) if self._random.random() < 0.3 else 0

    def _answer(self, symbol: str, stream: str, request_id: int | None, older: int) -> None:
        fields = {"url": self._url(symbol, stream), "symbol": symbol, "stream": stream}
        if request_id is not None:
            fields["request_id"] = request_id  # type: ignore[assignment]
        chance = self._random.random()
        if chance < self.story.chance * 4:
            self._line("rest_failure", **fields, error="timeout")
        elif chance < self.story.chance * 8:
            body = format_api_error("429000", "too many requests")
            self._line("rest_answer", data=body, **fields, status=429)
        else:
            self._line("rest_answer", data=self._book(symbol, stream, older), **fields, status=200)

    def _book(self, symbol: str, stream: str, older: int) -> bytes:
        market = self._markets[symbol]
        books = market.books_before(older) if older else market.books()
        price, size = market.instrument.price_text, market.instrument.size_text
        if stream == "l2":
            sides = [[(price(p), size(s)) for p, s in side] for side in books.l2]
        else:
            sides = [[(o, price(p), size(s)) for o, p, s in side] for side in books.l3]
        return format_book(BookAnswer(books.sequence, self._now, *sides))

    @staticmethod
    def _url(symbol: str, stream: str) -> str:
        path = PROFILE.book_source(stream, signed=False).path
        return "http://127.0.0.1:1" + path.format(symbol=symbol)

    # Connections

    def _connect(self) -> None:
        connection = next(self._connections)
        self._up.append(connection)
        self._line("open", connection, endpoint="ws://127.0.0.1:1")
        self._recv(connection, format_control(Control("welcome", str(next(self._ids)))))
        for feed in self.feeds:
            self._ask(connection, "subscribe", feed, self.story.symbols)

    def _ask(self, connection: int, kind: str, feed: str, symbols: tuple[str, ...]) -> None:
        number = str(next(self._ids))
        topic = format_topic(PROFILE.topics[feed], symbols)
        self._line("send", connection, format_control(Subscription(kind, number, topic)))
        if self._random.random() < 0.9:  # else the first message tells
            self._recv(connection, format_control(Control("ack", number)))

    def _close(self, connection: int, reason: str) -> None:
        if connection in self._up:
            self._up.remove(connection)
            self._line("close", connection, reason=reason)

    def _recv(self, connection: int, data: bytes) -> None:
        self._line("recv", connection, data)

    # Frames

    def _on_event(self, market: SyntheticMarket, event: EngineEvent) -> None:
        symbol = market.instrument.symbol
        update = self._batchers[symbol].add(event)
        if update is not None:
            self._push("level2", format_l2_update(update))
        if self.story.level2_only:
            return
        self._push("level3", format_l3_event(wire.l3_event(market.instrument, event)))
        if event.kind == "match" and not self._has("twin"):
            self._push("match", format_match(wire.match(market.instrument, event)))
        if self._has("private"):
            kind = self._random.choice(("stop", "activate"))
            sequence = event.sequence
            private = L3Event(kind, symbol, sequence, "buy", event.ts, "o1", "1.5", "2")
            self._push("level3", format_l3_event(private))

    def _push(self, feed: str, frame: bytes) -> None:
        if self._has("drop"):
            return
        for connection in list(self._up):
            self._recv(connection, frame)
            if self._has("repeat"):
                self._recv(connection, frame)
            if self._has("garbage"):
                self._recv(connection, self._random.choice((frame[:-9], b"\xff\x00\x9d")))
            if self._has("malformed"):
                self._recv(connection, frame.replace(b'"sequence', b'"Sequence'))

    def _push_figures(self, symbol: str, market: SyntheticMarket) -> None:
        if self._random.random() < 0.1:
            self._push("ticker", format_ticker(wire.ticker(market)))
        if self._random.random() < 0.05:
            entry = snapshot_entry(wire.day_figures(market, self._now), self._now // MS)
            name = self._random.choice((symbol, market.instrument.market))
            pushed = MarketSnapshot(name, market.engine.sequence, [entry], "-" not in name)
            self._push("snapshot", format_market_snapshot(pushed))


def market_log(story: Story) -> list[RawLine]:
    """Return the lines of a story."""
    return MarketLog(story).write()


def l2_frame(symbol: str, start: int, end: int, *, asks: tuple = (), bids: tuple = ()) -> bytes:
    """Return a level-2 frame; changes are (price, size, sequence)."""
    return format_l2_update(L2Update(symbol, start, end, list(asks), list(bids)))


def whole_l2_book(sequence: int, bids: list[tuple[str, str]], asks: list[tuple[str, str]]) -> bytes:
    """Return the answer of the full level-2 book; rows are (price, size)."""
    return format_book(BookAnswer(sequence, None, list(bids), list(asks)))


def split_batches(lines: list[RawLine], draw: random.Random, size_max: int) -> list[list[RawLine]]:
    """Cut lines into batches of random sizes."""
    at, found = 0, []
    while at < len(lines):
        size = draw.randint(1, size_max)
        found.append(lines[at : at + size])
        at += size
    return found
