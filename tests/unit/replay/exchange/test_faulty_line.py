"""What becomes of messages on a faulty connection."""

from pathlib import Path
from typing import Any

import orjson
import pytest

from replay.exchange.faults import FaultPlan, parse_fault
from replay.exchange.faulty_line import GARBAGE_BINARY, GARBAGE_TEXT, Cut, FaultyLine, Send
from replay.exchange.line_file import LineFile
from replay.exchange.source import Feed, Push
from schemas.kucoin.market import L2Update

S = 1_000_000_000


class Wire:
    """A faulty line, its log, and what came through."""

    def __init__(self, log: Path, *specs: str) -> None:
        self.path = log
        self.log = LineFile(log)
        plan = FaultPlan([parse_fault(spec) for spec in specs], log=self.log)
        plan.start(0)
        self.line = FaultyLine("me#1", plan)
        self.came: list[str] = []

    def send(self, n: int, feed: Feed = "level2", name: str = "AA-BB", at: int = S) -> None:
        push = Push(feed, name, n, n, L2Update(name, n, n, [], []))
        self._take(self.line.offer(push, f"{feed[-1]}{n}".encode(), at))

    def release(self, at: int) -> None:
        self._take(list(self.line.release(at)))

    def _take(self, actions: list[Any]) -> None:
        for action in actions:
            if isinstance(action, Cut):
                self.came.append("cut")
            elif action.opcode == "binary":
                assert action == Send(GARBAGE_BINARY, "binary")
                self.came.append("binary")
            else:
                self.came.append("text" if action.data == GARBAGE_TEXT else action.data.decode())

    def logged(self) -> list[dict[str, Any]]:
        self.log.flush()
        return [orjson.loads(line) for line in self.path.read_bytes().splitlines()]


@pytest.fixture
def wire(tmp_path: Path, request: pytest.FixtureRequest):
    """Open a line with the faults given as parameter."""
    made = Wire(tmp_path / "faults.jsonl", *request.param)
    yield made
    made.log.close()


def faults(*specs: str) -> pytest.MarkDecorator:
    """Give the `wire` its faults."""
    return pytest.mark.parametrize("wire", [specs], indirect=True, ids=[" ".join(specs) or "none"])


@faults()
def test_without_faults_everything_comes(wire: Wire) -> None:
    for n in range(3):
        wire.send(n)
    assert wire.came == ["20", "21", "22"]
    assert wire.logged() == []


@faults("drop@1s:count=2")
def test_drop(wire: Wire) -> None:
    for n in range(4):
        wire.send(n)
    assert wire.came == ["22", "23"]
    assert wire.logged()[0] == {
        "time": S,
        "kind": "drop",
        "connection": "me#1",
        "topic": "level2",
        "symbol": "AA-BB",
        "sequence_start": 0,
        "sequence_end": 0,
    }
    assert len(wire.logged()) == 2


@faults("duplicate@1s")
def test_duplicate(wire: Wire) -> None:
    wire.send(1)
    wire.send(2)
    assert wire.came == ["21", "21", "22"]


@faults("reorder@1s")
def test_reorder_swaps_neighbours_of_one_stream(wire: Wire) -> None:
    wire.send(1)
    wire.send(7, "level3")
    wire.send(2)
    wire.send(3)
    assert wire.came == ["37", "22", "21", "23"]


@faults("delay@1s:for=2s:topic=level2")
def test_delay_holds_up_its_stream_in_order(wire: Wire) -> None:
    wire.send(1)
    wire.send(7, "level3")
    wire.send(2, at=2 * S)
    wire.release(2 * S)
    assert wire.came == ["37"]
    wire.release(3 * S)
    wire.send(3, at=3 * S)
    assert wire.came == ["37", "21", "22", "23"]


@faults("garbage@1s")
def test_garbage_comes_before_the_message(wire: Wire) -> None:
    wire.send(1)
    assert wire.came == ["text", "binary", "21"]
    with pytest.raises(orjson.JSONDecodeError):
        orjson.loads(GARBAGE_TEXT)


@faults("disconnect=1")
def test_disconnect(wire: Wire) -> None:
    wire.send(1)
    assert wire.came == ["cut"]
    assert wire.logged()[0]["kind"] == "disconnect"


@faults("silence=1:topic=level3:for=2s")
def test_silence_of_one_topic(wire: Wire) -> None:
    wire.send(1, "level3")
    wire.send(2)
    wire.send(3, "level3", at=2 * S)
    assert wire.came == ["22"]
    assert not wire.line.is_mute(2 * S)
    wire.release(4 * S + 1)
    kinds = [
        (row["kind"], row.get("sequence_start"), row.get("sequence_end")) for row in wire.logged()
    ]
    assert kinds[0] == ("silence", None, None)
    assert kinds[-1] == ("silence_over", 1, 3)


@faults()
def test_silence_of_everything_is_mute(wire: Wire) -> None:
    wire.line.fall_silent(parse_fault("silence@1s:for=2s"), S)
    wire.send(1, at=2 * S)
    assert wire.line.is_mute(2 * S)
    wire.release(3 * S)
    wire.send(2, at=3 * S)
    assert wire.came == ["22"]
    assert not wire.line.is_mute(3 * S)


@faults("drop@1s:count=1", "duplicate=1", "garbage=1:symbol=CC-BB")
def test_faults_combine(wire: Wire) -> None:
    wire.send(1)
    wire.send(2)
    wire.send(3, name="CC-BB")
    assert wire.came == ["22", "22", "text", "binary", "23", "23"]
    assert [row["kind"] for row in wire.logged()] == ["drop", "duplicate", "duplicate", "garbage"]
