"""API keys the exchange knows, and whether a request was signed with one of them.

Source: KuCoin API document of February 2019, "System error codes" and "Selecting a Timestamp", and
KuCoin API documentation, "Authentication" (www.kucoin.com/docs-new), read 2026-11-22.
"""

import hmac
import stat
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from replay.exchange.errors import BadKeyFile
from schemas.kucoin.signing import (
    KEY_HEADER,
    KEY_VERSIONS,
    PASSPHRASE_HEADER,
    REQUIRED_HEADERS,
    SIGN_HEADER,
    TIMESTAMP_HEADER,
    VERSION_HEADER,
    format_passphrase,
    format_signature,
)
from schemas.kucoin.venue_state import READ_PERMISSION

CLOCK_TOLERANCE_MS = 5_000
HEADERS_MISSING, TIMESTAMP_WRONG, KEY_UNKNOWN = "400001", "400002", "400003"
PASSPHRASE_WRONG, SIGNATURE_WRONG, NOT_PERMITTED = "400004", "400005", "400007"

_NS_PER_MS = 1_000_000
_FIELDS = {"key", "secret", "passphrase", "version", "permissions"}


class Unauthorized(Exception):
    """A request that is not signed as it must be; answered 401."""

    def __init__(self, code: str, message: str) -> None:
        self.code = code
        self.message = message
        super().__init__(f"{code}: {message}")


@dataclass(frozen=True, slots=True)
class ServedKey:
    """A key as its owner made it; what is secret of it shows in no text."""

    key: str = field(repr=False)
    secret: str = field(repr=False)
    passphrase: str = field(repr=False)
    version: str = "3"
    permissions: tuple[str, ...] = (READ_PERMISSION,)


