"""What clients asked of the exchange, line by line: how a client keeps within limits is read there.

Headers are in no line, so neither is a key.
"""

from typing import Any

from replay.exchange.line_file import LineFile


class RequestLog:
    """Write down requests, connections and messages of clients; without a file, nothing.

    Lines have ``time`` (ns) and ``kind``: ``rest`` (method, path, status, pool, weight, remaining),
    ``open`` and ``close`` (connection, reason), ``refused`` (a connection too many), ``uplink``
    (connection, type, topic).
    """

    def __init__(self, file: LineFile | None = None) -> None:
        self._file = file

    def write(self, kind: str, now: int, **fields: Any) -> None:
        """Write one line."""
        if self._file is not None:
            self._file.write({"time": now, "kind": kind, **fields})
