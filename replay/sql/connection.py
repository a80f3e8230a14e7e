"""A DuckDB connection that shows an archive: views, macros, and the newest catalog a statement."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable
from datetime import datetime
from importlib.resources import files
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
from duckdb import sqltypes

from replay.catalog import READ_TABLES, Snapshot
from replay.engine import Engine
from replay.errors import PartDamaged, QueryError, ReplayError, SnapshotExpired
from replay.sql.functions import Functions
from replay.tasks import GRID_TASKS
from replay.times import to_ns
from schemas.datasets import BOOK_STREAMS, DATASETS
from schemas.timestamps import format_iso

DEFINITIONS = (
    "as_double", "known_at",
    "l2_updates_all", "l2_updates", "l3_events", "trades", "tickers", "market_snapshots",
    "book_snapshots",
    "book_at", "book_at_sequence", "l3_book_at", "bbo", "depth", "bars", "coverage",
)  # fmt: skip

DATE = "date"
"""What the views show of the folders beside the columns in the files."""

_VIEWS = (
    "views: l2_updates l3_events trades tickers market_snapshots book_snapshots runs parts gaps "
    "coverage instruments audits removals jobs"
)
_MACROS = "macros: book_at book_at_sequence l3_book_at bbo depth bars coverage"


def definition(name: str) -> str:
    """Return the SQL text of a view or macro."""
    return files("replay.sql").joinpath(f"{name}.sql").read_text(encoding="utf-8")


def parts_listed(root: Path, snapshot: Snapshot, dataset: str) -> list[str]:
    """Return the paths of the live parts of a dataset: SQL sees these and no others."""
    return [
        str(root / part.path)
        for (kind, _), parts in sorted(snapshot.parts.items())
        if kind == dataset
        for part in parts
    ]


class SqlSession:
    """Runs statements over an archive, each on one catalog snapshot.

    The views list the parts of that snapshot, so a statement sees each row once, whatever is
    swapped meanwhile. Where the files it still wanted are gone, it runs once more on the newest.

    Parameters
    ----------
    root : Path                 the archive folder
    engine : () -> Engine       the engine of the newest (or pinned) snapshot
    """

    def __init__(self, root: Path, engine: Callable[[], Engine]) -> None:
        self._root, self._engine = root, engine
        self._shown: Snapshot | None = None
        self._broken: list[ReplayError] = []
        self._lock = threading.RLock()
        self._functions = Functions()
        self._connection = duckdb.connect(
            config={
                "autoinstall_known_extensions": False,  # a query never goes to the network
                "autoload_known_extensions": False,
                "python_enable_replacements": False,  # nor reads a variable of ours by its name
            }
        )
        self._connection.execute("SET TimeZone = 'UTC'")
        self._functions.register(self._connection)
        self._defined = False
        # An open connection keeps its functions past the interpreter, and nanobind says so on
        # stderr. They refer to nothing of this object, so it can go; whoever forgets to close it
        # is helped when it goes, at the latest at exit.
        self._finalizer = weakref.finalize(self, self._connection.close)

    def close(self) -> None:
        """Close the connection; a second time does nothing."""
        with self._lock:
            self._finalizer()

    def query(self, query: str, parameters: dict[str, Any]) -> pa.Table:
        """Run SQL on the newest snapshot and return the rows of its last statement.

        Raises
        ------
        QueryError       DuckDB refused it
        SnapshotExpired  a part went away meanwhile, and again while the statement ran once more
        ReplayError      what a macro raised, as it was raised
        """
        bound = {name: _bound(value) for name, value in parameters.items()}
        with self._lock:
            try:
                self._refresh()
                return self._run(query, bound)
            except SnapshotExpired as error:
                if not self._may_run_again(query, error):
                    raise
            self._refresh()
            return self._run(query, bound)

    def _may_run_again(self, query: str, error: SnapshotExpired) -> bool:
        """Tell whether a newer catalog does without the part, and nothing would be done twice.

        A lone statement that failed has done nothing; of several, the first ones have.
        """
        engine = self._engine()
        if engine.snapshot is self._shown or engine.names_still(error.path):
            return False
        return len(self._connection.extract_statements(query)) == 1

    def _run(self, query: str, bound: dict[str, Any]) -> pa.Table:
        try:
            relation = self._connection.sql(query, params=bound or None)
            return relation.to_arrow_table() if relation is not None else pa.table({})
        except duckdb.Error as error:
            failure = self._functions.failure
            if isinstance(failure, ReplayError):
                raise failure from None
            if failure is not None:
                raise failure from error
            raise self._explained(error) from error

    def _explained(self, error: duckdb.Error) -> ReplayError:
        for broken in self._broken:
            if str(broken) in str(error):
                return broken
        # The newest catalog may name the part no more: what the statement saw does.
        assert self._shown is not None, "a statement runs on a snapshot"
        fault = self._fault_of_parts(error, self._shown)
        if fault is not None:
            return fault
        if isinstance(error, duckdb.CatalogException | duckdb.BinderException):
            return QueryError(str(error), f"{_VIEWS}; {_MACROS}")
        if isinstance(error, duckdb.ParserException):
            return QueryError(str(error), "correct the SQL near the mark; it is DuckDB's dialect")
        return QueryError(str(error), "see https://duckdb.org/docs/ for what DuckDB expects")

    def _fault_of_parts(self, error: duckdb.Error, snapshot: Snapshot) -> ReplayError | None:
        """Return what is wrong with the part that an error of DuckDB's is about, if one is."""
        said = str(error)
        for parts in snapshot.parts.values():
            for part in parts:
                if str(self._root / part.path) in said:
                    if (self._root / part.path).exists():
                        return PartDamaged(part.path, said.splitlines()[0])
                    return SnapshotExpired(part.path)
        return None

    def _refresh(self) -> None:
        engine = self._engine()
        self._functions.use(engine)
        snapshot = engine.snapshot
        if snapshot is self._shown and not self._broken:
            return
        for name in READ_TABLES:
            self._connection.register(f"catalog_{name}", snapshot.tables[name])
        self._register_tasks(snapshot)
        self._show_parts(snapshot)
        if not self._defined:
            for name in READ_TABLES:
                self._connection.execute(
                    f"CREATE OR REPLACE VIEW {name} AS SELECT * FROM catalog_{name}"
                )
        try:
            for name in DEFINITIONS:
                # Views bind the columns of what lies under them; macros do not, but cost nothing.
                self._connection.execute(definition(name))
        except duckdb.Error as error:
            # Parts that were there when their own view was made have gone since.
            self._shown = None
            fault = self._fault_of_parts(error, snapshot)
            if fault is None:
                raise
            raise fault from error
        self._defined, self._shown = True, snapshot

    def _show_parts(self, snapshot: Snapshot) -> None:
        self._broken = []
        for name, dataset in DATASETS.items():
            paths = parts_listed(self._root, snapshot, name)
            names = ", ".join((*dataset.schema.names, DATE))
            empty = pa.schema(
                [
                    field.with_type(pa.string()) if pa.types.is_dictionary(field.type) else field
                    for field in dataset.schema
                ]
                + [pa.field(DATE, pa.date32())]
            )
            self._connection.register(f"no_{name}", empty.empty_table())
            view = f"CREATE OR REPLACE VIEW parts_of_{name} AS SELECT {names} FROM "
            if not paths:
                self._connection.execute(f"{view} no_{name}")
                continue
            try:
                self._connection.execute(view + read_parts(paths))
            except duckdb.Error as error:
                fault = self._fault_of_parts(error, snapshot)
                if fault is None:
                    raise
                # Only who asks for this dataset is told: the others can still be read.
                self._broken.append(fault)
                told = f"(VALUES (error({_quoted(str(fault))}))) AS broken(fault)"
                self._connection.execute(
                    f"{view} no_{name} RIGHT JOIN {told} ON fault::VARCHAR = symbol"
                )

    def _register_tasks(self, snapshot: Snapshot) -> None:
        """Register task numbers, one a batch: enough for the stream with the most full books.

        A ranged question makes a task a slice, one a gap between intervals or at an end, and those
        of a grid.
        """
        books: dict[tuple[str, str], int] = {}
        for (symbol, stream, _), found in snapshot.full_books.items():
            books[symbol, stream] = books.get((symbol, stream), 0) + len(found)
        for key, intervals in snapshot.intervals.items():
            books[key] = books.get(key, 0) + len(intervals) + 1
        wanted = max((books[key] for key in books if key[1] in BOOK_STREAMS), default=0)
        self._functions.task_count = wanted + GRID_TASKS
        schema = pa.schema([("task", pa.int64())])
        batches = [
            pa.record_batch([pa.array([number])], schema=schema)
            for number in range(self._functions.task_count)
        ]
        self._connection.register("replay_tasks", pa.Table.from_batches(batches))


def read_parts(paths: list[str]) -> str:
    """Return a table function over parts.

    The folders repeat `symbol` and `date` (the UTC day of the known time): a filter on either opens
    the files of it alone. A filter on a time opens them all, if only to find nothing there.
    """
    listed = ",\n    ".join(_quoted(path) for path in paths)
    return (
        f"read_parquet([\n    {listed}\n], hive_partitioning = true, "
        f"hive_types = {{'symbol': VARCHAR, '{DATE}': DATE}})"
    )


def _bound(value: Any) -> Any:
    """Return a value to bind: a time as TIMESTAMP_NS, which TIMESTAMPTZ does not compare with."""
    if not isinstance(value, datetime | np.datetime64):
        return value
    return duckdb.Value(format_iso(to_ns(value)).removesuffix("Z"), sqltypes.TIMESTAMP_NS)


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
