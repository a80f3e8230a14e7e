from __future__ import annotations

import io
import os
import pickle
import random
from typing import Any

import pytest

from recorder.book import L2Book, L3Book
from recorder.pipeline import state
from recorder.pipeline.pipeline import Pipeline
from recorder.pipeline.state import StateRefused, put_away, state_version, take_up
from schemas.kucoin.profiles.kucoin_2019 import KUCOIN_2019
from tests.support.market_log import Story, market_log
from tests.support.pipeline_rows import make


def _likeness(thing: object) -> Any:
    file = io.BytesIO()
    put_away(thing, file)
    file.seek(0)
    return take_up(file)


class Calling:
    """An object whose pickle calls something."""

    def __init__(self, *call: Any) -> None:
        self._call = call

    def __reduce__(self) -> tuple[Any, ...]:
        return self._call


@pytest.mark.parametrize(
    "call",
    [
        (os.system, ("true",)),
        (eval, ("1",)),
        (getattr, (1, "real")),
        (put_away, (1, None)),
        (pickle.loads, (b"",)),
        (Pipeline.feed, (None, [])),
        (random.Random, (1,)),
    ],
)
def test_nothing_is_called_that_no_state_holds(call: tuple[Any, ...]) -> None:
    with pytest.raises(StateRefused, match="a state holds no"):
        take_up(io.BytesIO(pickle.dumps(Calling(*call))))


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("recorder.pipeline.state", "pickle.loads"),
        ("recorder.pipeline.state", "hashlib"),
        ("recorder.pipeline.pipeline", "urlsplit"),
        ("recorder.pipeline.pipeline", "Streams"),  # is defined elsewhere
        ("recorder.config", "Config"),
        ("recorder", "__version__"),
    ],
)
def test_only_classes_of_their_own_modules_are_found(module: str, name: str) -> None:
    text = b"\x8c%c%b\x8c%c%b\x93." % (len(module), module.encode(), len(name), name.encode())
    with pytest.raises(StateRefused, match="a state holds no"):
        take_up(io.BytesIO(b"\x80\x05" + text))


def test_a_state_that_is_not_whole_is_refused() -> None:
    file = io.BytesIO()
    put_away(Pipeline(), file)
    for size in (0, 1, len(file.getvalue()) // 2, len(file.getvalue()) - 1):
        with pytest.raises(StateRefused, match="cannot be taken up"):
            take_up(io.BytesIO(file.getvalue()[:size]))


def test_a_profile_is_put_away_by_its_name() -> None:
    assert _likeness(KUCOIN_2019) is KUCOIN_2019


def test_what_is_shared_stays_shared() -> None:
    made = make([market_log(Story(1, steps=20, stops=False))[:60]])
    pipeline = _likeness(made.pipeline)
    assert pipeline._frames._scales is pipeline._scales
    assert pipeline._frames._counts is pipeline.counts
    assert pipeline._frames._streams is pipeline._streams
    assert pipeline._streams is not made.pipeline._streams


def test_a_book_of_levels_is_taken_up_whole() -> None:
    book = L2Book()
    columns = {
        "side": [0, 0, 1, 1],
        "price_mantissa": [99, 98, 101, 102],
        "price_scale": [0, 0, 0, 0],
        "size_mantissa": [5, 6, 7, 8],
        "size_scale": [1, 1, 1, 1],
    }
    book.load(columns, 7, (98, 0), (102, 0))
    book.absent_removals = 3
    again = _likeness(book)
    assert again.same_levels(book)
    assert (again.sequence, again.absent_removals, again.levels) == (7, 3, 4)
    assert (again.known_bid_from, again.known_ask_to) == ((98, 0), (102, 0))
    assert (again.known_left, again.best_bid(), again.best_ask()) == (2, (99, 5), (101, 7))


def test_a_book_of_orders_keeps_its_queues() -> None:
    book = L3Book()
    columns = {
        "order_id": ["c", "a", "b", "d"],
        "side": [0, 0, 0, 1],
        "price_mantissa": [99, 99, 98, 101],
        "price_scale": [0, 0, 0, 0],
        "size_mantissa": [5, 6, 7, 8],
        "size_scale": [1, 1, 1, 1],
    }
    book.load(columns, 7)
    book.oddities.replaced = 2
    again = _likeness(book)
    assert again.same_orders(book)
    assert again.rows()["order_id"] == ["c", "a", "b", "d"]
    assert again.oddities == book.oddities
    assert again.oddities is not book.oddities


def test_the_mark_is_of_the_code(monkeypatch: pytest.MonkeyPatch) -> None:
    mark = state_version()
    assert len(mark) == 16
    assert state_version() == mark
    sources = state._sources
    state_version.cache_clear()
    monkeypatch.setattr(
        state, "_sources", lambda *at: [(name, source + b" ") for name, source in sources(*at)]
    )
    assert state_version() != mark
    state_version.cache_clear()
