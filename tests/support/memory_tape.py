"""A recording that keeps its lines in memory and runs the real pipeline on them."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

from recorder.meters import Meters
from recorder.pipeline.output import Command, Gap, Output
from recorder.pipeline.pipeline import Pipeline
from recorder.raw_line import RawLine, decode_line, encode_line
from recorder.storage.open_parts import RollRules
from recorder.storage.raw_log import BEGINNING, RawPosition


class MemoryTape:
    """What `recorder.daemon` asks of a recording, without a disk.

    Parameters
    ----------
    dies_after : int or None   commits that succeed before one raises
    """

    run_id = "20261122T000000.000000Z-test-1"
    recovered = ()
    archive = None

    def __init__(self, dies_after: int | None = None) -> None:
        self.lines: list[RawLine] = []
        self.outputs: list[Output] = []
        self.threads: set[int] = set()
        self.append_threads: set[int] = set()
        self.decoded = BEGINNING
        self.parts_held = False
        self.lines_read_back = 0
        self.commits = 0
        self.meters = Meters()
        self.closed = False
        self.abandoned = False
        self._dies_after = dies_after
        self._pipeline = Pipeline()

    def append(self, lines: list[RawLine]) -> RawPosition:
        self.append_threads.add(threading.get_ident())
        assert not self.closed
        if self._dies_after == self.commits:
            self._dies_after = None  # a second commit would succeed, and must not come
            raise OSError(5, "Input/output error")
        self.commits += 1
        # What is kept is what can be read back.
        self.lines.extend(decode_line(encode_line(line)) for line in lines)
        self.meters.count_durable(lines, 0)
        return RawPosition(1, 0, len(self.lines))

    def decode(self, lines: list[RawLine], position: RawPosition) -> list[Command]:
        self.threads.add(threading.get_ident())
        assert not self.closed
        assert position.lines == self.decoded.lines + len(lines), "each line once, in order"
        self.decoded = position
        output = self._pipeline.feed(lines)
        self.meters.count_output(output)
        self.outputs.append(output)
        return output.commands

    def read_on(self, end: RawPosition) -> tuple[list[RawLine], RawPosition]:
        at = self.decoded.lines
        lines = self.lines[at : min(at + 10, end.lines)]
        self.lines_read_back += len(lines)
        return lines, RawPosition(1, 0, at + len(lines))

    def roll(self, ts_now: int, *, force: bool = False) -> int:
        assert ts_now > 0
        return 0

    def pause(self, lines: list[RawLine]) -> RawPosition:
        return self.append(lines)

    def resume(self, lines: list[RawLine]) -> RawPosition:
        return self.append(lines)

    def hold_parts(self) -> None:
        self.parts_held = True

    def release_parts(self) -> RawPosition:
        self.parts_held = False
        return self.decoded

    def set_rules(self, rules: RollRules) -> None:
        self.rules = rules

    def abandon(self) -> None:
        self.abandoned = True

    def take_incidents(self) -> list[str]:
        return []

    def close(self) -> bool:
        self.threads.add(threading.get_ident())
        self.closed = True
        return True

    def status(self) -> Mapping[tuple[str, str], Mapping[str, Any]]:
        return self._pipeline.status()

    def counts(self) -> Mapping[str, int]:
        return dict(self._pipeline.counts)

    def kinds(self) -> list[str]:
        """Return the kinds of all lines, in order."""
        return [line.kind for line in self.lines]

    def of_kind(self, kind: str) -> list[RawLine]:
        """Return the lines of one kind."""
        return [line for line in self.lines if line.kind == kind]

    def gaps(self) -> list[Gap]:
        """Return every gap written, once, in order."""
        found: dict[int, Gap] = {}
        for output in self.outputs:
            for number, entry in output.ledger.items():
                if isinstance(entry, Gap):
                    found[number] = entry
        return list(found.values())
