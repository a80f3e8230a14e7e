"""A capped log of what a stitcher was told, to read after an incident."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

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
    count: int
    sequence_start: int
    sequence_end: int


class Story:
    """The last events of one stitcher, with the state before and after each."""

    def __init__(self) -> None:
        self._entries: deque[_Entry] = deque(maxlen=STORY_MAX)

    def add(self, event: Event, before: str, after: str, count: int = 1) -> None:
        """Note one event, or `count` updates of which `event` is the last."""
        start = end = 0
        if isinstance(event, Update):
            start, end = event.sequence_start, event.sequence_end
            newest = self._entries[-1] if self._entries else None
            # Runs keep the entry of what matters from being pushed out by what does not.
            if (
                newest is not None
                and newest.event == "Update"
                and newest.before == newest.after == before == after
            ):
                newest.count += count
                newest.sequence_end = end
                newest.ts_recv = event.ts_recv
                return
        self._entries.append(
            _Entry(
                ts_recv=event.ts_recv,
                event=type(event).__name__,
                detail=_detail(event),
                before=before,
                after=after,
                count=count,
                sequence_start=start,
                sequence_end=end,
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
