"""Crossed books: one whose best bid is at or above its best ask has gone wrong, unless it has not.

An exchange's own book may be crossed for a moment, or in an auction for hours; then its snapshots
are, too. So a book is called wrong only when two looks in a row find it crossed, and not as long
as it has been so since the exchange's own answer began it.
"""

from __future__ import annotations

from recorder.book import L2Book, L3Book
from recorder.pipeline.book_record import Place

# Looks in a row, five seconds apart.
CROSSED_LOOKS = 2


class Crossed(Exception):
    """A live book is crossed, and was so at the look before."""

    def __init__(self, symbol: str, stream: str) -> None:
        super().__init__(f"{symbol} {stream}: the best bid is at or above the best ask")


class CrossedWatch:
    """Looks at one book every few seconds.

    Attributes
    ----------
    sound : Place or None   the last at which it was seen uncrossed, or where it began
    """

    __slots__ = ("_is_crossed", "_is_venues", "_looks", "_sequence", "sound")

    def __init__(self) -> None:
        self.sound: Place | None = None
        self._is_venues = False
        self._is_crossed = False
        self._looks = 0
        self._sequence = -1

    def restart(self, book: L2Book | L3Book, place: Place) -> None:
        """Begin anew at a full book of the venue's."""
        self.sound = place
        self._is_crossed = self._is_venues = book.known_crossed
        self._looks = 0
        self._sequence = book.sequence

    def look(self, book: L2Book | L3Book, place: Place) -> bool:
        """Look at a book at the end of a message; True when it has to be healed."""
        if book.sequence != self._sequence:
            self._sequence = book.sequence
            self._is_crossed = book.known_crossed
        if not self._is_crossed:
            self.sound = place
            self._is_venues = False
            self._looks = 0
            return False
        self._looks += not self._is_venues
        return self._looks >= CROSSED_LOOKS
