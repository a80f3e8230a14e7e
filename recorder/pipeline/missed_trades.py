"""Trades nobody told us of: which of them the exchange's history still has, and whether all.

An answer of `histories` is a window: every trade from its oldest to its newest. A hole in what was
told lies between two trades we have: the last one before it and the first one told after it.
Nothing is missing any more once windows that overlap hold both of these and so all between. Both
are looked for by their own numbers: an answer from a cache, or one that begins too late, holds one
of them only, and one of another number space neither.

Quiet symbols: until a trade has been told after the hole, nothing shows whether an answer was as
new as it should have been. What it holds is taken, and the hole stays open.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, field

from recorder.pipeline.output import Gap

HEALED, PARTIAL, UNREACHABLE, FAILED = "healed", "partial", "unreachable", "failed"
OUTCOMES = (HEALED, PARTIAL, UNREACHABLE, FAILED)

# Questions in a row that brought nothing on: spaced by the shell, this is some minutes, longer than
# any cache has been seen to serve what is old.
FRUITLESS_MAX = 12
# Filled-in trades remembered, should the socket or a later answer tell of one again.
_REMEMBERED = 65_536


@dataclass(slots=True, eq=False)
class Hole:
    """Trades that should have been told and were not; numbers only.

    Attributes
    ----------
    after : int             the last trade before it
    until : int or None     the first trade told after it; None: none yet
    gaps : list[Gap]        its gaps: more than one where nothing was told between them
    joins_runs : bool       it began with the end of an earlier run, which missed nothing before
    low, high : int or None   the newest stretch that windows have shown without a break
    has_after, has_until : bool   that stretch holds the trades at both ends
    found : int             trades filled in
    fruitless : int         questions in a row that did not end it
    is_answered : bool      as far as can be for now: nothing more is asked until a trade is told
    is_disordered : bool    the numbers are not those of one order: nothing can be proven
    """

    after: int
    until: int | None = None
    gaps: list[Gap] = field(default_factory=list)
    joins_runs: bool = False
    low: int | None = None
    high: int | None = None
    has_after: bool = False
    has_until: bool = False
    found: int = 0
    fruitless: int = 0
    is_answered: bool = False
    is_disordered: bool = False

    @property
    def known_from(self) -> int:
        """The oldest trade from which on none is missing; `until` must be known."""
        assert self.until is not None, "settled holes have two ends"
        if self.low is None or not self.has_until or self.is_disordered:
            return self.until
        return min(max(self.low, self.after), self.until)

    @property
    def outcome(self) -> str:
        """What became of it, once nothing more is asked."""
        if self.has_after and self.has_until and not self.is_disordered:
            return HEALED
        if self.found:
            return PARTIAL
        return FAILED if self.high is None else UNREACHABLE

    def lacks(self, sequence: int) -> bool:
        """Say whether a trade lies inside."""
        return self.after < sequence and (self.until is None or sequence < self.until)

    def extend(self, numbers: Collection[int]) -> None:
        """Take in a window: the numbers of its trades, at least one."""
        low, high = min(numbers), max(numbers)
        if self.low is None or self.high is None or low > self.high:
            self.low, self.high = low, high
            self.has_after = self.has_until = False
        elif high < self.low:
            return  # older than all of what is known, and not connected with it
        else:
            self.low, self.high = min(low, self.low), max(high, self.high)
        self.has_after |= self.after in numbers
        self.has_until |= self.until in numbers
        for end in (self.after, self.until):
            # A window that reaches past a trade we have, and does not hold it, counts otherwise.
            if end is not None and low <= end <= high and end not in numbers:
                self.is_disordered = True

    def note_told(self, sequence: int, *, was_filled_in: bool) -> None:
        """Take in the first trade told after it."""
        self.until = sequence
        self.fruitless = 0
        self.is_answered = False
        if self.low is not None and self.high is not None and self.low <= sequence <= self.high:
            self.has_until = was_filled_in
            self.is_disordered |= not was_filled_in

    @property
    def is_settled(self) -> bool:
        """Whether no answer can add anything: windows only move on."""
        if self.until is None:
            return False
        if self.is_disordered or self.fruitless >= FRUITLESS_MAX:
            return True
        return self.high is not None and self.high >= self.until


class MissedTrades:
    """The holes of one symbol that may still be filled, the oldest first.

    Attributes
    ----------
    is_asked : bool   a question is on its way
    """

    def __init__(self) -> None:
        self.is_asked = False
        self._holes: list[Hole] = []
        self._filled_in: dict[int, None] = {}
        self._is_disordered = False

    @property
    def is_wanting(self) -> bool:
        """Whether an answer could help."""
        return any(not hole.is_answered for hole in self._holes)

    def begin(self, after: int | None, gap: Gap | None, *, joins_runs: bool = False) -> None:
        """Note a hole: it has ended just now, and what follows will be told.

        Parameters
        ----------
        after : int or None   the last trade before it; None: nothing shows where it began
        gap : Gap or None     its gap; None: it began with the end of an earlier run
        joins_runs : bool     nothing is missing before the last trade of that run
        """
        if after is None:
            return
        if not self._holes or self._holes[-1].until is not None:
            hole = Hole(after, joins_runs=joins_runs, is_disordered=self._is_disordered)
            self._holes.append(hole)
        hole = self._holes[-1]
        hole.fruitless, hole.is_answered = 0, False
        if gap is not None:
            hole.gaps.append(gap)

    def was_filled_in(self, sequence: int) -> bool:
        """Say whether a trade has a row that an answer led to."""
        return sequence in self._filled_in

    def tell(self, sequence: int) -> list[Hole]:
        """Note that a trade was told, for the first time, by a socket.

        Returns
        -------
        list[Hole]   those that are settled by it
        """
        hole = self._holes[-1] if self._holes else None
        if hole is None or hole.until is not None:
            return self.settle()
        if sequence > hole.after:
            hole.note_told(sequence, was_filled_in=sequence in self._filled_in)
        elif sequence < hole.after:
            # Told anew though older: the venue counts from another beginning.
            hole.note_told(sequence, was_filled_in=False)
            hole.is_disordered = True
        return self.settle()

    def disorder(self) -> None:
        """Note that trades come in another order than their numbers: these prove nothing."""
        self._is_disordered = True
        for hole in self._holes:
            hole.is_disordered = True

    def answer(self, numbers: Collection[int], is_told: Callable[[int], bool]) -> list[int]:
        """Take in an answer.

        Parameters
        ----------
        numbers : of the trades it holds
        is_told : says whether a socket has told of a trade since the newest hole

        Returns
        -------
        list[int]   the trades to fill in, ascending
        """
        self.is_asked = False
        lacking: set[int] = set()
        for hole in self._holes:
            inside = [
                number
                for number in numbers
                if hole.lacks(number) and number not in self._filled_in and not is_told(number)
            ]
            hole.found += len(inside)
            lacking.update(inside)
            if numbers:
                hole.extend(numbers)
            if hole.until is None:
                hole.is_answered = True
            else:
                hole.fruitless += 1
        for sequence in sorted(lacking):
            self._filled_in[sequence] = None
        while len(self._filled_in) > _REMEMBERED:
            del self._filled_in[next(iter(self._filled_in))]
        return sorted(lacking)

    def fail(self) -> None:
        """Note that a question was not answered."""
        self.is_asked = False
        for hole in self._holes:
            hole.fruitless += 1
            if hole.until is None and hole.fruitless >= FRUITLESS_MAX:
                hole.is_answered = True

    def settle(self) -> list[Hole]:
        """Let go of the holes nothing more can be done about, and return them."""
        settled = [hole for hole in self._holes if hole.is_settled]
        if settled:
            self._holes = [hole for hole in self._holes if not hole.is_settled]
        return settled
