"""The API key: from a file only its owner can read, or from the environment; shown nowhere.

A key is needed for what the exchange gives to nobody unnamed, whole books above all. It should be
able to read and nothing else: `permissions_warning` says so of one that can do more.
"""

from __future__ import annotations

import os
import re
import stat
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from recorder.clock import wall_ns
from recorder.config import Config
from recorder.errors import RecorderError, VenueRefused
from schemas.kucoin.signing import KEY_VERSIONS, sign_headers
from schemas.kucoin.venue_state import READ_PERMISSION
from schemas.timestamps import NS_PER_MS

ENVIRONMENT: Mapping[str, str] = {
    "key": "BOOKTAPE_API_KEY",
    "secret": "BOOKTAPE_API_SECRET",
    "passphrase": "BOOKTAPE_API_PASSPHRASE",
    "version": "BOOKTAPE_API_KEY_VERSION",
}
REQUIRED = ("key", "secret", "passphrase")
_SHOWN = 4
_SIZE_MAX = 16 * 1024
# What a header can carry; anything else is a slip of the editor.
_PRINTABLE = re.compile(r"[\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?")
# Documented refusals of a signed request, each with what its user can do.
_CLOCK = "400002"
_REMEDIES: Mapping[str, str] = {
    "400001": "a header is missing on the way: does a proxy stand before {url}?",
    _CLOCK: "this machine's clock is off by {skew_ms} ms, 5 s are allowed: set it, and keep it set "
    "by NTP",
    "400003": "the exchange knows no such key: compare the key with the exchange's list of keys; "
    "one that was deleted, has expired or belongs to another exchange is made anew",
    "400004": "the passphrase is not the one chosen when the key was made, or the secret, by which "
    "it is encoded, is not the key's, or the key's version is not {version}; one that is forgotten "
    "needs a new key",
    "400005": "the signature does not fit: compare the secret with the one shown when the key was "
    "made",
    "400006": "this machine's address is not on the key's list of addresses: add it there",
    "400007": "the key lacks the permission General: give it that one, and no other",
    "411100": "the account is frozen: only the exchange's support can help",
}


class ApiKeyError(RecorderError):
    """A key that cannot be used: its file, or its variables.

    Attributes
    ----------
    source : str   path of the file, or `environment`
    """

    def __init__(self, source: str, problem: str, remedy: str) -> None:
        self.source = source
        super().__init__(f"API key from {source}: {problem}", remedy)


class KeyRefused(VenueRefused):
    """The exchange does not take the key; `code` is the documented one."""

    exit_code = 2

    def __init__(self, url: str, code: str, problem: str, *, version: str, skew_ms: int) -> None:
        said = _REMEDIES.get(code, "see what the exchange's documentation says of this code")
        remedy = said.format(url=url, version=version, skew_ms=skew_ms)
        super().__init__(f"the API key at {url}", code, problem, f"{remedy}; or record without one")
        # A clock is set right without touching the configuration: trying again can help.
        if code == _CLOCK:
            self.exit_code = 3


