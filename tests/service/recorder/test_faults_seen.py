"""An exchange that repeats, reorders, garbles, cuts and answers late, as the metrics show it."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import aiohttp
from prometheus_client.parser import text_string_to_metric_families

from replay.exchange.app import ExchangeServer, listening
from replay.exchange.dialects import DIALECTS, WORDINGS
from replay.exchange.faults import FaultPlan, parse_fault
from replay.exchange.synthetic.source import SyntheticSource
from tests.support.archive_content import table_rows
from tests.support.live_recorder import BTC, ETH, free_port, live_recorder, make_config, until

PROFILE = "kucoin-2019"
# The first of each on a machine that has time for this; later ones where starting takes long.
FAULTS = (
    "duplicate=0.05",
    *(
        fault
        for later_s in (0.0, 4.0, 12.0, 24.0)
        for fault in (
            f"reorder@{later_s + 0.7:.1f}s:topic=level2",
            f"garbage@{later_s + 0.9:.1f}s:topic=level3",
            f"disconnect@{later_s + 1.2:.1f}s",
            f"stale@{later_s + 1.2:.1f}s:topic=level2:count=2:events=400",
        )
    ),
)


class Metrics:
    """What `/metrics` says, one scrape."""

    def __init__(self, text: str) -> None:
        self._samples = [
            sample for family in text_string_to_metric_families(text) for sample in family.samples
        ]

    def sum(self, name: str, **labels: str) -> float:
        """Return the sum of a family's series with these labels."""
        found = [
            sample.value
            for sample in self._samples
            if sample.name == f"booktape_{name}" and labels.items() <= sample.labels.items()
        ]
        assert found, f"{name} {labels} is there"
        return sum(found)


async def test_every_fault_is_counted_and_every_book_heals(tmp_path: Path) -> None:
    plan = FaultPlan([parse_fault(fault) for fault in FAULTS])
    source = SyntheticSource(
        (BTC, ETH), keep_books=plan.needs_old_books, wording=WORDINGS[PROFILE], rate=150.0
    )
    server = ExchangeServer(source, faults=plan, dialect=DIALECTS[PROFILE])
    async with listening(server) as port, aiohttp.ClientSession() as http:
        page = f"http://127.0.0.1:{free_port()}"
        config = make_config(
            f"http://127.0.0.1:{port}",
            tmp_path / "archive",
            venue={"symbols": [BTC, ETH], "streams": ["level2", "level3", "match"]},
            http={"listen": page.removeprefix("http://")},
        )

        async def scrape() -> Metrics:
            async with http.get(f"{page}/metrics") as answer:
                return Metrics(await answer.text())

        async with live_recorder(config) as recorder:

            async def is_over() -> Any:
                await asyncio.sleep(0.1)
                seen = await scrape()
                # With an update held an old book is refused, without one the next update shows it.
                refused = seen.sum("book_snapshots_total", stream="l2", outcome="too_old")
                bridges = seen.sum("gaps_total", stream="l2", reason="bridge")
                is_met = (
                    refused + bridges >= 2
                    and seen.sum("gaps_total", stream="l2", reason="sequence") >= 1
                    and seen.sum("frames_garbage_total") >= 1
                    and seen.sum("reconnects_total", reason="disconnected") >= 1
                )
                is_healed = seen.sum("gaps_open") == 0 and await recorder.ready()
                return is_healed and is_met and seen

            seen = await until(is_over, "every fault met, every book healed")
    assert set(plan.carried_out) >= {"duplicate", "reorder", "garbage", "disconnect", "stale"}
    for stream in ("l2", "l3"):
        assert seen.sum("book_messages_total", stream=stream, outcome="stale") > 5
        assert seen.sum("book_messages_total", stream=stream, outcome="written") > 100
    assert seen.sum("pushes_repeated_total") > 0
    assert seen.sum("gaps_total", stream="l2", reason="sequence") >= 1
    assert seen.sum("gaps_total", stream="l3", reason="disconnected") >= 1
    assert seen.sum("frames_garbage_total") >= 1
    assert seen.sum("reconnects_total", reason="disconnected") >= 1
    assert seen.sum("resyncs_total") == seen.sum("gaps_total") - seen.sum(
        "gaps_total", stream="trades"
    )
    assert seen.sum("rest_waiting") == 0
    assert seen.sum("sequence_epochs_total") == 0
    told = {row["reason"] for row in table_rows(tmp_path / "archive", "gaps")}
    assert {"sequence", "disconnected"} <= told
