"""Faults on demand: the grammar of ``--fault``, and when each one strikes.

A fault is ``KIND=RATE`` (each message or request is struck with this chance) or ``KIND@TIME``
(once, so long after the start), then optional ``:key=value`` words:

    drop=0.001                                  one message in a thousand is not sent
    drop@5s:topic=level2:symbol=BTC-USDT        the first such message after 5 s is not sent
    disconnect@8s                               every connection is cut
    silence@10s:topic=level3:for=4s             sockets stay open, no level3 message for 4 s
    stale=0.2:events=500                        one book in five is 500 events old, or more
    429@3s:for=2s                               every request is answered 429 for 2 s

Four kinds refuse REST requests, as the exchange has four ways to do it: ``429`` says the quota is
spent and when it is full again, ``429000`` that the server is overloaded, ``200002`` that one
endpoint is asked too often, ``1015`` is the network in front of the exchange.
"""

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from replay.exchange.duration import NS, parse_duration
from replay.exchange.errors import BadDuration, BadFault
from replay.exchange.line_file import LineFile
from replay.exchange.source import FEEDS

_KEYS: dict[str, tuple[str, ...]] = {
    "drop": ("topic", "symbol", "count"),
    "duplicate": ("topic", "symbol", "count"),
    "reorder": ("topic", "symbol", "count"),
    "delay": ("topic", "symbol", "count", "for"),
    "garbage": ("topic", "symbol", "count"),
    "disconnect": ("topic", "symbol", "count"),
    "silence": ("topic", "symbol", "for"),
    "stale": ("topic", "symbol", "count", "events"),
    "429": ("for",),
    "429000": ("for",),
    "200002": ("for",),
    "1015": ("for",),
}
REFUSALS = ("1015", "429", "429000", "200002")
"""Kinds that refuse requests, the one in front first."""

KINDS = tuple(_KEYS)

_DEFAULT_FOR_NS = {
    "delay": NS // 5,
    "silence": 3 * NS,
    "429": 2 * NS,
    "429000": 2 * NS,
    "200002": 10 * NS,
    "1015": 30 * NS,
}
_DEFAULT_EVENTS = 300


@dataclass(slots=True)
class Fault:
    """One fault as it was asked for.

    Attributes
    ----------
    rate : float or None
        Chance per message or request; None for a fault at a time.
    at_ns : int or None
        When, counted from the start.
    topic, symbol : str or None
        Which messages; None means all.
    count : int or None
        How many messages, requests or connections one at a time strikes; None: the kind's habit
        (one message or request, every connection).
    for_ns : int
        How long a delay, a silence or a spell of refusals lasts.
    events : int
        How old a stale book is.
    left : int
        Strikes left of a fault at a time.
    """

    spec: str
    kind: str
    rate: float | None
    at_ns: int | None
    topic: str | None = None
    symbol: str | None = None
    count: int | None = None
    for_ns: int = 0
    events: int = _DEFAULT_EVENTS
    left: int = 0

    def covers(self, topic: str, symbol: str) -> bool:
        """Tell whether a message of this topic and symbol is one of those meant."""
        return (self.topic is None or self.topic == topic) and (
            self.symbol is None or self.symbol == symbol
        )


def parse_fault(spec: str) -> Fault:
    """Parse one ``--fault``.

    Raises
    ------
    BadFault
        Names the word that is not understood and what would be.
    """
    head, *words = spec.split(":")
    timed = "@" in head
    kind, _, amount = head.partition("@" if timed else "=")
    if kind not in _KEYS:
        raise BadFault(spec, kind, f"the kinds are {', '.join(KINDS)}")
    if not amount:
        raise BadFault(spec, head, f"give a rate ({kind}=0.01) or a time ({kind}@5s)")
    fault = Fault(
        spec,
        kind,
        None if timed else _rate(spec, amount),
        _duration(spec, amount) if timed else None,
        for_ns=_DEFAULT_FOR_NS.get(kind, 0),
    )
    for word in words:
        key, _, value = word.partition("=")
        if key not in _KEYS[kind]:
            raise BadFault(spec, word, f"{kind} knows the words {', '.join(_KEYS[kind])}")
        if not value:
            raise BadFault(spec, word, f"give it a value: {key}=…")
        if key == "topic":
            _set_topic(fault, value)
        elif key == "symbol":
            fault.symbol = value
        elif key == "for":
            fault.for_ns = _duration(spec, value)
        elif key == "events":
            fault.events = _count(spec, value)
        elif key == "count":
            if not timed:
                raise BadFault(spec, word, "a rate has no count: give a time, as in drop@5s")
            fault.count = _count(spec, value)
    fault.left = fault.count or 1
    return fault


