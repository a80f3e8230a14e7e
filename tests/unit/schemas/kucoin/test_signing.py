"""Signed requests: the document's worked example to the letter, and what differs by version."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json

import pytest

from schemas.kucoin.signing import (
    REQUIRED_HEADERS,
    UnknownKeyVersion,
    format_passphrase,
    format_signature,
    sign_headers,
)

# The document's own, published and made up: "Signing a Message", February 2019.
KEY = "5c2db93503aa674c74a31734"
SECRET = "f03a5284-5c39-4aaa-9b20-dea10bdcf8e3"
PASSPHRASE = "Abc123456"
TS_MS = 1547015186532
PATH = "/api/v1/deposit-addresses"
BODY = '{"currency":"BTC"}'
SIGNATURE = "7QP/oM0ykidMdrfNEUmng8eZjg/ZvPafjIqmxiVfYu4="


def test_the_documents_example_is_reproduced() -> None:
    assert sign_headers(KEY, SECRET, PASSPHRASE, "1", "POST", PATH, BODY, TS_MS) == {
        "KC-API-KEY": KEY,
        "KC-API-TIMESTAMP": "1547015186532",
        "KC-API-PASSPHRASE": "Abc123456",
        "KC-API-SIGN": SIGNATURE,
    }


@pytest.mark.parametrize(
    ("method", "path", "body", "ts"),
    [
        ("POST", PATH, json.dumps({"currency": "BTC"}), "1547015186532"),
        # The later editions' inputs, printed over the same signature.
        ("POST", "/api/v1/deposit-address", '{"currency":"XBT"}', "1547015186532"),
        ("post", PATH, BODY, "1547015186532"),
        ("POST", PATH + "?currency=BTC", "", "1547015186532"),
        ("POST", PATH, BODY, "1547015186532.0"),
    ],
)
def test_any_other_text_has_another_signature(method: str, path: str, body: str, ts: str) -> None:
    assert format_signature(SECRET, ts, method, path, body) != SIGNATURE


def test_the_later_editions_passphrase_is_no_hmac() -> None:
    printed = "QWIxMjM0NTY3OCkoKiZeJSQjQA=="
    assert base64.b64decode(printed) == b"Ab12345678)(*&^%$#@"
    assert len(base64.b64decode(format_passphrase(SECRET, PASSPHRASE, "2"))) == 32


@pytest.mark.parametrize("version", ["2", "3"])
def test_later_versions_hide_the_passphrase_and_say_their_version(version: str) -> None:
    headers = sign_headers(KEY, SECRET, PASSPHRASE, version, "GET", "/api/v1/x?a=b", "", TS_MS)
    expected = hmac.new(SECRET.encode(), PASSPHRASE.encode(), hashlib.sha256).digest()
    assert base64.b64decode(headers["KC-API-PASSPHRASE"]) == expected
    assert headers["KC-API-KEY-VERSION"] == version
    assert set(REQUIRED_HEADERS) < set(headers)
    assert PASSPHRASE not in str(headers)
    assert headers["KC-API-SIGN"] == format_signature(
        SECRET, str(TS_MS), "GET", "/api/v1/x?a=b", ""
    )


def test_other_versions_are_refused_by_name() -> None:
    with pytest.raises(UnknownKeyVersion, match=r"key version '4' is unknown; known: 1, 2, 3"):
        sign_headers(KEY, SECRET, PASSPHRASE, "4", "GET", "/", "", TS_MS)
