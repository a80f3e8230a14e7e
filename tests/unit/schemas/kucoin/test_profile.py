"""Profiles as data, and the shipped ones by name."""

from __future__ import annotations

from dataclasses import replace

import pytest

from schemas.kucoin.profile import Rate
from schemas.kucoin.profiles import PROFILES, UnknownProfile, profile_named
from schemas.kucoin.profiles.kucoin_2019 import KUCOIN_2019
from schemas.kucoin.profiles.kucoin_classic import KUCOIN_CLASSIC


def test_a_profile_is_found_by_its_name() -> None:
    assert profile_named("kucoin-2019") is KUCOIN_2019
    assert all(name == profile.name for name, profile in PROFILES.items())


def test_an_unknown_name_is_told_with_the_nearest_and_the_known() -> None:
    with pytest.raises(UnknownProfile) as caught:
        profile_named("kucoin-2091")
    assert caught.value.name == "kucoin-2091"
    assert str(caught.value) == (
        "profile 'kucoin-2091' is unknown; did you mean 'kucoin-2019'? "
        "known: kucoin-2019, kucoin-classic"
    )


def test_a_name_like_none_gets_no_guess() -> None:
    with pytest.raises(UnknownProfile, match=r"^profile 'zz' is unknown; known: kucoin-2019, "):
        profile_named("zz")


def test_the_hash_follows_the_content() -> None:
    same, other = replace(KUCOIN_2019), replace(KUCOIN_2019, continuity="overlap")
    slower = replace(KUCOIN_2019, limits=replace(KUCOIN_2019.limits, connections_max=9))
    assert same.hash == KUCOIN_2019.hash
    assert len({KUCOIN_2019.hash, other.hash, slower.hash}) == 3
    assert len(KUCOIN_2019.hash) == 64


def test_the_limits_are_those_of_the_document() -> None:
    limits = KUCOIN_2019.limits
    assert (limits.connections_max, limits.connects) == (10, Rate(30, 60.0))
    assert (limits.topics_per_connection, limits.uplink_messages) == (100, Rate(120, 60.0))
    assert (limits.rest["public"], limits.idle_disconnect_s) == (Rate(100, 10.0), 60)
    assert {source.stream for source in KUCOIN_2019.books} == {"l2", "l3"}


def stream_of(path: str) -> str | None:
    source = KUCOIN_2019.source_of_path(path)
    return source and source.stream


def test_books_of_both_versions_are_known_by_their_path() -> None:
    assert stream_of("/api/v2/market/orderbook/level2") == "l2"
    assert stream_of("/api/v1/market/orderbook/level2") == "l2"
    assert stream_of("/api/v1/market/orderbook/level3") == "l3"
    assert stream_of("/api/v1/market/orderbook/level1") is None


def test_a_capture_may_hold_answers_that_are_never_asked_for() -> None:
    for profile in PROFILES.values():
        for path in ("/api/v1/symbols", "/api/v2/symbols"):
            assert profile.lists_symbols(path)
        assert not profile.lists_symbols("/api/v1/currencies")
        for depth in (20, 100):
            source = profile.source_of_path(f"/api/v1/market/orderbook/level2_{depth}")
            assert source is not None
            assert (source.stream, source.depth) == ("l2", depth)
        whole = profile.source_of_path("/api/v3/market/orderbook/level2")
        assert whole is not None
        assert (whole.stream, whole.depth) == ("l2", None)


def test_today_a_whole_book_needs_a_key() -> None:
    keyless = KUCOIN_CLASSIC.book_source("l2", signed=False)
    signed = KUCOIN_CLASSIC.book_source("l2", signed=True)
    assert keyless is not None
    assert (keyless.depth, keyless.signed) == (100, False)
    assert signed is not None
    assert (signed.depth, signed.signed) == (None, True)
    assert KUCOIN_CLASSIC.book_source("l3", signed=True) is None
    assert KUCOIN_CLASSIC.source_of_path("/api/v1/market/orderbook/level2_100") == keyless
    assert "level3" not in KUCOIN_CLASSIC.feeds


def test_a_request_weighs_what_the_venue_says() -> None:
    limits = KUCOIN_CLASSIC.limits
    assert limits.weight("/api/v1/market/orderbook/level2_100?symbol=BTC-USDT") == 2
    assert limits.weight("/api/v1/market/stats?symbol=BTC-USDT") == 15
    assert limits.weight("/api/v1/user/api-key") == 20
    assert limits.weight("/api/v1/my-ip") == 1
    assert limits.rest["public"] == Rate(2_000, 30.0)
