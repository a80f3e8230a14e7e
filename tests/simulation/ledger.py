"""Between two intervals stands one gap, and every gap has a cause among the faults of the seed."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

from tests.simulation.archive import Archive
from tests.simulation.causes import cause_known
from tests.simulation.covered_books import intervals_of
from tests.simulation.seed import Played


def ledger_right(played: Played, archive: Archive) -> Iterator[str]:
    order = {life.run_id: life.number for life in played.lives}
    lives = {life.run_id: life for life in played.lives}
    intervals: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for (symbol, stream, _), covered in intervals_of(archive).items():
        intervals.setdefault((symbol, stream), []).extend(covered)
    gaps: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for audit in archive.table("audits"):
        played.met[f"audit {audit['result']}"] += 1
    for gap in archive.table("gaps"):
        played.met[f"gap {gap['reason']}"] += 1
        if gap["healed_by"] == "backfill":
            played.met["gap filled in"] += 1
        gaps.setdefault((gap["symbol"], gap["stream"]), []).append(gap)
        yield from cause_known(played, lives, gap)
    for key, covered in intervals.items():
        covered.sort(key=lambda i: (order[i["run_id"]], i["ordinal_first"], i["ts_from"]))
        yield from _one_gap_between(" ".join(key), covered, list(gaps.get(key, [])))


def _one_gap_between(
    what: str, covered: list[dict[str, Any]], gaps: list[dict[str, Any]]
) -> Iterator[str]:
    went_back = False
    for before, after in pairwise(covered):
        if after["ts_from"] < before["ts_to"]:
            if before["run_id"] == after["run_id"]:
                yield f"{what}: an interval begins before the one before it ends"
            went_back = True  # the wall clock did, between two runs
            continue
        between = [
            gap
            for gap in gaps
            if (gap["ts_from"], gap["ts_to"]) == (before["ts_to"], after["ts_from"])
        ]
        if len(between) != 1 and not went_back:
            yield (
                f"{what}: {len(between)} gaps between {before['ts_to']} and {after['ts_from']}, "
                f"runs {before['run_id']} and {after['run_id']}"
            )
        for gap in between:
            gaps.remove(gap)
    if gaps and not went_back:
        reasons = [(gap["reason"], gap["ts_from"], gap["ts_to"]) for gap in gaps]
        yield f"{what}: gaps that stand between no two intervals: {reasons}"
    if covered and any(i["is_open"] for i in covered):
        yield f"{what}: an interval is still open"
