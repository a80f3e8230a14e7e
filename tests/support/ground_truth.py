"""Compare an archive with the naive list book of the exchange's own order log.

Sequences are drawn uniformly over all that was covered of a symbol and book. Each must be answered
with exactly the exchange's book, or be refused because it lies in a gap of the ledger.

A partial book must be the exchange's to its bounds, which are read from the Parquet rows of the
full books and not taken from the answer. What it shows beyond them must be marked, and be levels
that the exchange has too.
"""

from __future__ import annotations

import random
import sqlite3
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path

import numpy as np

from replay import Archive
from replay.book import Book, BookSide
from replay.errors import BookUnknown
from tests.support.judge import number
from tests.support.naive import is_inside
from tests.support.order_log_book import OrderLogBook, books_at, read_lines

FAR = 500  # changes after the last full book


STREAMS = {"kucoin-2019": ("l2", "l3"), "kucoin-classic": ("l2",)}
"""Book streams of a profile."""

Bounds = tuple[Decimal | None, Decimal | None]


@dataclass
class Comparison:
    """What came of one symbol and book."""

    symbol: str
    stream: str
    asked: int = 0
    answered: int = 0
    far: int = 0
    gap_probes: int = 0
    partial: int = 0
    """Answers with a bound on either side."""
    crossed: int = 0
    """Of these, those with levels beyond a bound: the price has walked there."""
    touch_outside: int = 0
    """Of these, those with a best price beyond its bound, so that none was given."""
    wrong: list[str] = field(default_factory=list)


@dataclass
class Ledger:
    """What the archive says it knows of one symbol and book, as arrays by sequence."""

    covered: list[tuple[int, int]]
    gaps: list[tuple[int, int]]
    seeds: set[int]
    ends: np.ndarray
    ordinals: np.ndarray
    full_books: np.ndarray
    bounds: list[tuple[int, Bounds]]

    def known(self, sequence: int) -> Bounds:
        """Return the bounds that the newest full book at or before a sequence has."""
        found: Bounds = (None, None)
        for at, bounds in self.bounds:
            if at > sequence:
                break
            found = bounds
        return found

    def in_gap(self, sequence: int) -> bool:
        """Say whether a gap of the ledger holds this sequence."""
        return any(first <= sequence < last for first, last in self.gaps)

    def changes_since_full_book(self, sequence: int) -> int:
        """Return how many rows lie between the last full book and the book at a sequence."""
        row = int(np.searchsorted(self.ends, sequence, "right")) - 1
        if row < 0:
            return 0
        ordinal = int(self.ordinals[row])
        before = self.full_books[self.full_books <= ordinal]
        return ordinal - int(before[-1]) if len(before) else 0


def read_ledger(archive: Path, symbol: str, stream: str) -> Ledger:
    """Read coverage and gaps from the catalog's own tables, without the replay package."""
    with sqlite3.connect(f"file:{archive / 'catalog.db'}?mode=ro", uri=True) as db:
        key = (symbol, stream)
        covered = db.execute(
            "SELECT sequence_first, sequence_last FROM coverage WHERE symbol = ? AND stream = ? "
            "ORDER BY ts_from",
            key,
        ).fetchall()
        gaps = db.execute(
            "SELECT sequence_expected, sequence_received FROM gaps WHERE symbol = ? "
            "AND stream = ? AND ts_to IS NOT NULL ORDER BY ts_from",
            key,
        ).fetchall()
        full = db.execute(
            "SELECT ordinal, sequence FROM full_books WHERE symbol = ? AND stream = ? "
            "AND origin != 'audit' ORDER BY ordinal",
            key,
        ).fetchall()
    db.close()
    table, column = (
        ("l2_updates_all", "sequence_end") if stream == "l2" else ("l3_events", "sequence")
    )
    with Archive(archive) as tape:
        rows = tape.sql(
            f"SELECT ordinal, {column} AS sequence FROM {table} WHERE symbol = $symbol "
            "ORDER BY ordinal",
            symbol=symbol,
        )
        bounds = tape.sql(
            "SELECT epoch_ns(ts_known) AS ts, sequence, "
            "known_bid_from_mantissa, known_bid_from_scale, "
            "known_ask_to_mantissa, known_ask_to_scale FROM book_snapshots "
            "WHERE symbol = $symbol AND book = $stream AND origin != 'audit' "
            "GROUP BY ALL ORDER BY sequence, ts",
            symbol=symbol,
            stream=stream,
        ).to_pylist()
    return Ledger(
        covered,
        gaps,
        {sequence for _, sequence in full},
        rows["sequence"].to_numpy(),
        rows["ordinal"].to_numpy(),
        np.array([ordinal for ordinal, _ in full]),
        [
            (row["sequence"], (number(row, "known_bid_from"), number(row, "known_ask_to")))
            for row in bounds
        ],
    )


