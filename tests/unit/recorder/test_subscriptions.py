"""Sharing topics among connections and messages."""

from __future__ import annotations

from dataclasses import replace

import pytest

from recorder.errors import ConfigError
from recorder.subscriptions import Change, Plan, Wish, plan_connections
from schemas.kucoin.profiles.kucoin_2019 import KUCOIN_2019
from schemas.kucoin.profiles.kucoin_classic import KUCOIN_CLASSIC
from schemas.kucoin.topics import FEEDS


def names(count: int) -> list[str]:
    return [f"S{number}-USDT" for number in range(count)]


def topics_of(wishes: tuple[Wish, ...]) -> list[tuple[str, str]]:
    return [(wish.feed, symbol) for wish in wishes for symbol in wish.symbols]


def test_few_symbols_go_on_one_connection_with_one_message_a_feed() -> None:
    plan = plan_connections(["BTC-USDT", "ETH-BTC"], FEEDS, KUCOIN_2019, 95)
    assert plan == [tuple(Wish(feed, ("BTC-USDT", "ETH-BTC")) for feed in FEEDS)]
    assert plan[0][0].topic(KUCOIN_2019) == "/market/level2:BTC-USDT,ETH-BTC"


def test_every_topic_once_within_the_limit_and_symbols_whole() -> None:
    symbols = names(100)
    plan = plan_connections(symbols, FEEDS, KUCOIN_2019, 95)
    assert len(plan) == 6  # 19 symbols of five feeds on each
    everything = [topic for wishes in plan for topic in topics_of(wishes)]
    assert sorted(everything) == sorted((f, s) for f in FEEDS for s in symbols)
    for wishes in plan:
        topics = topics_of(wishes)
        assert len(topics) <= 95
        for symbol in {symbol for _, symbol in topics}:
            assert sum(s == symbol for _, s in topics) == len(FEEDS)


def test_the_profile_caps_what_the_configuration_asks() -> None:
    plan = plan_connections(names(150), ["level2"], KUCOIN_2019, 1_000)
    assert [len(topics_of(wishes)) for wishes in plan] == [100, 50]


def test_messages_hold_no_more_topics_than_allowed() -> None:
    profile = replace(KUCOIN_2019, limits=replace(KUCOIN_2019.limits, topics_per_message=40))
    (wishes,) = plan_connections(names(95), ["level2"], profile, 95)
    assert [len(wish.symbols) for wish in wishes] == [40, 40, 15]


def test_a_connection_too_small_for_a_symbol_takes_what_fits() -> None:
    plan = plan_connections(names(2), FEEDS, KUCOIN_2019, 3)
    assert [len(topics_of(wishes)) for wishes in plan] == [3, 3, 3, 1]
    everything = [topic for wishes in plan for topic in topics_of(wishes)]
    assert len(set(everything)) == 10


def test_more_than_the_venue_carries_is_refused_with_the_numbers() -> None:
    with pytest.raises(ConfigError) as caught:
        plan_connections(names(191), FEEDS, KUCOIN_2019, 95)
    assert caught.value.key == "venue.symbols"
    assert str(caught.value) == (
        "configuration key venue.symbols: 191 symbols × 5 streams need 11 connections of "
        "95 topics, and kucoin-2019 allows 10\n"
        "  record fewer symbols or streams, or raise venue.topics_per_connection "
        "(the profile's limit is 100)"
    )


def test_halves_narrow_down_to_single_symbols() -> None:
    assert Wish("level2", ("A", "B", "C")).halves() == (
        Wish("level2", ("A",)),
        Wish("level2", ("B", "C")),
    )
    assert Wish("level2", ("A",)).halves() == ()


def test_the_part_of_a_message_that_is_still_wanted() -> None:
    wish = Wish("level2", ("A", "B", "C"))
    assert wish.within({("level2", "B"), ("match", "A")}) == Wish("level2", ("B",))
    assert wish.within(set()) is None


def test_a_listing_fills_free_room_and_moves_nothing() -> None:
    plan = Plan(KUCOIN_CLASSIC, 4)
    plan.change(["A", "B", "C"], ["level2", "match"])
    assert {place: len(topics) for place, topics in plan.places.items()} == {1: 4, 2: 2}
    assert plan.change(["A", "B", "C", "D"], ["level2", "match"]) == [
        Change(2, (("level2", "D"), ("match", "D")), ())
    ]
    assert plan.change(["E", "A", "B", "C", "D"], ["level2", "match"]) == [
        Change(3, (("level2", "E"), ("match", "E")), ())
    ]


def test_a_delisting_touches_its_own_topics_and_an_empty_connection_goes() -> None:
    plan = Plan(KUCOIN_CLASSIC, 4)
    plan.change(["A", "B", "C"], ["level2", "match"])
    assert plan.change(["A", "C"], ["level2", "match"]) == [
        Change(1, (), (("level2", "B"), ("match", "B")))
    ]
    assert plan.change(["A"], ["level2", "match"]) == [
        Change(2, (), (("level2", "C"), ("match", "C")))
    ]
    assert list(plan.places) == [1]
    assert plan.change(["A", "D", "E"], ["level2", "match"])[-1].place == 3, "2 is gone for good"


def test_a_stream_more_goes_where_its_symbol_is() -> None:
    plan = Plan(KUCOIN_CLASSIC, 3)
    plan.change(["A", "B"], ["level2"])
    assert plan.change(["B", "A"], ["level2", "match"]) == [
        Change(1, (("match", "B"),), ()),
        Change(2, (("match", "A"),), ()),
    ], "the more important one gets the room there is"


def test_holes_are_filled_topic_by_topic_before_anything_is_refused() -> None:
    profile = replace(KUCOIN_CLASSIC, limits=replace(KUCOIN_CLASSIC.limits, connections_max=3))
    plan = Plan(profile, 3)
    plan.change(["A", "B"], ["level2", "match"])
    plan.change(["A", "B", "C"], ["level2", "match"])
    assert plan.topics == 6
    with pytest.raises(ConfigError, match="allows 3, one of them to take over from others"):
        plan.change(["A", "B", "C", "D"], ["level2", "match"])
    assert plan.topics == 6
