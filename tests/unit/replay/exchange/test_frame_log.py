"""Frames with their numbers, and a line for what went out together."""

from __future__ import annotations

import zlib
from pathlib import Path

import orjson
import pytest

from replay.exchange.faulty_line import GARBAGE_TEXT
from replay.exchange.frame_log import Frame, FrameLog, numbered
from replay.exchange.line_file import LineFile

FRAMES: list[Frame] = [(b'{"id":"1"}', "text"), (b"{}}", "binary"), (GARBAGE_TEXT, "text")]


def test_each_message_says_its_number_and_garbage_stays_garbage() -> None:
    sent = FrameLog(writes_numbers=True).number("c", 7, FRAMES, 0)
    assert sent == [(b'{"id":"1","frame":7}', "text"), *FRAMES[1:]]
    assert orjson.loads(sent[0][0]) == {"id": "1", "frame": 7}


@pytest.mark.parametrize("data", [b"", b"}", b"[1]", b'{"cut', b"\xff\xfe"])
def test_what_is_no_object_is_not_touched(data: bytes) -> None:
    assert numbered(data, 5) == data


def test_a_line_says_what_was_sent_to_the_last_byte(tmp_path: Path) -> None:
    with LineFile(tmp_path / "frames.jsonl") as file:
        log = FrameLog(file, writes_numbers=True)
        sent = log.number("c", 1, FRAMES, 99)
        log.number("c", 4, FRAMES[:1], 100)
    rows = [orjson.loads(line) for line in file.path.read_bytes().splitlines()]
    assert rows[0] == {
        "connection": "c",
        "time": 99,
        "first": 1,
        "crc32": [zlib.crc32(data) for data, _ in sent],
    }
    assert rows[1]["first"] == 4
    assert rows[1]["crc32"] == [zlib.crc32(b'{"id":"1","frame":4}')]


def test_without_a_file_or_numbers_nothing_is_wanted(tmp_path: Path) -> None:
    assert not FrameLog().is_wanted
    assert FrameLog().number("c", 1, FRAMES, 0) == FRAMES
    assert FrameLog(writes_numbers=True).is_wanted
    with LineFile(tmp_path / "frames.jsonl") as file:
        assert FrameLog(file).is_wanted
