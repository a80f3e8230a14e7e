"""A configuration to begin with: every key with what it takes, the defaults commented out.

All of it is read off the model, so that it says what this version does and nothing else.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from recorder.config import NOT_YET, Config, as_config_error
from recorder.config_sections import VenueConfig
from recorder.config_text import format_value
from recorder.errors import RecorderError
from schemas.kucoin.profiles import profile_named

WIDTH = 96
_HEAD = (
    "What Booktape records, and where to. A key that is commented out stands there with its "
    "default. The environment wins over this file: BOOKTAPE__PARTS__ROLL_INTERVAL_S=60 sets "
    "roll_interval_s of [parts]. `recorder check-config` says what holds and why; `recorder "
    "reload` applies what can change while recording goes on."
)
# Shown where there is no default to show.
_KEY_FILE_EXAMPLE = "api-key.toml"


class ConfigNotWritten(RecorderError):
    """A configuration file that cannot be made; what is there is left as it is."""

    def __init__(self, path: Path, problem: str, remedy: str) -> None:
        self.path = path
        super().__init__(f"configuration {path} {problem}", remedy)


def write_template(path: Path, text: str) -> None:
    """Write a new file; one that exists is never overwritten.

    Raises
    ------
    ConfigNotWritten   when it is there already, or cannot be made
    """
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        remedy = "name another file, or remove that one first"
        raise ConfigNotWritten(path, "is there already", remedy) from None
    except OSError as error:
        problem = f"cannot be written: {error.strerror}"
        raise ConfigNotWritten(path, problem, "name a file in a folder you can write") from None


def format_template(profile: str, symbols: str, archive: str) -> str:
    """Format the file.

    Parameters
    ----------
    profile : str   name of a shipped profile
    symbols : str   entries of `venue.symbols` with commas between
    archive : str   folder, relative to the file

    Raises
    ------
    ConfigError   naming the key whose value does not do
    """
    given: dict[str, Any] = {"profile": profile, "symbols": symbols}
    try:
        venue = VenueConfig(**given)
    except ValidationError as error:
        raise as_config_error(error, "venue") from None
    lines = [*_comment(_HEAD), ""]
    sections: dict[str, BaseModel] = {"venue": venue}
    for name, field in Config.model_fields.items():
        if isinstance(field.default, BaseModel):
            sections[name] = field.default
        elif name == "archive":
            lines += _key(name, field, Path(archive), is_set=True)
    for name, section in sections.items():
        keys = list(_keys_of(name, section, set(given)))
        if keys:
            lines += ["", *_comment((type(section).__doc__ or "").strip()), f"[{name}]", *keys]
    return "\n".join(lines) + "\n"


def _keys_of(name: str, section: BaseModel, given: set[str]) -> Iterator[str]:
    for key, field in type(section).model_fields.items():
        dotted = f"{name}.{key}"
        if dotted in NOT_YET:
            continue
        value = getattr(section, key)
        if value is None:
            value = _example(dotted, section)
        yield from _key(key, field, value, is_set=name == "venue" and key in given)


def _example(dotted: str, section: BaseModel) -> str:
    """Return what could stand where the default is to leave the key out."""
    if dotted == "venue.rest_url" and isinstance(section, VenueConfig):
        return profile_named(section.profile).rest_url
    assert dotted == "venue.api_key_file", f"{dotted} has no default and no example"
    return _KEY_FILE_EXAMPLE


def _key(name: str, field: FieldInfo, value: object, *, is_set: bool) -> list[str]:
    assert field.description, f"{name} does not say what it takes"
    return [*_comment(field.description), f"{'' if is_set else '#'}{name} = {format_value(value)}"]


def _comment(text: str) -> list[str]:
    return [f"# {line}" for line in textwrap.wrap(text, WIDTH, break_on_hyphens=False)]
