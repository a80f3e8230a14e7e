"""What a pipeline made of lines, gathered so that two runs can be compared whole."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import astuple, dataclass, field
from typing import Any

import pyarrow as pa

from recorder.pipeline.output import Command, Gap, Interval, Output, Rows
from recorder.pipeline.pipeline import Pipeline
from recorder.raw_line import RawLine
from recorder.storage.batch import table_of
from schemas.datasets import TIME

StreamKey = tuple[str, str, str]  # dataset, symbol, stream


@dataclass
class Made:
    """Everything that came out."""

    pipeline: Pipeline
    batches: dict[StreamKey, list[Rows]] = field(default_factory=dict)
    ledger: dict[int, Interval | Gap] = field(default_factory=dict)
    commands: list[Command] = field(default_factory=list)
    instruments: list[Any] = field(default_factory=list)
    incidents: list[str] = field(default_factory=list)

    def take(self, output: Output) -> None:
        """Take in one output."""
        for rows in output.rows:
            key = (rows.dataset, rows.symbol, rows.stream)
            self.batches.setdefault(key, []).append(rows)
        self.ledger.update(output.ledger)
        self.commands += output.commands
        self.instruments += output.instruments
        self.incidents += output.incidents

    def table(self, dataset: str, symbol: str, stream: str = "") -> pa.Table:
        """Return the rows of one stream as a table of the dataset's schema."""
        stream = stream or {"l2_updates": "l2", "l3_events": "l3"}.get(dataset, dataset)
        return table_of(self.batches[dataset, symbol, stream], self.pipeline.run_id)

    def rows(self, dataset: str, symbol: str, stream: str = "") -> list[dict[str, Any]]:
        """Return the rows of one stream as dicts, times as ns; none where there are none."""
        stream = stream or {"l2_updates": "l2", "l3_events": "l3"}.get(dataset, dataset)
        if (dataset, symbol, stream) not in self.batches:
            return []
        table = self.table(dataset, symbol, stream)
        for index, column in enumerate(table.schema):
            if column.type == TIME:
                times = table[column.name].cast(pa.int64())
                table = table.set_column(index, column.name, times)
        return table.to_pylist()

    def entries(self, kind: type, symbol: str = "", stream: str = "") -> list[Any]:
        """Return intervals or gaps in the order they began."""
        return [
            entry
            for entry in self.ledger.values()
            if isinstance(entry, kind)
            and (not symbol or entry.symbol == symbol)
            and (not stream or entry.stream == stream)
        ]

    def gaps(self, symbol: str = "", stream: str = "") -> list[Gap]:
        """Return the gaps."""
        return self.entries(Gap, symbol, stream)

    def intervals(self, symbol: str = "", stream: str = "") -> list[Interval]:
        """Return the intervals."""
        return self.entries(Interval, symbol, stream)

    def whole(self) -> dict[str, Any]:
        """Return all of it in a form that does not depend on how lines were batched."""
        commands: dict[tuple[str, str], list[Command]] = {}
        for command in self.commands:
            commands.setdefault((command.symbol, command.stream), []).append(command)
        return {
            "rows": {key: table_of(rows, "run") for key, rows in self.batches.items()},
            "full books": {
                key: [
                    (batch.full_book, len(batch), batch.known.tolist())
                    for batch in rows
                    if batch.full_book is not None
                ]
                for key, rows in self.batches.items()
            },
            "known": {
                key: [known for batch in rows for known in batch.known.tolist()]
                for key, rows in self.batches.items()
            },
            "ledger": sorted(
                ((type(entry).__name__, *astuple(entry)) for entry in self.ledger.values()),
                key=repr,
            ),
            "commands": commands,
            "instruments": self.instruments,
            "incidents": sorted(self.incidents),
            "counts": dict(self.pipeline.counts),
            "stop": self.pipeline.stop_reason,
        }


def make(batches: Iterable[list[RawLine]], *, ends: str = "crashed") -> Made:
    """Feed batches of lines; a run without run_stop ends for the reason `ends`."""
    made = Made(Pipeline())
    for batch in batches:
        made.take(made.pipeline.feed(batch))
    if not made.pipeline.stop_reason:
        made.take(made.pipeline.finish(ends))
    return made
