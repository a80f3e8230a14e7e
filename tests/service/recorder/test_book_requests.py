"""Books on request: one at a time per stream, spaced when asked again, the newest wish only."""

from __future__ import annotations

import asyncio
import random
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest

from recorder import book_requests
from recorder.book_requests import BookRequests
from recorder.logs import get_log
from recorder.pipeline.output import RequestBook, Reseed
from recorder.transport.rate_limit import Rank, no_rank
from recorder.transport.rest import RestFailed, RestReply
from schemas.kucoin.profile import BookSource
from schemas.kucoin.profiles.kucoin_2019 import KUCOIN_2019
from tests.support.jumping_clock import in_jumping_time

RESEEDED = -1  # stands for a question without a request id

PROFILE = replace(
    KUCOIN_2019,
    books=(BookSource("l2", "/l2?symbol={symbol}"), BookSource("l3", "/l3?symbol={symbol}")),
)


class FakeRest:
    """Answers after a while, or fails."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, int, float]] = []
        self.signed: list[tuple[str, bool]] = []  # of turns and questions, in order
        self.ranks: list[Rank] = []
        self.fields: list[dict[str, Any]] = []
        self.under_way = 0
        self.most_under_way: dict[str, int] = {}
        self.delay_s = 0.0
        self.error: Exception | None = None
        self.turn = asyncio.Event()
        self.turn.set()

    async def wait_turn(self, path: str, *, signed: bool = False, rank: Rank) -> None:
        self.signed.append((path, signed))
        self.ranks.append(rank)
        await self.turn.wait()

    async def ask_now(self, path: str, *, signed: bool = False, **fields: Any) -> RestReply:
        now = asyncio.get_running_loop().time()
        self.signed.append((path, signed))
        self.fields.append(fields)
        self.asked.append((path, fields.get("request_id", RESEEDED), now))
        self.under_way += 1
        self.most_under_way[path] = max(self.most_under_way.get(path, 0), self.under_way)
        await asyncio.sleep(self.delay_s)
        self.under_way -= 1
        if self.error is not None:
            raise self.error
        return RestReply(path, 200, b"")

    @property
    def ids(self) -> list[int]:
        return [request_id for _, request_id, _ in self.asked]


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(book_requests, "RETRY_FIRST_S", 0.04)
    monkeypatch.setattr(book_requests, "RETRY_CAP_S", 0.2)
    monkeypatch.setattr(book_requests, "RETRY_MEMORY_S", 0.3)


def make(rest: FakeRest) -> BookRequests:
    return BookRequests(rest, PROFILE, random.Random(1), get_log("test"))  # type: ignore[arg-type]


def want(request_id: int, symbol: str = "A-B", stream: str = "l2") -> RequestBook:
    return RequestBook(symbol, stream, request_id)


async def asked(rest: FakeRest, count: int) -> None:
    for _ in range(500):
        if len(rest.asked) >= count:
            await asyncio.sleep(0)
            return
        await asyncio.sleep(0.005)
    pytest.fail(f"asked {rest.asked}, not {count} times")


@pytest.mark.usefixtures("quick")
@in_jumping_time
async def test_asking_again_at_once_is_spaced_more_and_more_up_to_the_cap() -> None:
    rest = FakeRest()
    books = make(rest)
    for number in range(1, 7):
        books.request(want(number))
        await asked(rest, number)
    times = [at for _, _, at in rest.asked]
    waits = [after - before for before, after in pairwise(times)]
    for wait, step in zip(waits, (0.04, 0.08, 0.16, 0.2, 0.2), strict=True):
        assert step / 2 <= wait < step + 0.1
    await asyncio.sleep(0.35)
    began = asyncio.get_running_loop().time()
    books.request(want(7))
    await asked(rest, 7)
    assert rest.asked[-1][2] - began < 0.04, "a new need after a while goes out at once"
    await books.stop()


@pytest.mark.usefixtures("quick")
@in_jumping_time
async def test_one_request_is_under_way_per_stream_and_the_newest_wish_follows() -> None:
    rest = FakeRest()
    rest.delay_s = 0.1
    books = make(rest)
    books.request(want(1))
    await asked(rest, 1)
    for number in (2, 3, 4):
        books.request(want(number))
    await asked(rest, 2)
    await asyncio.sleep(0.15)
    assert rest.ids == [1, 4], "answers to 2 and 3 would be ignored"
    assert rest.most_under_way == {"/l2?symbol=A-B": 1}
    await books.stop()


@in_jumping_time
async def test_what_was_wished_before_the_turn_came_is_not_asked() -> None:
    rest = FakeRest()
    rest.turn.clear()
    books = make(rest)
    for number in (1, 2, 3):
        books.request(want(number))
        await asyncio.sleep(0.01)
    rest.turn.set()
    await asked(rest, 1)
    await asyncio.sleep(0.05)
    assert rest.ids == [3], "the stitcher ignores answers to wishes it has given up"
    await books.stop()


@in_jumping_time
async def test_streams_and_symbols_do_not_wait_for_each_other() -> None:
    rest = FakeRest()
    rest.delay_s = 0.05
    books = make(rest)
    books.request(want(1))
    books.request(want(1, stream="l3"))
    books.request(want(1, symbol="C&D"))
    await asked(rest, 3)
    assert {path for path, _, _ in rest.asked} == {
        "/l2?symbol=A-B",
        "/l3?symbol=A-B",
        "/l2?symbol=C%26D",
    }
    await books.stop()


@pytest.mark.usefixtures("quick")
@in_jumping_time
async def test_a_failure_leaves_it_to_the_stitcher_to_ask_again() -> None:
    rest = FakeRest()
    rest.error = RestFailed("url", 429, "too often", refused=False)
    books = make(rest)
    books.request(want(1))
    await asked(rest, 1)
    await asyncio.sleep(0.05)
    assert rest.ids == [1]
    assert not books.crashed.done()
    books.request(want(2))
    await asked(rest, 2)
    await books.stop()


@in_jumping_time
async def test_a_mistake_of_ours_is_not_kept_quiet() -> None:
    rest = FakeRest()
    rest.error = KeyError("ours")
    books = make(rest)
    books.request(want(1))
    with pytest.raises(KeyError):
        await asyncio.wait_for(books.crashed, 1)
    await books.stop()


@in_jumping_time
async def test_a_reseed_says_what_it_is_for() -> None:
    rest = FakeRest()
    books = make(rest)
    books.request(Reseed("A-B", "l2"))
    books.request(Reseed("A-B", "l2"))
    await asked(rest, 1)
    await asyncio.sleep(0.02)
    assert rest.fields == [{"symbol": "A-B", "stream": "l2", "purpose": "reseed"}]
    await books.stop()


@pytest.mark.usefixtures("quick")
@in_jumping_time
async def test_a_reseed_that_came_to_nothing_is_spaced_more_and_more() -> None:
    rest = FakeRest()
    rest.error = RestFailed("url", None, "no answer in time", refused=False)
    books = make(rest)
    for number in range(1, 5):
        books.request(Reseed("A-B", "l2"))
        await asked(rest, number)
    waits = [after[2] - before[2] for before, after in pairwise(rest.asked)]
    for wait, step in zip(waits, (0.04, 0.08, 0.16), strict=True):
        assert step / 2 <= wait < step + 0.1
    await books.stop()


@pytest.mark.usefixtures("quick")
@in_jumping_time
async def test_a_seed_takes_the_place_of_a_reseed_that_waits() -> None:
    rest = FakeRest()
    books = make(rest)
    books.request(Reseed("A-B", "l2"))
    await asked(rest, 1)
    books.request(Reseed("A-B", "l2"))  # spaced
    await asyncio.sleep(0)
    began = asyncio.get_running_loop().time()
    books.request(want(1))
    await asked(rest, 2)
    assert rest.asked[1][1:] == (1, pytest.approx(began, abs=0.015)), "it waits for no re-seed"
    await asyncio.sleep(0.1)
    assert rest.ids == [RESEEDED, 1], "there is no book any more to be re-seeded"
    await books.stop()


@in_jumping_time
async def test_the_turn_of_a_reseed_goes_to_a_seed_that_came_meanwhile() -> None:
    rest = FakeRest()
    rest.turn.clear()
    books = make(rest)
    books.request(Reseed("A-B", "l2"))
    await asyncio.sleep(0.01)
    books.request(want(1))
    await asyncio.sleep(0.01)
    rest.turn.set()
    await asked(rest, 1)
    await asyncio.sleep(0.05)
    assert rest.ids == [1]
    assert rest.most_under_way == {"/l2?symbol=A-B": 1}
    await books.stop()


@in_jumping_time
async def test_who_waits_is_ranked_by_need_then_by_traffic() -> None:
    rest = FakeRest()
    rest.turn.clear()
    books = make(rest)
    books.request(RequestBook("QUIET-X", "l2", 1, traffic=3))
    books.request(Reseed("BUSY-X", "l2", traffic=900))
    books.request(RequestBook("BUSY-Y", "l2", 1, traffic=500))
    await asyncio.sleep(0.01)
    by_path = {path: rank for (path, _), rank in zip(rest.signed, rest.ranks, strict=True)}
    quiet, busy, reseed = (
        by_path[f"/l2?symbol={name}"] for name in ("QUIET-X", "BUSY-Y", "BUSY-X")
    )
    assert busy() < quiet() < no_rank() < reseed()
    books.request(RequestBook("BUSY-X", "l2", 1, traffic=900))  # it has lost its book meanwhile
    assert reseed() < busy(), "the place in the queue is a seed's now"
    await books.stop()


@pytest.mark.parametrize(
    ("signed", "path"), [(True, "/whole?symbol=A-B"), (False, "/l2_100?symbol=A-B")]
)
@in_jumping_time
async def test_a_key_opens_the_whole_book(signed: bool, path: str) -> None:
    rest = FakeRest()
    sources = (
        BookSource("l2", "/whole?symbol={symbol}", signed=True),
        BookSource("l2", "/l2_100?symbol={symbol}", depth=100),
    )
    profile = replace(PROFILE, books=sources)
    log = get_log("test")
    books = BookRequests(rest, profile, random.Random(1), log, signed=signed)  # type: ignore[arg-type]
    books.request(want(1))
    await asked(rest, 1)
    assert rest.signed == [(path, signed)] * 2  # its turn is taken from the same budget
    await books.stop()
