"""The recorder, with a decoder that is too slow for a while: `soak.py` starts it.

    python benchmarks/slow_decoder.py FROM_S FOR_S LINES_PER_S run recorder.toml

From so many seconds after its start on, for so many seconds, the writer takes as long for lines as
if it could do no more than so many a second. The recorder itself knows nothing of this.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run as a file, it finds its like

from recorder.cli import main
from recorder.run_writer import RunWriter

BEGAN = time.monotonic()


def slow_down(from_s: float, for_s: float, lines_per_s: float) -> None:
    """Make the writer slow for a time."""
    process = RunWriter.process

    def process_slowly(self: RunWriter, lines: Any, *more: Any, **named: Any) -> Any:
        began = time.monotonic()
        done = process(self, lines, *more, **named)
        if from_s <= began - BEGAN < from_s + for_s:
            time.sleep(max(0.0, began + len(lines) / lines_per_s - time.monotonic()))
        return done

    RunWriter.process = process_slowly  # type: ignore[method-assign]


if __name__ == "__main__":
    slow_down(*map(float, sys.argv[1:4]))
    del sys.argv[1:4]
    main()