def compare(
    archive: Path,
    order_log: Path,
    symbols: list[str],
    count: int,
    seed: int,
    profile: str = "kucoin-2019",
) -> list[Comparison]:
    """Draw `count` sequences a symbol and book, and compare each with the exchange's book."""
    draw = random.Random(seed)
    asked: dict[tuple[str, str], list[int]] = {}
    ledgers: dict[tuple[str, str], Ledger] = {}
    answers: dict[tuple[str, str], list[Book | BookUnknown]] = {}
    probes: dict[tuple[str, str], tuple[int, list[str]]] = {}
    wanted: dict[str, set[int]] = {symbol: set() for symbol in symbols}
    with Archive(archive, pin=True) as tape:
        for symbol in symbols:
            for stream in STREAMS[profile]:
                key = (symbol, stream)
                ledger = ledgers[key] = read_ledger(archive, symbol, stream)
                first, last = ledger.covered[0][0], ledger.covered[-1][1]
                population = [n for n in range(first, last + 1) if n not in ledger.seeds]
                asked[key] = draw.sample(population, count)
                answers[key] = []
                probes[key] = _probe_gaps(tape, symbol, stream, ledger)
                for sequence in asked[key]:
                    try:
                        answer: Book | BookUnknown = tape.book(
                            symbol, sequence=sequence, level=2 if stream == "l2" else 3
                        )
                    except BookUnknown as unknown:
                        answer = unknown
                    else:
                        wanted[symbol].add(answer.sequence)
                    answers[key].append(answer)
    truth = books_at(read_lines(order_log), wanted)
    results = []
    for key in sorted(ledgers):
        result = _judge(key, ledgers[key], asked[key], answers[key], truth)
        result.gap_probes, answered = probes[key]
        result.wrong += answered
        results.append(result)
    return results


def _probe_gaps(tape: Archive, symbol: str, stream: str, ledger: Ledger) -> tuple[int, list[str]]:
    """Ask for the first, the middle and the last sequence of every gap; return what answered."""
    asked = {n for first, last in ledger.gaps for n in (first, (first + last) // 2, last - 1)}
    asked = {n for n in asked if ledger.in_gap(n)}
    wrong = []
    for sequence in sorted(asked):
        try:
            tape.book(symbol, sequence=sequence, level=2 if stream == "l2" else 3)
        except BookUnknown as unknown:
            if unknown.gap is None:
                wrong.append(f"{symbol} {stream} at {sequence}: refused without naming its gap")
        else:
            wrong.append(f"{symbol} {stream} at {sequence}: answered inside a gap")
    return len(asked), wrong


def _judge(
    key: tuple[str, str],
    ledger: Ledger,
    asked: list[int],
    answers: list[Book | BookUnknown],
    truth: dict[tuple[str, int], OrderLogBook],
) -> Comparison:
    symbol, stream = key
    result = Comparison(symbol, stream)
    for sequence, answer in zip(asked, answers, strict=True):
        result.asked += 1
        where = f"{symbol} {stream} at {sequence}"
        if isinstance(answer, BookUnknown):
            if not ledger.in_gap(sequence):
                result.wrong.append(f"{where}: refused outside every gap: {answer}")
            continue
        if ledger.in_gap(sequence):
            result.wrong.append(f"{where}: answered inside a gap")
            continue
        result.answered += 1
        result.far += ledger.changes_since_full_book(sequence) >= FAR
        rows = ledger.ends[ledger.ends <= sequence]
        if answer.sequence > sequence or (len(rows) and answer.sequence < rows.max()):
            result.wrong.append(f"{where}: the book of {answer.sequence} is not the last complete")
        exact = truth[symbol, answer.sequence]
        bounds = ledger.known(answer.sequence)
        _count_partial(result, answer, bounds)
        expected = exact.l2() if stream == "l2" else exact.l3()
        for side, bound in zip(("bids", "asks"), bounds, strict=True):
            problem = _side_differs(getattr(answer, side), side, bound, expected[side], stream)
            if problem:
                result.wrong.append(f"{where}: {side}: {problem}")
    return result


def _count_partial(result: Comparison, book: Book, bounds: Bounds) -> None:
    if bounds == (None, None):
        return
    result.partial += 1
    outside = 0
    beyond = 0
    for side, name, bound in zip((book.bids, book.asks), ("bids", "asks"), bounds, strict=True):
        inside = [is_inside(name[:-1], level.price, bound) for level in side]
        beyond += not all(inside)
        outside += bound is not None and not any(inside[:1])
    result.crossed += beyond > 0
    result.touch_outside += outside > 0
    if (outside > 0) == book.bbo.valid:
        said = "given" if book.bbo.valid else "withheld"
        result.wrong.append(
            f"{result.symbol} at {book.sequence}: best prices {said}, "
            f"{outside} of them beyond the bounds {bounds}"
        )


def _side_differs(
    found: BookSide, side: str, bound: Decimal | None, expected: list[list[str]], stream: str
) -> str | None:
    """Compare one side inside its bound exactly, and beyond it by what it claims."""
    price_at = 0 if stream == "l2" else 1
    rows = (
        [list(row) for row in found.texts()]
        if stream == "l2"
        else [[name, price, size] for price, size, name in found.order_texts()]
    )
    ours, theirs = (
        [row for row in several if is_inside(side[:-1], Decimal(row[price_at]), bound)]
        for several in (rows, expected)
    )
    if ours != theirs:
        return "the rebuilt book differs from the exchange's"
    marks = [is_inside(side[:-1], level.price, bound) for level in found]
    if found.known_mask.tolist() != marks or found.known_to != bound:
        return f"not marked as the bound {bound} has it"
    if any(row not in expected for row in rows):
        return "a level beyond the bound is not the exchange's"
    return None
