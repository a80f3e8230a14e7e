"""Archives of several UTC days, as the recorder writes them: many small parts, several segments."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from recorder import recording
from recorder.raw_line import RawLine
from recorder.recording import Recording, RecordingSettings
from recorder.storage.open_parts import RollRules
from schemas.timestamps import NS_PER_DAY
from tests.support.market_log import RUN, T0, Story, market_log, split_batches

SETTINGS = RecordingSettings(
    segment_bytes=40_000, rules=RollRules(rows_min=1, roll_interval_s=0.2, rows_max=150)
)
DAY_ONE = "2026-11-22"
NEXT_RUN = "20261201T000000.000000Z-test-2"


def days_log(story: Story, days: int) -> list[RawLine]:
    """Return the lines of a story whose nights are empty: it goes on at the same time next day."""
    lines = market_log(story)
    return [
        replace(line, ts_recv=line.ts_recv + (number * days // len(lines)) * NS_PER_DAY)
        for number, line in enumerate(lines)
    ]


def record(
    archive: Path, lines: Sequence[RawLine], *, run_id: str = RUN, ends: bool = True
) -> None:
    """Record lines into an archive; a run that does not end is left as by a crash."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(recording, "new_run_id", lambda: run_id)
        tape = Recording.create(archive, SETTINGS)
    for batch in split_batches(list(lines), random.Random(3), 40):
        tape.commit(batch)
    if ends:
        tape.close()
    else:
        tape.abandon()


def days_archive(archive: Path, *, days: int = 5, seed: int = 5, steps: int = 150) -> int:
    """Record one run over some days, the first of them 2026-11-22.

    Returns
    -------
    int   a time on the day behind the last, ns UTC
    """
    record(archive, days_log(Story(seed, steps=steps, chance=0.01), days))
    return T0 + days * NS_PER_DAY
