"""Which faults a seed has, how often each strikes, and what each has cost whom.

A seed draws some kinds and a rate for each: a run with every fault at once mostly shows the same
thing, that nothing connects. What strikes is written down, so that each gap can be asked for its
cause.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

# Chance of each kind, an occasion, in a seed that has it. Occasions: a message to one socket.
OF_MESSAGES = {
    "drop": 0.02,
    "duplicate_7": 0.01,
    "reorder": 0.01,
    "late": 0.004,
    "garbage": 0.006,
    "garbage_beside": 0.006,
    "binary": 0.05,
    "unknown_type": 0.01,
    "unknown_topic": 0.01,
    "new_field": 0.05,
    "malformed": 0.006,
    "cut": 0.003,
    "reset": 0.002,
    "bad_frame": 0.002,
    "half_open": 0.0015,
    "no_pong": 0.0015,
    "token_expires": 0.001,
}
# A new connection, or a subscription.
OF_CONNECTIONS = {
    "connect_refused": 0.3,
    "connect_hangs": 0.1,
    "connect_http_error": 0.2,
    "token_refused": 0.2,
    "no_welcome": 0.15,
    "no_ack": 0.2,
    "silent_topic": 0.15,
    "late_ack": 0.3,
    "slow_close": 0.3,
    "message_before_ack": 0.4,
    "too_many_subscriptions": 0.2,
    "refused_symbol": 1.0,
}
# A REST request.
OF_REQUESTS = {
    "stale_book": 0.3,
    "book_far_behind": 0.15,
    "empty_book": 0.1,
    "slow_answer": 0.3,
    "limit_429": 0.12,
    "limit_429_stated": 0.1,
    "overload_429000": 0.15,
    "crowded_200002": 0.08,
    "wall_1015": 0.05,
    "server_error": 0.15,
    "rest_timeout": 0.1,
    "rest_reset": 0.15,
    "rest_refused": 0.1,
    "truncated_json": 0.12,
}
# Of the world around: times a minute.
OF_THE_WORLD = {
    "clock_forward": 1.0,
    "clock_back": 1.0,
    "sequence_epoch": 0.5,
    "rotation": 1.0,
}
# A message that changes nothing, as the market tells it to everybody.
OF_THE_MARKET = {
    "repeated_open": 0.05,
    "unknown_order": 0.05,
    "unknown_change": 0.05,
    "absent_level": 0.5,
}
# Of live books in memory, where audits look at them: times a minute.
OF_THE_MEMORY = {"memory_size": 2.0, "memory_level": 2.0, "memory_order": 2.0}
OF_THE_DISK = ("disk_full", "eio", "slow_sync")
OF_THE_PROCESS = (
    "crash_at_disk_killed",
    "crash_at_disk_power_loss",
    "crash_in_time_killed",
    "crash_in_time_power_loss",
    "clean_stop",
)
RATES = {
    **OF_MESSAGES,
    **OF_CONNECTIONS,
    **OF_REQUESTS,
    **OF_THE_WORLD,
    **OF_THE_MARKET,
    **OF_THE_MEMORY,
}


@dataclass(slots=True)
class Mishap:
    """A fault that struck.

    Attributes
    ----------
    kind : str
    ts : int            wall clock, ns
    topics : set        (feed, symbol) of the socket it was sent on
    """

    kind: str
    ts: int
    topics: frozenset[tuple[str, str]] = frozenset()


@dataclass
class Faults:
    """The faults of one seed.

    Attributes
    ----------
    rates : dict        kind → chance; what is not in it does not happen
    is_calm : bool      none strikes
    struck : Counter    kind → times
    lost : set          (symbol, feed, sequence) of messages that somebody did not get as told
    mishaps : list
    """

    draw: random.Random
    rates: dict[str, float] = field(default_factory=dict)
    is_calm: bool = False
    struck: Counter[str] = field(default_factory=Counter)
    lost: dict[tuple[str, str], set[int]] = field(default_factory=dict)
    mishaps: list[Mishap] = field(default_factory=list)

    def strikes(self, kind: str) -> bool:
        """Draw whether a fault happens now; counts it."""
        rate = self.rates.get(kind)
        if rate is None or self.is_calm or self.draw.random() >= rate:
            return False
        self.struck[kind] += 1
        return True

    def which(self, kinds: tuple[str, ...]) -> str:
        """Draw which of some faults happens now, "" for none; one draw for all of them."""
        if self.is_calm:
            return ""
        chance = self.draw.random()
        for kind in kinds:
            chance -= self.rates.get(kind, 0.0)
            if chance < 0:
                self.struck[kind] += 1
                return kind
        return ""

    def note(self, kind: str, ts: int, topics: Iterable[tuple[str, str]] = ()) -> None:
        """Write down a fault that may become a gap."""
        self.mishaps.append(Mishap(kind, ts, frozenset(topics)))

    def note_lost(self, symbol: str, feed: str, position: int) -> None:
        """Write down that a message did not arrive as it was told, or not in its turn."""
        self.lost.setdefault((symbol, feed), set()).add(position)


def draw_rates(draw: random.Random) -> dict[str, float]:
    """Draw the kinds of a seed and how often each strikes."""
    share = draw.choice((0.15, 0.3, 0.3, 0.6))
    return {
        kind: rate if rate >= 1 else min(0.6, rate * draw.choice((0.5, 1.0, 3.0)))
        for kind, rate in RATES.items()
        if rate and draw.random() < share
    }
