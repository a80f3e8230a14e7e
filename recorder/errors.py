"""Everything the recorder raises on purpose.

RecorderError                  exit code 2: bad input, with a remedy
├── ConfigError                a key of the configuration
│   ├── config.ConfigUnreadable   the file itself
│   └── config_changes.RestartNeeded   what a running recorder cannot change
├── config_template.ConfigNotWritten   a file `recorder init` cannot make
├── api_key.ApiKeyError        a key's file or variables
├── CaptureError               a capture that cannot be imported
├── AlreadyImported            the same file again
├── NotAnArchive               no catalog where one should be
├── CatalogDamaged             a catalog that SQLite cannot read; exit code 1
├── ArchiveUnwritable          the folder cannot be written
├── ArchiveLocked              another recorder writes there
├── DiskFull                   no room for what is to be written; exit code 3
├── RawLogDamaged              a raw-log segment that cannot be read where it must be; exit code 1
├── storage.merging.CompactionRefused   parts that are not what the catalog says; exit code 1
├── writer_death.WriterDied    what arrives would not be kept; exit code 3
├── transport.http_server.ListenFailed   `http.listen` cannot be had
├── hand_jobs.NeedsRecorder    a job that only a running recorder can do; exit code 1
├── demo.DemoFolderInUse       the demo's folder holds something else
├── demo.DemoFailed            a process of the demo did not do its part; exit code 3
└── VenueError                 exit code 3: the exchange or the network, after retries
    ├── VenueUnreachable
    ├── UnknownSymbols         exit code 2: the exchange does not list them
    └── VenueRefused           an answer that no retry will change
        └── api_key.KeyRefused   exit code 2: the key, and what to do about it
"""

from __future__ import annotations

import copyreg
from collections.abc import Sequence
from typing import Any


class RecorderError(Exception):
    """Base of all: a message that names the thing, and a remedy.

    Attributes
    ----------
    remedy : str      what the operator can do
    exit_code : int   of the command that ends by it
    """

    exit_code = 2

    def __init__(self, message: str, remedy: str = "") -> None:
        self.remedy = remedy
        super().__init__(f"{message}\n  {remedy}" if remedy else message)

    def __reduce__(self) -> tuple[Any, ...]:
        """Travel from a child process: as it is, not by calling the constructor again."""
        return copyreg.__newobj__, (type(self), *self.args), self.__dict__  # type: ignore[attr-defined]


class ConfigError(RecorderError):
    """A configuration that does not hold.

    Attributes
    ----------
    key : str   dotted, e.g. venue.rest_url
    """

    def __init__(self, key: str, message: str, remedy: str = "") -> None:
        self.key = key
        super().__init__(f"configuration key {key}: {message}", remedy)


class CaptureError(RecorderError):
    """A capture file that cannot be imported.

    Attributes
    ----------
    path : str
    line : int   1-based line of the file, 0 for the file as a whole
    """

    def __init__(self, path: str, line: int, message: str, remedy: str) -> None:
        self.path = path
        self.line = line
        where = f"{path}, line {line}" if line else path
        super().__init__(f"{where}: {message}", remedy)


class AlreadyImported(RecorderError):
    """The archive holds a run of this very file."""

    def __init__(self, path: str, run_id: str) -> None:
        self.path = path
        self.run_id = run_id
        super().__init__(
            f"{path} is already in this archive as run {run_id}",
            "nothing to do; to import it afresh, name another archive folder",
        )


class NotAnArchive(RecorderError):
    """No archive at this path."""

    def __init__(self, path: str) -> None:
        self.path = path
        super().__init__(
            f"{path} is not a Booktape archive: it has no catalog.db",
            "give the folder that `recorder run` or `recorder import` wrote",
        )


class CatalogDamaged(RecorderError):
    """A catalog.db that is no database of ours any more."""

    exit_code = 1

    def __init__(self, path: str, problem: str) -> None:
        self.path = path
        super().__init__(
            f"catalog {path} cannot be read: {problem}",
            "`recorder rebuild ARCHIVE --into OTHER` makes a whole archive of the raw log",
        )


class ArchiveUnwritable(RecorderError):
    """The archive folder cannot be created or written."""

    def __init__(self, path: str, problem: str) -> None:
        self.path = path
        super().__init__(
            f"archive {path} cannot be written: {problem}",
            "see that this user may write there and that the disk has room, or name another folder",
        )


class ArchiveLocked(RecorderError):
    """Another process writes this archive."""

    def __init__(self, path: str, holder: str) -> None:
        self.path = path
        self.holder = holder
        super().__init__(
            f"archive {path} is being written by {holder}",
            "stop that recorder first, or record into another folder",
        )


class RawLogDamaged(RecorderError):
    """A raw-log segment that cannot be read where it must be whole."""

    exit_code = 1

    def __init__(self, path: str, offset: int, problem: str) -> None:
        self.path = path
        self.offset = offset
        super().__init__(
            f"raw log {path} is damaged at byte {offset}: {problem}",
            "`recorder rebuild ARCHIVE --into OTHER` makes an archive of all that can be read",
        )


class DiskFull(RecorderError):
    """The disk has no room for what is to be written; a retry helps when there is some again."""

    exit_code = 3

    def __init__(self, path: str, what: str) -> None:
        self.path = path
        super().__init__(
            f"no room on the disk of {path} for {what}",
            "make room, or set disk.reserve_mib lower where it is the reserve",
        )


class VenueError(RecorderError):
    """The exchange or the way to it failed after all retries."""

    exit_code = 3


class VenueUnreachable(VenueError):
    """No answer from the exchange."""

    def __init__(self, url: str, problem: str) -> None:
        self.url = url
        super().__init__(
            f"exchange at {url} cannot be reached: {problem}",
            "check venue.rest_url and the network; recording starts once it answers",
        )


class UnknownSymbols(VenueError):
    """Symbols the exchange does not list."""

    exit_code = 2

    def __init__(self, symbols: Sequence[str], near: Sequence[str]) -> None:
        self.symbols = tuple(symbols)
        hint = f"did you mean {', '.join(near)}? " if near else ""
        super().__init__(
            f"the exchange does not list {', '.join(symbols)}",
            f"{hint}venue.symbols takes the exchange's own spelling, e.g. BTC-USDT",
        )


class VenueRefused(VenueError):
    """The exchange said no and will say it again.

    Attributes
    ----------
    code : str   as the exchange gave it
    """

    def __init__(self, what: str, code: str, message: str, remedy: str = "") -> None:
        self.code = code
        super().__init__(
            f"exchange refused {what}: code {code} {message}",
            remedy
            or "check that venue.rest_url is the API's base address and venue.profile its dialect",
        )
