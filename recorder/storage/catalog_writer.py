"""The catalog: SQLite in WAL mode, one transaction a roll, and its Parquet twin for readers."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from recorder.errors import RecorderError
from recorder.pipeline.output import (
    Audited,
    Entry,
    Gap,
    InstrumentSeen,
    InstrumentsListed,
    Interval,
)
from recorder.pipeline.routes import Key
from recorder.storage.catalog_reader import CatalogReader
from recorder.storage.disk import disk
from recorder.storage.parquet_twin import ParquetTwin
from recorder.storage.trimming import trim
from schemas.archive_layout import CATALOG_DB, RAW
from schemas.catalog import CATALOG_VERSION, DDL, TABLES, Table

_KEPT_JOB_ROWS = 500  # runs of one job
_LEDGER_TABLES: dict[type[Entry], str] = {Interval: "coverage", Gap: "gaps", Audited: "audits"}


def add_columns(db: sqlite3.Connection) -> None:
    """Give the tables of an older catalog the columns that came later; their rows have NULL."""
    for table in TABLES.values():
        there = {row[1] for row in db.execute(f"PRAGMA table_info({table.name})")}
        for name, kind in table.columns:
            if there and name not in there:
                stored = "INTEGER" if kind == "TIME" else kind
                db.execute(f"ALTER TABLE {table.name} ADD COLUMN {name} {stored}")


class CatalogWriter(CatalogReader):
    """Write access to an archive's catalog; one process at a time holds it.

    Parameters
    ----------
    archive : Path   an existing folder; an older catalog in it is brought up to date

    Raises
    ------
    RecorderError   for a catalog that a newer version wrote
    """

    def __init__(self, archive: Path) -> None:
        super().__init__(disk().connect(archive / CATALOG_DB))
        self._twin = ParquetTwin(archive, self._db)
        try:
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=FULL")
            version = int(self._db.execute("PRAGMA user_version").fetchone()[0])
            if version > CATALOG_VERSION:
                raise RecorderError(
                    f"the catalog of {archive} has version {version}, "
                    f"this program writes {CATALOG_VERSION}",
                    "record into it with the version of Booktape that wrote it, or a newer one",
                )
            add_columns(self._db)
            self._db.executescript(DDL)
            disk().sync_folder(archive)
        except BaseException:
            self._db.close()
            raise

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Commit everything inside, or nothing. The Parquet twin is published by itself."""
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._db.execute("COMMIT")
        except BaseException:
            if self._db.in_transaction:  # of a full disk SQLite may have taken it back itself
                self._db.execute("ROLLBACK")
            raise

    # Writing; inside a transaction

    def put_run(self, row: dict[str, Any]) -> None:
        """Insert or replace a run."""
        self._put(TABLES["runs"], [row])

    def put_parts(self, parts: list[dict[str, Any]], full_books: list[dict[str, Any]]) -> None:
        """Insert parts and the index of the full books in them."""
        self._put(TABLES["parts"], parts)
        self._put(TABLES["full_books"], full_books)

    def put_ledger(self, run_id: str, entries: Iterable[Entry]) -> None:
        """Insert or update intervals and gaps, above what retention took, and audits."""
        rows: dict[type[Entry], list[dict[str, Any]]] = {Interval: [], Gap: [], Audited: []}
        for entry in entries:
            names = TABLES[_LEDGER_TABLES[type(entry)]].names
            row = {name: getattr(entry, name) for name in names if name != "run_id"}
            rows[type(entry)].append({**row, "run_id": run_id})
        intervals, gaps = rows[Interval], rows[Gap]
        for row in intervals:
            row["is_open"] = int(row["is_open"])
        for kind, table in _LEDGER_TABLES.items():
            self._put(TABLES[table], rows[kind])
        for symbol, stream in {(row["symbol"], row["stream"]) for row in intervals + gaps}:
            trim(self._db, symbol, stream, run_id)

    def put_checkpoint(self, row: dict[str, Any]) -> None:
        """Replace a run's checkpoint."""
        self._put(TABLES["checkpoints"], [row])

    def put_instruments(
        self, run_id: str, told: Iterable[InstrumentSeen | InstrumentsListed]
    ) -> None:
        """Add instruments that changed; what was in force until then ends there.

        What is in force and not listed any more ends as well, without a successor.

        Older ones may come later, from an import or a recovery: what was in force then decides.
        """
        for entry in told:
            if isinstance(entry, InstrumentsListed):
                self._end_unlisted(entry)
                continue
            instrument = entry.instrument
            current = self._db.execute(
                "SELECT ts_from, wire FROM instruments WHERE symbol = ? AND ts_from <= ? "
                "AND (ts_to IS NULL OR ts_to > ?)",
                (instrument.symbol, entry.ts, entry.ts),
            ).fetchone()
            if current is not None and current["wire"] == instrument.wire:
                continue
            if current is not None:
                self._db.execute(
                    "UPDATE instruments SET ts_to = ? WHERE symbol = ? AND ts_from = ?",
                    (entry.ts, instrument.symbol, current["ts_from"]),
                )
            following = self._db.execute(
                "SELECT min(ts_from) FROM instruments WHERE symbol = ? AND ts_from > ?",
                (instrument.symbol, entry.ts),
            ).fetchone()[0]
            self._put(
                TABLES["instruments"],
                [
                    {
                        "symbol": instrument.symbol,
                        "ts_from": entry.ts,
                        "ts_to": following,
                        "run_id": run_id,
                        "name": instrument.name,
                        "base_currency": instrument.base_currency,
                        "quote_currency": instrument.quote_currency,
                        "price_increment": instrument.price_increment,
                        "base_increment": instrument.base_increment,
                        "quote_increment": instrument.quote_increment,
                        "price_scale": instrument.price_scale,
                        "size_scale": instrument.size_scale,
                        "funds_scale": instrument.funds_scale,
                        "enable_trading": int(instrument.enable_trading),
                        "wire": instrument.wire,
                    }
                ],
            )

    def _end_unlisted(self, listed: InstrumentsListed) -> None:
        rows = self._db.execute(
            "SELECT symbol, ts_from FROM instruments WHERE ts_to IS NULL AND ts_from < ?",
            (listed.ts,),
        ).fetchall()
        self._db.executemany(
            "UPDATE instruments SET ts_to = ? WHERE symbol = ? AND ts_from = ?",
            [
                (listed.ts, row["symbol"], row["ts_from"])
                for row in rows
                if row["symbol"] not in listed.symbols
            ],
        )

    def join_runs(self, keys: Iterable[Key]) -> None:
        """Put exactly one gap between the last interval of a run and the first of the next.

        A run that goes on has no last interval yet; it is joined to a later one (it imports what is
        older) when it ends.
        """
        for symbol, stream in keys:
            runs = self._db.execute(
                "SELECT run_id, ts_stop, min(ts_from) AS ts_from, max(ts_to) AS ts_to "
                "FROM coverage JOIN runs USING (run_id) "
                "WHERE symbol = ? AND stream = ? GROUP BY run_id ORDER BY min(ts_from)",
                (symbol, stream),
            ).fetchall()
            reaching = None  # the run that came furthest so far
            for run in runs:
                if reaching is None:
                    reaching = run
                    continue
                if run["ts_from"] >= reaching["ts_to"]:
                    if reaching["ts_stop"] is not None:
                        self._join(symbol, stream, reaching["run_id"], run["run_id"])
                    reaching = run
                    continue
                # Two at once: nothing stands behind the one that ended while the other went on.
                ended, reaching = sorted((reaching, run), key=lambda one: int(one["ts_to"]))
                self._part(symbol, stream, ended["run_id"])

    def _part(self, symbol: str, stream: str, run_id: str) -> None:
        """Take back that a later run ended a gap behind a run: another covers its place."""
        key = (symbol, stream, run_id)
        # Of gaps that were filled in, only the one behind the run's last interval.
        where = (
            "WHERE symbol = ? AND stream = ? AND run_id = ? AND (healed_by = 'next_run' "
            "OR healed_by = 'backfill' AND ts_from = (SELECT max(ts_to) FROM coverage AS c "
            "WHERE c.symbol = gaps.symbol AND c.stream = gaps.stream AND c.run_id = gaps.run_id)) "
            "AND reason "
        )
        between = "= (SELECT coalesce(stop_reason, 'crashed') FROM runs WHERE run_id = ?)"
        self._db.execute(f"DELETE FROM gaps {where}{between}", (*key, run_id))
        self._db.execute(
            f"UPDATE gaps SET ts_to = NULL, sequence_received = NULL, healed_by = NULL {where}"
            "IS NOT NULL",
            key,
        )

    def _join(self, symbol: str, stream: str, earlier: str, later: str) -> None:
        query = "SELECT * FROM coverage WHERE symbol = ? AND stream = ? AND run_id = ? ORDER BY "
        last = self._db.execute(
            query + "ts_from DESC, ordinal_first DESC LIMIT 1", (symbol, stream, earlier)
        ).fetchone()
        first = self._db.execute(
            query + "ts_from, ordinal_first LIMIT 1", (symbol, stream, later)
        ).fetchone()
        healed = (first["ts_from"], first["sequence_first"], "next_run")
        key = (symbol, stream, earlier)
        filled_in = self._db.execute(
            "SELECT 1 FROM gaps WHERE symbol = ? AND stream = ? AND run_id = ? "
            "AND ts_from = ? AND ts_to = ? AND healed_by = 'backfill'",
            (*key, last["ts_to"], first["ts_from"]),
        ).fetchone()
        if filled_in is not None:
            return
        where = (
            "WHERE symbol = ? AND stream = ? AND run_id = ? "
            "AND (ts_to IS NULL OR healed_by = 'next_run')"
        )
        changed = self._db.execute(
            f"UPDATE gaps SET ts_to = ?, sequence_received = ?, healed_by = ? {where}",
            (*healed, *key),
        )
        if changed.rowcount:
            return
        run = self._db.execute(
            "SELECT stop_reason, ts_stop FROM runs WHERE run_id = ?", (earlier,)
        ).fetchone()
        expected = last["sequence_last"]
        self._put(
            TABLES["gaps"],
            [
                {
                    "symbol": symbol,
                    "stream": stream,
                    "run_id": earlier,
                    "ordinal_from": last["ordinal_last"],
                    "reason": run["stop_reason"] or "crashed",
                    "ts_from": last["ts_to"],
                    "ts_to": healed[0],
                    "ts_detected": run["ts_stop"] or last["ts_to"],
                    "sequence_expected": None if expected is None else expected + 1,
                    "sequence_received": healed[1],
                    "healed_by": healed[2],
                }
            ],
        )

    def heal_trades_before(self, run_id: str, symbol: str) -> None:
        """Note that no trade is missing between a run and the one before it, joined already."""
        first = (
            "FROM coverage WHERE symbol = ? AND stream = 'trades' AND run_id = ? "
            "ORDER BY ts_from, ordinal_first LIMIT 1"
        )
        self._db.execute(
            f"UPDATE gaps SET healed_by = 'backfill', sequence_received = "
            f"(SELECT sequence_first {first}) WHERE symbol = ? AND stream = 'trades' "
            f"AND run_id <> ? AND healed_by = 'next_run' AND ts_to = (SELECT ts_from {first})",
            (symbol, run_id) * 3,
        )

    def swap_parts(
        self,
        replaced: Sequence[str],
        parts: list[dict[str, Any]],
        full_books: list[dict[str, Any]],
        ts_now: int,
    ) -> bool:
        """Put parts in force in place of others that hold the same rows.

        Returns
        -------
        bool   False, and nothing changed, when one of the others is not in force any more
        """
        if any(not self.is_live(path) for path in replaced):
            return False
        self.put_parts([{**row, "ts_published": ts_now} for row in parts], full_books)
        self._mark_replaced(replaced, ts_now)
        return True

    def remove_files(self, removals: list[dict[str, Any]]) -> None:
        """Take parts and raw-log segments out of the archive; their files are unlinked later.

        Parameters
        ----------
        removals : list of rows of the table `removals`; parts that are not in force any more are
                   passed over
        """
        removals = [r for r in removals if r["dataset"] == RAW or self.is_live(r["path"])]
        self._put(TABLES["removals"], removals)
        for row in removals:
            self._mark_replaced([row["path"]], row["ts_removed"])
        self._db.execute(
            "DELETE FROM full_books WHERE path IN (SELECT path FROM removals WHERE dataset = ?)",
            ("book_snapshots",),
        )
        keys = {(row["symbol"], row["stream"], row["run_id"]) for row in removals if row["symbol"]}
        for symbol, stream, run_id in sorted(keys):
            trim(self._db, symbol, stream, run_id)

    def _mark_replaced(self, paths: Sequence[str], ts_now: int) -> None:
        self._db.executemany(
            "UPDATE parts SET ts_replaced = ? WHERE path = ?", [(ts_now, path) for path in paths]
        )

    def forget_parts(self, paths: Sequence[str]) -> None:
        """Remove the entries of parts whose files are gone."""
        self._db.executemany("DELETE FROM parts WHERE path = ?", [(path,) for path in paths])

    def put_job(self, row: dict[str, Any]) -> None:
        """Note that a job has run; of each job the last 500 runs are kept.

        Parameters
        ----------
        row : name, ts_start, ts_stop (ns UTC), outcome (ok, failed or nothing) and detail
        """
        self._put(TABLES["jobs"], [row])
        self._db.execute(
            "DELETE FROM jobs WHERE name = ? AND ts_start <= ("
            "SELECT ts_start FROM jobs WHERE name = ? ORDER BY ts_start DESC LIMIT 1 OFFSET ?)",
            (row["name"], row["name"], _KEPT_JOB_ROWS),
        )

    def end_run(self, run_id: str, ts_stop: int, reason: str) -> None:
        """End a run, and the intervals it left open, where its last publication left it."""
        self._db.execute(
            "UPDATE runs SET ts_stop = ?, stop_reason = ? WHERE run_id = ?",
            (ts_stop, reason, run_id),
        )
        self._db.execute("UPDATE coverage SET is_open = 0 WHERE run_id = ?", (run_id,))

    def forget_run(self, run_id: str) -> None:
        """Remove every trace of a run; its files are the caller's business."""
        for name, table in TABLES.items():
            if "run_id" in table.names:
                self._db.execute(f"DELETE FROM {name} WHERE run_id = ?", (run_id,))

    def _put(self, table: Table, rows: Sequence[dict[str, Any]]) -> None:
        marks = ", ".join("?" for _ in table.names)
        self._db.executemany(
            f"INSERT OR REPLACE INTO {table.name} ({', '.join(table.names)}) VALUES ({marks})",
            [[row[name] for name in table.names] for row in rows],
        )

    # The Parquet twin

    def publish_parquet(self, *, sparing: bool = False) -> bool:
        """Write every table as Parquet beside the database and point CURRENT at it.

        Parameters
        ----------
        sparing : bool
            Leave it for a later transaction where the last time took so long that the writer
            would do little else: a catalog of 100,000 parts takes seconds to write.

        Returns
        -------
        bool   whether it was written
        """
        return self._twin.publish(sparing=sparing)
