"""Replay kernels as DuckDB functions: each returns a list of structs that a macro unnests.

DuckDB calls such a function once per vector of its input. The ranged questions are cut into
tasks, and their input is a table of task numbers in batches of one row: so a LIMIT stops after
the tasks it needs, and all cores work.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from functools import partial
from inspect import Parameter, Signature
from typing import Any

import pyarrow as pa

from replay.bars import BARS_SCHEMA, bars
from replay.bbo_rows import BBO_SCHEMA
from replay.coverage import COVERAGE_SCHEMA, coverage
from replay.depth_rows import DEPTH_SCHEMA
from replay.engine import Engine
from replay.errors import BadInput, BadTime
from replay.tables import BOOK_SCHEMA, L3_BOOK_SCHEMA, book_rows, l3_book_rows
from replay.tasks import Task, bbo_tasks, depth_tasks
from replay.times import every_to_ns, sql_to_ns

Plan = Callable[..., list[Task]]

_SQL_TYPES = {
    pa.string(): "VARCHAR",
    pa.int8(): "TINYINT",
    pa.int32(): "INTEGER",
    pa.int64(): "BIGINT",
    pa.float64(): "DOUBLE",
    pa.bool_(): "BOOLEAN",
    pa.timestamp("ns"): "TIMESTAMP_NS",
}

TEXT, NUMBER = "VARCHAR", "BIGINT"


class Functions:
    """Registers the functions on a connection and answers them from the engine of the moment.

    Attributes
    ----------
    failure : BaseException | None   what a function raised last: DuckDB keeps only its text
    task_count : int                 how many task numbers a statement goes through
    """

    def __init__(self) -> None:
        self.task_count = 0
        self.failure: BaseException | None = None
        self._engine: Engine | None = None
        self._plans: dict[Any, list[Task]] = {}
        self._lock = threading.Lock()

    def use(self, engine: Engine) -> None:
        """Answer from this engine from now on."""
        self.failure = None
        self._engine = engine
        self._plans = {}

    def register(self, connection: Any) -> None:
        """Create every function on a connection."""
        ts = [TEXT, TEXT]
        whole: tuple[tuple[str, Plan, list[str], pa.Schema], ...] = (
            ("replay_book_at", _book_at, [TEXT, *ts, NUMBER], BOOK_SCHEMA),
            ("replay_book_at_sequence", _book_at_sequence, [TEXT, NUMBER, NUMBER], BOOK_SCHEMA),
            ("replay_l3_book_at", _l3_book_at, [TEXT, *ts], L3_BOOK_SCHEMA),
            ("replay_bars", _bars, [TEXT, *ts, *ts, TEXT], BARS_SCHEMA),
            ("replay_coverage", _coverage, [TEXT, *ts, *ts], COVERAGE_SCHEMA),
        )
        for name, plan, parameters, schema in whole:
            self._create(connection, name, partial(self._whole, plan, schema), parameters, schema)
        ranged: tuple[tuple[str, Plan, list[str], pa.Schema], ...] = (
            ("replay_bbo", _bbo, [NUMBER, TEXT, *ts, *ts], BBO_SCHEMA),
            ("replay_depth", _depth, [NUMBER, TEXT, *ts, *ts, TEXT, NUMBER], DEPTH_SCHEMA),
        )
        for name, plan, parameters, schema in ranged:
            self._create(connection, name, partial(self._task, plan, schema), parameters, schema)

    def _create(
        self,
        connection: Any,
        name: str,
        function: Callable[..., pa.Array],
        parameters: Sequence[str],
        schema: pa.Schema,
    ) -> None:
        def answer(*columns: Any) -> pa.Array:
            return function(*columns)

        # DuckDB counts the parameters of what it is given.
        answer.__signature__ = Signature(  # type: ignore[attr-defined]
            [Parameter(f"p{at}", Parameter.POSITIONAL_ONLY) for at in range(len(parameters))]
        )
        fields = ", ".join(f'"{field.name}" {_SQL_TYPES[field.type]}' for field in schema)
        connection.create_function(
            name,
            answer,
            list(parameters),
            f"STRUCT({fields})[]",
            type="arrow",
            null_handling="special",
            side_effects=True,  # never folded at planning, never called ahead of a LIMIT
        )

    def _whole(self, plan: Plan, schema: pa.Schema, *columns: Any) -> pa.Array:
        """Answer each row of arguments with the rows of all its tasks."""
        return self._guarded(
            schema, lambda row: [task() for task in self._planned(plan, row)], columns
        )

    def _task(self, plan: Plan, schema: pa.Schema, *columns: Any) -> pa.Array:
        """Answer each row of (task number, arguments…) with the rows of that task.

        The last number stands for every task from there on.
        """

        def run(row: tuple[Any, ...]) -> list[pa.RecordBatch]:
            number, tasks = row[0], self._planned(plan, row[1:])
            stop = len(tasks) if number == self.task_count - 1 else number + 1
            return [task() for task in tasks[number:stop]]

        return self._guarded(schema, run, columns)

    def _planned(self, plan: Plan, arguments: tuple[Any, ...]) -> list[Task]:
        assert self._engine is not None, "functions run inside a statement"
        key = (plan, arguments)
        with self._lock:
            if key not in self._plans:
                self._plans[key] = plan(self._engine, *arguments)
            return self._plans[key]

    def _guarded(
        self,
        schema: pa.Schema,
        run: Callable[[tuple[Any, ...]], list[pa.RecordBatch]],
        columns: tuple[Any, ...],
    ) -> pa.Array:
        """Run once a row and return a list of structs a row; keep what is raised."""
        try:
            answers = [run(row) for row in zip(*(c.to_pylist() for c in columns), strict=True)]
        except BaseException as error:
            self.failure = error
            raise
        offsets, batches = [0], []
        for answer in answers:
            batches += answer
            offsets.append(offsets[-1] + sum(batch.num_rows for batch in answer))
        kind = pa.struct(list(schema))
        structs = [batch.to_struct_array() for batch in batches]
        values = pa.concat_arrays(structs) if structs else pa.array([], kind)
        return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), values)


def _symbol(symbol: str | None) -> str:
    if symbol is None:
        raise BadInput("the symbol is NULL", "name a symbol, e.g. 'BTC-USDT'")
    return symbol


def _moment(text: str | None, kind: str) -> int:
    ts = sql_to_ns(text, kind)
    if ts is None:
        raise BadTime(None, "is NULL", "give a TIMESTAMP or ISO text with Z")
    return ts


def _count(number: int | None, what: str) -> int:
    if number is None:
        raise BadInput(f"{what} is NULL", "give a number")
    return number


def _book_at(
    engine: Engine, symbol: str | None, ts: str | None, kind: str, depth: int | None
) -> list[Task]:
    at, levels = _moment(ts, kind), _count(depth, "depth")
    return [lambda: book_rows(engine.book(_symbol(symbol), at, None, 2), levels)]


def _book_at_sequence(
    engine: Engine, symbol: str | None, n: int | None, depth: int | None
) -> list[Task]:
    sequence, levels = _count(n, "the sequence"), _count(depth, "depth")
    return [lambda: book_rows(engine.book(_symbol(symbol), None, sequence, 2), levels)]


def _l3_book_at(engine: Engine, symbol: str | None, ts: str | None, kind: str) -> list[Task]:
    at = _moment(ts, kind)
    return [lambda: l3_book_rows(engine.book(_symbol(symbol), at, None, 3))]


def _bbo(
    engine: Engine,
    symbol: str | None,
    ts_from: str | None,
    kind_from: str,
    ts_to: str | None,
    kind_to: str,
) -> list[Task]:
    return bbo_tasks(
        engine, _symbol(symbol), sql_to_ns(ts_from, kind_from), sql_to_ns(ts_to, kind_to)
    )


def _depth(
    engine: Engine,
    symbol: str | None,
    ts_from: str | None,
    kind_from: str,
    ts_to: str | None,
    kind_to: str,
    every: str | None,
    levels: int | None,
) -> list[Task]:
    return depth_tasks(
        engine,
        _symbol(symbol),
        _moment(ts_from, kind_from),
        _moment(ts_to, kind_to),
        every_to_ns(_every(every)),
        _count(levels, "levels"),
    )


def _bars(
    engine: Engine,
    symbol: str | None,
    ts_from: str | None,
    kind_from: str,
    ts_to: str | None,
    kind_to: str,
    every: str | None,
) -> list[Task]:
    start, end = _moment(ts_from, kind_from), _moment(ts_to, kind_to)
    return [lambda: bars(engine, _symbol(symbol), start, end, every_to_ns(_every(every)))]


def _every(text: str | None) -> str | int:
    """Read `every` as SQL gives it: a word like 1s, an interval as text (00:00:01), or ns."""
    if text is None:
        raise BadTime(None, "is no spacing", "write it like 250ms, 1s, 5m, 1h or 1d")
    if text.isdecimal():
        return int(text)
    if text.count(":") == 2:
        hours, minutes, seconds = text.split(":")
        whole, _, fraction = seconds.partition(".")
        if (hours + minutes + whole + (fraction or "0")).isdecimal():
            ns = ((int(hours) * 60 + int(minutes)) * 60 + int(whole)) * 10**9
            return ns + int(fraction.ljust(9, "0")[:9] or "0")
    return text


def _coverage(
    engine: Engine,
    symbol: str | None,
    ts_from: str | None,
    kind_from: str,
    ts_to: str | None,
    kind_to: str,
) -> list[Task]:
    start, end = sql_to_ns(ts_from, kind_from), sql_to_ns(ts_to, kind_to)
    return [lambda: coverage(engine, symbol, start, end)]
