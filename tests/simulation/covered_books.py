"""Inside an interval of coverage rows and full books are the venue's, number by number."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np

from schemas.datasets import BOOK_STREAMS, SIDE_CODES
from tests.simulation.archive import Archive, Int64Array, values
from tests.simulation.depth import NO_BOUNDS, Bounds, known_levels
from tests.simulation.market import DIGITS, Truth, book_levels, book_orders
from tests.simulation.seed import Played
from tests.simulation.spoilt import Doubt, Stream, doubts_of

NUMBERS = ("price_mantissa", "price_scale", "size_mantissa", "size_scale")
PLACES = ("ordinal", "sequence", "ts_recv", "held_ns")
BOUNDS = (
    "known_bid_from_mantissa",
    "known_bid_from_scale",
    "known_ask_to_mantissa",
    "known_ask_to_scale",
)


def truth_of_number(played: Played, symbol: str, sequence: int) -> Truth | None:
    return played.venue.truth_at(symbol, sequence)


def intervals_of(archive: Archive) -> dict[tuple[str, str, str], list[dict[str, Any]]]:
    """Return the intervals by (symbol, stream, run), in order."""
    found: dict[tuple[str, str, str], list[dict[str, Any]]] = {}
    for row in sorted(archive.table("coverage"), key=lambda r: (r["ordinal_first"], r["ts_from"])):
        found.setdefault((row["symbol"], row["stream"], row["run_id"]), []).append(row)
    return found


def books_right(played: Played, archive: Archive) -> Iterator[str]:
    intervals = intervals_of(archive)
    doubts = doubts_of(played, archive)
    l2 = archive.rows("l2_updates", ["sequence_end", "side", *PLACES, *NUMBERS])
    l3 = archive.rows("l3_events", ["side", "kind", "order_id", *PLACES, *NUMBERS])
    for rows, stream in ((l2, "l2"), (l3, "l3")):
        for (_, symbol, _, run_id), found in rows.items():
            columns, covered = found, intervals.get((symbol, stream, run_id), [])
            doubt = doubts.get((symbol, stream, run_id))
            if doubt is not None and doubt.is_split:
                certain = columns["ordinal"] <= doubt.ordinal
                columns = {name: column[certain] for name, column in columns.items()}
                covered = doubt.begun(covered)
            is_cut = doubt is not None and doubt.has_verdict
            yield from _changes_right(played, columns, covered, symbol, stream, is_cut=is_cut)
    for (symbol, stream, run_id), covered in intervals.items():
        key = ("l2_updates" if stream == "l2" else "l3_events", symbol, stream, run_id)
        if stream in BOOK_STREAMS and key not in (l2 if stream == "l2" else l3):
            yield from _changes_right(played, None, covered, symbol, stream)
    yield from _full_books_right(played, archive, intervals, doubts)


def _changes_right(
    played: Played,
    columns: dict[str, Any] | None,
    covered: list[dict[str, Any]],
    symbol: str,
    stream: str,
    *,
    is_cut: bool = False,
) -> Iterator[str]:
    """Compare the changes of one stream in one run with the venue's, interval by interval.

    Parameters
    ----------
    is_cut : bool   a claim was taken back, so that rows may stand outside every interval
    """
    what = f"{symbol} {stream}"
    if columns is None:
        names = ("sequence_end", "kind", "order_id", "side", *PLACES, *NUMBERS)
        columns = {name: np.zeros(0, np.int64) for name in names}
    ordinals = columns["ordinal"]
    known = columns["ts_recv"] + columns["held_ns"]
    if (np.diff(known) < 0).any():
        yield f"{what}: a row is known before the one before it"
    if len(ordinals) and (np.diff(ordinals) != 1).any():
        # Snapshots take an ordinal each: there is one hole an interval, and no more.
        holes = int((np.diff(ordinals) != 1).sum())
        if holes > len(covered) or (np.diff(ordinals) < 1).any():
            yield f"{what}: ordinals are not dense"
    seen = 0
    for interval in covered:
        begin = int(np.searchsorted(ordinals, interval["ordinal_first"], "right"))
        end = int(np.searchsorted(ordinals, interval["ordinal_last"], "right"))
        seen += end - begin
        if (
            end > begin
            and not interval["ts_from"] <= known[begin] <= known[end - 1] <= interval["ts_to"]
        ):
            yield f"{what}: rows are known outside the interval that covers them"
        first, last = interval["sequence_first"], interval["sequence_last"]
        truth = truth_of_number(played, symbol, first)
        if truth is None:
            if (symbol, stream, first) not in played.venue.rest.stale_books or end > begin:
                yield f"{what}: covered from {first}, which is no number of the venue's"
            continue
        if stream == "l2":
            expected = _with_oddities(played, symbol, truth.expected_changes(first, last))
            piece = {name: column[begin:end] for name, column in columns.items()}
            if end == begin:
                found = expected[:0]
            else:
                found = np.stack(
                    [
                        piece["sequence"],
                        (piece["side"] == "ask").astype(np.int64),
                        values(piece["price_mantissa"], piece["price_scale"]),
                        values(piece["size_mantissa"], piece["size_scale"]),
                    ],
                    axis=1,
                )
            if not np.array_equal(found, expected):
                ends = columns["sequence_end"][begin:end].tolist() if end > begin else []
                yield from _book_right(truth, what, interval, found.tolist(), ends)
        else:
            odd = played.venue.odd.events
            events = [odd.get((symbol, n), truth.events[n]) for n in range(first + 1, last + 1)]
            piece = {name: column[begin:end] for name, column in columns.items()}
            told = list(
                zip(
                    piece["kind"],
                    piece["order_id"],
                    map(SIDE_CODES.get, piece["side"]),
                    values(piece["price_mantissa"], piece["price_scale"].clip(0)).tolist(),
                    values(piece["size_mantissa"], piece["size_scale"].clip(0)).tolist(),
                    strict=True,
                )
            )
            if told != events:
                yield f"{what}: events of {first} … {last} are not the venue's"
    if seen != len(ordinals) and not is_cut:
        yield f"{what}: {len(ordinals) - seen} rows stand outside every interval"


def _with_oddities(played: Played, symbol: str, expected: Int64Array) -> Int64Array:
    """Return the changes of a level-2 stream as they were told."""
    if played.venue.odd.changes and len(expected):
        expected = expected.copy()
        for (name, number), told in played.venue.odd.changes.items():
            if name == symbol:
                expected[expected[:, 0] == number, 1:3] = told
    return expected


def _book_right(
    truth: Truth, what: str, interval: dict[str, Any], rows: list[list[int]], ends: list[int]
) -> Iterator[str]:
    """Apply the rows one by one: a range that overlaps tells again of changes that were lost.

    Then other rows lead to the same book, and that is what counts.
    """
    first, last = interval["sequence_first"], interval["sequence_last"]
    answer = truth.answer_at("l2", first)
    if answer is None:
        yield f"{what}: covered from {first}, where nobody asked for a book"
        return
    book = {(side, price): size for side, price, size in book_levels(answer)[1]}
    at = first
    for place, (sequence, side, price, size) in enumerate(rows):
        if sequence <= at and sequence <= first:
            yield f"{what}: a row of {sequence} in an interval from {first}"
            return
        if price:
            book[side, price] = size
            if not size:
                del book[side, price]
        at = ends[place]
        if place + 1 == len(rows) or ends[place + 1] != at:
            true = truth.answer_at("l2", at)
            told = frozenset((*level, left) for level, left in book.items())
            if true is None or told != book_levels(true)[1]:
                yield f"{what}: the book of {first} … {last} is not the venue's at {at}"
                return
    if at != last:
        yield f"{what}: covered until {last}, and the rows end at {at}"


def _full_books_right(
    played: Played,
    archive: Archive,
    intervals: dict[Stream, list[dict[str, Any]]],
    doubts: dict[Stream, Doubt],
) -> Iterator[str]:
    names = ["ordinal", "sequence", "origin", "side", "order_id", "position", *NUMBERS, *BOUNDS]
    rows = archive.rows("book_snapshots", names)
    for (symbol, stream, run_id), covered in intervals.items():
        if stream in BOOK_STREAMS:
            columns = rows.get(("book_snapshots", symbol, stream, run_id), {})
            begun = {
                ordinal
                for ordinal, origin in zip(
                    *(list(columns.get(name, ())) for name in ("ordinal", "origin")), strict=True
                )
                if origin == "rest"
            }
            for interval in covered:
                if interval["ordinal_first"] not in begun:
                    at = interval["sequence_first"]
                    yield f"{symbol} {stream}: the interval from {at} has no book to begin with"
    for (_, symbol, stream, run_id), columns in rows.items():
        places = zip(*(columns[n].tolist() for n in ("ordinal", "sequence", "origin")), strict=True)
        keys = list(places)
        cuts = [0, *(i for i in range(1, len(keys)) if keys[i] != keys[i - 1]), len(keys)]
        price = values(columns["price_mantissa"], columns["price_scale"].clip(0))
        size = values(columns["size_mantissa"], columns["size_scale"].clip(0))
        starts = {i["ordinal_first"] for i in intervals.get((symbol, stream, run_id), [])}
        doubt = doubts.get((symbol, stream, run_id))
        for begin, end in pairwise(cuts):
            ordinal, sequence, origin = keys[begin]
            if doubt is not None and ordinal >= doubt.ordinal:
                if doubt.is_replayed or origin == "keyframe":
                    continue
                if origin == "rest" and ordinal > doubt.ordinal:
                    later = [
                        s.ordinal
                        for s in played.spoilt
                        if (s.symbol, s.stream, s.run_id) == (symbol, stream, run_id)
                        and s.ordinal >= ordinal
                    ]
                    doubt = replace(doubt, ordinal=min(later)) if later else None
            what = f"{symbol} {stream}: the {origin} book at {sequence}"
            if origin == "rest" and ordinal not in starts:
                yield f"{what} begins no interval"
            truth = truth_of_number(played, symbol, sequence)
            if truth is None:
                if (symbol, stream, sequence) not in played.venue.rest.stale_books:
                    yield f"{what} is at no number of the venue's"
                continue
            answer = truth.answer_at(stream, sequence)
            if answer is None:
                yield f"{what} is at no number the venue was asked at"
                continue
            sides = [SIDE_CODES[side] for side in columns["side"][begin:end]]
            levels = [sides, price[begin:end].tolist(), size[begin:end].tolist()]
            if stream == "l2":
                bounds = _bounds({name: int(columns[name][begin]) for name in BOUNDS})
                told = zip(*levels, strict=True)
                known = frozenset(level for level in told if bounds.holds(level[0], level[1]))
                right = known == known_levels(answer, bounds)
                is_partial = origin == "keyframe" and bounds != NO_BOUNDS
                played.met["keyframe of a partial book"] += is_partial
            else:
                ids = columns["order_id"][begin:end].tolist()
                orders = [
                    (side, order_id, at, left)
                    for (side, at, left), order_id in zip(
                        zip(*levels, strict=True), ids, strict=True
                    )
                ]
                right = sorted(orders) == sorted(book_orders(answer)[1])
                right = right and _queues(orders) == _queues(list(book_orders(answer)[1]))
            if not right:
                yield f"{what} is not the venue's"


def _bounds(columns: dict[str, int]) -> Bounds:
    """Return how far a full book says that it is known."""
    bid_scale, ask_scale = columns["known_bid_from_scale"], columns["known_ask_to_scale"]
    return Bounds(
        NO_BOUNDS.bid_from
        if bid_scale < 0
        else columns["known_bid_from_mantissa"] * 10 ** (DIGITS - bid_scale),
        NO_BOUNDS.ask_to
        if ask_scale < 0
        else columns["known_ask_to_mantissa"] * 10 ** (DIGITS - ask_scale),
    )


def _queues(orders: list[tuple[int, str, int, int]]) -> dict[tuple[int, int], list[str]]:
    """Return the order ids of each level, as they stand."""
    queues: dict[tuple[int, int], list[str]] = {}
    for side, order_id, price, _ in orders:
        queues.setdefault((side, price), []).append(order_id)
    return queues
