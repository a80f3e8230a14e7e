"""A configuration as TOML with every key, the defaults included: what `check-config` prints."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from pydantic import BaseModel

from recorder.config import Config


def format_config(config: Config, origins: Mapping[str, str] | None = None) -> str:
    """Format as TOML that loads to the same configuration; each key with what it takes.

    Parameters
    ----------
    origins : mapping   dotted key → where its value comes from, told before what it takes
    """
    lines: list[str] = []
    _format_section(config, "", lines, origins or {})
    return "\n".join(lines)


def _format_section(
    section: BaseModel, prefix: str, lines: list[str], origins: Mapping[str, str]
) -> None:
    if prefix:
        lines.extend(["", f"[{prefix}]"])
    below: list[tuple[str, BaseModel]] = []
    for name, field in type(section).model_fields.items():
        value = getattr(section, name)
        if isinstance(value, BaseModel):
            below.append((name, value))
            continue
        origin = origins.get(f"{prefix}.{name}" if prefix else name)
        says = f"({origin}) {field.description}" if origin else field.description
        # TOML has no null: a key without a value is told in a comment.
        shown = f"# {name}" if value is None else f"{name} = {format_value(value)}"
        lines.append(f"{shown}  # {says}")
    for name, inner in below:
        _format_section(inner, name, lines, origins)


def format_value(value: object) -> str:
    """Write text, numbers and lists: JSON's form of these is also TOML's."""
    if isinstance(value, tuple):
        return f"[{', '.join(format_value(each) for each in value)}]"
    if isinstance(value, Path):
        value = str(value)
    return json.dumps(value, ensure_ascii=False)
