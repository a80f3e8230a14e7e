"""What happens to the exchange at a time: listings, delistings, renames, and its status.

An event is ``KIND@TIME:WHAT``:

    list@5s:NEW-USDT              a symbol that was not there
    delist@8s:OLD-USDT            gone from REST; its topics are not found and fall silent
    rename@6s:WIN-USDT=WINK-USDT  the symbol stays, its `name` changes
    disable@7s:X-USDT             enableTrading becomes false, nothing trades
    enable@9s:X-USDT              and back
    status@9s:close:for=3s        nothing trades, `status` says so; open again after 3 s
    status@9s:cancelonly:for=3s   orders are taken off the book, none is added
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from replay.exchange.duration import parse_duration
from replay.exchange.errors import BadDuration, BadEvent
from schemas.kucoin.venue_state import CANCEL_ONLY, CLOSE, OPEN

EventKind = Literal["list", "delist", "rename", "disable", "enable", "status"]
EVENT_KINDS: tuple[EventKind, ...] = ("list", "delist", "rename", "disable", "enable", "status")
STATUSES = (OPEN, CLOSE, CANCEL_ONLY)


@dataclass(frozen=True, slots=True)
class VenueEvent:
    """One thing that happens.

    Attributes
    ----------
    at_ns : int
        When, counted from the start.
    symbol : str
        Of all kinds but ``status``.
    name : str
        The new name of a ``rename``.
    status : str
        What the exchange says from then on; ``status`` only.
    """

    kind: EventKind
    at_ns: int
    symbol: str = ""
    name: str = ""
    status: str = ""


def parse_event(spec: str) -> list[VenueEvent]:
    """Parse one ``--event``; a status that ends by itself is two events.

    Raises
    ------
    BadEvent
        Names what is not understood and what would be.
    """
    head, _, rest = spec.partition(":")
    word, _, time = head.partition("@")
    kind = next((kind for kind in EVENT_KINDS if kind == word), None)
    if kind is None:
        raise BadEvent(spec, f"{word!r} is no event", f"the events are {', '.join(EVENT_KINDS)}")
    at_ns = _duration(spec, time)
    if not rest:
        raise BadEvent(spec, "it says not what happens", f"as in {_EXAMPLES[kind]}")
    if kind == "status":
        return _status(spec, at_ns, rest)
    symbol, renamed, name = rest.partition("=")
    if not symbol or bool(renamed) != (kind == "rename") or (renamed and not name) or ":" in rest:
        raise BadEvent(spec, f"{rest!r} is not understood", f"as in {_EXAMPLES[kind]}")
    return [VenueEvent(kind, at_ns, symbol, name)]


_EXAMPLES: dict[EventKind, str] = {
    "list": "list@5s:NEW-USDT",
    "delist": "delist@8s:OLD-USDT",
    "rename": "rename@6s:WIN-USDT=WINK-USDT",
    "disable": "disable@7s:WIN-USDT",
    "enable": "enable@9s:WIN-USDT",
    "status": "status@9s:close:for=3s",
}


def _status(spec: str, at_ns: int, rest: str) -> list[VenueEvent]:
    status, has_end, end = rest.partition(":")
    if status not in STATUSES:
        raise BadEvent(spec, f"{status!r} is no status", f"it is one of {', '.join(STATUSES)}")
    events = [VenueEvent("status", at_ns, status=status)]
    if has_end:
        if not end.startswith("for="):
            raise BadEvent(spec, f"{end!r} is not understood", f"as in {_EXAMPLES['status']}")
        ends = at_ns + _duration(spec, end.removeprefix("for="))
        events.append(VenueEvent("status", ends, status=OPEN))
    return events


def _duration(spec: str, text: str) -> int:
    try:
        return parse_duration(text)
    except BadDuration as problem:
        raise BadEvent(spec, f"{text!r} is no time", problem.hint) from None


class EventPlan:
    """All events of a run, in the order in which they happen."""

    def __init__(self, events: Iterable[VenueEvent] = ()) -> None:
        self._left = sorted(events, key=lambda event: event.at_ns)
        self._started = 0

    @classmethod
    def parse(cls, specs: Iterable[str], symbols: Sequence[str]) -> "EventPlan":
        """Parse all, and see that each can happen when it is due.

        Raises
        ------
        BadEvent
            Also for a symbol that is not listed at that time, or is already.
        """
        parsed = [(spec, event) for spec in specs for event in parse_event(spec)]
        listed = set(symbols)
        for spec, event in sorted(parsed, key=lambda pair: pair[1].at_ns):
            if event.kind == "status":
                continue
            if (event.kind == "list") == (event.symbol in listed):
                word = "listed already" if event.kind == "list" else "not listed"
                raise BadEvent(
                    spec,
                    f"{event.symbol} is {word} at that time",
                    "list a symbol that is not there, and change only those that are",
                )
            if event.kind == "list":
                listed.add(event.symbol)
            elif event.kind == "delist":
                listed.remove(event.symbol)
        return cls(event for _, event in parsed)

    @property
    def listings(self) -> list[str]:
        """Symbols that are still to be listed."""
        return [event.symbol for event in self._left if event.kind == "list"]

    def start(self, now: int) -> None:
        """Begin to count time at `now` (ns)."""
        self._started = now

    def due(self, now: int) -> list[VenueEvent]:
        """Return what happens until `now` and has not yet been returned."""
        due = [event for event in self._left if now - self._started >= event.at_ns]
        del self._left[: len(due)]
        return due
