"""Any history of wishes: what stays wanted stays where it is, and the limits hold."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from recorder.errors import ConfigError
from recorder.subscriptions import Plan, Topic, group_wishes
from schemas.kucoin.profiles.kucoin_classic import KUCOIN_CLASSIC
from schemas.kucoin.topics import FEEDS

CONNECTIONS_MAX = 7  # and one to spare
PROFILE = replace(
    KUCOIN_CLASSIC,
    limits=replace(
        KUCOIN_CLASSIC.limits,
        connections_max=CONNECTIONS_MAX + 1,
        topics_per_connection=12,
        topics_per_message=5,
    ),
)
NAMES = [f"S{number}-USDT" for number in range(30)]

wishes = st.tuples(
    st.lists(st.sampled_from(NAMES), max_size=30),
    st.lists(st.sampled_from(FEEDS), min_size=1, max_size=4),
)
histories = st.lists(wishes, min_size=1, max_size=8)


def homes(plan: Plan) -> dict[Topic, int]:
    return {topic: place for place, topics in plan.places.items() for topic in topics}


@given(histories, st.integers(1, 15))
def test_what_stays_wanted_never_moves_and_everything_wanted_is_planned_once(
    history: list[tuple[list[str], list[str]]], room: int
) -> None:
    plan = Plan(PROFILE, room)
    room = min(room, 12)
    carried: dict[int, set[Topic]] = {}
    seen_empty: set[int] = set()
    for symbols, feeds in history:
        before = homes(plan)
        wanted = {(feed, symbol) for symbol in symbols for feed in feeds}
        if len(wanted) > CONNECTIONS_MAX * room:
            with pytest.raises(ConfigError):
                plan.change(symbols, feeds)
            assert homes(plan) == before, "a refusal changes nothing"
            continue
        changes = plan.change(symbols, feeds)
        after = homes(plan)
        assert set(after) == wanted
        assert sum(map(len, plan.places.values())) == len(wanted), "once"
        assert all(after[topic] == place for topic, place in before.items() if topic in wanted)
        assert len(plan.places) <= CONNECTIONS_MAX
        assert all(0 < len(topics) <= room for topics in plan.places.values())
        for change in changes:
            assert change.added or change.removed
            assert change.place not in seen_empty, "a place is not used twice"
            carried.setdefault(change.place, set())
            assert set(change.removed) <= carried[change.place]
            assert not set(change.added) & carried[change.place]
            carried[change.place] -= set(change.removed)
            carried[change.place] |= set(change.added)
        seen_empty |= {place for place, topics in carried.items() if not topics}
        carried = {place: topics for place, topics in carried.items() if topics}
        assert carried == {place: set(topics) for place, topics in plan.places.items()}


@given(histories)
def test_asking_for_the_same_again_changes_nothing(
    history: list[tuple[list[str], list[str]]],
) -> None:
    plan = Plan(PROFILE, 12)
    for symbols, feeds in history:
        assume(len(set(symbols)) * len(set(feeds)) <= 12)
        plan.change(symbols, feeds)
        assert plan.change(list(reversed(symbols)), feeds) == []


@given(st.lists(st.tuples(st.sampled_from(FEEDS), st.sampled_from(NAMES)), unique=True))
def test_messages_hold_each_topic_once_and_no_more_than_allowed(topics: list[Topic]) -> None:
    grouped = group_wishes(topics, 5)
    assert sorted(topic for wish in grouped for topic in wish.topics) == sorted(topics)
    assert all(1 <= len(wish.symbols) <= 5 for wish in grouped)
    fewest = sum(-(-sum(f == feed for f, _ in topics) // 5) for feed in {f for f, _ in topics})
    assert len(grouped) == fewest
