"""Archives made by hand: streams told step by step, written as parts and a catalog.

It knows the archive through `schemas` alone, and keeps the truth beside it: `truth` of a stream
holds the naive book after every complete message.
"""

from __future__ import annotations

import hashlib
import sqlite3
from copy import deepcopy
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from schemas.archive_layout import CATALOG_DB, CATALOG_PARQUET, CURRENT, part_path
from schemas.catalog import DDL, TABLES
from schemas.datasets import DATASETS
from schemas.fixed_point import parse_fixed
from schemas.timestamps import date_of
from tests.support.naive import NaiveL2, NaiveL3, best

RUN = "20261122T100000.000000Z-test-1"
T0 = 1_795_341_600_000_000_000  # 2026-11-22T10:00:00Z
S = 1_000_000_000


@dataclass(frozen=True)
class Truth:
    """The book after one complete message."""

    ts: int
    sequence: int
    whole: tuple[list, list]
    best: tuple
    levels: tuple[list, list]
    stretch: int
    known: tuple[Decimal | None, Decimal | None] = (None, None)


@dataclass
class Stretch:
    """A covered interval being told."""

    ordinal_first: int
    ts_from: int
    sequence_first: int
    ordinal_last: int = 0
    ts_to: int = 0
    sequence_last: int = 0
    messages: int = 0
    rows: int = 0
    is_open: int = 0


Bounds = tuple[str | None, str | None]


def exact_levels(rows: list) -> list[tuple[Decimal, Decimal]]:
    """Return (price, size) texts as decimals."""
    return [(Decimal(price), Decimal(size)) for price, size in rows]


def exact_bounds(known: Bounds) -> tuple[Decimal | None, Decimal | None]:
    """Return bounds as decimals."""
    bid_from, ask_to = (None if text is None else Decimal(text) for text in known)
    return bid_from, ask_to


