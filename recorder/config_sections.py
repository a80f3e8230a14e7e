"""The sections of the configuration: each key with its type, its default, its unit, and why."""

from __future__ import annotations

import re
from collections.abc import Mapping
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
    ValidationInfo,
    field_validator,
)

from recorder.symbols import Selection
from schemas.kucoin.profiles import PROFILES, UnknownProfile, profile_named
from schemas.kucoin.topics import FEEDS

_TIME_OF_DAY = re.compile(r"([01]\d|2[0-3]):[0-5]\d")
PORT_MAX = 65_535


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


def _selection(entries: tuple[str, ...]) -> tuple[str, ...]:
    Selection.parse(entries)
    return entries


def _feeds_of_profile(validated: Mapping[str, Any]) -> tuple[str, ...]:
    # Without a valid profile the error is told there; any list will do until then.
    return profile_named(validated["profile"]).feeds if "profile" in validated else FEEDS


def _split_address(text: str) -> tuple[str, int]:
    """Split `host:port`, an IPv6 host in brackets."""
    host, colon, port = text.rpartition(":")
    if not colon or not port.isdecimal() or not port.isascii():
        raise ValueError(f"{text!r} is not host:port, e.g. 127.0.0.1:9464")
    if not host:
        raise ValueError(f"{text!r} names no host; 127.0.0.1{text} is this machine alone")
    if int(port) > PORT_MAX:
        raise ValueError(f"{text!r}: a port is at most {PORT_MAX}")
    if re.search(r"[\s/@]", host):
        raise ValueError(f"{text!r} is not host:port: write no http:// and no path")
    bracketed = host.startswith("[") and host.endswith("]")
    if ":" in host and not bracketed:
        raise ValueError(f"{text!r}: an IPv6 address stands in brackets, e.g. [::1]:9464")
    return host.strip("[]"), int(port)


def _listen(text: str) -> str:
    if text:
        _split_address(text)
    return text


def _time_of_day(text: str) -> str:
    if text and not _TIME_OF_DAY.fullmatch(text):
        raise ValueError(f'{text!r} is no time of day: write hh:mm, 00:00 to 23:59, or ""')
    return text


