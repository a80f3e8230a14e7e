"""What must be true of an archive once the storm is over, whatever the storm was.

1. Each frame that was counted as durable is in the raw log, byte for byte and in order.
2. Inside an interval of coverage the rows are the venue's, number by number, and every full book
   is the venue's at its number: so by induction the book is right throughout.
3. Between two intervals stands one gap, and every gap has a cause among the faults of the seed.
4. Parts are what the catalog says, and what the pipeline makes of the raw log.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa

from recorder.pipeline.output import Rows
from recorder.pipeline.pipeline import Pipeline
from recorder.storage.batch import table_of
from schemas.datasets import BOOK_STREAMS, SIDE_CODES
from tests.simulation.archive import Archive, read_table, values
from tests.simulation.market import Truth, book_levels, book_orders
from tests.simulation.process import CRASHED, STOPPED, Life
from tests.simulation.seed import Played

FEED_OF_STREAM = {"l2": "level2", "l3": "level3"}
LOSSES = {"sequence", "decode", "garbage", "bridge"}
BREAKS = {"disconnected", "silent"}
# A silent topic is subscribed anew: what it had for a book by then ends with the old subscription.
ANEW = {"silent", "stopped"}
MOMENT_NS = 5_000_000
# The longest that a frame is on its way.
LATEST_NS = 5_000_000_000
NUMBERS = ("price_mantissa", "price_scale", "size_mantissa", "size_scale")


def check(played: Played, *, rebuild: bool) -> list[str]:
    """Return every promise that was broken.

    Parameters
    ----------
    rebuild : bool   run the raw logs through the pipeline once more
    """
    archive = Archive(played.disk, played.archive)
    problems = [*played.violations, *played.disk.broken_promises]
    try:
        problems += archive.check_parts()
        problems += _frames_kept(played, archive)
        problems += _books_right(played, archive)
        problems += _trades_right(played, archive)
        problems += _ledger_right(played, archive)
        if rebuild:
            problems += rebuilt_equal(archive)
    except (AssertionError, KeyError, ValueError, pa.ArrowException) as error:
        problems.append(f"the archive cannot be read: {error!r}")
    for life in played.lives:
        problems += [f"process {life.number} found {damage}" for damage in life.damage]
    return problems


# 1. Frames


def _frames_kept(played: Played, archive: Archive) -> Iterator[str]:
    for life in played.lives:
        kept: dict[int, list[bytes | None]] = {}
        for line in archive.raw_lines.get(life.run_id, []):
            if line.kind == "recv":
                kept.setdefault(line.connection, []).append(line.data)
            if line.kind == "close" and line.fields.get("rotated"):
                played.faults.struck["rotation"] += 1
        for socket in life.sockets:
            frames = kept.pop(socket.number, [])
            if frames != socket.delivered[: len(frames)]:
                what = f"frames of connection {socket.number}"
                yield f"run {life.number}: {what} are not as they came"
            if (durable := life.durable.get(socket.number, 0)) > len(frames):
                yield (
                    f"run {life.number}: {durable} frames of connection {socket.number} were "
                    f"acknowledged, {len(frames)} are kept"
                )
        if kept:
            yield f"run {life.number}: frames of connections nobody opened: {sorted(kept)}"


# 2. Rows


def _truth(played: Played, symbol: str, sequence: int) -> Truth | None:
    return next((t for t in played.venue.epochs[symbol] if t.has(sequence)), None)


def _intervals(archive: Archive) -> dict[tuple[str, str, str], list[dict[str, Any]]]:
    """Return the intervals by (symbol, stream, run), in order."""
    found: dict[tuple[str, str, str], list[dict[str, Any]]] = {}
    for row in sorted(archive.table("coverage"), key=lambda r: (r["ordinal_first"], r["ts_from"])):
        found.setdefault((row["symbol"], row["stream"], row["run_id"]), []).append(row)
    return found


def _books_right(played: Played, archive: Archive) -> Iterator[str]:
    intervals = _intervals(archive)
    l2 = archive.rows("l2_updates", ["ordinal", "sequence", "sequence_end", "side", *NUMBERS])
    l3 = archive.rows("l3_events", ["ordinal", "sequence", "side", "kind", "order_id", *NUMBERS])
    for rows, stream in ((l2, "l2"), (l3, "l3")):
        for (_, symbol, _, run_id), columns in rows.items():
            covered = intervals.get((symbol, stream, run_id), [])
            yield from _changes_right(played, columns, covered, symbol, stream)
    for (symbol, stream, run_id), covered in intervals.items():
        key = ("l2_updates" if stream == "l2" else "l3_events", symbol, stream, run_id)
        if stream in BOOK_STREAMS and key not in (l2 if stream == "l2" else l3):
            yield from _changes_right(played, None, covered, symbol, stream)
    yield from _full_books_right(played, archive, intervals)


def _changes_right(
    played: Played,
    columns: dict[str, Any] | None,
    covered: list[dict[str, Any]],
    symbol: str,
    stream: str,
) -> Iterator[str]:
    """Compare the changes of one stream in one run with the venue's, interval by interval."""
    what = f"{symbol} {stream}"
    if columns is None:
        names = ("ordinal", "sequence", "sequence_end", "kind", "order_id", "side")
        columns = {name: np.zeros(0, np.int64) for name in (*names, *NUMBERS)}
    ordinals = columns["ordinal"]
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
        first, last = interval["sequence_first"], interval["sequence_last"]
        truth = _truth(played, symbol, first)
        if truth is None:
            if (symbol, stream, first) not in played.venue.stale_books or end > begin:
                yield f"{what}: covered from {first}, which is no number of the venue's"
            continue
        if stream == "l2":
            expected = truth.expected_changes(first, last)
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
            events = [truth.events[n] for n in range(first + 1, last + 1)]
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
    if seen != len(ordinals):
        yield f"{what}: {len(ordinals) - seen} rows stand outside every interval"


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
    played: Played, archive: Archive, intervals: dict[tuple[str, str, str], list[dict[str, Any]]]
) -> Iterator[str]:
    names = ["ordinal", "sequence", "origin", "side", "order_id", "position", *NUMBERS]
    rows = archive.rows("book_snapshots", names)
    for (_, symbol, stream, run_id), columns in rows.items():
        places = zip(*(columns[n].tolist() for n in ("ordinal", "sequence", "origin")), strict=True)
        keys = list(places)
        cuts = [0, *(i for i in range(1, len(keys)) if keys[i] != keys[i - 1]), len(keys)]
        price = values(columns["price_mantissa"], columns["price_scale"].clip(0))
        size = values(columns["size_mantissa"], columns["size_scale"].clip(0))
        starts = {i["ordinal_first"] for i in intervals.get((symbol, stream, run_id), [])}
        for begin, end in pairwise(cuts):
            ordinal, sequence, origin = keys[begin]
            what = f"{symbol} {stream}: the {origin} book at {sequence}"
            if origin == "rest" and ordinal not in starts:
                yield f"{what} begins no interval"
            truth = _truth(played, symbol, sequence)
            if truth is None:
                if (symbol, stream, sequence) not in played.venue.stale_books:
                    yield f"{what} is at no number of the venue's"
                continue
            answer = truth.answer_at(stream, sequence)
            if answer is None:
                yield f"{what} is at no number the venue was asked at"
                continue
            sides = [SIDE_CODES[side] for side in columns["side"][begin:end]]
            levels = [sides, price[begin:end].tolist(), size[begin:end].tolist()]
            if stream == "l2":
                right = frozenset(zip(*levels, strict=True)) == book_levels(answer)[1]
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


