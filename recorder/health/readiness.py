"""Which streams are not in step, and why. Pure: what the pipeline and the collector say, compared.

A stream is ready while its book is valid, or, where it has no book, while a connection carries it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from schemas.kucoin.topics import STREAM_OF_FEED

Key = tuple[str, str]  # symbol, stream

READY_STATES = frozenset({"synced", "bridging", "up"})


@dataclass(frozen=True, slots=True)
class Unready:
    """A stream that is wanted and not in step."""

    symbol: str
    stream: str
    reason: str


def find_unready(
    symbols: Iterable[str],
    feeds: Iterable[str],
    streams: Mapping[Key, Mapping[str, Any]],
    refused: Mapping[Key, str],
) -> list[Unready]:
    """Compare what is wanted with what is.

    Parameters
    ----------
    symbols, feeds : iterable of str   what is to be recorded; feeds as in the configuration
    streams : mapping    (symbol, stream) → what the pipeline says of it
    refused : mapping    (symbol, feed) → the venue's answer to a subscription

    Returns
    -------
    list[Unready]   in the order of the symbols; empty when all is in step
    """
    feeds = tuple(feeds)
    return [
        Unready(symbol, STREAM_OF_FEED[feed], reason)
        for symbol in symbols
        for feed in feeds
        if (reason := _reason(symbol, feed, streams, refused))
    ]


def _reason(
    symbol: str,
    feed: str,
    streams: Mapping[Key, Mapping[str, Any]],
    refused: Mapping[Key, str],
) -> str:
    if (answer := refused.get((symbol, feed))) is not None:
        return f"refused by the exchange: {answer}"
    status = streams.get((symbol, STREAM_OF_FEED[feed]))
    if status is None:
        return "not subscribed yet"
    state, gap = status["state"], status.get("gap")
    if state in READY_STATES:
        return ""
    if state == "buffering":
        return f"gap ({gap}), waiting for a book" if gap else "waiting for its first book"
    return f"gap ({gap}), not subscribed" if gap else "not subscribed"
