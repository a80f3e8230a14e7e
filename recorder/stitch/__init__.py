"""Turn snapshots and updates into rows and gaps, without doing any I/O.

`events` are the facts that go in, `actions` the decisions that come out, `rules` say what
"continuous" means in each dialect, and `machine` holds the state machine between them.
"""

from recorder.stitch.actions import (
    Action,
    Audit,
    HealGap,
    RequestSnapshot,
    StartTimer,
    WriteGap,
    WriteSnapshot,
    WriteUpdates,
)
from recorder.stitch.events import (
    Event,
    Snapshot,
    SnapshotFailed,
    StreamDown,
    StreamUp,
    Timer,
    Update,
    UpdateBatch,
)
from recorder.stitch.machine import Counters, ImpossibleEvent, State, Stitcher
from recorder.stitch.rules import ContinuityRule, OverlapRule, StrictRule

__all__ = [
    "Action",
    "Audit",
    "ContinuityRule",
    "Counters",
    "Event",
    "HealGap",
    "ImpossibleEvent",
    "OverlapRule",
    "RequestSnapshot",
    "Snapshot",
    "SnapshotFailed",
    "StartTimer",
    "State",
    "Stitcher",
    "StreamDown",
    "StreamUp",
    "StrictRule",
    "Timer",
    "Update",
    "UpdateBatch",
    "WriteGap",
    "WriteSnapshot",
    "WriteUpdates",
]
