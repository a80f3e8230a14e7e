"""One run of today's dialect, line by line: a partial seed, and the lines of a re-seed."""

from __future__ import annotations

from typing import Any

from recorder.pipeline.pipeline import Pipeline
from recorder.raw_line import RESEED, RawLine
from schemas.kucoin.market import L2Update, Match, format_l2_update, format_match
from schemas.kucoin.profiles.kucoin_classic import KUCOIN_CLASSIC
from schemas.kucoin.rest import BookAnswer, format_book
from tests.support.market_log import RUN, T0
from tests.support.pipeline_rows import Made

SYMBOL = "A-B"
TOLD = 1_729_816_425_625_000_000  # a time the venue tells
DEPTH = 20
URL = f"http://127.0.0.1:1/api/v1/market/orderbook/level2_{DEPTH}?symbol={SYMBOL}"


class ClassicShell:
    """Lines one after the other, a millisecond apart."""

    def __init__(self) -> None:
        self.made = Made(Pipeline())
        self.ts = T0
        self.line("run_start", run_id=RUN, profile=KUCOIN_CLASSIC.name)
        self.line("open", connection=1)

    def line(
        self, kind: str, data: bytes | None = None, connection: int = 0, **fields: Any
    ) -> list[Any]:
        """Feed one line; return the commands it led to."""
        self.ts += 1_000_000
        raw = RawLine(kind, self.ts, 0, connection, data, fields)
        output = self.made.pipeline.feed([raw])
        self.made.take(output)
        return output.commands

    def update(self, start: int, end: int, *, connection: int = 1, **sides: Any) -> list[Any]:
        """Feed a level-2 message; changes are (price, size, sequence)."""
        changes = [list(sides.get(side, ())) for side in ("asks", "bids")]
        ts = sides.get("ts_event", TOLD)
        frame = format_l2_update(L2Update(SYMBOL, start, end, *changes, ts))
        return self.line("recv", frame, connection)

    def match(self, trade_id: int, connection: int = 1) -> None:
        """Feed a trade."""
        at = (trade_id, "buy", "2", "0.5", "m", "t", str(trade_id), TOLD)
        self.line("recv", format_match(Match(SYMBOL, *at)), connection)

    def seed(
        self, sequence: int, bids: int = DEPTH, asks: int = DEPTH, request_id: int = 1
    ) -> None:
        """Answer with bids 100, 99, … and asks 101, 102, …, all of size 1."""
        body = book(sequence, bids, asks)
        fields = {"symbol": SYMBOL, "stream": "l2", "request_id": request_id}
        self.line("rest_answer", body, url=URL, **fields)

    def synced(self, **sides: int) -> ClassicShell:
        """Bring level 2 to sequence 101."""
        self.update(101, 101, bids=[("100", "1", 101)])
        self.seed(100, **sides)
        return self

    def ask(self) -> None:
        """Put the question of a re-seed."""
        self.line("rest_request", url=URL, symbol=SYMBOL, stream="l2", purpose=RESEED)

    def answer(self, body: bytes) -> list[Any]:
        """Answer it."""
        fields = {"symbol": SYMBOL, "stream": "l2", "purpose": RESEED}
        return self.line("rest_answer", body, url=URL, **fields)

    def books(self, origin: str) -> list[dict[str, Any]]:
        """Return the rows of full books of an origin."""
        rows = self.made.rows("book_snapshots", SYMBOL, "l2")
        return [row for row in rows if row["origin"] == origin]


def book(sequence: int, bids: int = DEPTH, asks: int = DEPTH, *, top: int = 100) -> bytes:
    """Return an answer: bids from `top` down, asks from 101 up, all of size 1."""
    sides = (
        [(str(top - n), "1") for n in range(bids)],
        [(str(101 + n), "1") for n in range(asks)],
    )
    return format_book(BookAnswer(sequence, TOLD, *sides))
