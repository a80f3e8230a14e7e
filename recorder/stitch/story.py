"""A capped log of what a stitcher was told, to read after an incident."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Any

from recorder.stitch.events import (
    Event,
    Snapshot,
    SnapshotFailed,
    StreamDown,
    Timer,
    Update,
)

# Enough for the minutes around an incident, because runs of plain updates share one entry.
STORY_MAX = 256


@dataclass(slots=True)
class _Entry:
    """One event, or a run of updates that changed no state. Holds no batch and no book."""

    ts_recv: int
    event: str
    detail: str
    before: str
    after: str
    count: int = 1
    sequence_start: int = 0
    sequence_end: int = 0


class Story:
    """The last events of one stitcher, with the state before and after each."""

    def __init__(self) -> None:
        self._entries: deque[_Entry] = deque(maxlen=STORY_MAX)

    def __getstate__(self) -> list[tuple[Any, ...]]:
        """Return the entries as plain tuples: a checkpoint holds a thousand stories."""
        return [
            (
                e.ts_recv,
                e.event,
                e.detail,
                e.before,
                e.after,
                e.count,
                e.sequence_start,
                e.sequence_end,
            )
            for e in self._entries
        ]

    def __setstate__(self, state: list[tuple[Any, ...]]) -> None:
        """Take up what `__getstate__` returned."""
        self._entries = deque((_Entry(*entry) for entry in state), maxlen=STORY_MAX)

    def add(self, event: Event, before: str, after: str) -> None:
        """Note one event with the state before and after it."""
        if isinstance(event, Update):
            self.add_updates(event, event, 1, before, after)
        else:
            self._entries.append(
                _Entry(event.ts_recv, type(event).__name__, _detail(event), before, after)
            )

    def add_updates(self, first: Update, last: Update, count: int, before: str, after: str) -> None:
        """Note `count` updates in a row; those that change no state join the run before them."""
        newest = self._entries[-1] if self._entries else None
        # Runs keep what matters from being pushed out by what does not.
        if (
            newest is not None
            and newest.event == "Update"
            and newest.before == newest.after == before == after
        ):
            newest.count += count
            newest.sequence_end = last.sequence_end
            newest.ts_recv = last.ts_recv
        else:
            self._entries.append(
                _Entry(
                    last.ts_recv,
                    "Update",
                    "",
                    before,
                    after,
                    count,
                    first.sequence_start,
                    last.sequence_end,
                )
            )

    def tell(self, title: str) -> str:
        """Return one line an event, oldest first, under the title."""
        lines = [f"{title}: the last {len(self._entries)} entries"]
        for entry in self._entries:
            detail = entry.detail
            if entry.event == "Update":
                many = f" x{entry.count}" if entry.count > 1 else ""
                detail = f"{entry.sequence_start}..{entry.sequence_end}{many}"
            moved = entry.before
            if entry.after != entry.before:
                moved = f"{entry.before} -> {entry.after}"
            lines.append(f"{entry.ts_recv} {entry.event} {detail} [{moved}]")
        return "\n".join(lines)


def _detail(event: Event) -> str:
    match event:
        case Snapshot():
            return f"sequence={event.sequence} request={event.request_id}"
        case SnapshotFailed():
            return f"request={event.request_id}"
        case Timer():
            return f"timer={event.timer_id}"
        case StreamDown():
            return f"reason={event.reason}"
        case _:
            return "-"
