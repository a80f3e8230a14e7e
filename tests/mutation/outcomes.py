"""What was found out about changes, kept in a file so that a run can go on."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from tests.mutation.mutants import Mutant


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one change.

    Attributes
    ----------
    module, place, before, after : str   as a `Mutant` names it
    killer : str      the test that noticed it, empty: none did
    seconds : float   processor time it took to find that out
    """

    module: str
    place: str
    before: str
    after: str
    killer: str
    seconds: float


class Outcomes:
    """Outcomes by what they rest on: the changed module and the tests.

    Other modules are not looked at: begin with a new file when they changed.

    Parameters
    ----------
    path : Path or None   of JSON lines, appended to; None: nothing is kept
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._known: dict[str, dict[str, Any]] = {}
        if path is not None and path.exists():
            rows = map(json.loads, path.read_text().splitlines())
            self._known = {row["mutant"]: row for row in rows}

    def find(self, mutant: Mutant, tests: tuple[str, ...]) -> Outcome | None:
        """Return what is known of a change; None where the tests are others now."""
        row = self._known.get(_digest(mutant.source.encode()))
        if row is None or row["tests"] != _digest_of_tests(row["outcome"]["killer"], tests):
            return None
        return Outcome(**row["outcome"])

    def add(self, outcome: Outcome, mutant: Mutant, tests: tuple[str, ...]) -> None:
        """Keep what was found out."""
        if self._path is None:
            return
        row = {
            "mutant": _digest(mutant.source.encode()),
            "tests": _digest_of_tests(outcome.killer, tests),
            "outcome": asdict(outcome),
        }
        with self._path.open("a") as lines:
            lines.write(json.dumps(row) + "\n")


def _digest(content: bytes) -> str:
    return sha256(content).hexdigest()[:16]


def _digest_of_tests(killer: str, tests: tuple[str, ...]) -> str:
    """Digest the file of the test that noticed a change; all files, where none did."""
    name = killer.partition("::")[0]
    if name and Path(name).is_file():
        return _digest(Path(name).read_bytes())
    files = [
        file
        for path in map(Path, tests)
        for file in (sorted(path.rglob("*.py")) if path.is_dir() else [path])
    ]
    return _digest(b"".join(file.read_bytes() for file in files))
