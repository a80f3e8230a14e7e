"""Arrow schemas of the datasets: what one row is, column by column.

`FIELDS.md` beside this file says what each column means; a test holds the two together.
Numbers are pairs `<name>_mantissa` int64 and `<name>_scale` int8, NULL together where the wire
has none. Times are timestamp[ns] without a zone, UTC by contract. A row is *known* from
`ts_recv + held_ns`.
"""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa

SCHEMA_VERSION = "1"

TEXT = pa.string()
WORD = pa.dictionary(pa.int32(), pa.string())
TIME = pa.timestamp("ns")

BID, ASK, NO_SIDE = 0, 1, -1
SIDES = ("bid", "ask")
SIDE_CODES = {"bid": BID, "ask": ASK}

L3_KINDS = ("received", "open", "match", "done", "change", "stop", "activate")
ORIGINS = ("rest", "keyframe", "audit")
TRADE_SOURCES = ("match", "level3", "backfill")
STREAMS = ("l2", "l3", "trades", "tickers", "market_snapshots")
BOOK_STREAMS = ("l2", "l3")

GAP_REASONS = (
    "sequence", "disconnected", "buffer_full", "snapshot_stale", "bridge", "silent", "decode",
    "garbage", "disk_full", "drift", "crossed", "internal", "stopped", "crashed", "source",
)  # fmt: skip
HEALED_BY = ("snapshot", "next_run", "backfill")


def _number(name: str) -> list[pa.Field]:
    return [pa.field(f"{name}_mantissa", pa.int64()), pa.field(f"{name}_scale", pa.int8())]


_COMMON = [
    pa.field("ts_recv", TIME, nullable=False),
    pa.field("ts_event", TIME),
    pa.field("held_ns", pa.int64(), nullable=False),
    pa.field("symbol", WORD, nullable=False),
    pa.field("run_id", WORD, nullable=False),
    pa.field("ordinal", pa.int64(), nullable=False),
    pa.field("sequence", pa.int64(), nullable=False),
]

L2_UPDATES = pa.schema(
    [
        *_COMMON,
        pa.field("sequence_start", pa.int64(), nullable=False),
        pa.field("sequence_end", pa.int64(), nullable=False),
        pa.field("side", WORD),
        *_number("price"),
        *_number("size"),
        pa.field("is_last", pa.bool_(), nullable=False),
    ]
)

L3_EVENTS = pa.schema(
    [
        *_COMMON,
        pa.field("kind", WORD, nullable=False),
        pa.field("side", WORD),
        pa.field("aggressor_side", WORD),
        pa.field("order_id", TEXT),
        pa.field("taker_order_id", TEXT),
        pa.field("trade_id", TEXT),
        *_number("price"),
        *_number("size"),
        *_number("remain_size"),
        *_number("old_size"),
        *_number("funds"),
        pa.field("order_type", WORD),
        pa.field("stop_type", WORD),
        pa.field("reason", WORD),
    ]
)

TRADES = pa.schema(
    [
        *_COMMON,
        pa.field("trade_id", TEXT),
        *_number("price"),
        *_number("size"),
        pa.field("aggressor_side", WORD),
        pa.field("maker_order_id", TEXT),
        pa.field("taker_order_id", TEXT),
        pa.field("source", WORD, nullable=False),
    ]
)

TICKERS = pa.schema(
    [
        *_COMMON,
        pa.field("channel", WORD, nullable=False),
        *_number("price"),
        *_number("size"),
        *_number("best_bid"),
        *_number("best_bid_size"),
        *_number("best_ask"),
        *_number("best_ask_size"),
    ]
)

MARKET_SNAPSHOT_TEXTS = (
    "trading", "buy", "sell", "sort", "vol_value", "base_currency", "market", "quote_currency",
    "symbol_code", "high", "vol", "low", "change_price", "change_rate", "last_traded_price",
    "board", "mark",
)  # fmt: skip

MARKET_SNAPSHOTS = pa.schema(
    [
        *_COMMON,
        pa.field("channel", WORD, nullable=False),
        *[pa.field(name, TEXT) for name in MARKET_SNAPSHOT_TEXTS],
        pa.field("extra", TEXT),
    ]
)

BOOK_SNAPSHOTS = pa.schema(
    [
        *_COMMON,
        pa.field("book", WORD, nullable=False),
        pa.field("origin", WORD, nullable=False),
        pa.field("side", WORD),
        pa.field("level", pa.int32()),
        pa.field("position", pa.int32()),
        pa.field("order_id", TEXT),
        *_number("price"),
        *_number("size"),
        *_number("known_bid_from"),
        *_number("known_ask_to"),
    ]
)


@dataclass(frozen=True, slots=True)
class Dataset:
    """One kind of row: its folder name, its Arrow schema, the stream whose ordinals order it."""

    name: str
    schema: pa.Schema
    streams: tuple[str, ...]

    @property
    def numbers(self) -> tuple[str, ...]:
        """Names of the fixed-point pairs, without `_mantissa` and `_scale`."""
        return tuple(
            name.removesuffix("_mantissa")
            for name in self.schema.names
            if name.endswith("_mantissa")
        )


DATASETS: dict[str, Dataset] = {
    dataset.name: dataset
    for dataset in (
        Dataset("l2_updates", L2_UPDATES, ("l2",)),
        Dataset("l3_events", L3_EVENTS, ("l3",)),
        Dataset("trades", TRADES, ("trades",)),
        Dataset("tickers", TICKERS, ("tickers",)),
        Dataset("market_snapshots", MARKET_SNAPSHOTS, ("market_snapshots",)),
        Dataset("book_snapshots", BOOK_SNAPSHOTS, ("l2", "l3")),
    )
}
