"""The last trade this archive has of each symbol: a new run fills in what came after it."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import orjson

from recorder.errors import CatalogDamaged
from schemas.archive_layout import CATALOG_DB

# Of the interval that ends last; SQLite takes the other columns from the row of the maximum.
_QUERY = """
SELECT symbol, sequence_last, profile, streams, (
    SELECT max(book.sequence_last) FROM coverage AS book
    WHERE book.symbol = told.symbol AND book.stream = 'l3' AND book.run_id = told.run_id
), max(ts_to)
FROM coverage AS told JOIN runs USING (run_id)
WHERE stream = 'trades' AND sequence_last IS NOT NULL
GROUP BY symbol
"""
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


def last_trades(archive: Path, profile: str) -> LastTrades:
    """Return where the trades of each symbol end; nothing where there is no archive yet.

    Parameters
    ----------
    profile : str   a symbol last recorded in another dialect is left out: numbers differ there

    Raises
    ------
    CatalogDamaged   when there is a catalog and SQLite cannot read it
    """
    last = LastTrades({}, [])
    path = archive / CATALOG_DB
    if not path.is_file():
        return last
    try:
        # Read-only: looking must not make what was not there.
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as db:
            rows = db.execute(_QUERY).fetchall()
    except sqlite3.Error as error:
        raise CatalogDamaged(str(path), str(error)) from None
    for symbol, sequence, spoken, feeds, l3_sequence, _ in rows:
        if spoken != profile:
            continue
        last.numbers[symbol] = sequence
        is_behind = l3_sequence is None or l3_sequence < sequence
        if is_behind and _BOTH_TOPICS.issubset(orjson.loads(feeds or "[]")):
            last.unproven.append(symbol)
    return last
