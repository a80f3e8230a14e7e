"""The state of the exchange, and what a key may do."""

from __future__ import annotations

import pytest

from schemas.kucoin.control import WireError
from schemas.kucoin.rest import parse_answer
from schemas.kucoin.venue_state import (
    KeyInfo,
    VenueStatus,
    format_key_info,
    format_status,
    parse_key_info,
    parse_status,
)


def test_a_status_comes_back_as_it_was() -> None:
    for status in (VenueStatus("open"), VenueStatus("cancelonly", "upgrade until 12:00")):
        assert parse_status(parse_answer(format_status(status))) == status
    assert VenueStatus("open").is_open
    assert not VenueStatus("cancelonly").is_open
    assert parse_status({"status": "Open", "msg": None}) == VenueStatus("open", "")


def test_of_a_key_only_what_it_may_do_is_kept() -> None:
    info = KeyInfo(("General", "Spot"), "3")
    body = format_key_info(info, remark="reader", uid=7)
    assert b'"uid":7' in body
    assert parse_key_info(parse_answer(body)) == info
    assert parse_key_info({"permission": " General, "}) == KeyInfo(("General",), "")


@pytest.mark.parametrize("data", [None, [], {}, "open", 3])
def test_anything_else_is_malformed(data: object) -> None:
    with pytest.raises(WireError, match="status is malformed"):
        parse_status(data)
    with pytest.raises(WireError, match="API key is malformed"):
        parse_key_info(data)


def test_account_data_is_in_no_error() -> None:
    with pytest.raises(WireError) as caught:
        parse_key_info({"uid": 123456, "permission": None})
    assert "123456" not in str(caught.value)
