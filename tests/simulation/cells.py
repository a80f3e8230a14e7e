"""Which cells of the stitcher's table have been visited, and which faults have struck.

Every state with every event: a cell that no seed visits has not been tested.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

from recorder.stitch.events import (
    Event,
    Snapshot,
    SnapshotFailed,
    StreamDown,
    StreamUp,
    Timer,
    Update,
)
from recorder.stitch.machine import State, Stitcher
from tests.simulation.faults import OF_THE_DISK, OF_THE_PROCESS, RATES

Cell = tuple[str, str]
EVENTS = (StreamUp, Update, Snapshot, SnapshotFailed, Timer, StreamDown)
# Events that would be our mistake: the stitcher raises, and the stream is quarantined.
IMPOSSIBLE = {
    (State.BUFFERING.name, "StreamUp"),
    (State.BRIDGING.name, "StreamUp"),
    (State.SYNCED.name, "StreamUp"),
    (State.DOWN.name, "StreamDown"),
}
# What the shell never brings, and only a capture or a stitcher by itself can meet: a message brings
# its stream up before it is looked at, and of one stream there is one question at a time, so that
# no answer comes once a book is valid. The histories of the property tests visit these.
NOT_BY_THE_SHELL = {
    (State.DOWN.name, "Update"),
    (State.BRIDGING.name, "Snapshot"),
    (State.BRIDGING.name, "SnapshotFailed"),
    (State.SYNCED.name, "Snapshot"),
    (State.SYNCED.name, "SnapshotFailed"),
}
CELLS: tuple[Cell, ...] = tuple((state.name, event.__name__) for state in State for event in EVENTS)
# What must come of so many faults.
MET = (
    "audit equal",
    "audit unequal",
    "audit inconclusive",
    "gap drift",
    "keyframe of a partial book",
    "gap silent",
    "gap filled in",
    "gap disk_full",
)
FAULTS = (*RATES, *OF_THE_DISK, *OF_THE_PROCESS)


@contextmanager
def counted(cells: Counter[Cell]) -> Iterator[None]:
    """Count the cells visited meanwhile."""
    handle, handle_batch = Stitcher.handle, Stitcher.handle_batch

    def count(stitcher: Stitcher, event: Event) -> Any:
        cells[stitcher.state.name, type(event).__name__] += 1
        return handle(stitcher, event)

    def count_batch(stitcher: Stitcher, *args: Any) -> Any:
        state = stitcher.state.name
        accepted, actions = handle_batch(stitcher, *args)
        if accepted:
            cells[state, "Update"] += accepted
        return accepted, actions

    with (
        patch.object(Stitcher, "handle", count),
        patch.object(Stitcher, "handle_batch", count_batch),
    ):
        yield


def table(cells: Counter[Cell]) -> str:
    """Draw the cells as a table."""
    names = [event.__name__ for event in EVENTS]
    lines = [f"{'':10}" + "".join(f"{name:>16}" for name in names)]
    for state in State:
        shown = []
        for name in names:
            cell = (state.name, name)
            missing = "impossible" if cell in IMPOSSIBLE else "not by shell"
            is_known = cell in IMPOSSIBLE | NOT_BY_THE_SHELL
            shown.append(str(cells[cell]) if cells[cell] or not is_known else missing)
        lines.append(f"{state.name:10}" + "".join(f"{text:>16}" for text in shown))
    return "\n".join(lines)


def missing(cells: Counter[Cell], struck: Counter[str], met: Counter[str]) -> list[str]:
    """Say what was never visited, never happened, or should not have been possible."""
    problems = [
        f"no seed told a stitcher {event} in state {state}"
        for state, event in CELLS
        if not cells[state, event] and (state, event) not in IMPOSSIBLE | NOT_BY_THE_SHELL
    ]
    problems += [
        f"a stitcher was told {event} in state {state}, which is impossible"
        for state, event in sorted(IMPOSSIBLE)
        if cells[state, event]
    ]
    problems += [f"the fault {kind} never struck" for kind in FAULTS if not struck[kind]]
    problems += [f"never met: {kind}" for kind in MET if not met[kind]]
    return problems
