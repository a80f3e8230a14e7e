"""The recorder, whose live books are changed behind its back once: `unseen.py` starts it.

    python benchmarks/corrupting_recorder.py AFTER_S FILE run recorder.toml

So many seconds after every book stood for the first time, one size far from the middle of each is
made another, as a fault in memory would, and FILE gets a line for each. The recorder itself knows
nothing of this: only a question to the exchange can tell.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run as a file, it finds its like

from recorder.cli import main
from recorder.run_writer import RunWriter
from schemas.datasets import BOOK_STREAMS

SIZES_CHANGED = 3


def corrupt(book: Any) -> None:
    """Change the sizes of a few bids, the farthest there are: nobody soon tells of them again."""
    if hasattr(book, "_orders"):
        orders = book._orders
        for order_id in sorted(orders, key=lambda key: orders[key][1])[:SIZES_CHANGED]:
            side, price, size = orders[order_id]
            orders[order_id] = (side, price, size + 1)
    else:
        for price in sorted(book._bids)[:SIZES_CHANGED]:
            book._bids[price] += 1


def corrupt_later(after_s: float, told: Path) -> None:
    """Corrupt every live book once, in the writer's own thread."""
    process = RunWriter.process
    state = {"stood_at": 0.0, "done": False}

    def process_and_corrupt(self: RunWriter, *given: Any, **named: Any) -> Any:
        done = process(self, *given, **named)
        if not state["done"]:
            states = self.pipeline.status()
            keys = [key for key in states if key[1] in BOOK_STREAMS]
            now = time.monotonic()
            if not keys or any(states[key]["state"] != "synced" for key in keys):
                state["stood_at"] = 0.0
            elif not state["stood_at"]:
                state["stood_at"] = now
            elif now - state["stood_at"] >= after_s:
                state["done"] = True
                with told.open("w") as file:
                    for symbol, stream in keys:
                        corrupt(self.pipeline._streams.book((symbol, stream)).book)
                        line = {"time": time.time_ns(), "symbol": symbol, "stream": stream}
                        file.write(json.dumps(line) + "\n")
        return done

    RunWriter.process = process_and_corrupt  # type: ignore[method-assign]


if __name__ == "__main__":
    corrupt_later(float(sys.argv[1]), Path(sys.argv[2]))
    del sys.argv[1:3]
    main()
