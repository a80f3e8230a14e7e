"""What must be true of an archive once the storm is over, whatever the storm was.

1. Each frame that was counted as durable is in the raw log, byte for byte and in order.
2. Inside an interval of coverage the rows are the venue's, number by number, and every full book
   is the venue's at its number: so by induction the book is right throughout.
3. Between two intervals stands one gap, and every gap has a cause among the faults of the seed.
4. Parts are what the catalog says, and what the pipeline makes of the raw log.
"""

from __future__ import annotations

import pyarrow as pa

from tests.simulation.archive import Archive
from tests.simulation.covered_books import books_right
from tests.simulation.kept_frames import frames_kept
from tests.simulation.kept_trades import trades_right
from tests.simulation.ledger import ledger_right
from tests.simulation.limits import in_force
from tests.simulation.rebuilt import rebuilt_equal
from tests.simulation.seed import Played
from tests.simulation.shallow import shallow
from tests.simulation.spoilt import spoilt_streams


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
        problems += frames_kept(played, archive)
        problems += books_right(played, archive)
        problems += trades_right(played, archive)
        problems += ledger_right(played, archive)
        if rebuild:
            plan = played.plan
            with in_force(plan.limits, []), shallow(plan.profile, is_shallow=plan.is_shallow):
                problems += rebuilt_equal(archive, spoilt_streams(played).keys())
    except (AssertionError, KeyError, ValueError, pa.ArrowException) as error:
        problems.append(f"the archive cannot be read: {error!r}")
    for life in played.lives:
        problems += [f"process {life.number} found {damage}" for damage in life.damage]
    return problems
