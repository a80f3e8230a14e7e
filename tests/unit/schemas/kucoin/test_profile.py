"""Profiles as data, and the shipped ones by name."""

from __future__ import annotations

from dataclasses import replace

import pytest

from schemas.kucoin.profiles import PROFILES, UnknownProfile, profile_named
from schemas.kucoin.profiles.kucoin_2019 import KUCOIN_2019


def test_a_profile_is_found_by_its_name() -> None:
    assert profile_named("kucoin-2019") is KUCOIN_2019
    assert all(name == profile.name for name, profile in PROFILES.items())


def test_an_unknown_name_is_told_with_the_nearest_and_the_known() -> None:
    with pytest.raises(UnknownProfile) as caught:
        profile_named("kucoin-2091")
    assert caught.value.name == "kucoin-2091"
    assert str(caught.value) == (
        "profile 'kucoin-2091' is unknown; did you mean 'kucoin-2019'? known: kucoin-2019"
    )


def test_a_name_like_none_gets_no_guess() -> None:
    with pytest.raises(UnknownProfile, match=r"^profile 'zz' is unknown; known: kucoin-2019$"):
        profile_named("zz")


def test_the_hash_follows_the_content() -> None:
    same, other = replace(KUCOIN_2019), replace(KUCOIN_2019, continuity="overlap")
    slower = replace(KUCOIN_2019, limits=replace(KUCOIN_2019.limits, connects_per_minute=29))
    assert same.hash == KUCOIN_2019.hash
    assert len({KUCOIN_2019.hash, other.hash, slower.hash}) == 3
    assert len(KUCOIN_2019.hash) == 64


def test_the_limits_are_those_of_the_document() -> None:
    limits = KUCOIN_2019.limits
    assert (limits.connections_max, limits.connects_per_minute) == (10, 30)
    assert (limits.topics_per_connection, limits.uplink_messages_per_minute) == (100, 120)
    assert (limits.rest_requests_per_10s, limits.idle_disconnect_s) == (100, 60)
    assert set(KUCOIN_2019.book_paths) == {"l2", "l3"}


def test_books_of_both_versions_are_known_by_their_path() -> None:
    assert KUCOIN_2019.stream_of_book("/api/v2/market/orderbook/level2") == "l2"
    assert KUCOIN_2019.stream_of_book("/api/v1/market/orderbook/level2") == "l2"
    assert KUCOIN_2019.stream_of_book("/api/v1/market/orderbook/level3") == "l3"
    assert KUCOIN_2019.stream_of_book("/api/v1/market/orderbook/level2_100") is None
