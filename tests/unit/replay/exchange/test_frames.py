"""Websocket frames, read back by hand as RFC 6455 draws them."""

import pytest

from replay.exchange.frames import encode_frame


def decode_frame(frame: bytes) -> tuple[int, bytes, bytes]:
    """Return opcode, payload and whatever follows the frame."""
    assert frame[0] & 0xF0 == 0x80, "FIN alone: a whole message, no extension"
    assert not frame[1] & 0x80, "a server does not mask"
    length, start = frame[1], 2
    if length == 126:
        length, start = int.from_bytes(frame[2:4], "big"), 4
        assert length > 125, "the shortest form is the only one allowed"
    elif length == 127:
        length, start = int.from_bytes(frame[2:10], "big"), 10
        assert length > 65_535
    return frame[0] & 0x0F, frame[start : start + length], frame[start + length :]


@pytest.mark.parametrize("length", [0, 1, 125, 126, 127, 65_535, 65_536, 200_000])
def test_encode_frame_of_every_length(length: int) -> None:
    text = b"x" * length
    both = encode_frame(text) + encode_frame(b"\xff\x00", "binary")
    opcode, payload, rest = decode_frame(both)
    assert (opcode, payload) == (1, text)
    assert decode_frame(rest) == (2, b"\xff\x00", b"")
