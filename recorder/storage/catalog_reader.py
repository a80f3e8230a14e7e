"""Questions the recorder asks its own catalog."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from recorder.errors import CatalogDamaged, NotAnArchive
from recorder.storage.trimming import Floor, floor_of, gaps_begin
from schemas.archive_layout import CATALOG_DB, RAW
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
            reader._supply_missing_tables()
        except sqlite3.Error as error:
            reader.close()
            raise CatalogDamaged(str(path), str(error)) from None
        return reader

    def _supply_missing_tables(self) -> None:
        """Let an older catalog, which must not be written, have newer tables without rows."""
        known = {name for (name,) in self._db.execute("SELECT name FROM sqlite_master")}
        for table in TABLES.values():
            if table.name not in known:
                self._db.executescript(table.stand_in_ddl)

    @contextmanager
    def moment(self) -> Iterator[None]:
        """Let all questions inside see the catalog as of the first, whatever is committed."""
        self._db.execute("BEGIN")
        try:
            yield
        finally:
            self._db.execute("ROLLBACK")

    def is_live(self, path: str) -> bool:
        """Say whether a part is in force."""
        found = self._db.execute(
            "SELECT 1 FROM parts WHERE path = ? AND ts_replaced IS NULL", (path,)
        )
        return found.fetchone() is not None

    def close(self) -> None:
        """Close the database."""
        self._db.close()

    def runs(self) -> dict[str, dict[str, Any]]:
        """Return all runs by run_id."""
        return {row["run_id"]: dict(row) for row in self._db.execute("SELECT * FROM runs")}

    def published_rows(self, run_id: str) -> dict[tuple[str, str, str], int]:
        """Return how many rows of a run were ever published, by (dataset, symbol, stream).

        Rows that retention removed count: a recovery must not write them again.
        """
        rows = self._db.execute(
            "SELECT dataset, symbol, stream, sum(rows) FROM parts "
            "WHERE run_id = ? AND ts_replaced IS NULL GROUP BY dataset, symbol, stream",
            (run_id,),
        )
        published = {(dataset, symbol, stream): count for dataset, symbol, stream, count in rows}
        for key, count in self.removed_rows(run_id).items():
            published[key] = published.get(key, 0) + count
        return published

    def removed_rows(self, run_id: str) -> dict[tuple[str, str, str], int]:
        """Return how many rows of a run retention removed, by (dataset, symbol, stream).

        They were the first ones: retention takes whole days from the front.
        """
        rows = self._db.execute(
            "SELECT dataset, symbol, stream, sum(rows) FROM removals "
            "WHERE run_id = ? AND dataset != ? GROUP BY dataset, symbol, stream",
            (run_id, RAW),
        )
        return {(dataset, symbol, stream): count for dataset, symbol, stream, count in rows}

    def removed_segments(self) -> dict[str, set[str]]:
        """Return the paths of the raw-log segments that retention removed, by run."""
        found: dict[str, set[str]] = {}
        rows = self._db.execute("SELECT run_id, path FROM removals WHERE dataset = ?", (RAW,))
        for run_id, path in rows:
            found.setdefault(run_id, set()).add(path)
        return found

    def live_parts(self) -> list[dict[str, Any]]:
        """Return all parts in force, those of a run and stream in the order of their rows."""
        rows = self._db.execute(
            "SELECT * FROM parts WHERE ts_replaced IS NULL ORDER BY dataset, date, symbol, "
            "stream, run_id, ordinal_first, ts_first, ordinal_last"
        )
        return [dict(row) for row in rows]

    def full_books_of(self, symbol: str, stream: str, run_id: str) -> list[dict[str, Any]]:
        """Return the index of a stream's full books, in order."""
        rows = self._db.execute(
            "SELECT * FROM full_books WHERE symbol = ? AND stream = ? AND run_id = ? "
            "ORDER BY ordinal, ts, path, row_first",
            (symbol, stream, run_id),
        )
        return [dict(row) for row in rows]

    def floor_of(self, symbol: str, stream: str, run_id: str) -> Floor | None:
        """Return where a stream of a run begins, None where retention took nothing of it."""
        return floor_of(self._db, symbol, stream, run_id)

    def gaps_begin(self, symbol: str, stream: str) -> int:
        """Return the time (ns UTC) before which no gap of a stream is told."""
        return gaps_begin(self._db, symbol, stream)

    def spans(self) -> list[dict[str, Any]]:
        """Return from when to when each stream is recorded (ns UTC), its rows and its gaps."""
        rows = self._db.execute(
            "SELECT symbol, stream, min(ts_from) AS ts_from, max(ts_to) AS ts_to, "
            "sum(rows) AS rows, (SELECT count(*) FROM gaps "
            "WHERE gaps.symbol = coverage.symbol AND gaps.stream = coverage.stream) AS gaps "
            "FROM coverage GROUP BY symbol, stream ORDER BY symbol, stream"
        )
        return [dict(row) for row in rows]

    def last_jobs(self) -> list[dict[str, Any]]:
        """Return the last run of each job, by name."""
        rows = self._db.execute("SELECT *, max(ts_start) AS last FROM jobs GROUP BY name")
        return [{name: row[name] for name in TABLES["jobs"].names} for row in rows]

    def replaced_parts(
        self, ts_replaced_max: int, count_max: int | None = None
    ) -> list[dict[str, Any]]:
        """Return the parts that left force at that time (ns UTC) or before, so many at most."""
        rows = self._db.execute(
            "SELECT * FROM parts WHERE ts_replaced <= ? ORDER BY path LIMIT ?",
            (ts_replaced_max, -1 if count_max is None else count_max),
        )
        return [dict(row) for row in rows]

    def part_paths(self) -> set[str]:
        """Return the paths of all parts, replaced ones included."""
        return {path for (path,) in self._db.execute("SELECT path FROM parts")}

    def paths_of_run(self, run_id: str) -> list[str]:
        """Return the paths of a run's parts, replaced ones included."""
        rows = self._db.execute("SELECT path FROM parts WHERE run_id = ? ORDER BY path", (run_id,))
        return [path for (path,) in rows]

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

    def trade_ends(self) -> list[dict[str, Any]]:
        """Return by symbol how far the run came that has the last interval with a trade.

        That interval may hold nothing but older trades that were filled in: the highest number of
        the run counts.

        Returns
        -------
        list of symbol, sequence_last, profile and streams of the run, and l3_sequence: the last
        one that level 3 came to in that run, None where it had no book
        """
        # SQLite takes the other columns from the row of the maximum.
        rows = self._db.execute(
            "SELECT symbol, (SELECT max(same.sequence_last) FROM coverage AS same "
            "WHERE same.symbol = told.symbol AND same.stream = 'trades' "
            "AND same.run_id = told.run_id) AS sequence_last, "
            "profile, streams, (SELECT max(book.sequence_last) "
            "FROM coverage AS book WHERE book.symbol = told.symbol AND book.stream = 'l3' "
            "AND book.run_id = told.run_id) AS l3_sequence, max(ts_to) "
            "FROM coverage AS told JOIN runs USING (run_id) "
            "WHERE stream = 'trades' AND sequence_last IS NOT NULL GROUP BY symbol"
        )
        return [dict(row) for row in rows]

    def rows_of(self, table: str, run_id: str) -> list[dict[str, Any]]:
        """Return a run's rows of a catalog table."""
        query = f"SELECT * FROM {TABLES[table].name} WHERE run_id = ?"
        return [dict(row) for row in self._db.execute(query, (run_id,))]
