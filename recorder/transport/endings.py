"""Why a connection ended: the words its `close` line has, which become reasons of gaps."""

from __future__ import annotations

DISCONNECTED = "disconnected"
SILENT = "silent"
STOPPED = "stopped"


class Broken(Exception):
    """The connection is of no more use.

    Attributes
    ----------
    reason : str    of the `close` line
    """

    def __init__(self, reason: str, problem: str) -> None:
        self.reason = reason
        super().__init__(problem)
