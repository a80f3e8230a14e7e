"""What can be said of a run in which a live book went wrong in memory, and what cannot.

The rows are right: they come from messages. So is the claim to cover them, with these exceptions:

- A keyframe is written from the live book, and wrong from the moment the book is until the next
  book of the venue's. An audit that finds it takes the claim back to the last proof, and a message
  that happens to put the level right leaves it to `recorder verify`.
- A verdict is not in the raw log: who runs that through the pipeline again, as a start behind a
  crash does, comes to none, so behind it two stories of one stream meet. `recorder verify` says no.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tests.simulation.archive import Archive
from tests.simulation.seed import Played

Stream = tuple[str, str, str]  # symbol, stream, run


@dataclass(frozen=True, slots=True)
class Doubt:
    """How far the rows of one stream in one run can be believed.

    Attributes
    ----------
    ordinal, sequence : int   of the last row before its book first went wrong
    has_verdict : bool        an audit found it
    is_replayed : bool        the raw log was run through the pipeline again
    """

    ordinal: int
    sequence: int
    has_verdict: bool
    is_replayed: bool

    @property
    def is_split(self) -> bool:
        """Whether two stories of it meet behind the last good row."""
        return self.has_verdict and self.is_replayed

    def begun(self, covered: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Return what intervals say up to the last row that nobody doubts."""
        cut = []
        for interval in covered:
            if interval["ordinal_last"] > self.ordinal:
                last = {"ordinal_last": self.ordinal, "sequence_last": self.sequence}
                cut.append({**interval, **last})
            else:
                cut.append(interval)
        return [interval for interval in cut if interval["ordinal_first"] <= self.ordinal]


def spoilt_streams(played: Played) -> dict[Stream, tuple[int, int]]:
    """Return the place of the last row before each stream's book first went wrong."""
    first: dict[Stream, tuple[int, int]] = {}
    for spoilt in played.spoilt:
        key = (spoilt.symbol, spoilt.stream, spoilt.run_id)
        first.setdefault(key, (spoilt.ordinal, spoilt.sequence))
    return first


def doubts_of(played: Played, archive: Archive) -> dict[Stream, Doubt]:
    """Return what is doubtful of the streams whose book went wrong."""
    spoilt = spoilt_streams(played)
    if not spoilt:
        return {}
    found = {
        (gap["symbol"], gap["stream"], gap["run_id"])
        for gap in archive.table("gaps")
        if gap["reason"] == "drift"
    }
    return {
        key: Doubt(*place, key in found, key[2] in played.replayed) for key, place in spoilt.items()
    }
