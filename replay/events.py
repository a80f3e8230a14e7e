"""Events of several symbols merged in the order they were known, each with its live book."""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal

import numpy as np

from replay.book import Bbo, Book, Level
from replay.engine import STREAM_OF_LEVEL, Engine, SliceReplay
from replay.errors import Gap
from replay.kernels.levels import UNKNOWN
from replay.numbers import to_decimal
from replay.rows import NO_TIME, L3Rows


class LiveBook:
    """The book of one symbol, moving with the replay: look at it before taking the next event."""

    __slots__ = ("_replay", "symbol")

    def __init__(self, symbol: str) -> None:
        self.symbol = symbol
        self._replay: SliceReplay | None = None

    def _stand(self, replay: SliceReplay | None, position: int = 0) -> None:
        self._replay = replay
        if replay is not None and position > replay.position:
            replay.move_to(position)

    @property
    def known(self) -> bool:
        """False inside a gap."""
        return self._replay is not None

    @property
    def bbo(self) -> Bbo:
        """Best bid and offer; not valid inside a gap, nor beyond what a partial book knows."""
        best = [0, UNKNOWN] * 2 if self._replay is None else self._replay.best().tolist()
        if self._replay is None or best[1] == UNKNOWN:
            return Bbo(None, None, None, None, valid=False)
        found: list[Decimal | None] = []
        for side in (0, 1):
            price, size = best[2 * side], best[2 * side + 1]
            found += (
                [
                    to_decimal(price, self._replay.price_scale),
                    to_decimal(size, self._replay.size_scale),
                ]
                if size
                else [None, None]
            )
        return Bbo(found[0], found[1], found[2], found[3])

    def book(self) -> Book | None:
        """Return a copy of the whole book, None inside a gap."""
        return None if self._replay is None else self._replay.book(self.symbol)


@dataclass(frozen=True, slots=True)
class ReplayEvent:
    """Something that became known of one book.

    Attributes
    ----------
    kind : str                snapshot (the book begins), update (a message), reseed (a partial book
                              is known deeper from here on; no level changes), gap (it ends)
    symbol, stream, run_id : str
    ordinal : int             of the last row of the message
    ts_recv : int             ns UTC, when it was known
    ts_event : int | None     ns UTC, the venue's time
    sequence : int | None     after the message
    book : LiveBook           the symbol's book, standing at this event until the next is taken
    gap : Gap | None          of a gap: its row, if the record has one
    """

    kind: str
    symbol: str
    stream: str
    run_id: str
    ordinal: int
    ts_recv: int
    ts_event: int | None
    sequence: int | None
    book: LiveBook
    gap: Gap | None
    _replay: SliceReplay | None
    _rows: tuple[int, int]

    @property
    def changes(self) -> list[tuple[str | None, Level]]:
        """Rows of a level-2 message as (side, (price, size)); size 0 removed the level."""
        replay = self._replay
        if self.kind != "update" or replay is None or isinstance(replay.rows, L3Rows):
            return []
        found: list[tuple[str | None, Level]] = []
        for row in range(*self._rows):
            side = (None, "bid", "ask")[int(replay.rows.side[row]) + 1]
            price, size = replay.rows.price, replay.rows.size
            found.append(
                (
                    side,
                    Level(
                        to_decimal(int(price.mantissa[row]), int(price.scale[row])),
                        to_decimal(int(size.mantissa[row]), int(size.scale[row])),
                    ),
                )
            )
        return found


def replay_events(
    engine: Engine, symbols: Sequence[str], ts_from: int | None, ts_to: int | None, level: int
) -> Iterator[ReplayEvent]:
    """Merge the events of [ts_from, ts_to) by known time, then symbol, stream, run, ordinal.

    A book known at `ts_from` begins with a `snapshot` event as of its last message.

    Raises
    ------
    UnknownSymbol, OutsideArchive   at once, not at the first event
    """
    stream = STREAM_OF_LEVEL.get(level, "l2")
    for symbol in symbols:
        engine.timeline(symbol, level).check_range(ts_from, ts_to)
    runs = engine.snapshot.run_order

    def place(event: ReplayEvent) -> tuple[object, ...]:
        return (event.ts_recv, event.symbol, stream, runs.get(event.run_id, 0), event.ordinal)

    def merged() -> Iterator[ReplayEvent]:
        streams = [_events(engine, symbol, ts_from, ts_to, level) for symbol in symbols]
        for event in heapq.merge(*streams, key=place):
            # The merge looks ahead in every stream; only taking an event moves its book.
            event.book._stand(event._replay, event._rows[1])
            yield event

    return merged()


def _events(
    engine: Engine, symbol: str, ts_from: int | None, ts_to: int | None, level: int
) -> Iterator[ReplayEvent]:
    live = LiveBook(symbol)
    known_to: tuple[Decimal | None, ...] = ()
    for piece in engine.timeline(symbol, level).between(ts_from, ts_to):
        replay = engine.load(piece)
        interval = piece.interval
        head = (symbol, interval.stream, interval.run_id)
        at = 0
        if ts_from is not None and piece.seed.ts <= ts_from:
            at = replay.rows_known_at(ts_from)
        if piece.is_first or at or (ts_from is not None and piece.seed.ts <= ts_from):
            ordinal = int(replay.rows.ordinal[at - 1]) if at else piece.seed.ordinal
            ts, ts_event, sequence = replay.moment_at(at)
            yield ReplayEvent(
                "snapshot", *head, ordinal, ts, ts_event, sequence, live, None, replay, (at, at)
            )
        elif known_to != tuple(map(replay.known_to, (0, 1))):
            ts, ts_event, sequence = replay.moment_at(0)
            yield ReplayEvent(
                "reseed", *head, piece.seed.ordinal, ts, ts_event, sequence, live, None, replay,
                (0, 0),
            )  # fmt: skip
        known_to = tuple(map(replay.known_to, (0, 1)))
        stop = replay.all_rows() if ts_to is None else replay.rows_known_before(ts_to)
        for end in (np.flatnonzero(replay.rows.is_last[at:stop]) + at + 1).tolist():
            row = end - 1
            ts_event = int(replay.rows.ts_event[row])
            yield ReplayEvent(
                "update",
                *head,
                int(replay.rows.ordinal[row]),
                int(replay.rows.known[row]),
                None if ts_event == NO_TIME else ts_event,
                int(replay.rows.sequence_end[row]),
                live,
                None,
                replay,
                (at, end),
            )
            at = end
        ends = piece.is_last and not interval.is_open
        if ends and (ts_to is None or interval.ts_to + 1 < ts_to):
            yield ReplayEvent(
                "gap", *head, interval.ordinal_last, interval.ts_to + 1, None, None, live,
                piece.gap, None, (0, 0),
            )  # fmt: skip
