"""Raw logs of today's dialect: partial seeds, overlapping ranges, a price that walks away.

The market is the plainest there is: two dictionaries, and a copy of them at every number. The
shell is played here, with answers that are late, stale, ahead of the stream, refused, or twice.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from heapq import heappop, heappush
from itertools import count

from recorder.pipeline.output import ArmTimer, Backfill, Output, RequestBook, Reseed
from recorder.pipeline.pipeline import Pipeline
from recorder.raw_line import RESEED, RawLine
from schemas.kucoin.control import Control, Subscription, format_control
from schemas.kucoin.market import L2Update, Match, format_l2_update, format_match
from schemas.kucoin.profiles.kucoin_classic import KUCOIN_CLASSIC
from schemas.kucoin.rest import BookAnswer, format_api_error, format_book
from tests.support.market_log import MS, RUN, T0

SYMBOL = "BTC-USDT"
DEPTH = 20  # of the source asked here: a tenth of the levels the book has
URL = f"http://127.0.0.1:1/api/v1/market/orderbook/level2_{DEPTH}?symbol={SYMBOL}"
Sides = tuple[dict[int, int], dict[int, int]]  # bids and asks: price in cents → size in hundredths


@dataclass(frozen=True)
class ClassicStory:
    """What a log tells.

    Attributes
    ----------
    steps : int       turns of the market
    chance : float    of each fault, an occasion
    walk : int        cents the middle moves in a turn, at most
    drift_at : int    turn at which a level changes without a word, -1 never
    loses : bool      messages may be lost and connections cut
    """

    seed: int
    steps: int = 150
    chance: float = 0.05
    walk: int = 3
    drift_at: int = -1
    loses: bool = True


class ClassicMarket:
    """A book at every number, and messages that tell of ranges of numbers."""

    def __init__(self, draw: random.Random) -> None:
        self._draw = draw
        self.first = self.sequence = draw.randrange(1, 10**10)
        self._middle = 10_000
        self._way = draw.choice((-1, 1))
        near = range(1, 200)
        bids = {self._middle - n: draw.randint(1, 900) for n in near if draw.random() < 0.7}
        asks = {self._middle + n: draw.randint(1, 900) for n in near if draw.random() < 0.7}
        self.books: list[Sides] = [(bids, asks)]
        self._changes: list[tuple[int, int, int] | None] = [None]  # side, price, size
        self._told = self.sequence

    def book(self, sequence: int) -> Sides:
        """Return the true book at a number."""
        return self.books[sequence - self.first]

    def turn(self, walk: int) -> None:
        """Move the middle and change a few levels about it, each under a number of its own."""
        draw = self._draw
        if draw.random() < 0.03:
            self._way = -self._way
        self._middle += self._way * draw.randint(0, walk)
        bids, asks = self.books[-1]
        for price in sorted((p for p in bids if p >= self._middle), reverse=True):
            self._change(0, price, 0)
        for price in sorted(p for p in asks if p <= self._middle):
            self._change(1, price, 0)
        for _ in range(draw.randint(1, 6)):
            side, away = draw.randrange(2), 1 + int(draw.expovariate(0.02))
            size = 0 if draw.random() < 0.3 else draw.randint(1, 900)
            self._change(side, self._middle - away if side == 0 else self._middle + away, size)
        if draw.random() < 0.3:  # a number that moves no level, as hidden trades have one
            self._note(None)

    def change_in_silence(self, reach: int) -> None:
        """Change a level near the touch, and never tell of it: a fault of the feed."""
        bids = dict(self.books[-1][0])
        price = sorted(bids, reverse=True)[reach]
        bids[price] += 1
        self.books[-1] = (bids, self.books[-1][1])

    def tell(self) -> L2Update:
        """Return the next message: it may reach back, and tells each price once, unsorted."""
        draw = self._draw
        start = self._told + 1
        if draw.random() < 0.4:
            start = max(self.first + 1, start - draw.randint(1, 4))
        latest: dict[tuple[int, int], tuple[str, str, int]] = {}
        unused: list[tuple[str, str, int]] = []
        for sequence in range(start, self.sequence + 1):
            change = self._changes[sequence - self.first]
            if change is not None:
                side, price, size = change
                latest[side, price] = (text(price), text(size), sequence)
            elif draw.random() < 0.5:
                unused.append(("0", "0", sequence))
        sides = [[row for (side, _), row in latest.items() if side == one] for one in (0, 1)]
        sides[draw.randrange(2)] += unused
        for rows in sides:
            draw.shuffle(rows)
        self._told = self.sequence
        bids, asks = sides
        return L2Update(SYMBOL, start, self.sequence, asks, bids, T0)

    def _change(self, side: int, price: int, size: int) -> None:
        sides = (dict(self.books[-1][0]), dict(self.books[-1][1]))
        sides[side].pop(price, None)
        if size:
            sides[side][price] = size
        self._note((side, price, size), sides)

    def _note(self, change: tuple[int, int, int] | None, book: Sides | None = None) -> None:
        self.sequence += 1
        self._changes.append(change)
        self.books.append(book or self.books[-1])


class ClassicLog:
    """Write one log; `lines` holds it, `market` the truth."""

    def __init__(self, story: ClassicStory) -> None:
        self.story = story
        self.lines: list[RawLine] = []
        self.trades: list[str] = []  # ids in the order they were told first
        self._draw = random.Random(story.seed)
        self.market = ClassicMarket(self._draw)
        self._now = T0
        self._ids = count(1)
        self._connections = count(1)
        self._up: list[int] = []
        self._queue: list[bytes] = []  # said, not yet delivered
        self._due: list[tuple[int, int, Callable[[], None]]] = []
        self._step = 0
        self._calm = False
        self._pipeline = Pipeline()

    def write(self) -> list[RawLine]:
        """Tell the story; at its end the faults stop, so that what is wanted can be had."""
        story = self.story
        self._line("run_start", run_id=RUN, profile=KUCOIN_CLASSIC.name, symbols=[SYMBOL])
        self._connect()
        for self._step in range(story.steps):
            self._turn()
        self._calm = True
        for self._step in range(story.steps, story.steps + 60):
            self._turn()
        self._line("run_stop", reason="stopped")
        return self.lines

    def _turn(self) -> None:
        self._now += self._draw.randint(0, 40 * MS)
        while self._due and self._due[0][0] <= self._step:
            heappop(self._due)[2]()
        if self._step == self.story.drift_at:
            self.market.change_in_silence(self._draw.randrange(3))
        self.market.turn(0 if self._calm else self.story.walk)
        self._queue.append(format_l2_update(self.market.tell()))
        if self._draw.random() < 0.3:
            self._queue.append(self._trade())
        while self._queue and (self._calm or self._draw.random() < 0.7):
            self._deliver(self._queue.pop(0))
        if self._has("rotate") and len(self._up) == 1:
            self._connect()
            old = self._up[0]
            self._later(self._draw.randint(2, 9), lambda: self._close(old))
        elif self.story.loses and self._has("cut") and self._draw.random() < 0.3:
            for connection in list(self._up):
                self._close(connection)
            self._queue.clear()
            self._later(self._draw.randint(1, 4), self._connect)

    def _trade(self) -> bytes:
        """Return a match: its number is its trade id, in no order that anything promises."""
        trade_id = str(11_067_996_711_960_577 + self._draw.randrange(10**6))
        if trade_id not in self.trades:
            self.trades.append(trade_id)
        at = (int(trade_id), "buy", "1", "2", "m", "t", trade_id, T0)
        return format_match(Match(SYMBOL, *at))

    def _deliver(self, frame: bytes) -> None:
        if self.story.loses and self._has("loss"):
            return
        for connection in list(self._up):
            self._line("recv", connection, frame)
            if self._has("repeat"):
                self._line("recv", connection, frame)

    # The shell

    def _has(self, fault: str) -> bool:
        del fault
        return not self._calm and self._draw.random() < self.story.chance

    def _later(self, steps: int, act: Callable[[], None]) -> None:
        heappush(self._due, (self._step + steps, next(self._ids), act))

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
                continue  # what this is about are books
            fields: dict[str, object] = {"symbol": SYMBOL, "stream": "l2"}
            if isinstance(command, ArmTimer):
                fields["timer_id"] = command.timer_id
                self._later(3, lambda fields=fields: self._line("timer", **fields))
                continue
            if isinstance(command, RequestBook):
                fields["request_id"] = command.request_id
            else:
                assert isinstance(command, Reseed)
                fields["purpose"] = RESEED
            asked = self._draw.randint(0, 2)
            self._later(asked, lambda fields=fields: self._line("rest_request", url=URL, **fields))
            answered = asked + self._draw.randint(0, 6)
            self._later(answered, lambda fields=fields: self._answer(fields))

    def _answer(self, fields: dict[str, object]) -> None:
        if self._has("failure"):
            self._line("rest_failure", url=URL, **fields, error="timeout")
        elif self._has("refusal"):
            body = format_api_error("429000", "too many requests")
            self._line("rest_answer", data=body, url=URL, **fields, status=429)
        else:
            old = self._draw.randint(0, 60) if self._draw.random() < 0.3 and not self._calm else 0
            sequence = max(self.market.first, self.market.sequence - old)
            bids, asks = self.market.book(sequence)
            body = format_book(BookAnswer(sequence, T0, best(bids, -1), best(asks, 1)))
            self._line("rest_answer", data=body, url=URL, **fields, status=200)
            if "purpose" in fields and self._has("twice"):
                self._line("rest_answer", data=body, url=URL, **fields, status=200)

    def _connect(self) -> None:
        connection = next(self._connections)
        self._up.append(connection)
        self._line("open", connection, endpoint="ws://127.0.0.1:1")
        for feed in ("level2", "match"):
            number, topic = str(next(self._ids)), f"{KUCOIN_CLASSIC.topics[feed]}:{SYMBOL}"
            asked = format_control(Subscription("subscribe", number, topic))
            self._line("send", connection, asked)
            self._line("recv", connection, format_control(Control("ack", number)))

    def _close(self, connection: int) -> None:
        if connection in self._up:
            self._up.remove(connection)
            self._line("close", connection, reason="disconnected")


def text(hundredths: int) -> str:
    """Return a number of hundredths as the wire writes it."""
    return f"{hundredths // 100}.{hundredths % 100:02d}"


def best(levels: dict[int, int], sign: int) -> list[tuple[str, ...]]:
    """Return the best levels of a side, as many as the source shows."""
    prices = sorted(levels, key=lambda price: sign * price)[:DEPTH]
    return [(text(price), text(levels[price])) for price in prices]
