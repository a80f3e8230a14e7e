"""Books that are known in part: a venue that tells only so many levels a side.

The real one tells a hundred; markets here have nine. So the number is small, and that of levels
which must be left before more are asked for is smaller.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import lru_cache
from unittest.mock import patch

import orjson

from schemas.kucoin.profile import Profile
from schemas.kucoin.profiles import PROFILES, profile_named

# Levels a side in an answer, and those that must be left between the touch and a bound.
DEPTH, LEFT = 5, 3


def profile_of(name: str, *, is_shallow: bool) -> Profile:
    """Return a profile, with all its books cut off where they are to be shallow."""
    profile = profile_named(name)
    if not is_shallow:
        return profile
    return replace(profile, books=tuple(replace(book, depth=DEPTH) for book in profile.books))


@contextmanager
def shallow(name: str, *, is_shallow: bool) -> Iterator[None]:
    """Let everybody take the books of a profile for cut off."""
    if not is_shallow:
        yield
        return
    with (
        patch.dict(PROFILES, {name: profile_of(name, is_shallow=True)}),
        patch("recorder.pipeline.book_stream.RESEED_LEVELS", LEFT),
    ):
        yield


@lru_cache(maxsize=1024)
def cut_off(answer: bytes) -> bytes:
    """Return a book's answer with the best levels of each side alone."""
    told = orjson.loads(answer)
    for side in ("bids", "asks"):
        told["data"][side] = told["data"][side][:DEPTH]
    return orjson.dumps(told)