class StreamBuilder:
    """One book stream of one symbol in one run."""

    def __init__(
        self, symbol: str, stream: str, run_id: str, price_scale: int, size_scale: int
    ) -> None:
        self.symbol, self.stream, self.run_id = symbol, stream, run_id
        self.price_scale, self.size_scale = price_scale, size_scale
        self.book: Any = NaiveL2() if stream == "l2" else NaiveL3()
        self.ordinal, self.ts, self.sequence, self.row_sequence = -1, 0, 0, 0
        self.ts_event: int | None = None
        self.held = 0
        self.rows: list[dict] = []
        self.full: list[list[dict]] = []
        self.stretches: list[Stretch] = []
        self.gaps: list[dict] = []
        self.truth: list[Truth] = []
        self.bounds: Bounds = (None, None)

    def _number(self, name: str, text: str | None, scale: int) -> dict:
        mantissa, own = (None, None) if text is None else parse_fixed(str(text), scale)
        return {f"{name}_mantissa": mantissa, f"{name}_scale": own}

    def _base(self, ts: int, sequence: int, ts_event: int | None, held: int) -> dict:
        return {
            "ts_recv": ts - held,
            "ts_event": ts_event,
            "held_ns": held,
            "symbol": self.symbol,
            "run_id": self.run_id,
            "ordinal": self.ordinal,
            "sequence": sequence,
        }

    def _note(self) -> None:
        levels = (self.book.levels("bid"), self.book.levels("ask"))
        self.truth.append(
            Truth(
                self.ts,
                self.sequence,
                deepcopy(self.book.whole()),
                best(self.book),
                levels,
                len(self.stretches) - 1,
                self.book.known,
            )
        )

    def _write_full(
        self,
        origin: str,
        ts: int,
        sequence: int,
        bids: list,
        asks: list,
        known: Bounds | None = None,
    ) -> None:
        rows = []
        known_bid_from, known_ask_to = known or self.bounds
        for side, entries in (("bid", bids), ("ask", asks)):
            level, position, before = 0, 0, None
            for entry in entries:
                order_id, price, size = entry if self.stream == "l3" else (None, *entry)
                level, position = (level, position + 1) if price == before else (level + 1, 1)
                before = price
                rows.append((side, level, position, order_id, price, size))
        out = []
        for side, level, position, order_id, price, size in rows or [(None,) * 6]:
            out.append(
                {
                    **self._base(ts, sequence, self.ts_event if origin == "keyframe" else None, 0),
                    "book": self.stream,
                    "origin": origin,
                    "side": side,
                    "level": level,
                    "position": position if self.stream == "l3" else None,
                    "order_id": order_id,
                    **self._number("price", price, self.price_scale),
                    **self._number("size", size, self.size_scale),
                    **self._number("known_bid_from", known_bid_from, self.price_scale),
                    **self._number("known_ask_to", known_ask_to, self.price_scale),
                }
            )
        self.full.append(out)

    def snapshot(
        self,
        ts: int,
        sequence: int,
        bids: list,
        asks: list,
        known: Bounds = (None, None),
    ) -> StreamBuilder:
        """A REST book begins an interval; L2 rows are (price, size), L3 (order_id, price, size)."""
        if self.gaps and self.gaps[-1]["ts_to"] is None:
            self.gaps[-1].update(ts_to=ts, sequence_received=sequence, healed_by="snapshot")
        self.ordinal += 1
        self.ts, self.sequence, self.row_sequence, self.ts_event = ts, sequence, sequence, None
        self.bounds = known
        self._write_full("rest", ts, sequence, bids, asks)
        number = Decimal
        if self.stream == "l2":
            self.book.seed(exact_levels(bids), exact_levels(asks), exact_bounds(known))
        else:
            self.book.seed(
                *[[(name, number(p), number(s)) for name, p, s in rows] for rows in (bids, asks)]
            )
        self.stretches.append(Stretch(self.ordinal, ts, sequence))
        self._extend(0, 0)
        self._note()
        return self

    def _extend(self, rows: int, messages: int = 1) -> None:
        stretch = self.stretches[-1]
        stretch.ordinal_last, stretch.ts_to = self.ordinal, self.ts
        stretch.sequence_last = self.sequence
        stretch.rows += rows
        stretch.messages += messages

    def message(
        self,
        ts: int,
        changes: list[tuple[str | None, str, str]],
        *,
        sequences: list[int] | None = None,
        start: int | None = None,
        end: int | None = None,
        held: int = 0,
        ts_event: int | None = None,
    ) -> StreamBuilder:
        """One L2 message: (side, price, size) rows; price "0" advances the sequence only."""
        start = start if start is not None else self.sequence + 1
        sequences = sequences or [start + at for at in range(len(changes))]
        end = end if end is not None else sequences[-1]
        for at, (side, price, size) in enumerate(changes):
            self.ordinal += 1
            self.rows.append(
                {
                    **self._base(ts, sequences[at], ts_event, held),
                    "sequence_start": start,
                    "sequence_end": end,
                    "side": side,
                    **self._number("price", price, self.price_scale),
                    **self._number("size", size, self.size_scale),
                    "is_last": at == len(changes) - 1,
                }
            )
            self.book.change(side, Decimal(price), Decimal(size))
        self.ts, self.sequence, self.ts_event, self.held = ts, end, ts_event, held
        self.row_sequence = sequences[-1]
        self._extend(len(changes), min(len(changes), 1))
        self._note()
        return self

    def event(
        self,
        ts: int,
        kind: str,
        order_id: str | None = None,
        *,
        side: str | None = None,
        price: str | None = None,
        size: str | None = None,
        remain: str | None = None,
        sequence: int | None = None,
        ts_event: int | None = None,
        reason: str | None = None,
    ) -> StreamBuilder:
        """One L3 event; stop and activate take no sequence."""
        private = kind in ("stop", "activate")
        sequence = sequence if sequence is not None else self.sequence + (not private)
        self.ordinal += 1
        row = dict.fromkeys(DATASETS["l3_events"].schema.names)
        row |= {
            **self._base(ts, sequence, ts_event, 0),
            "kind": kind,
            "side": side,
            "order_id": order_id,
            **self._number("price", price, self.price_scale),
            **self._number("size", size, self.size_scale),
            **self._number("remain_size", remain, self.size_scale),
            "reason": reason,
        }
        self.rows.append(row)
        exact = [None if text is None else Decimal(text) for text in (price, size, remain)]
        self.book.event(kind, side, order_id, *exact)
        self.ts, self.row_sequence = ts, self.sequence if private else sequence
        self.sequence = self.row_sequence
        self.ts_event, self.held = ts_event, 0
        self._extend(1, not private)
        self._note()
        return self

    def keyframe(self) -> StreamBuilder:
        """Write the full book as it stands, at the row before."""
        self._write_full("keyframe", self.ts, self.row_sequence, *self._entries())
        return self

    def _entries(self) -> list[list]:
        if self.stream == "l2":
            return [[(f"{p:f}", f"{s:f}") for p, s in self.book.levels(side)] for side in SIDES]
        return [
            [(name, f"{p:f}", f"{s:f}") for p, s, name in self.book.orders(side)] for side in SIDES
        ]

    def audit(
        self, ts: int, sequence: int, bids: list, asks: list, known: Bounds | None = None
    ) -> StreamBuilder:
        """A REST book that is compared and never applied; its bounds may be its own."""
        self._write_full("audit", ts, sequence, bids, asks, known)
        return self

    def reseed(self, ts: int, bids: list, asks: list, known: Bounds) -> StreamBuilder:
        """A REST book of this sequence tells more of a level-2 book: an audit, then a keyframe."""
        self.audit(ts, self.sequence, bids, asks, known)
        self.book.seed_again(exact_levels(bids), exact_levels(asks), exact_bounds(known))
        self.bounds = tuple(None if end is None else f"{end:f}" for end in self.book.known)
        self.ts = ts
        self._extend(0, 0)
        self.keyframe()
        self._note()
        return self

    def lose(self, reason: str = "sequence", expected: int | None = None) -> StreamBuilder:
        """Begin a gap after the last row."""
        gap = dict.fromkeys(TABLES["gaps"].names)
        gap |= {
            "symbol": self.symbol,
            "stream": self.stream,
            "run_id": self.run_id,
            "ordinal_from": self.ordinal,
            "reason": reason,
            "ts_from": self.ts,
            "ts_detected": self.ts,
            "sequence_expected": self.sequence + 1 if expected is None else expected,
        }
        self.gaps.append(gap)
        return self

    def still_open(self) -> StreamBuilder:
        """Say that the recorder goes on."""
        self.stretches[-1].is_open = 1
        return self


