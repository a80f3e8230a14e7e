"""One line of the raw log: what entered from outside, or what the shell decided. Pure.

The pipeline sees these lines and nothing else, so a live run and a rebuild are the same function
of the same lines.

| kind | fields |
|---|---|
| run_start | run_id, version, profile, profile_hash, symbols, feeds, limits, last_trades (by symbol) and last_trades_unproven (symbols); an import: source, source_sha256 |
| open | endpoint |
| close | reason (a gap reason) |
| recv | data, or data_b64 with opcode; error where the websocket library refused the frame |
| send | data |
| rest_request | url, and symbol, stream, request_id where it asks for a book; purpose in place of request_id: `reseed` where it is to widen a partial one, `audit` where it is compared; of trades: symbol, and purpose `backfill` |
| rest_answer | the request's fields, status, data |
| rest_failure | the request's fields, error |
| timer | symbol, stream, timer_id |
| decision | what, and whatever it needs |
| run_stop | reason (stopped, …) |
"""  # noqa: E501

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import orjson

KINDS = frozenset(
    {
        "run_start",
        "open",
        "close",
        "recv",
        "send",
        "rest_request",
        "rest_answer",
        "rest_failure",
        "timer",
        "decision",
        "run_stop",
    }
)
NO_CONNECTION = 0

# `purpose` of a question for a book that widens what is known of one, and seeds none.
RESEED = "reseed"

# `purpose` of a question for a book to compare the live one with, and `what` of the decision
# before it, with symbol and stream, at which the live one is copied.
AUDIT = "audit"

# `what` of the decision, every few seconds, at which every book is looked at.
CHECK = "check"

# `purpose` of a question for the last trades of a symbol, some of which were missed.
BACKFILL = "backfill"

# `what` of the decisions between which nothing was recorded, because the disk was full.
PAUSED, RESUMED = "paused", "resumed"

# `what` of the decision that stands where lines of the raw log cannot be read any more.
RAW_LOG_DAMAGED = "raw_log_damaged"

_OWN = frozenset({"kind", "ts_recv", "ts_mono", "connection", "data", "data_b64"})
_NO_FIELDS: Mapping[str, Any] = MappingProxyType({})  # shared by every recv line


class RawLineError(ValueError):
    """A line that is not one of the raw log's."""


@dataclass(slots=True)
class RawLine:
    """One line.

    Attributes
    ----------
    kind : str          one of `KINDS`
    ts_recv : int       wall clock, ns UTC
    ts_mono : int       monotonic clock of the same process, ns
    connection : int    number of the websocket connection, from 1; 0 where there is none
    data : bytes | None the frame or body exactly as it came
    fields : Mapping    what else this kind has
    """

    kind: str
    ts_recv: int
    ts_mono: int
    connection: int = NO_CONNECTION
    data: bytes | None = None
    fields: Mapping[str, Any] = field(default_factory=lambda: _NO_FIELDS)


def encode_line(line: RawLine) -> bytes:
    """Encode as JSON with a newline: `data` where it is UTF-8, else `data_b64`."""
    record: dict[str, Any] = {
        "kind": line.kind,
        "ts_recv": line.ts_recv,
        "ts_mono": line.ts_mono,
        "connection": line.connection,
        **line.fields,
    }
    if line.data is not None:
        try:
            record["data"] = line.data.decode()
        except UnicodeDecodeError:
            record["data_b64"] = base64.b64encode(line.data).decode()
    return orjson.dumps(record, option=orjson.OPT_APPEND_NEWLINE)


def decode_line(text: bytes) -> RawLine:
    """Decode one line.

    Raises
    ------
    RawLineError   when it is no JSON, of no known kind, or lacks a clock
    """
    try:
        record = orjson.loads(text)
        kind = record["kind"]
        if kind not in KINDS:
            raise RawLineError(f"raw line of unknown kind {kind!r}")
        data: bytes | None = None
        if "data" in record:
            data = record["data"].encode()
        elif "data_b64" in record:
            data = base64.b64decode(record["data_b64"], validate=True)
        return RawLine(
            kind,
            record["ts_recv"],
            record["ts_mono"],
            record.get("connection", NO_CONNECTION),
            data,
            {name: value for name, value in record.items() if name not in _OWN},
        )
    except (orjson.JSONDecodeError, KeyError, TypeError, AttributeError, ValueError) as error:
        if isinstance(error, RawLineError):
            raise
        raise RawLineError(f"not a raw line ({error!r}): {text[:120]!r}") from None
