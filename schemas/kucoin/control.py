"""Control messages of the websocket: welcome, ping, pong, subscribe, ack, error.

Source: KuCoin API document of February 2019, "Websocket", read 2026-11-22.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import orjson

MESSAGE = "message"


class WireError(ValueError):
    """A frame or an answer that is not what the dialect says.

    Attributes
    ----------
    payload : str   the first 200 characters of what came
    """

    def __init__(self, problem: str, payload: bytes | str) -> None:
        text = payload.decode(errors="replace") if isinstance(payload, bytes) else payload
        self.payload = text[:200]
        super().__init__(f"{problem}: {self.payload!r}")


def parse_frame(data: bytes | str) -> dict[str, Any]:
    """Parse the JSON object of a websocket frame.

    Raises
    ------
    WireError   when it is no JSON object
    """
    try:
        frame = orjson.loads(data)
    except orjson.JSONDecodeError:
        raise WireError("frame is not JSON", data) from None
    if not isinstance(frame, dict):
        raise WireError("frame is not a JSON object", data)
    return frame


@dataclass(frozen=True, slots=True)
class Control:
    """A control message: `{"id": "hQvf8jkno", "type": "welcome"}`, likewise ack, ping and pong."""

    type: str
    id: str


@dataclass(frozen=True, slots=True)
class ErrorMessage:
    """`{"id": …, "type": "error", "code": 404, "data": "topic … is not found"}`: names no topic."""

    id: str
    code: int
    text: str


@dataclass(frozen=True, slots=True)
class Subscription:
    """A client's wish: type is subscribe or unsubscribe."""

    type: str
    id: str
    topic: str
    private_channel: bool = False
    response: bool = False


def parse_control(frame: dict[str, Any]) -> Control | ErrorMessage | Subscription:
    """Parse any frame whose `type` is not `message`.

    Raises
    ------
    WireError   when `type` is missing or a needed field is
    """
    kind = frame.get("type")
    if not isinstance(kind, str):
        raise WireError("frame has no type", orjson.dumps(frame))
    identifier = str(frame.get("id", ""))
    if kind == "error":
        code = str(frame.get("code", "0"))
        return ErrorMessage(
            identifier, int(code) if code.isdecimal() else 0, str(frame.get("data", ""))
        )
    if kind in {"subscribe", "unsubscribe"}:
        topic = frame.get("topic")
        if not isinstance(topic, str):
            raise WireError(f"{kind} names no topic", orjson.dumps(frame))
        return Subscription(
            kind,
            identifier,
            topic,
            bool(frame.get("privateChannel", False)),
            bool(frame.get("response", False)),
        )
    return Control(kind, identifier)


def format_control(message: Control | ErrorMessage | Subscription) -> bytes:
    """Format a control message as the wire has it."""
    if isinstance(message, Control):
        return orjson.dumps({"id": message.id, "type": message.type})
    if isinstance(message, ErrorMessage):
        return orjson.dumps(
            {"id": message.id, "type": "error", "code": message.code, "data": message.text}
        )
    return orjson.dumps(
        {
            "id": message.id,
            "type": message.type,
            "topic": message.topic,
            "privateChannel": message.private_channel,
            "response": message.response,
        }
    )
