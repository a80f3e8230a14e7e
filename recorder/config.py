"""The configuration: one frozen object, defaults → TOML → environment, validated once.

Every key but `archive`, `venue.profile` and `venue.symbols` has a default. The environment wins
over the file, as `BOOKTAPE__PARTS__ROLL_INTERVAL_S=60` or `BOOKTAPE__VENUE__SYMBOLS=BTC-USDT,ETH-BTC`.
A relative `archive` lies beside the configuration file, so the same file means the same archive
whoever starts the recorder, and from wherever.

Keys of the contract that nothing reads yet are accepted at their default alone: a value that would
change nothing is refused rather than swallowed.
"""  # noqa: E501

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterator
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
)
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from recorder.errors import ConfigError, RecorderError
from schemas.kucoin.profile import Profile
from schemas.kucoin.profiles import PROFILES, UnknownProfile, profile_named
from schemas.kucoin.topics import FEEDS

ENV_PREFIX = "BOOKTAPE__"
ENV_DELIMITER = "__"
REQUIRED = ("archive", "venue.profile", "venue.symbols")


def _split_commas(value: object) -> object:
    return [part.strip() for part in value.split(",")] if isinstance(value, str) else value


def _known_profile(name: str) -> str:
    try:
        profile_named(name)
    except UnknownProfile as error:
        raise ValueError(str(error)) from None
    return name


def _http_url(url: str | None) -> str | None:
    """Return the address without a slash at its end; what no retry could reach is refused here."""
    if url is None:
        return None
    if not url.startswith(("http://", "https://")):
        raise ValueError(f"{url!r} is not an http:// or https:// address")
    try:
        address = urlsplit(url)
        host, _ = address.hostname, address.port
    except ValueError as error:
        raise ValueError(f"{url!r} is no address: {error}") from None
    if not host:
        raise ValueError(f"{url!r} names no host")
    if address.query or address.fragment:
        raise ValueError(f"{url!r} has a query: paths of the API are put behind it")
    return url.rstrip("/")


def _each_once(names: tuple[str, ...]) -> tuple[str, ...]:
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise ValueError(f"{', '.join(repeated)} stands there more than once")
    return names