def _queues(orders: list[tuple[int, str, int, int]]) -> dict[tuple[int, int], list[str]]:
    """Return the order ids of each level, as they stand."""
    queues: dict[tuple[int, int], list[str]] = {}
    for side, order_id, price, _ in orders:
        queues.setdefault((side, price), []).append(order_id)
    return queues


def _trades_right(played: Played, archive: Archive) -> Iterator[str]:
    columns = ["sequence", "price_mantissa", "price_scale", "size_mantissa", "size_scale"]
    found = archive.rows("trades", columns)
    numbers = {life.run_id: life.number for life in played.lives}
    seen: dict[tuple[str, str], set[int]] = {}
    for (_, symbol, _, run_id), rows in found.items():
        trades = list(
            zip(
                rows["sequence"].tolist(),
                values(rows["price_mantissa"], rows["price_scale"]).tolist(),
                values(rows["size_mantissa"], rows["size_scale"]).tolist(),
                strict=True,
            )
        )
        told = {**played.venue.epochs[symbol][0].trades, **played.venue.epochs[symbol][-1].trades}
        what = f"run {numbers.get(run_id)}: trades of {symbol}"
        if wrong := [t for t in trades if told.get(t[0]) != t[1:]]:
            yield f"{what}: {len(wrong)} the venue never told, {wrong[0]} is one"
        seen[symbol, run_id] = {trade[0] for trade in trades}
        if len(seen[symbol, run_id]) != len(trades):
            yield f"{what}: one stands there twice"
    everywhere: dict[str, set[int]] = {}
    for (symbol, run_id), trades_of_run in seen.items():
        if again := everywhere.setdefault(symbol, set()) & trades_of_run:
            yield f"run {numbers.get(run_id)}: an earlier one has trade {min(again)} of {symbol}"
        everywhere[symbol] |= trades_of_run
    yield from _filled_in(played, archive, everywhere)
    for run_id, lines in archive.raw_lines.items():
        for symbol, expected in _trades_received(played, lines).items():
            if missing := expected - seen.get((symbol, run_id), set()):
                yield (
                    f"run {numbers.get(run_id)}: {len(missing)} trades of {symbol} were received "
                    f"and have no row, {min(missing)} is one"
                )


