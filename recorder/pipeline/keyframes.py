"""When a keyframe is due: it follows from the changes alone, never from parts or batches."""

from __future__ import annotations

from schemas.timestamps import NS_PER_DAY

# A seek replays at most this many changes, or a few times what loading the book itself costs.
KEYFRAME_CHANGES = 50_000
KEYFRAME_CHANGES_PER_LIVE = 20


class KeyframeSpacing:
    """How far one stream has come since its last full book.

    Attributes
    ----------
    changes : int   rows since then
    day : int       day of that book, counted from the epoch; -1 before the first
    """

    __slots__ = ("changes", "day")

    def __init__(self) -> None:
        self.changes = 0
        self.day = -1

    def restart(self, known: int) -> None:
        """Note that a full book was written, known from `known`, ns."""
        self.changes = 0
        self.day = known // NS_PER_DAY

    def is_due(self, known: int, live: int) -> bool:
        """Say whether a book of `live` levels or orders is to be written behind these changes."""
        due = max(KEYFRAME_CHANGES, KEYFRAME_CHANGES_PER_LIVE * live)
        return known // NS_PER_DAY != self.day or self.changes >= due

    def rows_left(self, live: int) -> int:
        """Return how many rows to write before asking again; one may be due behind them.

        What is live changes by at most one a row, so this never reaches past a row behind which
        one is due, and where that is does not depend on how messages were batched.
        """
        per_live = KEYFRAME_CHANGES_PER_LIVE
        by_live = -((self.changes - per_live * live) // (per_live + 1))
        return max(1, KEYFRAME_CHANGES - self.changes, by_live)
