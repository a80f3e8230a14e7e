"""Topic names on the wire and the streams they carry.

A topic is `<prefix>:<symbol>`, or `<prefix>:<symbol>,<symbol>…` in a subscription.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

# What the configuration calls a stream → the archive's stream.
STREAM_OF_FEED: Mapping[str, str] = {
    "level2": "l2",
    "level3": "l3",
    "match": "trades",
    "snapshot": "market_snapshots",
    "ticker": "tickers",
}
FEEDS = tuple(STREAM_OF_FEED)

ALL = "all"


def format_topic(prefix: str, symbols: Iterable[str]) -> str:
    """Return the topic of one subscription: no space anywhere, the exchange refuses one."""
    return f"{prefix}:{','.join(symbols)}"


def parse_topic(topic: str) -> tuple[str, tuple[str, ...]]:
    """Split a topic into its prefix and its symbols (none where there is no colon)."""
    prefix, _, names = topic.partition(":")
    return prefix, tuple(name for name in names.split(",") if name)
