"""Websocket frames from server to client, so that many can go to the socket in one call.

A system call per message costs more than everything else a busy market does. RFC 6455, section 5.2:
one octet with FIN and opcode, the length in 7, 7 + 16 or 7 + 64 bits, then the payload; frames of a
server are not masked.
"""

import struct
from typing import Literal

Opcode = Literal["text", "binary"]

_FIRST_OCTET: dict[Opcode, int] = {"text": 0x81, "binary": 0x82}
_MEDIUM = struct.Struct("!BBH").pack
_LONG = struct.Struct("!BBQ").pack


def encode_frame(data: bytes, opcode: Opcode = "text") -> bytes:
    """Return a whole, final, unmasked frame."""
    first = _FIRST_OCTET[opcode]
    length = len(data)
    if length < 126:
        return bytes((first, length)) + data
    if length < 1 << 16:
        return _MEDIUM(first, 126, length) + data
    return _LONG(first, 127, length) + data
