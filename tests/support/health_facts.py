"""Facts of a recorder at a moment, for tests of what is made of them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from recorder.health.status import RECORDING, ConnectionFacts, Facts
from recorder.meters import LastRow
from schemas.timestamps import NS_PER_S

BTC, ETH = "BTC-USDT", "ETH-BTC"
NOON = 1_795_000_000 * NS_PER_S

_RECORDING = Facts(
    phase=RECORDING,
    ts=NOON,
    ts_start=NOON - 100 * NS_PER_S,
    run_id="20261122T000000.000000Z-test-1",
    version="0.2.0",
    venue="kucoin",
    profile="kucoin-2019",
    archive="archive",
    symbols=(BTC, ETH),
    feeds=("level2",),
    streams={
        (BTC, "l2"): {"state": "synced", "sequence": 7, "gaps": 1, "gap": None, "live": 40},
        (ETH, "l2"): {
            "state": "buffering", "sequence": 5, "gaps": 2, "gap": "sequence", "live": 3,
        },
    },
    stream_gaps={(BTC, "l2"): 1},
    last_rows={(BTC, "l2"): LastRow(NOON - NS_PER_S // 2, NOON - NS_PER_S)},
    connections=(ConnectionFacts(1, 2, True, 60.0, 12, 10),),
    connections_planned=1,
)  # fmt: skip


def make_facts(**changes: Any) -> Facts:
    """Return a recorder with one book in step and one that waits, changed as the test wants."""
    return replace(_RECORDING, **changes)
