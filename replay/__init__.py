"""Reads archives: books, replays, SQL, and the exchange-shaped server."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from replay.archive import Archive as Archive
    from replay.book import Book as Book

_HOMES = {"Archive": "replay.archive", "Book": "replay.book"}

__all__ = ["Archive", "Book"]


def __getattr__(name: str) -> Any:
    """Import what is asked for when it is: the exchange needs neither DuckDB nor numba."""
    from importlib import import_module

    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
