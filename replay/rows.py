"""Rows of a book stream as plain arrays, at one scale, ready for the kernels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from replay.errors import ScaleOverflow
from replay.kernels.book_l3 import CHANGE, DONE, IGNORED, MATCH, OPEN
from schemas.datasets import SIDE_CODES

Int64s = npt.NDArray[np.int64]
Int8s = npt.NDArray[np.int8]
Bools = npt.NDArray[np.bool_]

NO_TIME = np.iinfo(np.int64).min
KIND_CODES = {"open": OPEN, "match": MATCH, "done": DONE, "change": CHANGE}

L2_COLUMNS = (
    "ordinal", "ts_recv", "ts_event", "held_ns", "sequence", "sequence_start", "sequence_end",
    "side", "price_mantissa", "price_scale", "size_mantissa", "size_scale", "is_last",
)  # fmt: skip
L3_COLUMNS = (
    "ordinal", "ts_recv", "ts_event", "held_ns", "sequence", "kind", "side", "order_id",
    "price_mantissa", "price_scale", "size_mantissa", "size_scale", "remain_size_mantissa",
    "remain_size_scale",
)  # fmt: skip
BOOK_COLUMNS = (
    "ts_recv", "ts_event", "held_ns", "ordinal", "sequence", "side", "order_id",
    "price_mantissa", "price_scale", "size_mantissa", "size_scale",
    "known_bid_from_mantissa", "known_bid_from_scale",
    "known_ask_to_mantissa", "known_ask_to_scale",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Numbers:
    """Exact numbers not yet at one scale: mantissas int64[n], scales int8[n], NULL as (0, 0)."""

    mantissa: Int64s
    scale: Int8s

    def finest(self) -> int:
        """Return the finest scale of the values that are not 0 (0 is 0 at any scale)."""
        scales = self.scale[self.mantissa != 0]
        return int(scales.max()) if len(scales) else 0

    def at(self, scale: int, column: str) -> Int64s:
        """Return the mantissas at one scale, at least as fine as `finest`.

        Raises
        ------
        ScaleOverflow   naming `column`, when one fits no int64
        """
        values = self.mantissa
        if not len(values):
            return values
        low, high = int(self.scale.min()), int(self.scale.max())
        if low == high == scale:
            return values
        shift = np.where(values != 0, scale - self.scale.astype(np.int64), 0)
        most = int(shift.max())
        if most > 18:
            raise ScaleOverflow(column, scale)
        factor = np.power(10, shift, dtype=np.int64)
        limit = np.iinfo(np.int64).max // factor
        if bool((np.abs(values) > limit).any()):
            raise ScaleOverflow(column, scale)
        return np.asarray(values * factor, np.int64)


@dataclass(frozen=True, slots=True)
class L2Rows:
    """Level changes in order. `known` and `ts_event` are ns; NO_TIME where the venue said none."""

    ordinal: Int64s
    known: Int64s
    ts_event: Int64s
    sequence: Int64s
    sequence_start: Int64s
    sequence_end: Int64s
    side: Int8s
    price: Numbers
    size: Numbers
    is_last: Bools

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.ordinal)


@dataclass(frozen=True, slots=True)
class L3Rows:
    """Order events in order, each a message of its own; `amount` as `apply_events` wants it."""

    ordinal: Int64s
    known: Int64s
    ts_event: Int64s
    sequence: Int64s
    kind: Int8s
    exempt: Bools
    side: Int8s
    order_id: pa.Array
    price: Numbers
    amount: Numbers

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.ordinal)

    @property
    def sequence_end(self) -> Int64s:
        """Sequence after each message: its own."""
        return self.sequence

    @property
    def sequence_start(self) -> Int64s:
        """First sequence of each message: its own."""
        return self.sequence

    @property
    def is_last(self) -> Bools:
        """True everywhere."""
        return np.ones(len(self.ordinal), np.bool_)


Rows = TypeVar("Rows", L2Rows, L3Rows)


def no_rows(rows: Rows) -> Rows:
    """Return rows of the same kind, none of them."""
    empty: dict[str, Any] = {}
    for name in rows.__slots__:
        value = getattr(rows, name)
        empty[name] = (
            Numbers(value.mantissa[:0], value.scale[:0])
            if isinstance(value, Numbers)
            else value[:0]
        )
    return type(rows)(**empty)


@dataclass(frozen=True, slots=True)
class FullBookRows:
    """A full book as written: bids then asks, best first, queues in order; maybe no rows."""

    ts_known: int
    ts_event: int | None
    sequence: int
    side: Int8s
    order_id: pa.Array
    price: Numbers
    size: Numbers
    known_bid_from: tuple[int, int] | None
    known_ask_to: tuple[int, int] | None

    def __len__(self) -> int:
        """Return the number of levels or orders."""
        return len(self.side)


def _one(table: pa.Table, name: str) -> pa.Array:
    column = table.column(name)
    if column.num_chunks == 1:
        return column.chunk(0)
    combined = column.combine_chunks()
    return pa.concat_arrays(combined.chunks) if hasattr(combined, "chunks") else combined


def ints(table: pa.Table, name: str, null: int = 0) -> Int64s:
    """Return a column as int64[n], times as ns, NULL as `null`."""
    array = _one(table, name)
    if pa.types.is_timestamp(array.type):
        array = array.cast(pa.timestamp("ns")).view(pa.int64())
    if array.null_count:
        array = array.fill_null(null)
    return np.asarray(array.to_numpy(zero_copy_only=False), np.int64)


def timestamps(values: Int64s) -> pa.Array:
    """Return int64 ns as timestamps, NO_TIME as NULL: what `ints` reads, back again."""
    mask = values == NO_TIME
    return pa.array(values, pa.int64(), mask=mask if mask.any() else None).cast(pa.timestamp("ns"))


def _numbers(table: pa.Table, name: str) -> Numbers:
    scale = _one(table, f"{name}_scale")
    if scale.null_count:
        scale = scale.fill_null(0)
    return Numbers(
        ints(table, f"{name}_mantissa"), np.asarray(scale.to_numpy(zero_copy_only=False), np.int8)
    )


def _codes(table: pa.Table, name: str, codes: dict[str, int], other: int) -> Int8s:
    """Return a word column as int8[n] by `codes`; NULL and other words are `other`."""
    array = _one(table, name)
    if not pa.types.is_dictionary(array.type):
        array = array.dictionary_encode()
    words = array.dictionary.to_pylist()
    lookup = np.array([codes.get(word, other) for word in words] + [other], np.int8)
    indices = array.indices.fill_null(len(words)).to_numpy(zero_copy_only=False)
    return np.asarray(lookup[indices])


def _known(table: pa.Table) -> Int64s:
    return ints(table, "ts_recv") + ints(table, "held_ns")


def decode_l2(table: pa.Table) -> L2Rows:
    """Turn rows of `l2_updates` into arrays."""
    return L2Rows(
        ints(table, "ordinal"),
        _known(table),
        ints(table, "ts_event", int(NO_TIME)),
        ints(table, "sequence"),
        ints(table, "sequence_start"),
        ints(table, "sequence_end"),
        _codes(table, "side", SIDE_CODES, -1),
        _numbers(table, "price"),
        _numbers(table, "size"),
        np.asarray(_one(table, "is_last").to_numpy(zero_copy_only=False), np.bool_),
    )


def decode_l3(table: pa.Table, sequence_before: int = 0) -> L3Rows:
    """Turn rows of `l3_events` into arrays.

    Private events (stop, activate) take no public sequence: they carry that of the row before.
    """
    exempt = _codes(table, "kind", {"stop": 1, "activate": 1}, 0).astype(np.bool_)
    sequence = ints(table, "sequence")
    if exempt.any():
        sequence = np.maximum.accumulate(np.where(exempt, sequence_before, sequence))
    kind = _codes(table, "kind", KIND_CODES, IGNORED)
    size, remain = _numbers(table, "size"), _numbers(table, "remain_size")
    is_open = kind == OPEN
    return L3Rows(
        ints(table, "ordinal"),
        _known(table),
        ints(table, "ts_event", int(NO_TIME)),
        sequence,
        kind,
        exempt,
        _codes(table, "side", SIDE_CODES, -1),
        _one(table, "order_id"),
        _numbers(table, "price"),
        Numbers(
            np.where(is_open, remain.mantissa, size.mantissa),
            np.where(is_open, remain.scale, size.scale),
        ),
    )


def decode_full_book(table: pa.Table) -> FullBookRows:
    """Turn the rows of one full book into arrays; a lone row without a side is an empty book."""
    side = _codes(table, "side", SIDE_CODES, -1)
    ts_event = int(ints(table, "ts_event", int(NO_TIME))[0])
    bounds: list[tuple[int, int] | None] = []
    for name in ("known_bid_from", "known_ask_to"):
        mantissa = table.column(f"{name}_mantissa")[0].as_py()
        scale: Any = table.column(f"{name}_scale")[0].as_py()
        bounds.append(None if mantissa is None else (mantissa, scale))
    keep = side >= 0
    price, size = _numbers(table, "price"), _numbers(table, "size")
    return FullBookRows(
        int(_known(table)[0]),
        None if ts_event == NO_TIME else ts_event,
        int(ints(table, "sequence")[0]),
        side[keep],
        _one(table, "order_id").filter(pa.array(keep)),
        Numbers(price.mantissa[keep], price.scale[keep]),
        Numbers(size.mantissa[keep], size.scale[keep]),
        bounds[0],
        bounds[1],
    )
