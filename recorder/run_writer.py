"""One run from lines to parts and catalog: the same for live, import, recovery and rebuild."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import orjson

from recorder.clock import wall_ns
from recorder.meters import Meters
from recorder.pipeline.output import (
    Command,
    Entry,
    InstrumentSeen,
    InstrumentsListed,
    Output,
    Rows,
)
from recorder.pipeline.pipeline import Pipeline
from recorder.pipeline.routes import Key
from recorder.raw_line import RawLine
from recorder.storage.catalog_writer import CatalogWriter
from recorder.storage.checkpoints import Checkpoints, Loaded, OpenRows
from recorder.storage.disk import disk
from recorder.storage.open_parts import OpenParts, RollRules, RowsKey, skip_rows
from recorder.storage.part_writer import Part, PartRows, write_part
from recorder.storage.raw_log import BEGINNING, RawPosition
from recorder.storage.room import is_disk_full

RowCounts = dict[RowsKey, int]

# A whole exchange closes thousands of small parts at midnight, at its stop, and after a crash.
_UNITS_AT_ONCE = 64
_THREADS = 4


class RunWriter:
    """Feed lines through the pipeline, gather rows, publish parts and ledger.

    Parameters
    ----------
    archive : Path
    catalog : CatalogWriter
    rules : RollRules
    published : RowCounts
        Rows of this run that parts hold already: the first so many are not written again.
    meters : Meters or None
        Counts what is made and published, where somebody watches.
    checkpoints : Checkpoints or None
        Where to put away, every so often, what a start after a crash goes on with.

    Attributes
    ----------
    pipeline : Pipeline
    checkpoints : Checkpoints or None
    lines : int             lines taken in
    meters : Meters or None as given; put in later where what comes before was counted already
    is_held : bool          no rows are kept: see `hold`
    may_wait : bool         a disk without room for parts is no failure: they wait
    is_waiting : bool       they do, until this is put back
    incidents : list[str]   what could not be read, streams that had to be quarantined; for the log
    raw_position : tuple    the open raw-log segment and its durable bytes, for the checkpoint
    """

    def __init__(
        self,
        archive: Path,
        catalog: CatalogWriter,
        rules: RollRules,
        published: RowCounts | None = None,
        meters: Meters | None = None,
        checkpoints: Checkpoints | None = None,
    ) -> None:
        self.pipeline = Pipeline()
        self.checkpoints = checkpoints
        self.incidents: list[str] = []
        self.is_held = False
        self.may_wait = False
        self.is_waiting = False
        self.raw_position: tuple[str, int] = ("", 0)
        self._archive = archive
        self._catalog = catalog
        self.meters = meters
        self._open = OpenParts(rules)
        self._to_skip: RowCounts = dict(published or {})
        self._made: Counter[RowsKey] = Counter()
        self._position = BEGINNING
        self._published_lines = 0  # lines when the catalog was last written
        self._ledger: dict[Key, dict[int, Entry]] = {}
        self._instruments: list[InstrumentSeen | InstrumentsListed] = []
        self._joined: set[Key] = set()  # streams whose beginning meets the run before
        self.lines = 0
        # The catalog calls a run ended only together with its last rows: a start that finds it
        # ended looks no further.
        self._is_finishing = False
        if checkpoints is not None:
            checkpoints.begin_anew(0)

    @property
    def open_bytes(self) -> int:
        """Memory held by open parts, estimated, in bytes."""
        return self._open.bytes

    @classmethod
    def resume(
        cls,
        archive: Path,
        catalog: CatalogWriter,
        rules: RollRules,
        loaded: Loaded,
        meters: Meters | None = None,
        checkpoints: Checkpoints | None = None,
    ) -> RunWriter:
        """Return a writer as it was at a checkpoint; the lines behind that come next.

        What parts hold by now is not written again, and commands that those lines lead to were
        given before.
        """
        writer = cls(archive, catalog, rules, meters=meters, checkpoints=checkpoints)
        writer.pipeline, writer.lines, ledger, writer._instruments, writer._joined = loaded.state
        run_id = writer.pipeline.run_id
        for entry in ledger:
            writer._ledger.setdefault((entry.symbol, entry.stream), {})[id(entry)] = entry
        writer._made.update(loaded.made)
        writer._to_skip = {
            key: count - loaded.made.get(key, 0)
            for key, count in catalog.published_rows(run_id).items()
            if count > loaded.made.get(key, 0)
        }
        writer._position = loaded.position
        row = catalog.checkpoint(run_id)
        if row is not None:
            writer.raw_position = (row["raw_path"], row["raw_bytes"])
            writer._published_lines = row["lines"]
        if checkpoints is not None:
            checkpoints.begin_anew(writer.lines)
        writer._open.take_back(loaded.open_rows)
        return writer

    def process(
        self, lines: Sequence[RawLine], position: RawPosition | None = None
    ) -> list[Command]:
        """Take in lines whose durability is settled; publish what is due by their clock.

        Parameters
        ----------
        position : RawPosition or None
            The place in the raw log behind them; without it there can be no checkpoint here.

        Returns
        -------
        list[Command]   what the pipeline wants the shell to do
        """
        output = self.pipeline.feed(lines)
        self.lines += len(lines)
        self._take(output)
        if lines:
            self.roll(self.pipeline.ts_last)
        if position is not None:
            self._position = position
            if self.checkpoints is not None and self.checkpoints.is_due(self.lines):
                self.checkpoint()
        return output.commands

    def checkpoint(self) -> bool:
        """Put away everything known behind the last lines, durably.

        Returns
        -------
        bool   False when the disk refused, which is told, or where there can be none
        """
        is_running = bool(self.pipeline.run_id) and not self.pipeline.stop_reason
        is_placed = self._position.lines == self.lines
        if self.checkpoints is None or self.is_held or not (is_running and is_placed):
            return False
        entries = [entry for entries in self._ledger.values() for entry in entries.values()]
        state = (self.pipeline, self.lines, entries, self._instruments, self._joined)
        try:
            self.checkpoints.write(
                self._position, state, self._made, self._published_lines, self._open_rows()
            )
        except OSError as error:
            # The raw log has it all: a start would take longer, and loses nothing.
            self.incidents.append(f"no checkpoint: {error}")
            return False
        finally:
            if self.meters is not None:
                self.meters.checkpoint_s.add(self.checkpoints.seconds)
                self.meters.checkpoints_refused = self.checkpoints.failures
        return True

    def _open_rows(self) -> list[OpenRows]:
        return [
            OpenRows(key, self._made[key] - sum(map(len, batches)), batches)
            for key, batches in self._open.by_dataset().items()
        ]

    def hold(self) -> None:
        """Let go of all open rows and keep none from now on: the disk has no room for parts.

        Commands come as before. The rows are made again by a writer that resumes at the last
        checkpoint, which is made here where that can be.
        """
        self.checkpoint()
        self.is_held = True
        self._open.drop(self._open.everything())
        self._ledger.clear()
        self._instruments.clear()

    def roll(self, ts_now: int, *, force: bool = False) -> int:
        """Publish the parts that are due at `ts_now` (ns UTC), or all of them.

        Returns
        -------
        int   parts published
        """
        if self.is_held or self.is_waiting:
            return 0
        keys = self._open.everything() if force else self._open.due(ts_now)
        if not keys and not force:
            return 0
        try:
            return self._publish(keys)
        except (OSError, sqlite3.OperationalError) as error:
            if not self.may_wait or not is_disk_full(error):
                raise
            self.is_waiting = True
            return 0

    def set_rules(self, rules: RollRules) -> None:
        """Close parts by other rules from now on."""
        self._open.rules = rules

    def finish(self, reason: str = "") -> None:
        """Publish everything and close the run; a run without `run_stop` ends for this reason.

        The run's checkpoints are removed. A writer that is held may not be finished: its rows are
        in the raw log alone.
        """
        assert not self.is_held
        if not self.pipeline.stop_reason:
            self._take(self.pipeline.finish(reason))
        self._is_finishing = True
        self._publish(self._open.everything())
        if self.checkpoints is not None:
            self.checkpoints.remove()

    def _take(self, output: Output) -> None:
        self.incidents += output.incidents
        if self.meters is not None:
            self.meters.count_output(output)
        if self.is_held:
            return
        self._open.add(self._unpublished(output.rows))
        for entry in output.ledger.values():
            self._ledger.setdefault((entry.symbol, entry.stream), {})[id(entry)] = entry
        self._instruments += output.instruments

    def _unpublished(self, batches: list[Rows]) -> Iterable[Rows]:
        for batch in batches:
            self._made[batch.dataset, batch.symbol, batch.stream] += len(batch)
        if not self._to_skip:
            return batches
        kept = []
        for batch in batches:
            key = (batch.dataset, batch.symbol, batch.stream)
            skipped = min(self._to_skip.get(key, 0), len(batch))
            if skipped:
                self._to_skip[key] -= skipped
            if skipped < len(batch):
                kept.append(skip_rows(batch, skipped))
        return kept

    def _publish(self, keys: set[Key]) -> int:
        """Write files, then tell the catalog, in one transaction."""
        self._take(self.pipeline.extend_push_intervals())
        ts_published = wall_ns()
        parts: list[Part] = []
        settled = {key for key in self._ledger if key in keys or key not in self._open}
        try:
            units = [rows for key in sorted(keys) for rows in self._open.peek(key)]
            self._write_parts(units, ts_published, parts)
            with self._catalog.transaction():
                self._record(parts, settled)
        except (OSError, sqlite3.OperationalError) as error:
            if is_disk_full(error):
                # Their rows are written again: nothing names these files, and nothing will.
                for part in parts:
                    disk().unlink(self._archive / part.row["path"], missing_ok=True)
            raise
        self._published_lines = self.lines
        # Committed: whatever fails from here on, these rows must not be written again.
        self._open.drop(keys)
        for key in settled:
            del self._ledger[key]
        self._joined |= settled
        self._instruments.clear()
        if self.meters is not None:
            self.meters.count_parts(part.row for part in parts)
        self._catalog.publish_parquet(sparing=not self._is_finishing)
        return len(parts)

    def _write_parts(self, units: list[PartRows], ts_published: int, written: list[Part]) -> None:
        """Write a file a unit; of very many, some at once: most of their time is the disk's.

        Parameters
        ----------
        written : list[Part]   gets each that has its name, also where another fails
        """

        def write(rows: PartRows) -> None:
            written.append(write_part(self._archive, self.pipeline.run_id, rows, ts_published))

        if len(units) < _UNITS_AT_ONCE:
            for rows in units:
                write(rows)
            return
        with ThreadPoolExecutor(_THREADS, "parts") as pool:
            for done in [pool.submit(write, rows) for rows in units]:
                done.result()

    def _record(self, parts: list[Part], settled: set[Key]) -> None:
        run_id = self.pipeline.run_id
        catalog = self._catalog
        catalog.put_run(self._run_row())
        catalog.put_instruments(run_id, self._instruments)
        catalog.put_parts(
            [part.row for part in parts], [book for part in parts for book in part.full_books]
        )
        for key in sorted(settled):
            catalog.put_ledger(run_id, self._ledger[key].values())
        joined = settled | self._joined if self._is_finishing else settled - self._joined
        catalog.join_runs(sorted(joined))
        for symbol in sorted(self.pipeline.trades_joined):
            if (symbol, "trades") in settled:
                catalog.heal_trades_before(run_id, symbol)
        raw_path, raw_bytes = self.raw_position
        catalog.put_checkpoint(
            {
                "run_id": run_id,
                "ts": self.pipeline.ts_last,
                "raw_path": raw_path,
                "raw_bytes": raw_bytes,
                "lines": self.lines,
                "published": orjson.dumps(
                    {"/".join(key): count for key, count in catalog.published_rows(run_id).items()}
                ).decode(),
            }
        )

    def _run_row(self) -> dict[str, Any]:
        pipeline = self.pipeline
        start = pipeline.start
        ended = self._is_finishing
        return {
            "run_id": pipeline.run_id,
            "ts_start": pipeline.ts_start,
            "ts_stop": pipeline.ts_last if ended else None,
            "stop_reason": pipeline.stop_reason if ended else None,
            "version": start.get("version"),
            "profile": start.get("profile"),
            "profile_hash": start.get("profile_hash"),
            "symbols": orjson.dumps(start.get("symbols", [])).decode(),
            "streams": orjson.dumps(start.get("feeds", [])).decode(),
            "source": start.get("source"),
            "source_sha256": start.get("source_sha256"),
            "lines": self.lines,
            "frames": pipeline.counts["recv"],
            "counts": orjson.dumps(dict(pipeline.counts), option=orjson.OPT_SORT_KEYS).decode(),
        }
