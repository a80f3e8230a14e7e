"""Two answers about the venue and us, parsed and formatted: whether it is open, what a key may do.

Source: KuCoin API documentation, "Get Service Status" and "Get Apikey Info"
(www.kucoin.com/docs-new), read 2026-11-22; payloads as documented, the key made up:

    {"code": "200000", "data": {"status": "open", "msg": ""}}
    {"code": "200000", "data": {"remark": "reader", "apiKey": "6705f5c3…", "apiVersion": 3,
     "permission": "General,Spot", "ipWhitelist": "", "uid": 1, "isMaster": true, …}}
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import orjson

from schemas.kucoin.control import WireError
from schemas.kucoin.rest import format_answer

OPEN, CLOSE, CANCEL_ONLY = "open", "close", "cancelonly"
# All a recorder needs: to read.
READ_PERMISSION = "General"


@dataclass(frozen=True, slots=True)
class VenueStatus:
    """Whether the exchange trades: open, close or cancelonly, and why, where it says so."""

    status: str
    message: str = ""

    @property
    def is_open(self) -> bool:
        """Whether orders can match, so that books move."""
        return self.status == OPEN


@dataclass(frozen=True, slots=True)
class KeyInfo:
    """What the key in use may do; nothing else of the answer is kept, it is about a person."""

    permissions: tuple[str, ...]
    version: str = ""


def parse_status(data: Any) -> VenueStatus:
    """Parse the data of `status`.

    Raises
    ------
    WireError   when it says no status
    """
    try:
        return VenueStatus(str(data["status"]).lower(), str(data.get("msg") or ""))
    except (KeyError, TypeError, AttributeError):
        raise WireError("status is malformed", orjson.dumps(data)) from None


def format_status(status: VenueStatus) -> bytes:
    """Format the answer of `status`."""
    return format_answer({"status": status.status, "msg": status.message})


def parse_key_info(data: Any) -> KeyInfo:
    """Parse the data of `api-key`.

    Raises
    ------
    WireError   when it says no permission; without the payload, which must not be shown
    """
    try:
        names = [name.strip() for name in data["permission"].split(",")]
        version = str(data.get("apiVersion") or "")
    except (KeyError, TypeError, AttributeError):
        raise WireError("information about the API key is malformed", b"") from None
    return KeyInfo(tuple(name for name in names if name), version)


def format_key_info(info: KeyInfo, **fields: object) -> bytes:
    """Format the answer of `api-key`; `fields` are the account's, which no parser here keeps."""
    version = int(info.version) if info.version.isdecimal() else info.version
    known = {"permission": ",".join(info.permissions), "apiVersion": version}
    return format_answer({**fields, **known})
