"""What the venue means when it gives no answer: who waits, how long, and whether to ask again.

The limits differ. A spent weight budget concerns its pool; an overloaded gateway and a crowded
endpoint concern that endpoint, and a token may still be had; the wall before the venue bans the
whole address. One row a case, the first that fits.

Code 429000 stands in the refusal of a spent budget and in that of an overloaded gateway. Today's
exchange tells them apart: of a budget it says when it is whole again. That of 2019 says nothing of
the kind and bans who goes on asking, so there a status of 429 is a spent budget.

Source: KuCoin API documentation, "Rate Limit" (www.kucoin.com/docs-new), read 2026-11-22; the 2019
document, "Request Rate Limit"; field reports of 429000 within limits (ccxt 10273, freqtrade 5700).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum

TOO_MANY_REQUESTS = 429
OVERLOADED, ENDPOINT_CROWDED = "429000", "200002"
# The 2019 document's window: "100 requests per 10 seconds"; a refusal is over once it has passed.
CROWDED_PAUSE_S = 10.0
# Overload comes inside the limits and passes in seconds.
OVERLOAD_FIRST_S, OVERLOAD_CAP_S = 1.0, 8.0
# The wall's block after too much from one address.
BLOCKED_PAUSE_S = 30.0
# After a server error or a dead connection: enough not to hammer, too short to be felt.
TROUBLE_PAUSE_S = 0.5
PAUSE_MAX_S = 600.0

_CODE = re.compile(rb'"code"\s*:\s*"?(\d+)"?')
_CODE_WITHIN = 64
_WALL = re.compile(rb"(?i)error(?: code)?:?\s*1015")
_WALL_WITHIN = 16_384
OVERLOAD = "overloaded"


class Scope(Enum):
    """Who waits."""

    NOBODY = "nobody"
    ENDPOINT = "endpoint"
    POOL = "pool"
    ADDRESS = "address"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a request.

    Attributes
    ----------
    status : int | None       None: no answer at all
    code : str | None         of the envelope
    stated_s : float | None   how long the venue says to wait
    is_wall : bool            answered by the wall before the venue
    states_budget : bool      in this dialect a spent budget's refusal says when it is whole again
    """

    status: int | None
    code: str | None = None
    stated_s: float | None = None
    is_wall: bool = False
    states_budget: bool = True

    @property
    def is_overload(self) -> bool:
        """True when the gateway has too much to do, whoever asks."""
        is_budget = self.status == TOO_MANY_REQUESTS and not self.states_budget
        return self.code == OVERLOADED and not is_budget

    @property
    def is_limit(self) -> bool:
        """True when it says that something is too much."""
        return self.status == TOO_MANY_REQUESTS or self.code in {OVERLOADED, ENDPOINT_CROWDED}


@dataclass(frozen=True, slots=True)
class Rule:
    """What to do in one case.

    Attributes
    ----------
    name : str                as counted in metrics
    fits : callable
    scope : Scope
    pause_s : float | None    unless the venue states another; None: a window of the pool
    pause_cap_s : float       doubling up to here while it repeats without a success between
    is_final : bool           asking again will not help
    """

    name: str
    fits: Callable[[Outcome], bool]
    scope: Scope
    pause_s: float | None = 0.0
    pause_cap_s: float = 0.0
    is_final: bool = False

    def pause(self, outcome: Outcome, window_s: float, repeats: int) -> float:
        """Return how long those in scope wait, seconds, the pause being the `repeats`-th again."""
        if outcome.stated_s is not None:
            return min(outcome.stated_s, PAUSE_MAX_S)
        first_s = window_s if self.pause_s is None else self.pause_s
        return max(first_s, min(self.pause_cap_s, first_s * 2.0 ** min(repeats, 32)))


RULES = (
    Rule("blocked", lambda o: o.is_wall, Scope.ADDRESS, BLOCKED_PAUSE_S),
    Rule(
        "endpoint_crowded",
        lambda o: o.code == ENDPOINT_CROWDED,
        Scope.ENDPOINT,
        CROWDED_PAUSE_S,
    ),
    # Only an answer about a spent budget says when the budget is whole again.
    Rule("limited", lambda o: o.is_limit and o.stated_s is not None, Scope.POOL),
    Rule(
        OVERLOAD,
        lambda o: o.is_overload,
        Scope.ENDPOINT,
        OVERLOAD_FIRST_S,
        OVERLOAD_CAP_S,
    ),
    Rule("limited", lambda o: o.status == TOO_MANY_REQUESTS, Scope.POOL, None),
    Rule("no_answer", lambda o: o.status is None, Scope.ENDPOINT, TROUBLE_PAUSE_S),
    Rule("server_error", lambda o: (o.status or 0) >= 500, Scope.ENDPOINT, TROUBLE_PAUSE_S),
    Rule("refused", lambda _: True, Scope.NOBODY, is_final=True),
)
OK = "ok"
# Every word a request is counted under.
OUTCOMES = (OK, *dict.fromkeys(rule.name for rule in RULES))


def rule_for(outcome: Outcome) -> Rule:
    """Return the rule of a request that brought no usable answer."""
    return next(rule for rule in RULES if rule.fits(outcome))


def read_outcome(
    status: int, headers: Mapping[str, str], body: bytes, *, states_budget: bool = True
) -> Outcome:
    """Read of an answer what the rules ask."""
    # The code stands at the front, as it does in every refusal: no book is parsed for it.
    code = _CODE.search(body, 0, _CODE_WITHIN)
    is_wall = status in {403, TOO_MANY_REQUESTS} and bool(_WALL.search(body, 0, _WALL_WITHIN))
    word = code[1].decode() if code else None
    return Outcome(status, word, stated_pause_s(headers), is_wall, states_budget)


def stated_pause_s(headers: Mapping[str, str]) -> float | None:
    """Read how long the venue wants quiet: `Retry-After` in s, `gw-ratelimit-reset` in ms."""
    for name, per_second in (("Retry-After", 1.0), ("gw-ratelimit-reset", 1000.0)):
        try:
            seconds = float(headers.get(name, "")) / per_second
        except ValueError:
            continue
        if 0 < seconds < float("inf"):
            return seconds
    return None
