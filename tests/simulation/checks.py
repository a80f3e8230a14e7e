"""What must be true of an archive once the storm is over, whatever the storm was.

1. Each frame that was counted as durable is in the raw log, byte for byte and in order.
2. Inside an interval of coverage the rows are the venue's, number by number, and every full book
   is the venue's at its number: so by induction the book is right throughout.
3. Between two intervals stands one gap, and every gap has a cause among the faults of the seed.
4. Every time of a row and every end of an interval is one at which the venue told something.
5. Parts are what the catalog says, and what the pipeline makes of the raw log; so are its runs,
   its instruments, the places of its full books, and its twin.
6. No process ends by itself unless the disk refuses, or the venue before recording has begun.
"""

from __future__ import annotations

import pyarrow as pa
from zstandard import ZstdError

from tests.simulation.archive import Archive
from tests.simulation.covered_books import books_right
from tests.simulation.kept_frames import frames_kept
from tests.simulation.kept_tables import tables_right
from tests.simulation.kept_trades import trades_right
from tests.simulation.ledger import ledger_right
from tests.simulation.limits import in_force
from tests.simulation.process import FAILED, STOPPED, Life
from tests.simulation.rebuilt import rebuilt_equal
from tests.simulation.seed import Played
from tests.simulation.shallow import shallow
from tests.simulation.spoilt import spoilt_streams
from tests.simulation.told_times import times_right


def check(played: Played, *, rebuild: bool) -> list[str]:
    """Return every promise that was broken.

    Parameters
    ----------
    rebuild : bool   run the raw logs through the pipeline once more
    """
    archive = Archive(played.disk, played.archive)
    problems = [*played.violations, *played.disk.broken_promises]
    try:
        problems += archive.check_parts()
        problems += archive.check_twin()
        if played.lives[-1].end == STOPPED:
            problems += archive.check_twin_is_the_catalog()
        problems += frames_kept(played, archive)
        problems += books_right(played, archive)
        problems += trades_right(played, archive)
        problems += times_right(played, archive)
        problems += tables_right(played, archive)
        problems += ledger_right(played, archive)
        if rebuild:
            plan = played.plan
            with in_force(plan.limits, []), shallow(plan.profile, is_shallow=plan.is_shallow):
                problems += rebuilt_equal(archive, spoilt_streams(played).keys())
    except (AssertionError, KeyError, ValueError, pa.ArrowException, ZstdError) as error:
        problems.append(f"the archive cannot be read: {error!r}")
    for life in played.lives:
        if life.end == FAILED and not (life.never_began or _has_refused(played, life)):
            problems.append(f"process {life.number} failed, and the disk did not: {life.why}")
        problems += [f"process {life.number} found {damage}" for damage in life.damage]
    return problems


def _has_refused(played: Played, life: Life) -> bool:
    """Say whether the disk refused anything while a process lived, on a clock that is set."""
    slack_ns = played.stepped_ns + played.stepped_back_ns
    return any(
        mishap.kind in {"disk_full", "catalog_full", "eio"}
        and life.ts_start - slack_ns <= mishap.ts <= life.ts_end + slack_ns
        for mishap in played.faults.mishaps
    )
