"""SQLite on the simulated disk: real databases, in memory, that forget what was not durable.

A commit is a step of the disk. It is durable where the connection asked for that; of another one a
loss of power takes everything back to the last that was.
"""

from __future__ import annotations

import sqlite3
from typing import Any

from tests.simulation.troubles import Troubled


class Database:
    """What SQLite keeps: in memory, and as it was at the last commit that is durable."""

    def __init__(self, name: str) -> None:
        self._uri = f"file:{name}?mode=memory&cache=shared"
        self._anchor = sqlite3.connect(self._uri, uri=True, isolation_level=None)
        self._durable: bytes | None = None
        self.commits = 0

    def connect(self, disk: Troubled) -> SimulatedConnection:
        """Open it for a process."""
        connection = sqlite3.connect(
            self._uri,
            uri=True,
            isolation_level=None,
            check_same_thread=False,
            factory=SimulatedConnection,
        )
        connection.attach(disk, self)
        return connection

    def before_commit(self, *, is_durable: bool) -> None:
        """Keep what is on the disk when a commit is not to be."""
        if is_durable:
            self._durable = None
        elif self._durable is None:
            self._durable = self._anchor.serialize()
        self.commits += 1

    def lose_power(self) -> bool:
        """Go back to the last durable commit; say whether one is lost."""
        if self._durable is None:
            return False
        image = sqlite3.connect(":memory:", isolation_level=None)
        image.deserialize(self._durable)
        image.backup(self._anchor)
        image.close()
        self._durable = None
        return True

    def rows(self, query: str) -> list[dict[str, Any]]:
        """Return the rows of a query, as committed."""
        cursor = self._anchor.execute(query)
        names = [column[0] for column in cursor.description]
        return [dict(zip(names, row, strict=True)) for row in cursor]

    def close(self) -> None:
        """Let go of it."""
        self._anchor.close()


class SimulatedConnection(sqlite3.Connection):
    """One process's connection: a COMMIT is a step of the disk."""

    _disk: Troubled
    _database: Database
    _is_full_sync = False

    def attach(self, disk: Troubled, database: Database) -> None:
        """Say whose connection it is, and to what."""
        self._disk, self._database = disk, database

    def execute(self, sql: str, parameters: Any = (), /) -> sqlite3.Cursor:
        """Execute a statement; one that commits touches the disk before and behind."""
        if sql == "COMMIT":
            self._touch()
            if self._disk.is_full:
                self._disk.tell("catalog_full")
                raise _error("database or disk is full", sqlite3.SQLITE_FULL)
            self._database.before_commit(is_durable=self._is_full_sync)
            cursor = super().execute(sql)
            self._touch()  # and behind it
            return cursor
        if sql == "PRAGMA synchronous=FULL":
            self._is_full_sync = self._disk.may_sync(2)
        return super().execute(sql, parameters)

    def _touch(self) -> None:
        """Take a step; SQLite tells of a disk that refuses in its own words."""
        try:
            self._disk.touch("catalog.db")
        except OSError as error:
            raise _error("disk I/O error", sqlite3.SQLITE_IOERR) from error

    def let_go(self) -> None:
        """End with the process: what was not committed is rolled back."""
        super().close()


def _error(text: str, code: int) -> sqlite3.OperationalError:
    """Return an error as SQLite itself raises it: with its code."""
    error = sqlite3.OperationalError(text)
    error.sqlite_errorcode = code
    return error