TimeOfDay = Annotated[str, AfterValidator(_time_of_day)]
Days = Annotated[int, Field(ge=0, le=36_500)]


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
        tuple[str, ...],
        BeforeValidator(_split_commas),
        AfterValidator(_each_once),
        AfterValidator(_selection),
    ] = Field(
        min_length=1,
        description='names as the exchange spells them ("BTC-USDT"), patterns ("*-USDT"), "all", '
        '"top:50" or "top:50:*-USDT" by 24 h turnover',
    )
    streams: Annotated[
        tuple[str, ...], BeforeValidator(_split_commas), AfterValidator(_each_once)
    ] = Field(
        default_factory=_feeds_of_profile,
        min_length=1,
        description=f"some of: {', '.join(FEEDS)}; left out, all the profile has",
    )
    api_key_file: Path | None = Field(
        default=None,
        description="TOML file with key, secret and passphrase of an API key, mode 0600, relative "
        "to this file; BOOKTAPE_API_KEY and its fellows in the environment win over it",
    )
    # Documented limits of 100 and more have been refused at around 98 in practice.
    topics_per_connection: int = Field(
        default=95,
        ge=1,
        description="topics (symbol × stream) on one websocket; the profile's limit caps",
    )
    # Exchanges cut a websocket when its token ends; one that is replaced before loses nothing.
    rotate_after_s: int = Field(
        default=0,
        ge=0,
        description="seconds after which a websocket is replaced; 0: an hour before its token "
        "ends, where the profile says that it does",
    )
    # A halt explains a silence only if it was asked for while it lasted.
    status_interval_s: int = Field(
        default=60, ge=1, description="seconds between looks at the exchange's own status"
    )

    @field_validator("streams")
    @classmethod
    def _streams_of_profile(cls, names: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        feeds = _feeds_of_profile(info.data)
        for name in names:
            if name in feeds:
                continue
            if name in FEEDS:
                raise ValueError(
                    f"{info.data['profile']} has no stream {name!r}; it has: {', '.join(feeds)}"
                )
            near = get_close_matches(name, feeds, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise ValueError(f"{name!r} is no stream{hint} known: {', '.join(feeds)}")
        return names

    @field_validator("rotate_after_s")
    @classmethod
    def _before_the_token_ends(cls, seconds: int, info: ValidationInfo) -> int:
        life_s = None
        if "profile" in info.data:
            life_s = profile_named(info.data["profile"]).limits.token_life_s
        if life_s is not None and seconds >= life_s:
            raise ValueError(f"{seconds} s is too late: {info.data['profile']} cuts at {life_s} s")
        return seconds


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
    # What is removed here can be rebuilt no more: nobody should lose it by a default.
    keep_days: Days = Field(default=0, description="days to keep segments; 0 keeps all")


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
    # A reader works from the catalog it opened; an hour is longer than a query runs.
    reader_grace_s: int = Field(
        default=3_600, ge=0, description="seconds replaced parts stay on disk for readers"
    )


class DiskConfig(_Section):
    """What happens when the disk fills up: parts wait first, the raw log goes on to the last."""

    # Pays for the lines that say recording is paused, and for a stop; a commit is far smaller.
    reserve_mib: int = Field(
        default=64, ge=0, description="MiB kept for the last lines of a full disk"
    )
    # The raw log is a tenth of what parts take on their way: it gets the last room.
    parts_stop_mib: int = Field(
        default=1_024, ge=0, description="MiB free below which no parts are published"
    )
    # Without it a disk at a limit would have recording stop and go every second.
    resume_mib: int = Field(
        default=256, ge=0, description="MiB beyond a limit before things go on as before"
    )


class RetentionConfig(_Section):
    """What may be removed: whole UTC days, the oldest first, never today's or yesterday's."""

    # 0 everywhere: a recorder removes nothing until somebody says so.
    l2_updates_days: Days = Field(
        default=0, description="days to keep level-2 rows and books; 0 keeps all"
    )
    l3_events_days: Days = Field(
        default=0, description="days to keep level-3 rows and books; 0 keeps all"
    )
    trades_days: Days = Field(default=0, description="days to keep trades; 0 keeps all")
    tickers_days: Days = Field(default=0, description="days to keep tickers; 0 keeps all")
    market_snapshots_days: Days = Field(
        default=0, description="days to keep market snapshots; 0 keeps all"
    )
    # For the disk that is shared: the oldest days go first, whatever their dataset.
    total_gib: float = Field(
        default=0.0,
        ge=0,
        allow_inf_nan=False,
        description="GiB the archive may take, raw log included; 0: as much as there is",
    )


class JobsConfig(_Section):
    """When the archive is tended. Times of day are UTC, hh:mm; "" means never."""

    # After midnight the day before is closed; minutes apart, so that no two compete for the disk.
    compaction_at: TimeOfDay = Field(
        default="00:20", description="UTC time to merge the small parts of closed days"
    )
    retention_at: TimeOfDay = Field(
        default="01:20", description="UTC time to remove what [retention] lets go"
    )
    backup_at: TimeOfDay = Field(
        default="02:20", description="UTC time to copy the catalog into the archive's backup folder"
    )
    # Closed segments are an hour's; soon enough that the disk never holds many unpacked.
    repack_interval_s: int = Field(
        default=600, ge=1, description="seconds between looks for raw segments to pack tighter"
    )
    # A week's worth: a damaged catalog is noticed within days.
    backups_kept: int = Field(default=7, ge=1, description="copies of the catalog to keep")


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
    # A live symbol trades within a minute; of a quiet one each question doubles the wait.
    stale_after_s: int = Field(
        default=60,
        ge=0,
        description="seconds of silence after which a book is compared with the exchange's, and "
        "subscribed anew if that has moved on; 0: never",
    )


class AuditConfig(_Section):
    """Comparisons of live books with the exchange's."""

    # A whole book in the raw log is some tens of kB: once an hour is 1 MB a day and symbol.
    interval_s: int = Field(
        default=3_600, ge=0, description="seconds between audits of a book; 0: only quiet ones"
    )
    # Healing comes first; what is left of a limit should be there when it is needed.
    rest_share: float = Field(
        default=0.1,
        gt=0,
        le=0.5,
        description="share of the exchange's REST limit that audits may take",
    )


class InstrumentsConfig(_Section):
    """The exchange's list of symbols."""

    # Listings and increments change with days of notice; an hour is early enough and costs one
    # request, two where the selection ranks by turnover.
    interval_s: int = Field(
        default=3_600, ge=1, description="seconds between looks at the symbol list"
    )


class HttpConfig(_Section):
    """Status and metrics over HTTP."""

    listen: Annotated[str, AfterValidator(_listen)] = Field(
        default="",
        description="host:port for /healthz, /readyz, /status and /metrics, e.g. "
        '"127.0.0.1:9464"; "" for none',
    )

    @property
    def address(self) -> tuple[str, int] | None:
        """Host and port to listen on, None where nothing listens."""
        return _split_address(self.listen) if self.listen else None


class LogConfig(_Section):
    """What goes to standard error."""

    level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="debug, info, warning or error"
    )
    format: Literal["text", "json"] = Field(default="text", description="text or json")
