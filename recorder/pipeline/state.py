"""The pipeline's whole state, put away and taken up again: what a checkpoint is made of.

It is a pickle, because the state is a graph: streams and the writer's ledger speak of the same
intervals, frames and pipeline of the same scales. And it is a restricted one: taking it up makes
objects of the classes of this state, numbers, texts and arrays, and calls nothing else, whatever
the file says. What can be had from the state itself is left out, by the classes themselves; books
put themselves away as arrays.

A state is of use to the very code that made it: anything else about a line, a book or a rule and
the rows behind it would be those of neither.
"""

from __future__ import annotations

import copyreg
import hashlib
import pickle
from collections import Counter, deque
from functools import cache
from importlib import resources
from importlib.resources.abc import Traversable
from typing import Any, BinaryIO

import numpy as np

from schemas.kucoin.profile import Profile
from schemas.kucoin.profiles import profile_named

# Packages whose classes a state may be made of, and whose code decides what it means.
PACKAGES = ("recorder.book", "recorder.pipeline", "recorder.stitch", "schemas")
_CLASSES_OF = tuple(f"{package}." for package in PACKAGES)
# What else a pickle of such objects names, module and name.
_NAMED: frozenset[tuple[str, str]] = frozenset(
    {
        *((kind.__module__, kind.__qualname__) for kind in (Counter, deque, np.dtype, np.ndarray)),
        ("numpy._core.multiarray", "_reconstruct"),
        ("numpy._core.multiarray", "scalar"),
        ("numpy._core.numeric", "_frombuffer"),
        (profile_named.__module__, profile_named.__qualname__),
    }
)


class StateRefused(ValueError):
    """A state that cannot be taken up: it names what no state holds, or is not whole."""


def put_away(state: object, file: BinaryIO) -> None:
    """Write a state; what it shares inside stays shared.

    Parameters
    ----------
    state : object    a pipeline, or a tuple of one and what speaks of the same objects
    file : BinaryIO
    """
    _Pickler(file, protocol=5).dump(state)


def take_up(file: BinaryIO) -> Any:
    """Read what `put_away` wrote.

    Raises
    ------
    StateRefused
    """
    try:
        return _Unpickler(file).load()
    except StateRefused:
        raise
    except Exception as error:
        raise StateRefused(f"the state cannot be taken up: {error!r}") from error


@cache
def state_version() -> str:
    """Return what a state of this code is marked with: other code, another mark."""
    digest = hashlib.sha256()
    for package in PACKAGES:
        for name, source in sorted(_sources(resources.files(package), package)):
            digest.update(f"{name} {len(source)}\n".encode())
            digest.update(source)
    return digest.hexdigest()[:16]


def _sources(folder: Traversable, name: str) -> list[tuple[str, bytes]]:
    found = []
    for entry in folder.iterdir():
        if entry.name.endswith(".py"):
            found.append((f"{name}.{entry.name}", entry.read_bytes()))
        elif entry.is_dir() and entry.name.isidentifier() and not entry.name.startswith("__"):
            found += _sources(entry, f"{name}.{entry.name}")
    return found


def _by_name(profile: Profile) -> tuple[Any, tuple[str]]:
    return profile_named, (profile.name,)


class _Pickler(pickle.Pickler):
    dispatch_table = copyreg.dispatch_table.copy() | {Profile: _by_name}


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in _NAMED:
            return super().find_class(module, name)
        if module.startswith(_CLASSES_OF) and "." not in name:
            found = super().find_class(module, name)
            if isinstance(found, type) and found.__module__ == module:
                return found
        raise StateRefused(f"a state holds no {module}.{name}")
