"""Compiled books against plain ones: any prices, growth of every table, compiled and not."""

from __future__ import annotations

import os
import subprocess
import sys
from decimal import Decimal
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from replay.kernels import book_l3
from replay.rows import NO_TIME, FullBookRows, L2Rows, L3Rows, Numbers
from replay.slice_replay import L2Replay, L3Replay
from tests.support.naive import NaiveL2, NaiveL3, best

ROOT = Path(__file__).resolve().parents[4]
KINDS = ("received", "open", "match", "done", "change")


def numbers(values) -> Numbers:
    return Numbers(np.array(values, np.int64), np.zeros(len(values), np.int8))


def empty_seed() -> FullBookRows:
    none = numbers([])
    return FullBookRows(
        0, None, 0, np.zeros(0, np.int8), pa.array([], pa.string()), none, none, None, None
    )


def prices_of(rng: np.random.Generator, kind: str, count: int) -> np.ndarray:
    if kind == "near":
        return rng.integers(1, 40, count)
    if kind == "walk":  # the touch moves through ever new prices
        return 10**6 + np.cumsum(rng.integers(-30, 31, count))
    if kind == "powers":  # equal low bits: hard on a careless hash
        return 1 << rng.integers(0, 62, count)
    return rng.integers(1, 2**63 - 1, count)


def l2_rows(rng: np.random.Generator, kind: str, count: int) -> L2Rows:
    price = prices_of(rng, kind, count)
    size = np.where(rng.random(count) < 0.45, 0, rng.integers(1, 2**40, count))
    price = np.where(rng.random(count) < 0.1, 0, price)
    size = np.where(price == 0, 0, size)
    is_last = rng.random(count) < 0.7
    is_last[-1] = True
    at = np.arange(count, dtype=np.int64)
    never = np.full(count, NO_TIME, np.int64)
    sides = rng.integers(0, 2, count).astype(np.int8)
    return L2Rows(
        at, at, never, at + 1, at + 1, at + 1, sides, numbers(price), numbers(size), is_last
    )


def follow_l2(rng: np.random.Generator, kind: str, count: int) -> None:
    rows = l2_rows(rng, kind, count)
    replay, plain = L2Replay(empty_seed(), rows), NaiveL2()
    changes = replay.follow_best(count)
    found = dict(zip(changes.rows.tolist(), changes.bests.tolist(), strict=True))
    before = [None] * 4
    state = [0, 0, 0, 0]
    for row in range(count):
        side = ("bid", "ask")[rows.side[row]]
        price, size = int(rows.price.mantissa[row]), int(rows.size.mantissa[row])
        plain.change(side, Decimal(price), Decimal(size))
        if row in found:
            assert rows.is_last[row], "the book is looked at between messages only"
            state = found[row]
        if rows.is_last[row] and row % 7 == 0:
            before = list(best(plain))
            assert state == [int(x or 0) for x in before[:4]]
    shown = [list(zip(p.tolist(), s.tolist(), strict=True)) for p, s in replay.sides()]
    assert shown == [[(int(p), int(s)) for p, s in side] for side in plain.whole()]


def follow_l3(rng: np.random.Generator, kind: str, count: int) -> None:
    price = prices_of(rng, kind, count)
    amount = rng.integers(1, 60, count)
    kinds = rng.choice(5, count, p=[0.05, 0.5, 0.2, 0.15, 0.1])
    sides = rng.integers(0, 2, count).astype(np.int8)
    ids = [f"o{number}" for number in rng.integers(0, max(count // 2, 2), count)]
    codes = np.array(
        [book_l3.IGNORED, book_l3.OPEN, book_l3.MATCH, book_l3.DONE, book_l3.CHANGE], np.int8
    )[kinds]
    at = np.arange(count, dtype=np.int64)
    rows = L3Rows(
        at, at, np.full(count, NO_TIME, np.int64), at + 1, codes, np.zeros(count, np.bool_),
        sides, pa.array(ids), numbers(price), numbers(amount),
    )  # fmt: skip
    replay, plain = L3Replay(empty_seed(), rows), NaiveL3()
    changes = replay.follow_best(count)
    found = dict(zip(changes.rows.tolist(), changes.bests.tolist(), strict=True))
    state = [0, 0, 0, 0]
    for row in range(count):
        name, size = KINDS[kinds[row]], Decimal(int(amount[row]))
        side = ("bid", "ask")[sides[row]]
        plain.event(name, side, ids[row], Decimal(int(price[row])), size, size)
        state = found.get(row, state)
        if row % 17 == 0:
            assert state == [int(x or 0) for x in best(plain)[:4]]
    book = replay.book("ABC-XYZ")
    for side, mine in (("bid", book.bids), ("ask", book.asks)):
        orders = [(o.price, o.size, o.order_id) for o in mine.orders]
        assert orders == plain.orders(side)


@pytest.mark.parametrize("kind", ["near", "walk", "powers", "any"])
def test_level_2_equals_its_plain_twin(kind):
    for seed, count in ((1, 1), (2, 50), (3, 3000)):
        follow_l2(np.random.default_rng(seed), kind, count)


@pytest.mark.parametrize("kind", ["near", "walk", "powers", "any"])
def test_level_3_equals_its_plain_twin(kind):
    for seed, count in ((1, 1), (2, 50), (3, 2500)):
        follow_l3(np.random.default_rng(seed), kind, count)


def test_tables_grow_past_their_first_size():
    rng = np.random.default_rng(5)
    count = 6000
    price = rng.permutation(np.arange(1, count + 1))
    rows = l2_rows(rng, "near", count)
    rows.price.mantissa[:] = price
    rows.size.mantissa[:] = 1
    replay = L2Replay(empty_seed(), rows)
    replay.move_to(count)
    bids, asks = replay.sides()
    assert sorted([*bids[0].tolist(), *asks[0].tolist()]) == list(range(1, count + 1))
    assert replay.best()[0] == price[rows.side == 0].max()


@pytest.mark.parametrize(
    "setting", [{"NUMBA_DISABLE_JIT": "1"}, {"NUMBA_BOUNDSCHECK": "1"}], ids=lambda s: next(iter(s))
)
def test_the_same_without_compiling_and_with_bounds_checked(setting, tmp_path):
    code = (
        "import numpy as np\n"
        "from tests.property.replay.kernels.test_kernels import follow_l2, follow_l3\n"
        "for kind in ('near', 'walk', 'powers', 'any'):\n"
        "    follow_l2(np.random.default_rng(7), kind, 300)\n"
        "    follow_l3(np.random.default_rng(7), kind, 300)\n"
        "print('same')\n"
    )
    environment = os.environ | setting | {"NUMBA_CACHE_DIR": str(tmp_path), "PYTHONPATH": "."}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        cwd=ROOT, env=environment, capture_output=True, text=True, timeout=110, check=False,
    )  # fmt: skip
    assert (done.stdout.strip(), done.stderr) == ("same", "")
