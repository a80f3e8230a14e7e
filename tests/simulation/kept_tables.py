"""The catalog's other tables say what is there: runs, instruments, places of full books."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from tests.simulation.archive import Archive
from tests.simulation.market import SYMBOLS, listed
from tests.simulation.process import STOPPED
from tests.simulation.seed import Played
from tests.simulation.spoilt import doubts_of

INCREMENTS = ("base_currency", "quote_currency", "price_increment", "base_increment")


def tables_right(played: Played, archive: Archive) -> Iterator[str]:
    """Compare what the catalog tells with raw logs, parts and the venue."""
    yield from _runs_right(archive)
    yield from _instruments_right(archive)
    yield from _places_right(played, archive)
    for life in played.lives:
        if life.end != STOPPED or not life.run_id:
            continue
        kept = Counter(
            line.connection for line in archive.raw_lines[life.run_id] if line.kind == "recv"
        )
        if dict(kept) != {n: count for n, count in life.durable.items() if count}:
            yield f"run {life.number}: {dict(kept)} frames are kept, acknowledged {life.durable}"


def _runs_right(archive: Archive) -> Iterator[str]:
    told = {run["run_id"]: run for run in archive.table("runs")}
    for run_id, lines in archive.raw_lines.items():
        run = told.pop(run_id, None)
        if run is None:
            if any(line.kind == "run_start" for line in lines):
                yield f"the catalog knows nothing of run {run_id}"
            continue
        frames = sum(line.kind == "recv" for line in lines)
        if (run["lines"], run["frames"]) != (len(lines), frames):
            yield f"run {run_id} has {len(lines)} lines, the catalog says {run['lines']}"
        if run["ts_stop"] is None or not run["stop_reason"]:
            yield f"run {run_id} is still open"
    for run_id in told:
        yield f"the catalog has a run {run_id} that no raw log tells of"


def _instruments_right(archive: Archive) -> Iterator[str]:
    newest = {
        row["symbol"]: row
        for row in sorted(archive.table("instruments"), key=lambda row: int(row["ts_from"]))
    }
    for instrument in listed():
        if instrument.symbol not in SYMBOLS:
            continue
        row = newest.get(instrument.symbol)
        told = None if row is None else tuple(row[name] for name in INCREMENTS)
        if told != tuple(getattr(instrument, name) for name in INCREMENTS):
            yield f"instrument {instrument.symbol} stands there as {told}"


def _places_right(played: Played, archive: Archive) -> Iterator[str]:
    doubts = doubts_of(played, archive)
    names = ["ordinal", "origin", "sequence", "side"]
    kept: Counter[tuple[object, ...]] = Counter()
    for (_, *of_stream, run_id), columns in archive.rows("book_snapshots", names).items():
        places = zip(*(columns[name].tolist() for name in names[:3]), strict=True)
        kept.update((*of_stream, run_id, *place) for place in places)
    told = {
        tuple(row[n] for n in ("symbol", "stream", "run_id", "ordinal", "origin", "sequence")): row[
            "rows"
        ]
        for row in archive.table("full_books")
    }
    for place in kept.keys() | told.keys():
        found, rows = kept[place], told.get(place, 0)
        symbol, stream, run_id = (str(word) for word in place[:3])
        doubt = doubts.get((symbol, stream, run_id))
        if doubt is not None and doubt.is_replayed:
            continue  # one story's book went wrong, and each may have written it
        # Two audits that found the same book have one place.
        if found != rows and not (place[-2] == "audit" and rows and found % rows == 0):
            yield f"full book {place} has {found} rows, the catalog says {rows}"