class ApiKeys:
    """The keys the exchange knows."""

    def __init__(self, keys: Iterable[ServedKey] = ()) -> None:
        self._keys = {key.key: key for key in keys}

    def __len__(self) -> int:
        """Return how many keys there are."""
        return len(self._keys)

    @classmethod
    def load(cls, path: Path) -> "ApiKeys":
        """Read keys from a TOML file that nobody but its owner may read.

        The file is a list of tables ``[[keys]]`` with ``key``, ``secret``, ``passphrase``, and
        ``version`` (1, 2 or 3; 3 unless said) and ``permissions`` (a list; General unless said).

        Raises
        ------
        BadKeyFile
            Others may read it, or its content is not understood.
        """
        try:
            mode = path.stat().st_mode
            if not stat.S_ISREG(mode):
                raise BadKeyFile(path, "it is no file", "name a TOML file")
            mode = stat.S_IMODE(mode)
            if mode & 0o077:
                raise BadKeyFile(
                    path, f"its mode is {mode:04o}, so others can read it", f"chmod 600 {path}"
                )
            table = tomllib.loads(path.read_text())
        except OSError as problem:
            raise BadKeyFile(path, problem.strerror or str(problem), "name a file") from problem
        except (tomllib.TOMLDecodeError, UnicodeDecodeError):
            # Not chained: the parser's words may repeat what it read.
            raise BadKeyFile(path, "it is not TOML", _AS_IN) from None
        entries = table.get("keys")
        if not isinstance(entries, list) or not entries:
            raise BadKeyFile(path, "it has no [[keys]]", _AS_IN)
        return cls([_parse_key(path, number, entry) for number, entry in enumerate(entries, 1)])

    def check(
        self,
        headers: Mapping[str, str],
        method: str,
        path_with_query: str,
        body: str,
        now: int,
        permission: str = READ_PERMISSION,
    ) -> ServedKey:
        """Return the key a request was signed with.

        Raises
        ------
        Unauthorized
            With the documented code, and what is to be done about it.
        """
        missing = [name for name in REQUIRED_HEADERS if not headers.get(name)]
        if missing:
            raise Unauthorized(
                HEADERS_MISSING,
                f"{', '.join(missing)} missing in the request header: sign the request",
            )
        timestamp = headers[TIMESTAMP_HEADER]
        self._check_clock(timestamp, now)
        key = self._keys.get(headers[KEY_HEADER])
        if key is None:
            raise Unauthorized(
                KEY_UNKNOWN, f"{KEY_HEADER} not exists: check the key, or create a new one"
            )
        self._check_passphrase(key, headers)
        wanted = {
            # What is sent, and what it says: the exchange signs addresses before they are escaped.
            format_signature(key.secret, timestamp, method, path, body)
            for path in (path_with_query, unquote(path_with_query))
        }
        if not any(_equal(headers[SIGN_HEADER], one) for one in wanted):
            raise Unauthorized(
                SIGNATURE_WRONG,
                f"Signature error: {SIGN_HEADER} is the base64 of the HMAC-SHA256, by the secret, "
                "of timestamp + method + path with query + body",
            )
        if permission not in key.permissions:
            raise Unauthorized(
                NOT_PERMITTED,
                f"Access denied, require more permission: the key needs {permission}",
            )
        return key

    @staticmethod
    def _check_clock(timestamp: str, now: int) -> None:
        now_ms = now // _NS_PER_MS
        try:
            distance = float(timestamp) - now_ms
        except ValueError:
            distance = float("nan")
        if not abs(distance) <= CLOCK_TOLERANCE_MS:
            raise Unauthorized(
                TIMESTAMP_WRONG,
                f"{TIMESTAMP_HEADER} Invalid: it differs from the server's time, {now_ms}, by more "
                "than 5 seconds; set the clock, or take the time from /api/v1/timestamp",
            )

    @staticmethod
    def _check_passphrase(key: ServedKey, headers: Mapping[str, str]) -> None:
        version = headers.get(VERSION_HEADER, "1")
        right = (
            version in KEY_VERSIONS
            # Keys of versions 2 and 3 are signed alike, and clients send either number.
            and (version == "1") == (key.version == "1")
            and _equal(
                headers[PASSPHRASE_HEADER],
                format_passphrase(key.secret, key.passphrase, key.version),
            )
        )
        if not right:
            # The passphrase is looked at first, as the exchange does: it is where a wrong secret
            # of the newer keys shows.
            also = "" if key.version == "1" else "; a wrong secret looks the same"
            how = (
                "as it is, without " + VERSION_HEADER
                if key.version == "1"
                else f"as the base64 of its HMAC-SHA256 by the secret, with {VERSION_HEADER}: "
                + key.version
            )
            raise Unauthorized(
                PASSPHRASE_WRONG,
                f"{PASSPHRASE_HEADER} error: send the passphrase of this key of version "
                f"{key.version} {how}{also}",
            )


_AS_IN = 'write [[keys]] with key = "…", secret = "…", passphrase = "…", version = 3'


def _parse_key(path: Path, number: int, entry: Any) -> ServedKey:
    """Return one key; what is wrong with it is said without repeating it."""
    where = f"its key number {number}"
    if not isinstance(entry, dict) or not set(entry) <= _FIELDS:
        raise BadKeyFile(path, f"{where} has a field that means nothing", _AS_IN)
    key, secret, passphrase = (entry.get(name) for name in ("key", "secret", "passphrase"))
    if not all(isinstance(text, str) and text for text in (key, secret, passphrase)):
        raise BadKeyFile(path, f"{where} lacks key, secret or passphrase", _AS_IN)
    version = str(entry.get("version", 3))
    if version not in KEY_VERSIONS:
        raise BadKeyFile(path, f"{where} has no version of {', '.join(KEY_VERSIONS)}", _AS_IN)
    permissions = entry.get("permissions", [READ_PERMISSION])
    if not isinstance(permissions, list) or not all(isinstance(one, str) for one in permissions):
        raise BadKeyFile(path, f"{where} has permissions that are no list of texts", _AS_IN)
    return ServedKey(str(key), str(secret), str(passphrase), version, tuple(permissions))


def _equal(given: str, wanted: str) -> bool:
    # Bytes, because compare_digest takes no text that is not ASCII; a header may be no text at all.
    return hmac.compare_digest(given.encode(errors="surrogateescape"), wanted.encode())
