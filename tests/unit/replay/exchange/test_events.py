"""The grammar of events, and what can happen when."""

import pytest

from replay.exchange.errors import BadEvent
from replay.exchange.events import EventPlan, VenueEvent, parse_event

S = 1_000_000_000


@pytest.mark.parametrize(
    ("spec", "events"),
    [
        ("list@5s:NEW-USDT", [VenueEvent("list", 5 * S, "NEW-USDT")]),
        ("delist@1m:OLD-USDT", [VenueEvent("delist", 60 * S, "OLD-USDT")]),
        (
            "rename@500ms:WIN-USDT=WINK-USDT",
            [VenueEvent("rename", S // 2, "WIN-USDT", "WINK-USDT")],
        ),
        ("disable@7s:X-USDT", [VenueEvent("disable", 7 * S, "X-USDT")]),
        ("enable@7s:X-USDT", [VenueEvent("enable", 7 * S, "X-USDT")]),
        ("status@9s:cancelonly", [VenueEvent("status", 9 * S, status="cancelonly")]),
        (
            "status@9s:close:for=3s",
            [
                VenueEvent("status", 9 * S, status="close"),
                VenueEvent("status", 12 * S, status="open"),
            ],
        ),
    ],
)
def test_parse_event(spec: str, events: list[VenueEvent]) -> None:
    assert parse_event(spec) == events


@pytest.mark.parametrize(
    ("spec", "problem"),
    [
        ("lost@5s:A-B", "'lost' is no event; the events are list, delist, rename, disable, "),
        ("list:A-B", "'' is no time; give it a unit, as in 500ms, 8s or 2m"),
        ("list@5:A-B", "'5' is no time; give it a unit, as in 500ms, 8s or 2m"),
        ("list@5s", "it says not what happens; as in list@5s:NEW-USDT"),
        ("list@5s:A-B=C-D", "'A-B=C-D' is not understood; as in list@5s:NEW-USDT"),
        ("list@5s:A-B:for=2s", "'A-B:for=2s' is not understood; as in list@5s:NEW-USDT"),
        ("rename@5s:A-B", "'A-B' is not understood; as in rename@6s:WIN-USDT=WINK-USDT"),
        ("rename@5s:A-B=", "'A-B=' is not understood; as in rename@6s:WIN-USDT=WINK-USDT"),
        ("status@5s:shut", "'shut' is no status; it is one of open, close, cancelonly"),
        ("status@5s:close:long", "'long' is not understood; as in status@9s:close:for=3s"),
    ],
)
def test_bad_events_name_the_word_and_the_remedy(spec: str, problem: str) -> None:
    with pytest.raises(BadEvent) as caught:
        parse_event(spec)
    assert str(caught.value).startswith(f"cannot take the event {spec!r}: {problem}")


@pytest.mark.parametrize(
    ("specs", "message"),
    [
        (["list@1s:A-B"], "A-B is listed already at that time"),
        (["delist@1s:C-D"], "C-D is not listed at that time"),
        (["delist@1s:A-B", "rename@2s:A-B=C-D"], "A-B is not listed at that time"),
        (["disable@1s:C-D", "list@2s:C-D"], "C-D is not listed at that time"),
    ],
)
def test_what_cannot_happen_then_is_refused_before_the_start(
    specs: list[str], message: str
) -> None:
    with pytest.raises(BadEvent, match=message):
        EventPlan.parse(specs, ["A-B"])


def test_events_come_once_each_in_the_order_of_their_times() -> None:
    plan = EventPlan.parse(
        ["list@3s:A-B", "delist@1s:A-B", "status@2s:close:for=2s", "delist@5s:A-B"], ["A-B"]
    )
    assert plan.listings == ["A-B"]
    plan.start(100 * S)
    assert plan.due(100 * S) == []
    assert [event.kind for event in plan.due(102 * S)] == ["delist", "status"]
    assert [event.kind for event in plan.due(102 * S)] == []
    assert [(e.kind, e.status) for e in plan.due(900 * S)] == [
        ("list", ""),
        ("status", "open"),
        ("delist", ""),
    ]
