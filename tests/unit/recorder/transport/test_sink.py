"""Lines that wait for the connection they follow."""

from __future__ import annotations

import asyncio

from recorder.raw_line import RawLine
from recorder.transport import sink
from recorder.transport.sink import HeldLines


class Kept:
    """A sink that keeps what it is given."""

    is_full = False

    def __init__(self) -> None:
        self.lines: list[RawLine] = []

    def append(self, line: RawLine) -> None:
        self.lines.append(line)

    async def wait_room(self) -> None:
        raise AssertionError("it has room")


def test_lines_wait_and_follow_in_their_order_once() -> None:
    kept = Kept()
    held = HeldLines(kept)
    lines = [RawLine("recv", n, n, 1, b"x") for n in range(5)]
    for line in lines[:3]:
        held.append(line)
    assert kept.lines == []
    held.release()
    held.release()
    assert kept.lines == lines[:3]


def test_more_than_can_be_held_makes_the_reader_wait() -> None:
    held = HeldLines(Kept())
    taken = 0
    while not held.is_full:
        held.append(RawLine("recv", 1, 1, 1, b"x" * (1 << 20)))
        taken += 1
    assert taken == sink.HELD_BYTES_MAX >> 20
    held.release()
    assert not held.is_full
    asyncio.run(asyncio.wait_for(held.wait_room(), 1))