SIDES = ("bid", "ask")


@dataclass
class ArchiveBuilder:
    """Collects streams and plain rows, then writes the archive."""

    root: Path
    rows_per_part: int = 1_000_000
    row_group: int = 4096
    streams: list[StreamBuilder] = field(default_factory=list)
    plain: dict[tuple[str, str, str], list[dict]] = field(default_factory=dict)
    runs: dict[str, int] = field(default_factory=dict)
    extra: dict[str, list[dict]] = field(default_factory=dict)

    def book(
        self,
        symbol: str,
        stream: str = "l2",
        run_id: str = RUN,
        price_scale: int = 2,
        size_scale: int = 4,
    ) -> StreamBuilder:
        """Begin a book stream."""
        self.runs.setdefault(run_id, T0)
        self.streams.append(StreamBuilder(symbol, stream, run_id, price_scale, size_scale))
        return self.streams[-1]

    def add(self, dataset: str, symbol: str, rows: list[dict], run_id: str = RUN) -> None:
        """Add rows of a dataset without a book; missing columns are NULL, ordinals are dense."""
        self.runs.setdefault(run_id, T0)
        into = self.plain.setdefault((dataset, symbol, run_id), [])
        for row in rows:
            base = dict.fromkeys(DATASETS[dataset].schema.names)
            base |= {"symbol": symbol, "run_id": run_id, "ordinal": len(into), "held_ns": 0}
            into.append(base | row)

    def catalog(self, table: str, **values: Any) -> None:
        """Add one row to a catalog table; missing columns are NULL."""
        self.extra.setdefault(table, []).append(dict.fromkeys(TABLES[table].names) | values)

    def write(self) -> Path:
        """Write parts and `catalog.db`; return the root."""
        self.root.mkdir(parents=True, exist_ok=True)
        self._db = sqlite3.connect(self.root / CATALOG_DB)
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.executescript(DDL)
        for run_id, ts in self.runs.items():
            self._insert("runs", {"run_id": run_id, "ts_start": ts, "profile": "kucoin-2019"})
        for (dataset, symbol, run_id), rows in self.plain.items():
            self._write_parts(dataset, symbol, run_id, rows)
        for stream in self.streams:
            dataset = "l2_updates" if stream.stream == "l2" else "l3_events"
            self._write_parts(dataset, stream.symbol, stream.run_id, stream.rows)
            self._write_books(stream)
            for stretch in stream.stretches:
                self._insert(
                    "coverage",
                    {
                        "symbol": stream.symbol,
                        "stream": stream.stream,
                        "run_id": stream.run_id,
                        **vars(stretch),
                    },
                )
            for gap in stream.gaps:
                self._insert("gaps", gap)
        for table, rows in self.extra.items():
            for row in rows:
                self._insert(table, row)
        self._db.commit()
        self._db.close()
        return self.root

    def _insert(self, table: str, row: dict) -> None:
        names = ", ".join(row)
        marks = ", ".join("?" * len(row))
        self._db.execute(f"INSERT INTO {table} ({names}) VALUES ({marks})", list(row.values()))

    def _write_books(self, stream: StreamBuilder) -> None:
        books = stream.full
        paths: list[tuple[str, int]] = []
        chunk: list[list[dict]] = []
        for at, rows in enumerate(books):
            chunk.append(rows)
            last = at == len(books) - 1
            if last or sum(map(len, chunk)) >= self.rows_per_part:
                flat = [row for book in chunk for row in book]
                path = self._write_part(
                    "book_snapshots", stream.symbol, stream.run_id, flat, stream.stream
                )
                first = 0
                for book in chunk:
                    paths.append((path, first))
                    first += len(book)
                chunk = []
        for rows, (path, first) in zip(books, paths, strict=True):
            head = rows[0]
            self._insert(
                "full_books",
                {
                    "symbol": stream.symbol,
                    "stream": stream.stream,
                    "run_id": stream.run_id,
                    "ordinal": head["ordinal"],
                    "origin": head["origin"],
                    "ts": head["ts_recv"] + head["held_ns"],
                    "sequence": head["sequence"],
                    "path": path,
                    "row_first": first,
                    "rows": len(rows),
                },
            )

    def _write_parts(self, dataset: str, symbol: str, run_id: str, rows: list[dict]) -> None:
        for at in range(0, len(rows), self.rows_per_part):
            self._write_part(dataset, symbol, run_id, rows[at : at + self.rows_per_part])

    def _write_part(
        self, dataset: str, symbol: str, run_id: str, rows: list[dict], mark: str = ""
    ) -> str:
        schema = DATASETS[dataset].schema
        known = [row["ts_recv"] + row["held_ns"] for row in rows]
        digest = f"{dataset}{symbol}{run_id}{mark}{rows[0]['ordinal']}"
        part_id = hashlib.sha256(digest.encode()).hexdigest()[:8]
        day = date_of(known[0])
        path = part_path(dataset, day, symbol, known[0], known[-1], part_id)
        target = self.root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        table = pa.Table.from_pylist(rows, schema=schema)
        pq.write_table(table, target, row_group_size=self.row_group, compression="zstd")
        content = target.read_bytes()
        sequences = [row["sequence"] for row in rows]
        self._insert(
            "parts",
            {
                "path": path,
                "dataset": dataset,
                "date": day,
                "symbol": symbol,
                "run_id": run_id,
                "rows": len(rows),
                "bytes": len(content),
                "sha256": hashlib.sha256(content).hexdigest(),
                "ts_first": known[0],
                "ts_last": max(known),
                "ordinal_first": rows[0]["ordinal"],
                "ordinal_last": rows[-1]["ordinal"],
                "sequence_first": min(sequences),
                "sequence_last": max(sequences),
                "ts_published": known[-1],
                "ts_replaced": None,
            },
        )
        return path


def publish_catalog(root: Path, number: int = 1) -> None:
    """Write the Parquet copy of an archive's catalog, as a reader without SQLite uses it."""
    folder = root / CATALOG_PARQUET / str(number)
    folder.mkdir(parents=True)
    db = sqlite3.connect(root / CATALOG_DB)
    for table in TABLES.values():
        rows = db.execute(f"SELECT {', '.join(table.names)} FROM {table.name}").fetchall()
        columns = [dict(zip(table.names, row, strict=True)) for row in rows]
        pq.write_table(
            pa.Table.from_pylist(columns, schema=table.schema), folder / f"{table.name}.parquet"
        )
    db.close()
    (root / CATALOG_PARQUET / CURRENT).write_text(str(number), encoding="ascii")
