"""What the exchange says of itself and of a key: whether it is open, and what the key may do.

Source: specification of kucoin-universal-sdk of November 2025, "Get Service Status" and "Get
Apikey Info", read 2026-11-22.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import orjson

from schemas.kucoin.control import WireError
from schemas.kucoin.rest import format_answer

OPEN, CLOSED, CANCEL_ONLY = "open", "close", "cancelonly"

# All a recorder needs: to read.
READ_PERMISSION = "General"


@dataclass(frozen=True, slots=True)
class VenueStatus:
    """State of the exchange: open, close or cancelonly, and its own words on it."""

    status: str
    message: str

    @property
    def is_open(self) -> bool:
        """Whether orders can be matched."""
        return self.status == OPEN


def parse_venue_status(data: Any) -> VenueStatus:
    """Parse the data of `status`: `{"status":"open","msg":""}`.

    Raises
    ------
    WireError   when it names no state
    """
    try:
        status, message = data["status"], data.get("msg") or ""
    except (KeyError, TypeError, AttributeError):
        raise WireError("status is malformed", orjson.dumps(data)) from None
    if type(status) is not str or type(message) is not str:
        raise WireError("status is malformed", orjson.dumps(data))
    return VenueStatus(status, message)


def format_venue_status(status: VenueStatus) -> bytes:
    """Format the answer of `status`."""
    return format_answer({"status": status.status, "msg": status.message})


@dataclass(frozen=True, slots=True)
class KeyInfo:
    """What a key may do; nothing in it is a secret.

    Attributes
    ----------
    version : int                   of the key: says how its passphrase is sent
    permissions : tuple[str, ...]   in the exchange's words and order: General, Spot, …
    wire : str                      the exchange's whole answer as JSON
    """

    version: int
    permissions: tuple[str, ...]
    wire: str = ""

    @property
    def risky(self) -> tuple[str, ...]:
        """Permissions a recorder has no use for and a thief would have: all but reading."""
        return tuple(name for name in self.permissions if name != READ_PERMISSION)


def parse_key_info(data: Any) -> KeyInfo:
    """Parse the data of `user/api-key`: `permission` is a list of words with commas.

    Raises
    ------
    WireError   when it has no permissions
    """
    try:
        words = data["permission"].split(",")
        version = int(data.get("apiVersion", 0))
    except (KeyError, TypeError, ValueError, AttributeError):
        # Without the payload: it names the key.
        raise WireError("the answer about the key is malformed", "") from None
    permissions = tuple(word.strip() for word in words if word.strip())
    return KeyInfo(version, permissions, orjson.dumps(data).decode())


def format_key_info(key: KeyInfo) -> bytes:
    """Format the answer of `user/api-key`: as it came, else with what a recorder looks at."""
    if key.wire:
        return format_answer(orjson.Fragment(key.wire))
    return format_answer({"apiVersion": key.version, "permission": ",".join(key.permissions)})