@dataclass(frozen=True, slots=True, repr=False)
class ApiKey:
    """A key with what proves it; its text form shows the first letters of the key and no more."""

    key: str
    secret: str
    passphrase: str
    version: str

    def __repr__(self) -> str:
        shown = self.key[: min(_SHOWN, len(self.key) // 4)]
        return f"ApiKey({shown}…, version {self.version})"

    def __reduce__(self) -> NoReturn:
        raise TypeError("an API key stays in this process")

    def redact(self, text: str) -> str:
        """Return a text without what must not be shown, should somebody have quoted it."""
        for part in (self.secret, self.passphrase, self.key):
            text = text.replace(part, "…")
        return text

    def sign(self, method: str, path_with_query: str) -> dict[str, str]:
        """Return the headers of a request without a body that is sent now."""
        ts_ms = wall_ns() // NS_PER_MS
        return sign_headers(
            self.key, self.secret, self.passphrase, self.version, method, path_with_query, "", ts_ms
        )


def load_api_key(config: Config) -> ApiKey | None:
    """Read the key: from the environment where it is there, else from `venue.api_key_file`.

    Raises
    ------
    ApiKeyError   naming what is wrong, never showing a secret
    """
    found = {
        name: value
        for name, variable in ENVIRONMENT.items()
        # Set and empty is how compose files and shells say "not set".
        if (value := os.environ.get(variable, "").strip())
    }
    if found:
        missing = [ENVIRONMENT[name] for name in REQUIRED if name not in found]
        if missing:
            given = ", ".join(ENVIRONMENT[name] for name in found)
            raise ApiKeyError(
                "environment",
                f"{given} is set and {', '.join(missing)} is not",
                "set all three of key, secret and passphrase, or none",
            )
        return _make_key("environment", found, ENVIRONMENT, config.profile.key_version)
    path = config.venue.api_key_file
    if path is None:
        return None
    fields = _parse_file(path, _read_private(path))
    return _make_key(str(path), fields, {}, config.profile.key_version)


def permissions_warning(permissions: Iterable[str]) -> str | None:
    """Say what a key can do beyond reading, None where it only reads."""
    # Any other, one not invented yet too, is worth a word.
    more = [name for name in permissions if name != READ_PERMISSION]
    if not more:
        return None
    return (
        f"the API key may do more than read: {', '.join(more)}; whoever gets hold of it may trade "
        "or move funds. Recording needs General alone: make a key with that permission only, "
        "restricted to this machine's address, and delete this one"
    )


def _read_private(path: Path) -> bytes:
    """Read a file that only its owner, us or root, can read."""
    source = str(path)
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        remedy = "write key, secret and passphrase into it, and `chmod 600` it"
        raise ApiKeyError(source, f"cannot be read: {error.strerror}", remedy) from None
    try:
        # Looked at once it is open: what is checked is what is read.
        _check_private(path, os.fstat(descriptor))
        # A regular file of this size comes whole.
        content = os.read(descriptor, _SIZE_MAX + 1)
    finally:
        os.close(descriptor)
    if len(content) > _SIZE_MAX:
        raise ApiKeyError(source, "is no key: it is too long", "name the file with the key")
    return content


def _check_private(path: Path, status: os.stat_result) -> None:
    source = str(path)
    if not stat.S_ISREG(status.st_mode):
        raise ApiKeyError(source, "is no file", "name a TOML file")
    if status.st_uid not in {os.geteuid(), 0}:
        remedy = f"`chown {os.geteuid()} {path}` and `chmod 600 {path}`"
        raise ApiKeyError(source, f"belongs to user {status.st_uid}", remedy)
    if status.st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        mode = stat.S_IMODE(status.st_mode)
        problem = f"has mode {mode:04o}: others than its owner can get at it"
        raise ApiKeyError(source, problem, f"`chmod 600 {path}`")


def _parse_file(path: Path, content: bytes) -> dict[str, str]:
    form = 'write key = "…", secret = "…" and passphrase = "…", each on its line'
    try:
        document = tomllib.loads(content.decode("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError):
        # The parser's own words could quote the file.
        raise ApiKeyError(str(path), "is not TOML", form) from None
    unknown = [name for name in document if name not in ENVIRONMENT]
    if unknown:
        problem = f"has {', '.join(unknown)}, which means nothing here"
        raise ApiKeyError(str(path), problem, f"it takes: {', '.join(ENVIRONMENT)}")
    missing = [name for name in REQUIRED if not document.get(name)]
    if missing:
        raise ApiKeyError(str(path), f"lacks {', '.join(missing)}", form)
    fields: dict[str, str] = {}
    for name, value in document.items():
        # A version is written as a number as easily as as a text; true is an int to Python.
        number = name == "version" and isinstance(value, int) and not isinstance(value, bool)
        if not number and not isinstance(value, str):
            raise ApiKeyError(str(path), f"{name} is no text", f'write {name} = "…"')
        fields[name] = str(value).strip()
    return fields


def _make_key(
    source: str, fields: Mapping[str, str], spelled: Mapping[str, str], version: str
) -> ApiKey:
    """Check the letters, which alone may be told, and make the key."""
    fields = {"version": version, **fields}
    for name in REQUIRED:
        if not _PRINTABLE.fullmatch(fields[name]):
            problem = f"{spelled.get(name, name)} has letters that no key has"
            raise ApiKeyError(source, problem, "copy it again, without quotes of a text program")
    if fields["version"] not in KEY_VERSIONS:
        problem = f"{spelled.get('version', 'version')} is none of {', '.join(KEY_VERSIONS)}"
        raise ApiKeyError(source, problem, f"leave it out for {version}, that of keys made today")
    return ApiKey(fields["key"], fields["secret"], fields["passphrase"], fields["version"])
