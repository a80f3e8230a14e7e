"""Lines of the raw log: text as text, bytes as base64, and nothing else let in."""

from __future__ import annotations

import orjson
import pytest

from recorder.raw_line import KINDS, RawLine, RawLineError, decode_line, encode_line


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_every_kind_comes_back(kind: str) -> None:
    line = RawLine(kind, 1_795_341_600_000_000_001, 17, 3, b'{"a":"\\u00e9\\n"}', {"reason": "é"})
    assert decode_line(encode_line(line)) == line


def test_text_stays_text_and_one_line() -> None:
    text = '{"topic":"/market/level2:BTC-USDT","é":"\u2028"}\r\n'
    encoded = encode_line(RawLine("recv", 1, 2, 1, text.encode()))
    assert encoded.count(b"\n") == 1
    assert encoded.endswith(b"\n")
    assert orjson.loads(encoded)["data"] == text


@pytest.mark.parametrize("data", [b"\xff\x00\x9d", b"", b"\x80" * 300])
def test_bytes_come_back_whatever_they_are(data: bytes) -> None:
    line = RawLine("recv", 1, 2, 1, data, {"opcode": 2})
    record = orjson.loads(encode_line(line))
    assert ("data" in record) == (data == b"")
    assert record["opcode"] == 2
    assert decode_line(encode_line(line)) == line


def test_no_data_is_not_empty_data() -> None:
    assert decode_line(encode_line(RawLine("timer", 1, 2))).data is None
    assert decode_line(encode_line(RawLine("recv", 1, 2, 1, b""))).data == b""


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"{",
        b"[]",
        b"7",
        b'{"kind":"recv"}',
        b'{"kind":"quote","ts_recv":1,"ts_mono":1}',
        b'{"kind":["recv"],"ts_recv":1,"ts_mono":1}',
        b'{"kind":"recv","ts_recv":1}',
        b'{"kind":"recv","ts_recv":1,"ts_mono":1,"data":7}',
        b'{"kind":"recv","ts_recv":1,"ts_mono":1,"data_b64":"*"}',
    ],
)
def test_what_is_no_line_is_refused(text: bytes) -> None:
    with pytest.raises(RawLineError):
        decode_line(text)