def _filled_in(played: Played, archive: Archive, kept: dict[str, set[int]]) -> Iterator[str]:
    """Ask each gap that was filled in for all its trades."""
    for gap in archive.table("gaps"):
        if gap["stream"] != "trades" or gap["healed_by"] != "backfill":
            continue
        symbol, first, last = gap["symbol"], gap["sequence_expected"], gap["sequence_received"]
        truth = _truth_of_trade(played, symbol, last)
        # An interval without a trade does not say behind which number the gap begins.
        if first is not None and truth is not None:
            missing = {n for n in truth.trades if first <= n <= last} - kept.get(symbol, set())
            if missing:
                yield (
                    f"{symbol}: the gap in trades from {first} to {last} was filled in, and "
                    f"{len(missing)} are missing, {min(missing)} is one"
                )


def _truth_of_trade(played: Played, symbol: str, number: int) -> Truth | None:
    return next((t for t in played.venue.epochs[symbol] if number in t.trades), None)


def _trades_received(played: Played, lines: list[Any]) -> dict[str, set[int]]:
    """Return the trades that a raw log tells of, by symbol."""
    received: dict[str, set[int]] = {}
    variants = played.venue.variants
    for symbol, epochs in played.venue.epochs.items():
        for truth in epochs:
            by_frame, trades = truth.by_frame, truth.trades
            for line in lines:
                if line.kind == "recv" and line.data is not None:
                    message = by_frame.get(variants.get(line.data, line.data))
                    if message is not None and message.feed != "level2":
                        number = message.last
                        if number in trades:
                            received.setdefault(symbol, set()).add(number)
    return received


# 3. Intervals and gaps


