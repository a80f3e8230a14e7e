"""Between two intervals stands one gap, and every gap has a cause among the faults of the seed.

Inside a run the clock of what is known never runs backwards. From run to run the wall clock may
have been set back, and then two of them cover the same moments: no gap stands in a moment that
another run covers, and exactly one where none does. Which rows it stands between is asked by run,
ordinal and sequence, so that a clock set back hides nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

from schemas.datasets import BOOK_STREAMS
from tests.simulation.archive import Archive
from tests.simulation.causes import cause_known
from tests.simulation.covered_books import intervals_of
from tests.simulation.seed import Played
from tests.simulation.spoilt import doubts_of

Row = dict[str, Any]
# An interval, the one behind it, whether they are of one run.
Place = tuple[Row, Row, bool]


def ledger_right(played: Played, archive: Archive) -> Iterator[str]:
    """Ask every hole for its gap, and every gap for its hole and its cause."""
    lives = {life.run_id: life for life in played.lives}
    split = {key for key, doubt in doubts_of(played, archive).items() if doubt.is_split}
    played.met["run of two stories"] += len(split)
    runs: dict[tuple[str, str], list[list[Row]]] = {}
    for (symbol, stream, _), covered in intervals_of(archive).items():
        runs.setdefault((symbol, stream), []).append(covered)
    gaps: dict[tuple[str, str], list[Row]] = {}
    for audit in archive.table("audits"):
        played.met[f"audit {audit['result']}"] += 1
    for gap in archive.table("gaps"):
        played.met[f"gap {gap['reason']}"] += 1
        if gap["healed_by"] == "backfill":
            played.met["gap filled in"] += 1
        gaps.setdefault((gap["symbol"], gap["stream"]), []).append(gap)
        if (gap["symbol"], gap["stream"], gap["run_id"]) not in split:
            yield from cause_known(played, lives, gap)
    for key, covered_by_run in runs.items():
        if not any((*key, covered[0]["run_id"]) in split for covered in covered_by_run):
            yield from one_gap_between(*key, covered_by_run, gaps.pop(key, []))
    for key in gaps.keys() - runs.keys():
        yield f"{' '.join(key)}: {len(gaps[key])} gaps, and nothing is covered"


def one_gap_between(
    symbol: str, stream: str, runs: list[list[Row]], gaps: list[Row]
) -> Iterator[str]:
    """Say which holes between intervals have no gap, or two, and which gaps have no hole.

    Parameters
    ----------
    runs : list   the intervals of each run, in order
    gaps : list   emptied of those that have their hole
    """
    what = f"{symbol} {stream}"
    for covered in runs:
        if any(interval["is_open"] for interval in covered):
            yield f"{what}: an interval is still open"
        if any(after["ts_from"] < before["ts_to"] for before, after in pairwise(covered)):
            yield f"{what}: an interval begins before the one before it ends"
    behind, last = _between_runs(runs)
    for before, after, is_one_run in [
        *((*pair, True) for covered in runs for pair in pairwise(covered)),
        *((*pair, False) for pair in behind),
    ]:
        found = [gap for gap in gaps if _stands_between(gap, before, after)]
        for gap in found:
            gaps.remove(gap)
        if len(found) != 1:
            yield (
                f"{what}: {len(found)} gaps between {before['ts_to']} and {after['ts_from']}, "
                f"runs {before['run_id']} and {after['run_id']}"
            )
        elif stream in BOOK_STREAMS:
            told = (found[0]["sequence_expected"], found[0]["sequence_received"])
            if told[0] != before["sequence_last"] + 1:
                yield f"{what}: a gap from {told[0]} behind a row of {before['sequence_last']}"
            if told[1] != after["sequence_first"] and not is_one_run:
                yield f"{what}: a gap to {told[1]} before a book at {after['sequence_first']}"
    open_ends = [gap for gap in gaps if any(_stands_behind(gap, end) for end in last)]
    wrong = [gap for gap in gaps if gap not in open_ends]
    if wrong:
        reasons = [(gap["reason"], gap["ts_from"], gap["ts_to"]) for gap in wrong]
        yield f"{what}: gaps that stand between no two intervals: {reasons}"
    if len(open_ends) > len(last):
        yield f"{what}: {len(open_ends)} gaps that nothing has ended"


def _between_runs(runs: list[list[Row]]) -> tuple[list[tuple[Row, Row]], list[Row]]:
    """Return the intervals on both sides of each moment that no run covers, and all other ends."""
    ordered = sorted(runs, key=lambda covered: int(covered[0]["ts_from"]))
    holes: list[tuple[Row, Row]] = []
    ends: list[Row] = []
    reaching = ordered[0][-1]
    for covered in ordered[1:]:
        if covered[0]["ts_from"] >= reaching["ts_to"]:
            holes.append((reaching, covered[0]))
            reaching = covered[-1]
        else:
            ended, reaching = sorted(
                (reaching, covered[-1]), key=lambda interval: int(interval["ts_to"])
            )
            ends.append(ended)
    return holes, [*ends, reaching]


def _stands_between(gap: Row, before: Row, after: Row) -> bool:
    is_there = gap["run_id"] == before["run_id"] and gap["ordinal_from"] == before["ordinal_last"]
    return is_there and (gap["ts_from"], gap["ts_to"]) == (before["ts_to"], after["ts_from"])


def _stands_behind(gap: Row, end: Row) -> bool:
    """Say whether a gap begins where an interval ends, and nothing has ended it."""
    is_there = gap["run_id"] == end["run_id"] and gap["ordinal_from"] == end["ordinal_last"]
    return is_there and gap["ts_from"] == end["ts_to"] and gap["ts_to"] is None
