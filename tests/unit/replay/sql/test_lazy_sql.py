"""The command that shows SQL to be lazy and lean, run at a fraction of its size."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

COMMAND = Path(__file__).parents[4] / "benchmarks" / "lazy_sql.py"


def test_a_limit_opens_few_parts_and_a_count_holds_little():
    done = subprocess.run(
        [sys.executable, str(COMMAND), "--parts", "8", "--rows-per-part", "60000"],
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    limit, count = map(json.loads, done.stdout.splitlines())
    assert (limit["rows"], limit["parts_touched"]) == (10, 1)
    assert limit["rows_replayed"] <= 3 * 50_000
    assert (count["parts_touched"], count["rows_replayed"]) == (8, 480_000)
    assert 0.45 < count["first"] / 480_000 < 0.55, "every second update changes the best"
    assert count["memory_added_mb"] <= 150
