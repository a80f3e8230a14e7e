"""Headers that prove an API key: what a signed request carries, and what its receiver checks.

The signature is the base64 of an HMAC-SHA256 by the secret over timestamp, method, path with
query, and body, written one after the other as they are sent. The passphrase travels as it is with
keys of version 1; with keys of versions 2 and 3 it is itself the base64 of an HMAC-SHA256 by the
secret, and the version stands in a header of its own.

Source: KuCoin API document of February 2019, "Signing a Message", and KuCoin API documentation,
"Authentication" (www.kucoin.com/docs-new), read 2026-11-22.

The document's worked example is consistent: its secret, time and string to sign give the signature
it prints, to the last letter. Its curl line is a request of exactly this form, with a made-up key:

    KC-API-TIMESTAMP:1547015186532   POST /api/v1/deposit-addresses   {"currency":"BTC"}
    KC-API-SIGN:7QP/oM0ykidMdrfNEUmng8eZjg/ZvPafjIqmxiVfYu4=

Two things beside it are not. The document's Python program signs `json.dumps` of the same request,
which writes a space behind the colon: another signature, valid because that very text is sent. And
later editions print the old signature under other inputs (`/api/v1/deposit-address`, `XBT`, which
give another one) with a version-2 passphrase of 19 bytes, where an HMAC-SHA256 has 32: it is the
base64 of a plain text. What is said there in words is right, and is what stands here.
"""

from __future__ import annotations

import base64
import hashlib
import hmac

KEY_HEADER = "KC-API-KEY"
SIGN_HEADER = "KC-API-SIGN"
TIMESTAMP_HEADER = "KC-API-TIMESTAMP"
PASSPHRASE_HEADER = "KC-API-PASSPHRASE"  # noqa: S105
VERSION_HEADER = "KC-API-KEY-VERSION"
# The four that every signed request has; the version is missing from those of version 1.
REQUIRED_HEADERS = (KEY_HEADER, SIGN_HEADER, TIMESTAMP_HEADER, PASSPHRASE_HEADER)

KEY_VERSIONS = ("1", "2", "3")
_PLAIN = "1"


class UnknownKeyVersion(ValueError):
    """A version of API keys that nobody has described."""

    def __init__(self, version: str) -> None:
        self.version = version
        super().__init__(f"key version {version!r} is unknown; known: {', '.join(KEY_VERSIONS)}")


def sign_headers(
    key: str,
    secret: str,
    passphrase: str,
    version: str,
    method: str,
    path_with_query: str,
    body: str,
    ts_ms: int,
) -> dict[str, str]:
    """Return the headers of one signed request.

    Parameters
    ----------
    version : str           of the key: 1, 2 or 3
    method : str            in upper case, as it is sent
    path_with_query : str   from the first slash on, the query exactly as it is sent
    body : str              the text that is sent; empty where there is none
    ts_ms : int             ms since 1970 UTC; the venue takes what is at most 5 s off

    Raises
    ------
    UnknownKeyVersion   for any other version
    """
    headers = {
        KEY_HEADER: key,
        SIGN_HEADER: format_signature(secret, str(ts_ms), method, path_with_query, body),
        TIMESTAMP_HEADER: str(ts_ms),
        PASSPHRASE_HEADER: format_passphrase(secret, passphrase, version),
    }
    if version != _PLAIN:
        headers[VERSION_HEADER] = version
    return headers


def format_signature(
    secret: str, timestamp: str, method: str, path_with_query: str, body: str
) -> str:
    """Return the signature; the timestamp is text, as its header has it: decimals are allowed."""
    return _hmac_base64(secret, f"{timestamp}{method}{path_with_query}{body}")


def format_passphrase(secret: str, passphrase: str, version: str) -> str:
    """Return the passphrase as its header carries it for keys of a version.

    Raises
    ------
    UnknownKeyVersion   for any other version than 1, 2 or 3
    """
    if version not in KEY_VERSIONS:
        raise UnknownKeyVersion(version)
    return passphrase if version == _PLAIN else _hmac_base64(secret, passphrase)


def _hmac_base64(secret: str, text: str) -> str:
    digest = hmac.digest(secret.encode(), text.encode(), hashlib.sha256)
    return base64.b64encode(digest).decode("ascii")
