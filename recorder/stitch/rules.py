"""What "continuous" means, dialect by dialect.

A rule answers three pure questions about a message that stands for the numbers
`start` … `end`, when the book stands at `last`:

- `is_stale`: does the book already contain all of it?
- `bridges`: may it be the first message after a snapshot at `last`?
- `follows`: may it come after the message that ended at `last`?

The first message after a snapshot may overlap it, because a snapshot is taken at any number and
a message covers a range; what later messages may do is where the dialects differ.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
import numpy.typing as npt

Int64Array = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]

# The first block is short because a batch that breaks usually breaks at once; later blocks grow,
# so that a long run costs a handful of numpy calls and a short one does not pay for the rest.
_FIRST_BLOCK = 64
_BLOCK_GROWTH = 4


class ContinuityRule(Protocol):
    """The questions a stitcher asks, and the vectorised form of the last one.

    Attributes
    ----------
    tells_again : bool   a message may tell again of changes from before its own range
    """

    tells_again: bool

    def is_stale(self, last: int, start: int, end: int) -> bool:
        """Say whether a book at `last` already contains the message."""
        ...

    def bridges(self, last: int, start: int, end: int) -> bool:
        """Say whether the message may be the first one after a snapshot at `last`."""
        ...

    def follows(self, last: int, start: int, end: int) -> bool:
        """Say whether the message may come after the one that ended at `last`."""
        ...

    def count_following(
        self, last: int, sequence_start: Int64Array, sequence_end: Int64Array
    ) -> int:
        """Count the messages, from the first on, that each follow the one before.

        Parameters
        ----------
        last : int
            Where the book stands before the first message.
        sequence_start, sequence_end : int64[n]
            Ranges of the messages, in order of receipt; not written to.

        Returns
        -------
        int   length of the longest prefix in which `follows` holds throughout, 0 to n
        """
        ...


class StrictRule:
    """Ranges link up exactly: the rule of February 2019.

    Source: "Level-2 Market Data" and "Full matching engine data (Level 3)" in the KuCoin API
    document of February 2019, https://docs.kucoin.com (read 2026-11-22). Its calibration
    procedure, retold:

    1. Cache what the websocket delivers.
    2. Ask REST for a snapshot.
    3. Find the snapshot's sequence in the cached ranges; discard what lies before it and play the
       rest on top of the snapshot. The worked example discards every *change* at or below the
       snapshot's sequence.
    4. From then on each `sequenceStart` must link up with the `sequenceEnd` before it.
    5. Price 0 only advances the sequence; size 0 removes the level.

    A level-3 message is a range of one number, so the same rule serves it. Payload:
    `{"sequenceStart":1545896669105,"sequenceEnd":1545896669106,"symbol":"BTC-USDT",
    "changes":{"asks":[["6","1","1545896669105"]],"bids":[["4","1","1545896669106"]]}}`
    """

    tells_again = False

    def is_stale(self, last: int, start: int, end: int) -> bool:  # noqa: ARG002
        """Step 3: everything at or before the book's sequence is discarded."""
        return end <= last

    def bridges(self, last: int, start: int, end: int) -> bool:
        """Step 3: the range holds the number right after the snapshot, and may begin before it."""
        return start <= last + 1 <= end

    def follows(self, last: int, start: int, end: int) -> bool:
        """Step 4: the range starts right after the one before."""
        return start == last + 1 <= end

    def count_following(
        self, last: int, sequence_start: Int64Array, sequence_end: Int64Array
    ) -> int:
        """Count the messages, from the first on, that each follow the one before."""

        def follow(previous: Int64Array, start: Int64Array, end: Int64Array) -> BoolArray:
            linked: BoolArray = start == previous + 1
            return linked & (end >= start)

        return _count_prefix(self, follow, last, sequence_start, sequence_end)


class OverlapRule:
    """Ranges may overlap but never leave a hole: the rule since 22 September 2022.

    Source: https://github.com/Kucoin/kucoin-api-docs, commit 44acdb5 of 2022-09-22 (read
    2026-11-22). Its calibration procedure differs from the older one in step 4 only, retold:

    4. `sequenceStart(new) <= sequenceEnd(old) + 1` and `sequenceEnd(new) > sequenceEnd(old)`.

    A change carries the number of its last modification, so those of an overlapping message at or
    below the book's sequence are already in the book. So are changes from before the range of their
    own message, which begins no later than right behind the book.
    """

    tells_again = True

    def is_stale(self, last: int, start: int, end: int) -> bool:  # noqa: ARG002
        """Step 3: everything at or before the book's sequence is discarded."""
        return end <= last

    def bridges(self, last: int, start: int, end: int) -> bool:
        """Step 3: the range holds the number right after the snapshot, and may begin before it."""
        return start <= last + 1 <= end

    def follows(self, last: int, start: int, end: int) -> bool:
        """Step 4: no hole before it, and something new in it."""
        return start <= last + 1 and end > last

    def count_following(
        self, last: int, sequence_start: Int64Array, sequence_end: Int64Array
    ) -> int:
        """Count the messages, from the first on, that each follow the one before."""

        def follow(previous: Int64Array, start: Int64Array, end: Int64Array) -> BoolArray:
            linked: BoolArray = start <= previous + 1
            return linked & (end > previous)

        return _count_prefix(self, follow, last, sequence_start, sequence_end)


class _Follow(Protocol):
    """`follows` for arrays: previous ends, starts, ends → bool[n]."""

    def __call__(self, previous: Int64Array, start: Int64Array, end: Int64Array, /) -> BoolArray:
        """Say for each message whether it follows."""
        ...


def _count_prefix(
    rule: ContinuityRule,
    follow: _Follow,
    last: int,
    sequence_start: Int64Array,
    sequence_end: Int64Array,
) -> int:
    """Count the leading messages that follow one another, looking at blocks that grow."""
    total = len(sequence_start)
    if not total or not rule.follows(last, int(sequence_start[0]), int(sequence_end[0])):
        return 0
    done, block = 1, _FIRST_BLOCK
    while done < total:
        stop = min(total, done + block)
        links = follow(
            sequence_end[done - 1 : stop - 1], sequence_start[done:stop], sequence_end[done:stop]
        )
        if not links.all():
            return done + int(links.argmin())
        done, block = stop, block * _BLOCK_GROWTH
    return total
