"""Signed REST over real sockets: codes, messages, permissions, and no secret anywhere."""

from __future__ import annotations

import logging
import time

import pytest

from replay.exchange.api_keys import ApiKeys, ServedKey
from schemas.kucoin.signing import sign_headers
from tests.service.replay.exchange.conftest import CLASSIC, running

BOOK = "/api/v3/market/orderbook/level2?symbol=WIN-USDT"
KEY_INFO = "/api/v1/user/api-key"
OLD = ServedKey("6705-old", "secret-of-old", "words-of-old", "1")
NEW = ServedKey("6705-new", "secret-of-new", "words-of-new", "3", ("General", "Spot"))
BLIND = ServedKey("6705-blind", "secret-of-blind", "words-of-blind", "2", ("Spot",))
KEYS = ApiKeys([OLD, NEW, BLIND])


def sign(key: ServedKey, path: str, off_ms: int = 0) -> dict[str, str]:
    """Return the headers of a GET signed now."""
    now_ms = time.time_ns() // 1_000_000 + off_ms
    return sign_headers(key.key, key.secret, key.passphrase, key.version, "GET", path, "", now_ms)


@pytest.mark.parametrize("key", [OLD, NEW])
async def test_a_signature_of_either_kind_gives_the_whole_book(key: ServedKey) -> None:
    async with running(dialect=CLASSIC, keys=KEYS, rate=0.01) as (server, client):
        status, body = await client.get(BOOK, sign(key, BOOK))
        assert (status, body["code"]) == (200, "200000")
        whole = server.source.l2_book("WIN-USDT")
        assert body["data"]["sequence"] == str(whole.sequence)
        assert [tuple(row) for row in body["data"]["bids"]] == whole.bids
        assert len(whole.bids) > 200


async def test_what_a_key_may_do_is_told_to_its_owner() -> None:
    async with running(dialect=CLASSIC, keys=KEYS) as (_, client):
        status, body = await client.get(KEY_INFO, sign(NEW, KEY_INFO))
        assert status == 200
        assert (body["data"]["permission"], body["data"]["apiVersion"]) == ("General,Spot", 3)
        assert (await client.get(KEY_INFO))[0] == 401


async def test_refusals_have_the_documented_codes_and_show_nothing_secret(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    good = sign(NEW, BOOK)
    cases = {
        "400001": {},
        "400002": sign(NEW, BOOK, off_ms=-6_000),
        "400003": {**good, "KC-API-KEY": "6705-none"},
        "400004": {**good, "KC-API-PASSPHRASE": NEW.passphrase},
        "400005": sign(NEW, BOOK + "&x=1"),
        "400007": sign(BLIND, BOOK),
    }
    async with running(dialect=CLASSIC, keys=KEYS) as (_, client):
        answers = {code: await client.get(BOOK, headers) for code, headers in cases.items()}
    assert {code: (status, body["code"]) for code, (status, body) in answers.items()} == {
        code: (401, code) for code in cases
    }
    said = caplog.text + str(answers)
    for key in (OLD, NEW, BLIND):
        assert key.secret not in said
        assert key.passphrase not in said
    assert "take the time from /api/v1/timestamp" in answers["400002"][1]["msg"]


@pytest.mark.parametrize("content", ["application/json", "text/plain; charset=nobody-knows"])
async def test_a_body_that_is_no_text_is_a_signature_error(content: str) -> None:
    async with running(dialect=CLASSIC, keys=KEYS) as (_, client):
        headers = {**sign(NEW, BOOK), "Content-Type": content}
        async with client.http.get(client.url + BOOK, headers=headers, data=b"\xff\xfe") as answer:
            assert (answer.status, (await answer.json())["code"]) == (401, "400005")


async def test_in_2019_whole_books_are_open_until_the_exchange_knows_a_key() -> None:
    async with running(rate=0.01) as (_, client):
        assert (await client.get(BOOK))[0] == 200
    async with running(rate=0.01, keys=KEYS) as (_, client):
        status, body = await client.get(BOOK)
        assert (status, body["code"]) == (401, "400001")
        assert (await client.get(BOOK, sign(OLD, BOOK)))[0] == 200
        assert (await client.get("/api/v2/market/orderbook/level2?symbol=WIN-USDT"))[0] == 200
