"""The last trade this archive has of each symbol: a new run fills in what came after it."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from recorder.errors import CatalogDamaged
from schemas.archive_layout import CATALOG_DB

# Of the interval that ends last; SQLite takes the other columns from the row of the maximum.
_QUERY = """
SELECT symbol, sequence_last, profile, max(ts_to)
FROM coverage JOIN runs USING (run_id)
WHERE stream = 'trades' AND sequence_last IS NOT NULL
GROUP BY symbol
"""


def last_trades(archive: Path, profile: str) -> dict[str, int]:
    """Return the number of the last trade by symbol; none where there is no archive yet.

    Parameters
    ----------
    profile : str   a symbol last recorded in another dialect is left out: numbers differ there

    Raises
    ------
    CatalogDamaged   when there is a catalog and SQLite cannot read it
    """
    path = archive / CATALOG_DB
    if not path.is_file():
        return {}
    try:
        # Read-only: looking must not make what was not there.
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as db:
            rows = db.execute(_QUERY).fetchall()
    except sqlite3.Error as error:
        raise CatalogDamaged(str(path), str(error)) from None
    return {symbol: sequence for symbol, sequence, spoken, _ in rows if spoken == profile}
