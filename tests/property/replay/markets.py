"""Seeded histories told to an archive builder: prices of any size, gaps, keyframes, two runs."""

from __future__ import annotations

import random
from decimal import Decimal
from pathlib import Path

from tests.support.archive_builder import T0, ArchiveBuilder, S, StreamBuilder

RUNS = ("20261122T100000.000000Z-test-1", "20261122T110000.000000Z-test-2")
SYMBOL = "ABC-XYZ"

UNITS = ("1", "0.01", "0.00000001", "1000000")
"""Price steps: plain, cents, a hundred-millionth, a million."""


def _text(count: int, unit: str) -> str:
    """Write count × unit exactly."""
    if "." not in unit:
        return str(count * int(unit))
    digits = len(unit.split(".")[1])
    text = str(count * int(unit.split(".")[1])).rjust(digits + 1, "0")
    return f"{text[:-digits]}.{text[-digits:]}"


def price(rng: random.Random, side: str, unit: str) -> str:
    """A price near the touch, or far, or finer than the instrument's scale."""
    kind = rng.random()
    away = rng.randrange(1, 12) if kind < 0.8 else rng.randrange(12, 900_000)
    count = 1_000_000 - away if side == "bid" else 1_000_000 + away
    text = _text(count, unit)
    if kind > 0.97:
        text += ("" if "." in text else ".") + "5"  # off the grid: its own scale, this row only
    return text


def size(rng: random.Random) -> str:
    fraction = f".{rng.randrange(1, 9999):04d}" if rng.random() < 0.7 else ""
    return f"{rng.randrange(1, 50)}{fraction}"


def tell_l2(
    stream: StreamBuilder, rng: random.Random, ts: int, sequence: int, messages: int
) -> int:
    """Tell an interval of a level-2 book; return the time after it."""
    unit = rng.choice(UNITS)
    sides = [
        sorted({price(rng, side, unit) for _ in range(rng.randrange(0, 30))}, key=Decimal)
        for side in ("bid", "ask")
    ]
    stream.snapshot(ts, sequence, *[[(p, size(rng)) for p in prices] for prices in sides])
    for _ in range(messages):
        ts += rng.choice((0, 1, S // 10, S))
        changes: list[tuple[str | None, str, str]] = []
        for _ in range(rng.choice((1, 1, 1, 2, 5))):
            side = rng.choice(("bid", "ask"))
            roll = rng.random()
            if roll < 0.2:
                changes.append((rng.choice((side, None)), "0", "0"))
            elif roll < 0.6:
                changes.append((side, price(rng, side, unit), size(rng)))
            else:
                standing = list(stream.book.sides[side]) or [price(rng, side, unit)]
                best = (max if side == "bid" else min)(standing, key=Decimal)
                gone = best if rng.random() < 0.5 else rng.choice(standing)
                changes.append((side, f"{gone:f}" if not isinstance(gone, str) else gone, "0"))
        start = stream.sequence + 1
        end = start + len(changes) - 1 + rng.choice((0, 0, 3))
        held = rng.choice((0, 0, 0, 5))
        event = ts - 7 if rng.random() < 0.5 else None
        stream.message(ts, changes, end=end, held=held, ts_event=event)
        if rng.random() < 0.1:
            stream.keyframe()
    return ts


def tell_l3(stream: StreamBuilder, rng: random.Random, ts: int, sequence: int, events: int) -> int:
    """Tell an interval of a level-3 book; return the time after it."""
    unit = rng.choice(UNITS)
    names = [f"o{number:06d}" for number in range(events + 40)]
    rng.shuffle(names)
    seeds: list[list] = [[], []]
    for at, side in enumerate(("bid", "ask")):
        rows = [(names.pop(), price(rng, side, unit), size(rng)) for _ in range(rng.randrange(20))]
        seeds[at] = sorted(rows, key=lambda row: Decimal(row[1]), reverse=side == "bid")
    stream.snapshot(ts, sequence, *seeds)
    for _ in range(events):
        ts += rng.choice((0, 1, S // 10, S))
        resting = [order[0] for order in stream.book.resting]
        some = rng.choice(resting) if resting and rng.random() < 0.95 else "nobody"
        side = rng.choice(("bid", "ask"))
        roll = rng.random()
        if roll < 0.45:
            name = some if rng.random() < 0.05 else names.pop()
            remain = "0" if rng.random() < 0.03 else size(rng)
            stream.event(ts, "open", name, side=side, price=price(rng, side, unit), remain=remain)
        elif roll < 0.65:
            left = next((o[3] for o in stream.book.resting if o[0] == some), None)
            taken = f"{left:f}" if left is not None and rng.random() < 0.5 else "0.0001"
            stream.event(ts, "match", some, side=side, price="1", size=taken)
        elif roll < 0.8:
            stream.event(ts, "done", some, side=side, reason="canceled")
        elif roll < 0.9:
            stream.event(ts, "change", some, side=side, size=size(rng))
        else:
            kind = rng.choice(("received", "stop", "activate"))
            stream.event(ts, kind, "x", sequence=stream.sequence if kind != "received" else None)
        if rng.random() < 0.08:
            stream.keyframe()
    return ts


def build(root: Path, seed: int, messages: int = 60) -> ArchiveBuilder:
    """Write an archive of one symbol: both books, two runs, gaps between."""
    rng = random.Random(seed)
    builder = ArchiveBuilder(root, rows_per_part=37, row_group=9)
    for stream_name, tell in (("l2", tell_l2), ("l3", tell_l3)):
        sequence, ts = 1000, T0
        before: StreamBuilder | None = None
        for run_id in RUNS:
            stream = builder.book(SYMBOL, stream_name, run_id)
            for _ in range(2):
                if stream.stretches:
                    stream.lose()
                elif before is not None:
                    before.lose("stopped")
                    before.gaps[-1].update(
                        ts_to=ts, sequence_received=sequence, healed_by="next_run"
                    )
                    before = None
                ts = tell(stream, rng, ts, sequence, rng.randrange(messages)) + 3 * S
                sequence = stream.sequence + 50
            before = stream
        builder.streams[-1].still_open()
    builder.write()
    return builder
