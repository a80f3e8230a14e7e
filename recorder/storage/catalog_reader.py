"""Questions the recorder asks its own catalog."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

from recorder.errors import CatalogDamaged, NotAnArchive
from schemas.archive_layout import CATALOG_DB
from schemas.catalog import TABLES


class CatalogReader:
    """Read access through an open connection.

    Parameters
    ----------
    db : sqlite3.Connection   owned from here on
    """

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db
        self._db.row_factory = sqlite3.Row

    @classmethod
    def open(cls, archive: Path) -> CatalogReader:
        """Open an archive's catalog without the right to write.

        Raises
        ------
        NotAnArchive     when there is none
        CatalogDamaged   when it is there and SQLite cannot read it
        """
        path = archive / CATALOG_DB
        if not path.is_file():
            raise NotAnArchive(str(archive))
        reader = cls(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True))
        try:
            reader.runs()
        except sqlite3.Error as error:
            reader.close()
            raise CatalogDamaged(str(path), str(error)) from None
        return reader

    def close(self) -> None:
        """Close the database."""
        self._db.close()

    def runs(self) -> dict[str, dict[str, Any]]:
        """Return all runs by run_id."""
        return {row["run_id"]: dict(row) for row in self._db.execute("SELECT * FROM runs")}

    def published_rows(self, run_id: str) -> dict[tuple[str, str, str], int]:
        """Return how many rows of a run are published, by (dataset, symbol, stream)."""
        rows = self._db.execute(
            "SELECT dataset, symbol, stream, sum(rows) FROM parts "
            "WHERE run_id = ? AND ts_replaced IS NULL GROUP BY dataset, symbol, stream",
            (run_id,),
        )
        return {(dataset, symbol, stream): count for dataset, symbol, stream, count in rows}

    def part_paths(self) -> set[str]:
        """Return the paths of all parts, replaced ones included."""
        return {path for (path,) in self._db.execute("SELECT path FROM parts")}

    def parts_of_run(self, run_id: str) -> list[dict[str, Any]]:
        """Return the live parts of a run in the order of their rows."""
        rows = self._db.execute(
            "SELECT * FROM parts WHERE run_id = ? AND ts_replaced IS NULL "
            "ORDER BY dataset, symbol, stream, ordinal_first, ts_first, ordinal_last",
            (run_id,),
        )
        return [dict(row) for row in rows]

    def checkpoint(self, run_id: str) -> dict[str, Any] | None:
        """Return how far a run had come when it last published, None if it never did."""
        row = self._db.execute("SELECT * FROM checkpoints WHERE run_id = ?", (run_id,)).fetchone()
        return None if row is None else dict(row)

    def rows_of(self, table: str, run_id: str) -> list[dict[str, Any]]:
        """Return a run's rows of a catalog table."""
        query = f"SELECT * FROM {TABLES[table].name} WHERE run_id = ?"
        return [dict(row) for row in self._db.execute(query, (run_id,))]
