"""A configuration as TOML with every key, the defaults included: what `check-config` prints."""

from __future__ import annotations

import json
from pathlib import Path

from pydantic import BaseModel

from recorder.config import Config


def format_config(config: Config) -> str:
    """Format as TOML that loads to the same configuration; each key with what it takes."""
    lines: list[str] = []
    _format_section(config, "", lines)
    return "\n".join(lines)


def _format_section(section: BaseModel, prefix: str, lines: list[str]) -> None:
    if prefix:
        lines.extend(["", f"[{prefix}]"])
    below: list[tuple[str, BaseModel]] = []
    for name, field in type(section).model_fields.items():
        value = getattr(section, name)
        if isinstance(value, BaseModel):
            below.append((name, value))
            continue
        # TOML has no null: a key without a value is told in a comment.
        shown = f"# {name}" if value is None else f"{name} = {_format_value(value)}"
        lines.append(f"{shown}  # {field.description}")
    for name, inner in below:
        _format_section(inner, name, lines)


def _format_value(value: object) -> str:
    """Write text, numbers and lists: JSON's form of these is also TOML's."""
    if isinstance(value, tuple):
        return f"[{', '.join(_format_value(each) for each in value)}]"
    if isinstance(value, Path):
        value = str(value)
    return json.dumps(value, ensure_ascii=False)