def _known_feeds(names: tuple[str, ...]) -> tuple[str, ...]:
    for name in names:
        if name not in FEEDS:
            near = get_close_matches(name, FEEDS, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise ValueError(f"{name!r} is no stream{hint} known: {', '.join(FEEDS)}")
    return names


class ConfigUnreadable(ConfigError):
    """A configuration file that is not there, or is no TOML."""

    def __init__(self, path: Path, problem: str, remedy: str) -> None:
        self.path = path
        self.key = ""
        RecorderError.__init__(self, f"configuration {path} {problem}", remedy)


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    @field_validator("*", mode="before")
    @classmethod
    def _refuse_booleans(cls, value: object) -> object:
        """No key is yes or no, and pydantic would read true as 1."""
        if isinstance(value, bool):
            raise ValueError(f"{str(value).lower()} says nothing here")
        return value


class VenueConfig(_Section):
    """Where to record from, and what."""

    profile: Annotated[str, AfterValidator(_known_profile)] = Field(
        description=f"the exchange's dialect, one of: {', '.join(PROFILES)}"
    )
    rest_url: Annotated[str | None, AfterValidator(_http_url)] = Field(
        default=None, description="base address of the REST API; left out, the profile's own"
    )
    symbols: Annotated[
        tuple[str, ...], BeforeValidator(_split_commas), AfterValidator(_each_once)
    ] = Field(min_length=1, description='the exchange\'s own spelling, e.g. ["BTC-USDT"]')
    streams: Annotated[
        tuple[str, ...],
        BeforeValidator(_split_commas),
        AfterValidator(_known_feeds),
        AfterValidator(_each_once),
    ] = Field(default=FEEDS, min_length=1, description=f"some of: {', '.join(FEEDS)}")
    api_key_file: str | None = Field(default=None, description="file with an API key")
    # Documented limits of 100 and more have been refused at around 98 in practice.
    topics_per_connection: int = Field(
        default=95,
        ge=1,
        description="topics (symbol × stream) on one websocket; the profile's limit caps",
    )


class RawLogConfig(_Section):
    """The write-ahead log of everything that entered."""

    # The longest a frame waits before it is on disk: one fsync 20 times a second.
    commit_interval_ms: int = Field(
        default=50, ge=1, le=10_000, description="ms between group commits"
    )
    # At full rate a commit is worth its fsync; three of these are the most that memory holds.
    commit_bytes: int = Field(
        default=1 << 20, ge=1024, description="bytes that bring a commit forward"
    )
    # A segment is what retention removes and what a copy moves: an hour, or this.
    segment_mib: int = Field(default=256, ge=1, description="MiB after which a segment is closed")
    keep_days: int = Field(default=0, ge=0, description="days to keep segments; 0 keeps all")


class PartsConfig(_Section):
    """When rows become Parquet files."""

    # Shorter rolls of quiet symbols cost tens of bytes a row; the raw log already keeps open rows.
    roll_interval_s: int = Field(
        default=900, ge=1, description="seconds after which a part may close"
    )
    # Below this a part is mostly footer.
    rows_min: int = Field(default=5_000, ge=1, description="rows a part needs to close by time")
    # About 10 to 15 MB of file: one read, one row-group scan.
    rows_max: int = Field(default=1_000_000, ge=1, description="rows at which a part closes")
    # Over all open parts together; the largest closes first.
    memory_max_mb: int = Field(default=256, ge=16, description="MB of open rows in memory")
    reader_grace_s: int = Field(
        default=3_600, ge=0, description="seconds replaced parts stay on disk"
    )


class StitchConfig(_Section):
    """How snapshots and updates are joined."""

    # Messages held while a snapshot is on its way: minutes of a busy symbol, about ten megabytes.
    buffer_updates_max: int = Field(
        default=10_000, ge=1, description="messages held per symbol and book"
    )
    # Long enough that busy symbols ask at their first update, short enough for quiet ones.
    first_update_timer_s: float = Field(
        default=2.0,
        gt=0,
        le=600,
        description="seconds to wait for a first update before asking a snapshot",
    )
    stale_after_s: int = Field(
        default=0, ge=0, description="seconds of silence that restart a symbol"
    )


class AuditConfig(_Section):
    """Comparisons of live books with the exchange's."""

    interval_s: int = Field(default=0, ge=0, description="seconds between audits of a book")


class InstrumentsConfig(_Section):
    """The exchange's list of symbols."""

    # Increments change with days of notice; an hour is early enough and costs one request.
    interval_s: int = Field(
        default=3_600, ge=1, description="seconds between looks at the symbol list"
    )


class HttpConfig(_Section):
    """Status and metrics over HTTP."""

    listen: str = Field(default="", description="address and port to listen on")


class LogConfig(_Section):
    """What goes to standard error."""

    level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="debug, info, warning or error"
    )
    format: Literal["text", "json"] = Field(default="text", description="text or json")


class Config(BaseSettings):
    """All of it, frozen.

    Attributes
    ----------
    archive : Path   absolute once loaded by `load_config`
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


# Keys the contract names and no code of this version reads: accepted at their default alone.
_NOT_YET = (
    "workers",
    "venue.api_key_file",
    "raw_log.keep_days",
    "parts.reader_grace_s",
    "stitch.stale_after_s",
    "audit.interval_s",
    "http.listen",
)


def load_config(path: Path) -> Config:
    """Read, merge with the environment and validate.

    Raises
    ------
    ConfigError        naming the key and what to write instead
    ConfigUnreadable   where it is the file itself
    """
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        problem = f"cannot be read: {error.strerror}"
        raise ConfigUnreadable(path, problem, "name an existing TOML file") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigUnreadable(path, f"is not TOML: {error}", "mend it there") from None
    _check_environment_names()
    try:
        config = Config(**document)
    except ValidationError as error:
        raise _config_error(error) from None
    for key in _NOT_YET:
        _refuse_change(config, key)
    archive = Path(os.path.normpath(path.resolve().parent / config.archive.expanduser()))
    return config.model_copy(update={"archive": archive})


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


def _check_environment_names() -> None:
    """Refuse a variable whose first word is no key: pydantic would ignore it in silence."""
    for variable in sorted(os.environ):
        if not variable.upper().startswith(ENV_PREFIX):
            continue
        key = variable[len(ENV_PREFIX) :].lower().replace(ENV_DELIMITER, ".")
        if key not in _KEYS:
            raise ConfigError(
                key, f"is unknown (from the environment, {variable})", _did_you_mean(key)
            )


def _config_error(error: ValidationError) -> ConfigError:
    """Make one error of pydantic's findings: a misspelt key first, it explains a missing one."""
    findings = sorted(error.errors(), key=lambda finding: finding["type"] != "extra_forbidden")
    finding = findings[0]
    words = [str(part) for part in finding["loc"]]
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
