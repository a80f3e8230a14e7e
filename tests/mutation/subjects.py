"""What is changed, by which tests it is to be noticed, and what is let pass for a reason."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path

_STITCH = ("tests/unit/recorder/stitch", "tests/property/recorder/stitch")

# The tests that fail soonest come first: a run ends at the first failure.
SUBJECTS: dict[str, tuple[str, ...]] = {
    "recorder/stitch/rules.py": _STITCH,
    "recorder/stitch/machine.py": _STITCH,
    "recorder/stitch/events.py": _STITCH,
    "recorder/stitch/actions.py": _STITCH,
    "recorder/stitch/story.py": _STITCH,
    "recorder/storage/raw_log.py": (
        "tests/unit/recorder/storage/test_raw_log.py",
        "tests/unit/recorder/storage/test_raw_follower.py",
    ),
    "recorder/storage/raw_follower.py": ("tests/unit/recorder/storage/test_raw_follower.py",),
}
"""Module → its tests."""

SURVIVORS = Path(__file__).with_name("survivors.toml")


@dataclass(frozen=True, slots=True)
class Reason:
    """Why no test is meant to notice a change.

    Attributes
    ----------
    module, place, before : str   as a `Mutant` names it
    after : tuple[str, ...]       one or more changes of that line
    reason : str
    """

    module: str
    place: str
    before: str
    after: tuple[str, ...]
    reason: str


def read_reasons() -> list[Reason]:
    """Return the reasons, in the order of the file."""
    entries = tomllib.loads(SURVIVORS.read_text()).get("survivor", [])
    return [
        Reason(
            entry["module"], entry["place"], entry["before"], tuple(entry["after"]), entry["reason"]
        )
        for entry in entries
    ]