def _ledger_right(played: Played, archive: Archive) -> Iterator[str]:
    order = {life.run_id: life.number for life in played.lives}
    lives = {life.run_id: life for life in played.lives}
    intervals: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for (symbol, stream, _), covered in _intervals(archive).items():
        intervals.setdefault((symbol, stream), []).extend(covered)
    gaps: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for audit in archive.table("audits"):
        played.met[f"audit {audit['result']}"] += 1
    for gap in archive.table("gaps"):
        played.met[f"gap {gap['reason']}"] += 1
        if gap["healed_by"] == "backfill":
            played.met["gap filled in"] += 1
        gaps.setdefault((gap["symbol"], gap["stream"]), []).append(gap)
        yield from _cause_known(played, lives, gap)
    for key, covered in intervals.items():
        covered.sort(key=lambda i: (order[i["run_id"]], i["ordinal_first"], i["ts_from"]))
        yield from _one_gap_between(" ".join(key), covered, list(gaps.get(key, [])))


def _one_gap_between(
    what: str, covered: list[dict[str, Any]], gaps: list[dict[str, Any]]
) -> Iterator[str]:
    went_back = False
    for before, after in pairwise(covered):
        if after["ts_from"] < before["ts_to"]:
            if before["run_id"] == after["run_id"]:
                yield f"{what}: an interval begins before the one before it ends"
            went_back = True  # the wall clock did, between two runs
            continue
        between = [
            gap
            for gap in gaps
            if (gap["ts_from"], gap["ts_to"]) == (before["ts_to"], after["ts_from"])
        ]
        if len(between) != 1 and not went_back:
            yield (
                f"{what}: {len(between)} gaps between {before['ts_to']} and {after['ts_from']}, "
                f"runs {before['run_id']} and {after['run_id']}"
            )
        for gap in between:
            gaps.remove(gap)
    if gaps and not went_back:
        reasons = [(gap["reason"], gap["ts_from"], gap["ts_to"]) for gap in gaps]
        yield f"{what}: gaps that stand between no two intervals: {reasons}"
    if covered and any(i["is_open"] for i in covered):
        yield f"{what}: an interval is still open"


def _cause_known(played: Played, lives: dict[str, Life], gap: dict[str, Any]) -> Iterator[str]:
    """Ask a gap for the fault it comes from."""
    symbol, stream, reason = gap["symbol"], gap["stream"], gap["reason"]
    what = f"{symbol} {stream}: the gap {reason} at {gap['ts_detected']}"
    life = lives[gap["run_id"]]
    healed = {"next_run", "backfill"} if stream == "trades" else {"next_run"}
    is_anew = gap["healed_by"] == "backfill" and reason in ANEW and _is_mute(life, gap)
    if gap["healed_by"] in healed and reason in {"stopped", "crashed"} and not is_anew:
        # One that fails while it publishes has said that it stops, in the raw log.
        if (reason == "stopped" and life.end == CRASHED) or (
            reason == "crashed" and life.end == STOPPED
        ):
            yield f"{what} says how process {life.number} ended, and it {life.end}"
    elif reason in BREAKS or reason == "stopped":
        if not (_has_break(played, life, gap) or (reason in ANEW and _is_mute(life, gap))):
            yield f"{what} has no connection that broke"
    elif reason in LOSSES and stream in FEED_OF_STREAM:
        if not _has_loss(played, gap):
            yield f"{what}: nothing was lost at {gap['sequence_expected']}"
    elif reason in {"garbage", "decode"}:
        if not _has_mishap(played, gap):
            yield f"{what}: all that was told could be read"
    elif reason == "disk_full":
        if not _was_full(played, gap):
            yield f"{what}: there was room"
    else:
        yield f"{what} is none that can come of these faults"


def _has_break(played: Played, life: Life, gap: dict[str, Any]) -> bool:
    back_ns = played.stepped_back_ns
    return any(
        socket.troubles
        and -MOMENT_NS <= gap["ts_detected"] - socket.closed_ts <= MOMENT_NS + back_ns
        for socket in life.sockets
    )


