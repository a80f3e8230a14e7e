"""Read the tables of schemas/FIELDS.md: heading → documented columns."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

PAGE = Path(__file__).resolve().parents[2] / "schemas" / "FIELDS.md"
COMMON = "every dataset"


@dataclass(frozen=True)
class Field:
    """One documented column."""

    name: str
    type: str
    null_when: str


def read_fields_page() -> dict[str, list[Field]]:
    """Return the documented columns by heading, in the page's order.

    Raises
    ------
    ValueError   for a row with an empty cell that must not be, or as many names as types
    """
    sections: dict[str, list[Field]] = {}
    rows: list[Field] = []
    for line in PAGE.read_text(encoding="utf-8").splitlines():
        if line.startswith("## "):
            rows = sections.setdefault(line.removeprefix("## ").strip(), [])
        if not line.startswith("| `"):
            continue
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if len(cells) != 6 or not all((cells[0], cells[1], cells[3], cells[4], cells[5])):
            raise ValueError(f"row is not whole: {line}")
        names = re.findall(r"`([^`]+)`", cells[0])
        types = cells[1].split(", ")
        rows += [Field(name, kind, cells[3]) for name, kind in zip(names, types, strict=True)]
    return sections
