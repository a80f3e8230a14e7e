"""One run from lines to parts and catalog: the same for live, import, recovery and rebuild."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import orjson

from recorder.clock import wall_ns
from recorder.meters import Meters
from recorder.pipeline.output import (
    Command,
    Gap,
    InstrumentSeen,
    InstrumentsListed,
    Interval,
    Output,
    Rows,
)
from recorder.pipeline.pipeline import Pipeline
from recorder.pipeline.routes import Key
from recorder.raw_line import RawLine
from recorder.storage.catalog_writer import CatalogWriter
from recorder.storage.open_parts import OpenParts, RollRules, skip_rows
from recorder.storage.part_writer import Part, write_part

RowCounts = dict[tuple[str, str, str], int]  # by (dataset, symbol, stream)


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

    Attributes
    ----------
    pipeline : Pipeline
    lines : int             lines taken in
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
    ) -> None:
        self.pipeline = Pipeline()
        self.incidents: list[str] = []
        self.raw_position: tuple[str, int] = ("", 0)
        self._archive = archive
        self._catalog = catalog
        self._meters = meters
        self._open = OpenParts(rules)
        self._to_skip: RowCounts = dict(published or {})
        self._ledger: dict[Key, dict[int, Interval | Gap]] = {}
        self._instruments: list[InstrumentSeen | InstrumentsListed] = []
        self._joined: set[Key] = set()  # streams whose beginning meets the run before
        self.lines = 0
        # The catalog calls a run ended only together with its last rows: a start that finds it
        # ended looks no further.
        self._is_finishing = False

    @property
    def open_bytes(self) -> int:
        """Memory held by open parts, estimated, in bytes."""
        return self._open.bytes

    def process(self, lines: Sequence[RawLine]) -> list[Command]:
        """Take in lines whose durability is settled; publish what is due by their clock.

        Returns
        -------
        list[Command]   what the pipeline wants the shell to do
        """
        output = self.pipeline.feed(lines)
        self.lines += len(lines)
        self._take(output)
        if lines:
            self.roll(self.pipeline.ts_last)
        return output.commands

    def roll(self, ts_now: int, *, force: bool = False) -> int:
        """Publish the parts that are due at `ts_now` (ns UTC), or all of them.

        Returns
        -------
        int   parts published
        """
        keys = self._open.everything() if force else self._open.due(ts_now)
        if not keys and not force:
            return 0
        return self._publish(keys)

    def set_rules(self, rules: RollRules) -> None:
        """Close parts by other rules from now on."""
        self._open.rules = rules

    def finish(self, reason: str = "") -> None:
        """Publish everything and close the run; a run without `run_stop` ends for this reason."""
        if not self.pipeline.stop_reason:
            self._take(self.pipeline.finish(reason))
        self._is_finishing = True
        self._publish(self._open.everything())

    def _take(self, output: Output) -> None:
        self._open.add(self._unpublished(output.rows))
        for entry in output.ledger.values():
            self._ledger.setdefault((entry.symbol, entry.stream), {})[id(entry)] = entry
        self._instruments += output.instruments
        self.incidents += output.incidents
        if self._meters is not None:
            self._meters.count_output(output)

    def _unpublished(self, batches: list[Rows]) -> Iterable[Rows]:
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
        parts = [
            write_part(self._archive, self.pipeline.run_id, rows, ts_published)
            for key in sorted(keys)
            for rows in self._open.peek(key)
        ]
        settled = {key for key in self._ledger if key in keys or key not in self._open}
        with self._catalog.transaction():
            self._record(parts, settled)
        # Committed: whatever fails from here on, these rows must not be written again.
        self._open.drop(keys)
        for key in settled:
            del self._ledger[key]
        self._joined |= settled
        self._instruments.clear()
        if self._meters is not None:
            self._meters.count_parts(part.row for part in parts)
        self._catalog.publish_parquet(sparing=not self._is_finishing)
        return len(parts)

    def _record(self, parts: list[Part], settled: set[Key]) -> None:
        run_id = self.pipeline.run_id
        catalog = self._catalog
        catalog.put_run(self._run_row())
        catalog.put_instruments(run_id, self._instruments)
        catalog.put_parts(
            [part.row for part in parts], [book for part in parts for book in part.full_books]
        )
        for key in settled:
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
