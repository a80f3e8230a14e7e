"""What a reload may change while recording goes on, and what needs a restart. Pure.

Everything that is read anew each time it is used can change; what the archive, the profile or a
running connection was built upon cannot.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from pydantic import BaseModel

from recorder.config import Config
from recorder.config_text import format_value
from recorder.errors import ConfigError

# A key, or a whole section with a point behind it.
LIVE = (
    "venue.symbols",
    "venue.streams",
    "venue.status_interval_s",
    "instruments.interval_s",
    "raw_log.keep_days",
    "retention.",
    "parts.",
    "disk.parts_stop_mib",
    "disk.resume_mib",
    "jobs.",
    "audit.",
    "log.level",
)
RESTART = (
    "archive",
    "workers",
    "venue.profile",
    "venue.rest_url",
    "venue.api_key_file",
    "venue.topics_per_connection",
    "venue.rotate_after_s",
    "raw_log.commit_interval_ms",
    "raw_log.commit_bytes",
    "raw_log.segment_mib",
    "disk.reserve_mib",
    "stitch.",
    "http.",
    "log.format",
)


class RestartNeeded(ConfigError):
    """Keys that a running recorder cannot change.

    Attributes
    ----------
    keys : tuple[str, ...]
    """

    def __init__(self, changes: tuple[Change, ...]) -> None:
        self.keys = tuple(change.key for change in changes)
        super().__init__(
            ", ".join(self.keys),
            "cannot change while recording; nothing was changed",
            "restart the recorder to use the new file, or put back what it ran with: "
            + ", ".join(f"{change.key} = {change.old}" for change in changes),
        )


@dataclass(frozen=True, slots=True)
class Change:
    """A key with its values before and after, as TOML has them."""

    key: str
    old: str
    new: str


@dataclass(frozen=True, slots=True)
class Changes:
    """What differs between two configurations, in their order of keys.

    Attributes
    ----------
    live : tuple[Change, ...]      to be applied by a reload
    restart : tuple[Change, ...]   that a reload cannot apply
    """

    live: tuple[Change, ...]
    restart: tuple[Change, ...]

    def __bool__(self) -> bool:
        return bool(self.live or self.restart)

    def changed(self, key: str) -> bool:
        """Tell whether a key, or one of a section, is among those to be applied."""
        return any(_covers(key, change.key) for change in self.live)

    def refuse_restart(self) -> None:
        """Raise where a change needs a restart.

        Raises
        ------
        RestartNeeded   naming every such key, and what it is now
        """
        if self.restart:
            raise RestartNeeded(self.restart)


def compare(old: Config, new: Config) -> Changes:
    """Find what differs, and which of it a running recorder can apply."""
    after = dict(_values(new))
    different = [
        Change(key, _text(value), _text(after[key]))
        for key, value in _values(old)
        if value != after[key]
    ]
    live = tuple(change for change in different if is_live(change.key))
    return Changes(live, tuple(change for change in different if change not in live))


def is_live(key: str) -> bool:
    """Tell whether a reload may change a key."""
    return any(_covers(rule, key) for rule in LIVE)


def _covers(rule: str, key: str) -> bool:
    return key.startswith(rule) if rule.endswith(".") else key == rule


def _text(value: object) -> str:
    return "(left out)" if value is None else format_value(value)


def _values(section: BaseModel, prefix: str = "") -> Iterator[tuple[str, object]]:
    for name in type(section).model_fields:
        value = getattr(section, name)
        if isinstance(value, BaseModel):
            yield from _values(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value