def _is_mute(life: Life, gap: dict[str, Any]) -> bool:
    """Say whether a topic of a gap was acknowledged and brought nothing, as an audit finds."""
    feeds = [FEED_OF_STREAM[gap["stream"]]] if gap["stream"] != "trades" else ["level3", "match"]
    topics = {(feed, gap["symbol"]) for feed in feeds}
    return any(topics & s.ever_silent or "half_open" in s.troubles for s in life.sockets)


def _has_loss(played: Played, gap: dict[str, Any]) -> bool:
    symbol, stream, expected = gap["symbol"], gap["stream"], gap["sequence_expected"]
    feed = FEED_OF_STREAM[stream]
    lost = played.faults.lost.get((symbol, feed), set())
    truth = _truth(played, symbol, expected)
    if truth is None:
        return (symbol, stream, expected - 1) in played.venue.stale_books
    received = gap["sequence_received"]
    if (
        truth is not played.venue.epochs[symbol][-1]
        and (received is None or _truth(played, symbol, received) is not truth)
        and played.venue.epoch_ts[symbol] <= gap["ts_detected"] + played.stepped_back_ns
    ):
        return True  # numbers had begun anew
    if (symbol, stream, expected - 1) in played.venue.stale_books:
        return True
    return not lost.isdisjoint(truth.messages_with(feed, expected))


def _has_mishap(played: Played, gap: dict[str, Any]) -> bool:
    """Ask for what could not be read, and was sent on a socket that brings the stream too."""
    topic = (FEED_OF_STREAM.get(gap["stream"], "match"), gap["symbol"])
    return any(
        mishap.kind in {"garbage", "garbage_beside", "malformed", "bad_frame"}
        and topic in mishap.topics
        and _is_between(played, mishap.ts, gap["ts_detected"] - LATEST_NS, gap["ts_detected"])
        for mishap in played.faults.mishaps
    )


def _was_full(played: Played, gap: dict[str, Any]) -> bool:
    return any(
        mishap.kind in {"disk_full", "catalog_full"}
        and _is_between(played, mishap.ts, gap["ts_from"], gap["ts_detected"])
        for mishap in played.faults.mishaps
    )


def _is_between(played: Played, ts: int, first: int, last: int) -> bool:
    """Say whether a moment lies between two others, on a clock that may have been stepped."""
    since = first - played.stepped_ns - MOMENT_NS
    return since <= ts <= last + played.stepped_back_ns + MOMENT_NS


# 4. The raw log once more


def rebuilt_equal(archive: Archive) -> Iterator[str]:
    """Compare the parts of each run with what the pipeline makes of its raw log."""
    for run_id, lines in archive.raw_lines.items():
        pipeline = Pipeline()
        batches = list(pipeline.feed(lines).rows)
        if not pipeline.stop_reason:
            batches += pipeline.finish("crashed").rows
        made: dict[tuple[str, str, str], list[Rows]] = {}
        for rows in batches:
            made.setdefault((rows.dataset, rows.symbol, rows.stream), []).append(rows)
        kept: dict[tuple[str, str, str], list[pa.Table]] = {}
        for part in archive.parts:
            if part["run_id"] == run_id:
                key = (part["dataset"], part["symbol"], part["stream"])
                kept.setdefault(key, []).append(read_table(archive.files[part["path"]], None))
        if made.keys() != kept.keys():
            yield f"{run_id}: parts of {sorted(kept)}, rows of {sorted(made)}"
            continue
        for key, pieces in kept.items():
            expected = _plain(table_of(made[key], run_id))
            found = pa.concat_tables([_plain(piece) for piece in pieces])
            if not found.equals(expected):
                yield (
                    f"{run_id}: {' '.join(key)} has {found.num_rows} rows in parts, the raw log "
                    f"gives {expected.num_rows}, and they differ"
                )


def _plain(table: pa.Table) -> pa.Table:
    fields = [
        pa.field(f.name, pa.string() if pa.types.is_dictionary(f.type) else f.type)
        for f in table.schema
    ]
    return table.cast(pa.schema(fields)).replace_schema_metadata(None)
