"""What each kind of refusal means."""

from __future__ import annotations

import pytest

from recorder.transport.rest_rules import (
    BLOCKED_PAUSE_S,
    CROWDED_PAUSE_S,
    OVERLOAD_CAP_S,
    OVERLOAD_FIRST_S,
    PAUSE_MAX_S,
    TROUBLE_PAUSE_S,
    Outcome,
    Scope,
    read_outcome,
    rule_for,
)

WINDOW_S = 30.0
WALL = b"<html><title>Access denied</title>error code: 1015 you are being rate limited</html>"


@pytest.mark.parametrize(
    ("status", "body", "headers", "name", "scope", "pause_s", "is_final"),
    [
        (429, b"", {}, "limited", Scope.POOL, WINDOW_S, False),
        (429, b"", {"Retry-After": "3"}, "limited", Scope.POOL, 3.0, False),
        (429, b"", {"Retry-After": "soon"}, "limited", Scope.POOL, WINDOW_S, False),
        (429, b"", {"gw-ratelimit-reset": "2500"}, "limited", Scope.POOL, 2.5, False),
        (429, b"", {"Retry-After": "999999"}, "limited", Scope.POOL, PAUSE_MAX_S, False),
        (
            429,
            b'{"code":"429000","msg":"Too Many Requests"}',
            {"gw-ratelimit-reset": "900"},
            "limited",
            Scope.POOL,
            0.9,
            False,
        ),
        (
            200,
            b'{"code":"429000","msg":"busy"}',
            {},
            "overloaded",
            Scope.ENDPOINT,
            OVERLOAD_FIRST_S,
            False,
        ),
        (
            429,
            b'{"code":"200002","msg":"busy"}',
            {},
            "endpoint_crowded",
            Scope.ENDPOINT,
            CROWDED_PAUSE_S,
            False,
        ),
        (429, WALL, {}, "blocked", Scope.ADDRESS, BLOCKED_PAUSE_S, False),
        (429, b"error code: 1015", {}, "blocked", Scope.ADDRESS, BLOCKED_PAUSE_S, False),
        (503, b"down", {}, "server_error", Scope.ENDPOINT, TROUBLE_PAUSE_S, False),
        (404, b'{"code":"404000","msg":"gone"}', {}, "refused", Scope.NOBODY, 0.0, True),
        (200, b'{"code":"400100","msg":"no"}', {}, "refused", Scope.NOBODY, 0.0, True),
    ],
)
def test_each_answer_has_its_rule(
    status: int,
    body: bytes,
    headers: dict[str, str],
    name: str,
    scope: Scope,
    pause_s: float,
    is_final: bool,
) -> None:
    outcome = read_outcome(status, headers, body)
    rule = rule_for(outcome)
    assert (rule.name, rule.scope, rule.is_final) == (name, scope, is_final)
    assert rule.pause(outcome, WINDOW_S, 0) == pause_s


def test_where_no_budget_is_ever_stated_a_429_is_a_spent_one() -> None:
    body = b'{"code":"429000","msg":"Too Many Requests"}'
    for status, name in ((429, "limited"), (200, "overloaded")):
        outcome = read_outcome(status, {}, body, states_budget=False)
        assert rule_for(outcome).name == name
    assert rule_for(read_outcome(429, {}, body)).name == "overloaded"


def test_no_answer_at_all() -> None:
    outcome = Outcome(None)
    rule = rule_for(outcome)
    assert (rule.name, rule.scope) == ("no_answer", Scope.ENDPOINT)
    assert rule.pause(outcome, WINDOW_S, 9) == TROUBLE_PAUSE_S, "others space what they repeat"


def test_overload_that_lasts_is_asked_less_and_less_up_to_a_cap() -> None:
    outcome = Outcome(200, "429000")
    rule = rule_for(outcome)
    pauses = [rule.pause(outcome, WINDOW_S, repeats) for repeats in range(5)]
    assert pauses == [1.0, 2.0, 4.0, 8.0, 8.0]
    assert rule.pause(outcome, WINDOW_S, 10_000) == OVERLOAD_CAP_S


def test_a_book_that_holds_the_wall_s_number_is_no_wall() -> None:
    body = b'{"code":"200000","data":{"asks":[["1015","1"]],"note":"error code: 1015"}}'
    assert not read_outcome(200, {}, body).is_wall
