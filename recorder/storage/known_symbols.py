"""Which symbols this archive has seen listed, asked before it is opened for writing."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from recorder.errors import CatalogDamaged
from schemas.archive_layout import CATALOG_DB


def known_symbols(archive: Path) -> frozenset[str]:
    """Return every symbol of the catalog's instruments; none where there is no archive yet.

    Raises
    ------
    CatalogDamaged   when there is a catalog and SQLite cannot read it
    """
    path = archive / CATALOG_DB
    if not path.is_file():
        return frozenset()
    try:
        # Read-only: looking must not make what was not there.
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as db:
            rows = db.execute("SELECT DISTINCT symbol FROM instruments").fetchall()
    except sqlite3.Error as error:
        raise CatalogDamaged(str(path), str(error)) from None
    return frozenset(symbol for (symbol,) in rows)
