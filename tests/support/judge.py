"""What must hold of any run's rows and ledger, whatever was recorded."""

from __future__ import annotations

from collections import defaultdict
from decimal import Decimal
from itertools import pairwise
from typing import Any

from tests.support.naive import NaiveL2, NaiveL3, is_inside
from tests.support.pipeline_rows import Made


def number(row: dict[str, Any], name: str) -> Decimal | None:
    """Return a fixed-point number of a row, exactly."""
    mantissa = row[f"{name}_mantissa"]
    return None if mantissa is None else Decimal(mantissa).scaleb(-row[f"{name}_scale"])


def known_ns(row: dict[str, Any]) -> int:
    """Return from when a row is known."""
    return int(row["ts_recv"] + row["held_ns"])


def judge_order(made: Made) -> None:
    """Ordinals are dense from 0, and known time never runs backwards, in every stream."""
    own: dict[tuple[str, str], list[tuple[int, int, int]]] = defaultdict(list)
    for (_, symbol, stream), batches in made.batches.items():
        for batch in batches:
            if batch.full_book is None or batch.full_book.origin == "rest":
                names = ("ordinal", "ts_recv", "held_ns")
                columns = [batch.columns[name].tolist() for name in names]
                own[symbol, stream] += zip(*columns, strict=True)
                assert batch.known.tolist() == [t + h for t, h in zip(*columns[1:], strict=True)]
    for rows in own.values():
        rows.sort()
        ordinals = sorted({ordinal for ordinal, _, _ in rows})
        assert ordinals == list(range(len(ordinals)))
        for (_, ts, held), (_, later_ts, later_held) in pairwise(rows):
            assert ts + held <= later_ts + later_held
            assert later_held >= 0


def judge_ledger(made: Made) -> None:
    """Between two covered intervals of a stream stands exactly one gap, and rows lie inside."""
    for symbol, stream in {(e.symbol, e.stream) for e in made.ledger.values()}:
        intervals = sorted(made.intervals(symbol, stream), key=lambda i: (i.ordinal_first, i.ts_to))
        gaps = made.gaps(symbol, stream)
        for earlier, later in pairwise(intervals):
            between = [
                gap
                for gap in gaps
                if gap.ordinal_from == earlier.ordinal_last
                and (gap.ts_from, gap.ts_to) == (earlier.ts_to, later.ts_from)
            ]
            assert len(between) == 1, (earlier, later, gaps)
            assert earlier.ts_from <= earlier.ts_to <= later.ts_from
            assert not earlier.is_open
        closed = [gap for gap in gaps if gap.ts_to is not None]
        assert len(closed) == max(0, len(intervals) - 1)
        assert len(gaps) - len(closed) <= 1
        for gap in gaps:
            assert gap.ts_from <= gap.ts_detected
            assert gap.ts_to is None or gap.ts_detected <= gap.ts_to
        if stream not in {"l2", "l3"}:
            covered = {o for i in intervals for o in range(i.ordinal_first, i.ordinal_last + 1)}
            assert covered == {row["ordinal"] for row in made.rows(stream, symbol)}


def judge_books(made: Made, symbol: str, stream: str) -> int:
    """Replay a book from its rows alone and compare it with every other full book.

    A partial book is compared inside the bounds it has at that moment; a keyframe with deeper ones
    seeds it again.

    Returns
    -------
    int   full books compared that did not seed the book
    """
    dataset = "l2_updates" if stream == "l2" else "l3_events"
    changes = made.rows(dataset, symbol)
    full: dict[tuple[int, str], list[dict[str, Any]]] = defaultdict(list)
    for row in made.rows("book_snapshots", symbol, stream):
        full[row["ordinal"], row["origin"]].append(row)
    private = [row for row in changes if row.get("kind") in {"stop", "activate"}]
    changes = [row for row in changes if row.get("kind") not in {"stop", "activate"}]
    seeds = {ordinal: rows for (ordinal, origin), rows in full.items() if origin == "rest"}
    keyframes = {ordinal: rows for (ordinal, origin), rows in full.items() if origin == "keyframe"}
    book: Any = None
    last_end = 0
    compared = 0
    events = sorted(
        [(row["ordinal"], row) for row in changes] + list(seeds.items()),
        key=lambda event: event[0],
    )
    for ordinal, event in events:
        if isinstance(event, list):
            book = NaiveL2() if stream == "l2" else NaiveL3()
            sides = [_side(event, side, stream) for side in ("bid", "ask")]
            if stream == "l2":
                book.seed(*sides, _bounds(event))
            else:
                book.seed(*sides)
            last_end = event[0]["sequence"]
            continue
        if stream == "l2":
            assert event["sequence_start"] <= last_end + 1 <= event["sequence_end"]
            assert last_end < event["sequence"] <= event["sequence_end"]
            _change_l2(book, event)
            if event["is_last"]:
                last_end = event["sequence_end"]
        else:
            assert event["sequence"] == last_end + 1
            last_end = event["sequence"]
            book.event(
                event["kind"],
                event["side"],
                event["order_id"],
                number(event, "price"),
                number(event, "size"),
                number(event, "remain_size"),
            )
        if ordinal in keyframes:
            compared += 1
            assert keyframes[ordinal][0]["sequence"] == last_end
            whole = [_side(keyframes[ordinal], side, stream) for side in ("bid", "ask")]
            mine = book.whole()
            if stream == "l3":
                mine = tuple([(n, p, s) for p, s, n in orders] for orders in mine)
                assert list(mine) == whole
                continue
            bounds = _bounds(keyframes[ordinal])
            for side, ours, told, old, new in zip(
                ("bid", "ask"), mine, whole, book.known, bounds, strict=True
            ):
                assert [row for row in told if is_inside(side, row[0], old)] == [
                    row for row in ours if is_inside(side, row[0], old)
                ]
                if old == new:
                    assert told == ours
                else:
                    assert old is not None, "a whole side stays whole"
                    assert new is None or is_inside(side, old, new), "known depth never shrinks"
            book.seed(*whole, bounds)
    assert all(row["sequence"] is not None for row in private)
    return compared


def _side(rows: list[dict[str, Any]], side: str, stream: str) -> list[tuple]:
    found = [row for row in rows if row["side"] == side]
    assert [row["level"] for row in found] == sorted(row["level"] for row in found)
    names = ("order_id",) if stream == "l3" else ()
    return [
        (*(row[name] for name in names), number(row, "price"), number(row, "size")) for row in found
    ]


def _bounds(rows: list[dict[str, Any]]) -> tuple[Decimal | None, Decimal | None]:
    """Return to which prices a full book is known."""
    return number(rows[0], "known_bid_from"), number(rows[0], "known_ask_to")


def _change_l2(book: NaiveL2, row: dict[str, Any]) -> None:
    price, size = number(row, "price"), number(row, "size")
    assert price is not None
    assert size is not None
    if not price:
        assert not size
    book.change(row["side"], price, size)