def _set_topic(fault: Fault, value: str) -> None:
    topics = ("level2", "level3") if fault.kind == "stale" else FEEDS
    if value not in topics:
        raise BadFault(fault.spec, value, f"the topics are {', '.join(topics)}")
    fault.topic = value


def _rate(spec: str, text: str) -> float:
    try:
        rate = float(text)
    except ValueError:
        rate = -1.0
    if not 0.0 <= rate <= 1.0:
        raise BadFault(spec, text, "a rate is a number from 0 to 1, as in 0.001")
    return rate


def _count(spec: str, text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text) > 0):
        raise BadFault(spec, text, "give a whole number from 1")
    return int(text)


def _duration(spec: str, text: str) -> int:
    try:
        return parse_duration(text)
    except BadDuration as problem:
        raise BadFault(spec, text, problem.hint) from None


class FaultPlan:
    """All faults of a run: draws which strike, and writes down each one carried out.

    Parameters
    ----------
    faults : iterable of Fault
        What was asked for.
    seed : int
        Decides the draws; which message gets which draw depends on the order of sending.
    log : LineFile or None
        One line a fault carried out.
    """

    def __init__(
        self, faults: Iterable[Fault] = (), seed: int = 1, log: LineFile | None = None
    ) -> None:
        self._by_kind: dict[str, list[Fault]] = {}
        for fault in faults:
            self._by_kind.setdefault(fault.kind, []).append(fault)
        self._random = random.Random(f"{seed}/faults")
        self._log = log
        self._started = 0
        self.carried_out: dict[str, int] = {}

    @property
    def strikes_messages(self) -> bool:
        """True if any fault but those of REST is asked for."""
        return any(kind not in {"stale", *REFUSALS} for kind in self._by_kind)

    @property
    def needs_old_books(self) -> bool:
        """True if stale books are asked for."""
        return "stale" in self._by_kind

    def start(self, now: int) -> None:
        """Begin to count time, ns."""
        self._started = now

    def draw(self, kind: str, topic: str, symbol: str, now: int) -> Fault | None:
        """Return the fault of `kind` that strikes this message or request, if one does."""
        for fault in self._by_kind.get(kind, ()):
            if not fault.covers(topic, symbol):
                continue
            if fault.rate is not None:
                if self._random.random() < fault.rate:
                    return fault
            elif fault.left and not _by_clock(fault) and self._is_due(fault, now):
                fault.left -= 1
                return fault
        return None

    def due(self, kind: str, now: int) -> Sequence[Fault]:
        """Return the disconnects or silences whose time has come, each one once."""
        due = [
            fault
            for fault in self._by_kind.get(kind, ())
            if fault.left and _by_clock(fault) and self._is_due(fault, now)
        ]
        for fault in due:
            fault.left = 0
        return due

    def refusal(self, now: int) -> tuple[str, int] | None:
        """Return how a REST request made now is refused, and for how long (ns) it will be.

        One struck by chance is refused alone: for no time.
        """
        for kind in REFUSALS:
            for fault in self._by_kind.get(kind, ()):
                if fault.at_ns is not None:
                    left = fault.at_ns + fault.for_ns - (now - self._started)
                    if 0 < left <= fault.for_ns:
                        return kind, left
                elif fault.rate is not None and self._random.random() < fault.rate:
                    return kind, 0
        return None

    def write(self, kind: str, now: int, **fields: Any) -> None:
        """Write down a fault that was carried out."""
        self.carried_out[kind] = self.carried_out.get(kind, 0) + 1
        if self._log is not None:
            self._log.write({"time": now, "kind": kind, **fields})
            self._log.flush()

    def _is_due(self, fault: Fault, now: int) -> bool:
        return fault.at_ns is not None and now - self._started >= fault.at_ns


def _by_clock(fault: Fault) -> bool:
    """Tell whether a fault strikes connections when its time comes, not the next message."""
    return fault.at_ns is not None and fault.kind in {"disconnect", "silence"}
