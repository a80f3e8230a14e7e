"""The main promise: whatever was lost, every book given back is the exchange's own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.ground_truth import compare
from tests.support.recorded_market import record_market

SYMBOLS = ["BTC-USDT", "SHIB-BTC", "WIN-USDT"]  # around 60,000; around 1e-8; sizes around 1e9
SEQUENCES = 220

# Enough loss that refusals are tested, little enough that the record is mostly whole.
FAULTS = [
    "drop@4s:topic=level2:count=2",
    "drop@5s:topic=level3:count=2",
    "duplicate=0.002",
    "reorder@7s:topic=level2:symbol=SHIB-BTC:count=1",
    "delay@8s:topic=level3:for=300ms:count=20",
    "disconnect@9s",
    "stale=0.1",
    "garbage@6s",
]


@pytest.mark.timeout(180)
@pytest.mark.parametrize("l2_batch", [1, 7], ids=["one change a message", "coalesced messages"])
def test_every_book_equals_the_exchanges_or_is_refused_in_a_gap(
    tmp_path: Path, l2_batch: int
) -> None:
    market = record_market(
        tmp_path,
        symbols=SYMBOLS,
        seconds=38,
        rate=600,
        faults=FAULTS,
        l2_batch=l2_batch,
        seed=20 + l2_batch,
    )
    assert market.fault_log.read_text().count('"kind"') >= 5, "the faults were carried out"
    for result in compare(market.archive, market.order_log, SYMBOLS, SEQUENCES, seed=l2_batch):
        assert not result.wrong, result.wrong[:3]
        assert result.asked == SEQUENCES
        assert result.answered >= 0.95 * result.asked, result
        assert result.far >= result.asked / 2, result
        assert result.gap_probes, "the connection was cut: each book has a gap to be refused in"
    told = subprocess.run(
        [
            *(sys.executable, "-m", "replay.cli", "verify", str(market.archive)),
            *("--truth", str(market.truth)),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert told.returncode == 0, told.stdout + told.stderr
