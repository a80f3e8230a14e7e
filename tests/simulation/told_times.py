"""Nothing is covered, and no row is known, at a moment when nothing was told.

A row was received when a line came from the venue, and is known from the stamp of a line. An
interval ends where the venue told something: of a stream without a book where a connection was last
heard of, of a book at its last row, or at an audit that found it as it should be. Whatever was
noticed later is in no interval.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from schemas.datasets import BOOK_STREAMS
from tests.simulation.archive import Archive, Int64Array
from tests.simulation.covered_books import intervals_of
from tests.simulation.seed import Played
from tests.simulation.spoilt import doubts_of

Stream = tuple[str, str, str]  # symbol, stream, run

# A gap is of some length, be it a nanosecond, and what is known goes on from there.
LATER_NS = 1_000
FROM_THE_VENUE = frozenset({"recv", "rest_answer"})
DATASET_OF = {"l2": "l2_updates", "l3": "l3_events", "trades": "trades"}


def times_right(played: Played, archive: Archive) -> Iterator[str]:
    """Ask every time for the line it comes from."""
    stamps = _stamps(archive, FROM_THE_VENUE)
    # A frame may wait with its stamp until there is room for it, and then it is known from when
    # something else was written down; and a clock that was set back has to make up for that.
    marks = _stamps(archive, None)
    ends = marks if played.stepped_back_ns else stamps
    known: dict[Stream, Any] = {}
    for dataset in ("book_snapshots", *DATASET_OF.values()):
        is_books = dataset == "book_snapshots"
        names = ["ts_recv", "held_ns", "ordinal", *(["origin"] if is_books else [])]
        for key, columns in archive.rows(dataset, names).items():
            _, symbol, stream, run_id = key
            of_run = stamps.get(run_id, np.zeros(0, np.int64))
            if not np.isin(columns["ts_recv"], of_run).all():
                yield f"{symbol} {stream}: a row of {dataset} was received when nothing came"
            of_run = marks.get(run_id, of_run)
            if not _follow(columns["ts_recv"] + columns["held_ns"], of_run).all():
                yield f"{symbol} {stream}: a row of {dataset} is known from when nothing came"
            # An answer to an audit changes nothing, and comes later than what it proves.
            counts = columns["origin"] != "audit" if is_books else slice(None)
            known.setdefault((symbol, stream, run_id), []).append(
                (columns["ordinal"][counts], (columns["ts_recv"] + columns["held_ns"])[counts])
            )
    proofs = {
        (audit["symbol"], audit["stream"], audit["run_id"], audit["ts"])
        for audit in archive.table("audits")
        if audit["result"] == "equal"
    }
    doubts = doubts_of(played, archive)
    for (symbol, stream, run_id), covered in intervals_of(archive).items():
        doubt = doubts.get((symbol, stream, run_id))
        if doubt is not None and doubt.is_split:
            continue  # the rows of one story stand in the intervals of the other
        of_run = ends.get(run_id, np.zeros(0, np.int64))
        pieces = known.get((symbol, stream, run_id), [])
        for interval in covered:
            last = max(
                (_last_known(*piece, interval) for piece in pieces),
                default=int(interval["ts_from"]),
            )
            if interval["ts_to"] == max(last, interval["ts_from"]):
                continue
            what = f"{symbol} {stream}: covered until {interval['ts_to']}"
            if stream in BOOK_STREAMS:
                if (symbol, stream, run_id, interval["ts_to"]) in proofs:
                    continue  # nothing had changed until then
                yield f"{what}, and its last row is known from {last}"
            elif not _follow(np.array([interval["ts_to"]]), of_run).all():
                yield f"{what}, when nothing came"


def _stamps(archive: Archive, kinds: frozenset[str] | None) -> dict[str, Int64Array]:
    """Return the stamps of the lines of each run, ascending; None: of every kind."""
    return {
        run_id: np.unique([line.ts_recv for line in lines if kinds is None or line.kind in kinds])
        for run_id, lines in archive.raw_lines.items()
    }


def _follow(times: Int64Array, stamps: Int64Array) -> Any:
    """Say which times are a stamp, or follow one at once."""
    if not len(stamps):
        return np.zeros(len(times), np.bool_)
    at = np.searchsorted(stamps, times, "right") - 1
    return (at >= 0) & (times - stamps[at] <= LATER_NS)


def _last_known(ordinals: Int64Array, known: Int64Array, interval: dict[str, Any]) -> int:
    inside = (ordinals >= interval["ordinal_first"]) & (ordinals <= interval["ordinal_last"])
    return int(known[inside].max()) if inside.any() else 0
