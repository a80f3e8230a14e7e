"""The configuration: one frozen object, defaults → TOML → environment, validated once.

Every key but `archive`, `venue.profile` and `venue.symbols` has a default. The environment wins
over the file, as `BOOKTAPE__PARTS__ROLL_INTERVAL_S=60` or `BOOKTAPE__VENUE__SYMBOLS=BTC-USDT,ETH-BTC`.
A relative `archive` or `venue.api_key_file` lies beside the configuration file, so the same file
means the same archive whoever starts the recorder, and from wherever.

Keys of the contract that nothing reads yet are accepted at their default alone: a value that would
change nothing is refused rather than swallowed.
"""  # noqa: E501

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterator
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from pydantic import BaseModel, Field, ValidationError
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from recorder.config_sections import (
    AuditConfig,
    DiskConfig,
    HttpConfig,
    InstrumentsConfig,
    JobsConfig,
    LogConfig,
    PartsConfig,
    RawLogConfig,
    RetentionConfig,
    StitchConfig,
    VenueConfig,
)
from recorder.errors import ConfigError, RecorderError
from recorder.symbols import Selection
from schemas.kucoin.profile import Profile
from schemas.kucoin.profiles import profile_named

ENV_PREFIX = "BOOKTAPE__"
ENV_DELIMITER = "__"
REQUIRED = ("archive", "venue.profile", "venue.symbols")


class ConfigUnreadable(ConfigError):
    """A configuration file that is not there, or is no TOML."""

    def __init__(self, path: Path, problem: str, remedy: str) -> None:
        self.path = path
        self.key = ""
        RecorderError.__init__(self, f"configuration {path} {problem}", remedy)


class Config(BaseSettings):
    """All of it, frozen.

    Attributes
    ----------
    archive, venue.api_key_file : Path   absolute once loaded by `load_config`
    """

    model_config = SettingsConfigDict(
        frozen=True,
        extra="forbid",
        env_prefix=ENV_PREFIX,
        env_nested_delimiter=ENV_DELIMITER,
        # Lists come as `A,B` from the environment; with decoding on they would have to be JSON.
        enable_decoding=False,
    )

    archive: Path = Field(description="folder to record into, relative to this file")
    workers: int = Field(default=1, ge=1, description="recorder processes sharing the symbols")
    venue: VenueConfig
    raw_log: RawLogConfig = RawLogConfig()
    parts: PartsConfig = PartsConfig()
    disk: DiskConfig = DiskConfig()
    retention: RetentionConfig = RetentionConfig()
    jobs: JobsConfig = JobsConfig()
    stitch: StitchConfig = StitchConfig()
    audit: AuditConfig = AuditConfig()
    instruments: InstrumentsConfig = InstrumentsConfig()
    http: HttpConfig = HttpConfig()
    log: LogConfig = LogConfig()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Let the environment win over the file, whose content arrives as init arguments."""
        return env_settings, init_settings

    @property
    def profile(self) -> Profile:
        """The exchange's dialect."""
        return profile_named(self.venue.profile)

    @property
    def rest_url(self) -> str:
        """Base address of the REST API: the configured one, or the profile's."""
        return self.venue.rest_url or self.profile.rest_url

    @property
    def selection(self) -> Selection:
        """What `venue.symbols` asks for."""
        return Selection.parse(self.venue.symbols)


# Keys the contract names and no code of this version reads: accepted at their default alone.
NOT_YET = ("workers",)


def load_config(path: Path) -> Config:
    """Read, merge with the environment and validate.

    Raises
    ------
    ConfigError        naming the key and what to write instead
    ConfigUnreadable   where it is the file itself
    """
    document = _read_document(path)
    _check_environment_names()
    try:
        config = Config(**document)
    except ValidationError as error:
        raise as_config_error(error) from None
    for key in NOT_YET:
        _refuse_change(config, key)
    venue = config.venue
    if venue.api_key_file is not None:
        key_file = _beside(path, venue.api_key_file)
        venue = venue.model_copy(update={"api_key_file": key_file})
    return config.model_copy(update={"archive": _beside(path, config.archive), "venue": venue})


def origins(path: Path) -> dict[str, str]:
    """Say of every key where its value comes from: default, file, or the variable's name.

    Raises
    ------
    ConfigUnreadable   as `load_config`
    """
    found = {key: "default" for key, (_, is_section) in _KEYS.items() if not is_section}
    found |= dict.fromkeys(_leaves(_read_document(path)), "file")
    found |= {key: variable for variable, key in _environment_keys() if key in found}
    return found


