"""The last trade this archive has of each symbol: a new run fills in what came after it."""

from __future__ import annotations

from dataclasses import dataclass

import orjson

from recorder.storage.catalog_reader import CatalogReader

_BOTH_TOPICS = {"level3", "match"}


@dataclass(frozen=True, slots=True)
class LastTrades:
    """Where the trades of an archive end.

    Attributes
    ----------
    numbers : dict[str, int]   the last trade by symbol
    unproven : list[str]       symbols of which an earlier one may be missing: trades came by two
        topics, some by level 3 alone, and that had not come as far
    """

    numbers: dict[str, int]
    unproven: list[str]


def last_trades(catalog: CatalogReader, profile: str) -> LastTrades:
    """Return where the trades of each symbol end.

    Parameters
    ----------
    profile : str   a symbol last recorded in another dialect is left out: numbers differ there
    """
    last = LastTrades({}, [])
    for end in catalog.trade_ends():
        if end["profile"] != profile:
            continue
        last.numbers[end["symbol"]] = end["sequence_last"]
        is_behind = end["l3_sequence"] is None or end["l3_sequence"] < end["sequence_last"]
        if is_behind and _BOTH_TOPICS.issubset(orjson.loads(end["streams"] or "[]")):
            last.unproven.append(end["symbol"])
    return last
