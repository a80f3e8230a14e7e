"""How much REST a client may ask, in the two ways the exchange has counted it."""

from dataclasses import dataclass, field
from typing import Protocol

from replay.exchange.rate_limit import SlidingWindow
from schemas.kucoin.profile import Rate

_NS, _NS_PER_MS = 1_000_000_000, 1_000_000


@dataclass(frozen=True, slots=True)
class Admission:
    """Whether a request may be answered, and what every answer says about the quota."""

    allowed: bool
    headers: dict[str, str] = field(default_factory=dict)
    remaining: int | None = None


class Quota(Protocol):
    """A pool of requests, counted for each client apart."""

    def admit(self, who: str, weight: int, now: int) -> Admission:
        """Count a request of so much weight at `now` (ns), unless it is one too many."""

    def refuse(self, left_ns: int) -> Admission:
        """Return what a client is told whose quota is spent for so long."""


class SlidingQuota:
    """So many requests in any window of time, each counted once; answers say nothing about it."""

    def __init__(self, rate: Rate) -> None:
        self._rate = rate
        self._windows: dict[str, SlidingWindow] = {}

    def admit(self, who: str, weight: int, now: int) -> Admission:  # noqa: ARG002
        """Count a request."""
        window = self._windows.get(who)
        if window is None:
            window = SlidingWindow(self._rate.count, round(self._rate.window_s * _NS))
            self._windows[who] = window
        return Admission(window.allow(now))

    def refuse(self, left_ns: int) -> Admission:  # noqa: ARG002
        """Refuse without a word about time."""
        return Admission(allowed=False)


class WindowQuota:
    """So much weight in a window that begins with a client's first request; then it is full again.

    Every answer says how much the pool holds, what is left of it and when it is full again (ms). A
    refused request costs nothing.
    """

    def __init__(self, rate: Rate) -> None:
        self._rate = rate
        self._window_ns = round(rate.window_s * _NS)
        self._spent: dict[str, tuple[int, int]] = {}

    def admit(self, who: str, weight: int, now: int) -> Admission:
        """Take the weight of a request from the client's pool."""
        began, spent = self._spent.get(who, (now, 0))
        if now - began >= self._window_ns:
            began, spent = now, 0
        allowed = spent + weight <= self._rate.count
        if allowed:
            spent += weight
        self._spent[who] = began, spent
        return self._tell(allowed, self._rate.count - spent, began + self._window_ns - now)

    def refuse(self, left_ns: int) -> Admission:
        """Refuse as if the pool were spent; it is never longer away than a window."""
        return self._tell(False, 0, min(left_ns or self._window_ns, self._window_ns))

    def _tell(self, allowed: bool, remaining: int, reset_ns: int) -> Admission:
        headers = {
            "gw-ratelimit-limit": str(self._rate.count),
            "gw-ratelimit-remaining": str(remaining),
            "gw-ratelimit-reset": str(-(-reset_ns // _NS_PER_MS)),
        }
        return Admission(allowed, headers, remaining)