def _beside(file: Path, path: Path) -> Path:
    """Make a path absolute; a relative one lies beside the configuration file."""
    return Path(os.path.normpath(file.resolve().parent / path.expanduser()))


def _read_document(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        problem = f"cannot be read: {error.strerror}"
        raise ConfigUnreadable(path, problem, "name an existing TOML file") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigUnreadable(path, f"is not TOML: {error}", "mend it there") from None


def _leaves(document: dict[str, Any], prefix: str = "") -> Iterator[str]:
    """Yield the dotted key of every value of a document."""
    for name, value in document.items():
        if isinstance(value, dict):
            yield from _leaves(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}"


def _refuse_change(config: Config, key: str) -> None:
    section: Any = config
    *sections, name = key.split(".")
    for part in sections:
        section = getattr(section, part)
    value, default = getattr(section, name), type(section).model_fields[name].default
    if value != default:
        raise ConfigError(
            key,
            f"{value!r} is not available yet: this version does not act on it",
            f"leave the key out, or write its default, {default!r}",
        )


def _walk(
    model: type[BaseModel] = Config, prefix: str = ""
) -> Iterator[tuple[str, FieldInfo, bool]]:
    """Yield every dotted key with its field, and whether it is a section."""
    for name, field in model.model_fields.items():
        kind = field.annotation
        is_section = isinstance(kind, type) and issubclass(kind, BaseModel)
        yield f"{prefix}{name}", field, is_section
        if is_section:
            yield from _walk(kind, f"{prefix}{name}.")  # type: ignore[arg-type]


_KEYS = {key: (field, is_section) for key, field, is_section in _walk()}


def _did_you_mean(key: str) -> str:
    """Name the nearest key: of the same section first, then by its last word anywhere."""
    section, _, name = key.rpartition(".")
    if section and section not in _KEYS:
        return _did_you_mean(section)
    leaves = {known: known.rpartition(".") for known in _KEYS}
    siblings = {last: known for known, (parent, _, last) in leaves.items() if parent == section}
    near = get_close_matches(name, siblings, n=1)
    if near:
        return f"did you mean {siblings[near[0]]}?"
    anywhere = {last: known for known, (_, _, last) in leaves.items()}
    near = get_close_matches(name, anywhere, n=1, cutoff=0.75)
    if near:
        return f"did you mean {anywhere[near[0]]}?"
    return f"known here: {', '.join(sorted(siblings)) or 'nothing'}"


def _environment_keys() -> Iterator[tuple[str, str]]:
    """Yield our variables with the dotted keys they set."""
    for variable in sorted(os.environ):
        if variable.upper().startswith(ENV_PREFIX):
            yield variable, variable[len(ENV_PREFIX) :].lower().replace(ENV_DELIMITER, ".")


def _check_environment_names() -> None:
    """Refuse a variable whose first word is no key: pydantic would ignore it in silence."""
    for variable, key in _environment_keys():
        if key not in _KEYS:
            raise ConfigError(
                key, f"is unknown (from the environment, {variable})", _did_you_mean(key)
            )


def as_config_error(error: ValidationError, section: str = "") -> ConfigError:
    """Make one error of pydantic's findings: a misspelt key first, it explains a missing one.

    Parameters
    ----------
    section : str   whose values were validated alone; empty for the whole
    """
    findings = sorted(error.errors(), key=lambda finding: finding["type"] != "extra_forbidden")
    finding = findings[0]
    words = [section] * bool(section) + [str(part) for part in finding["loc"]]
    # What lies below a list ("venue.symbols.0") is told by its key.
    while len(words) > 1 and words[-1].isdecimal():
        words.pop()
    key = ".".join(words)
    field, is_section = _KEYS.get(key, (None, False))
    if finding["type"] == "extra_forbidden":
        return ConfigError(key, "is unknown", _did_you_mean(key))
    if is_section:
        inner = [name for name in REQUIRED if name.startswith(f"{key}.")]
        needs = f", which needs {' and '.join(inner)}" if inner else ""
        problem = "is missing" if finding["type"] == "missing" else "must be a section"
        return ConfigError(key, problem, f"write a section [{key}]{needs}")
    remedy = f"takes: {field.description}" if field else ""
    if finding["type"] == "missing":
        return ConfigError(key, "is missing", remedy)
    problem = finding["msg"].removeprefix("Value error, ")
    if finding["type"] == "too_short":
        problem = "must not be empty"
    elif finding["type"] != "value_error":
        problem = f"{finding['input']!r}: {problem.replace('Input should be', 'must be')}"
    return ConfigError(key, problem, remedy)
