"""Connections cut and a recorder stopped for a while: every trade of the exchange is recorded."""

from __future__ import annotations

import asyncio
import json
from contextlib import closing
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from prometheus_client.parser import text_string_to_metric_families

from recorder.health import monitor
from recorder.rebuilding import rebuild
from recorder.storage.open_parts import RollRules
from recorder.transport import websocket
from recorder.verification import verify
from replay.exchange.app import ExchangeServer, ServerLimits, listening
from replay.exchange.dialects import DIALECTS, WORDINGS
from replay.exchange.line_file import LineFile
from replay.exchange.synthetic.source import SyntheticSource
from replay.exchange.synthetic.truth import OrderLogWriter
from tests.support.archive_content import archive_rows, assert_same_content, table_rows
from tests.support.live_recorder import LiveRecorder, free_port, live_recorder, make_config, until

SYMBOLS = ["BTC-USDT", "WIN-USDT"]
FEEDS = {"kucoin-2019": ["level3", "match"], "kucoin-classic": ["match"]}
CUTS = 3


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(websocket, "CLOSE_TIMEOUT_S", 0.3)
    monkeypatch.setattr(monitor, "STREAMS_FRESH_S", 0.0)


async def metrics(port: int) -> dict[str, float]:
    """Return what became of holes, and how many trades were filled in."""
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"http://127.0.0.1:{port}/metrics") as answer,
    ):
        families = text_string_to_metric_families(await answer.text())
    return {
        sample.labels.get("outcome", "trades"): sample.value
        for family in families
        for sample in family.samples
        if sample.name in ("booktape_backfills_total", "booktape_trades_backfilled_total")
    }


def true_trades(order_log: Path, dialect: str) -> dict[str, list[tuple[int, int, int]]]:
    """Return by symbol (sequence, price, size) of every match, from the engine's own log."""
    found: dict[str, list[tuple[int, int, int]]] = {symbol: [] for symbol in SYMBOLS}
    for line in order_log.read_text().splitlines():
        event = json.loads(line)
        if event["kind"] == "match":
            number = event["trade_id"] if dialect == "kucoin-classic" else event["sequence"]
            found[event["symbol"]].append((int(number), event["price"], event["size"]))
    return found


def hole(archive: Path, gap: dict[str, Any]) -> tuple[str, int, int]:
    """Return symbol and the trades between which nothing is known."""
    [before] = [
        interval["sequence_last"]
        for interval in table_rows(archive, "coverage")
        if [interval[name] for name in ("symbol", "stream", "run_id", "ordinal_last")]
        == [gap[name] for name in ("symbol", "stream", "run_id", "ordinal_from")]
    ]
    return gap["symbol"], before, gap["sequence_received"]


@pytest.mark.parametrize("dialect", list(FEEDS))
async def test_every_trade_is_recorded_once_though_connections_and_the_recorder_stop(
    tmp_path: Path, dialect: str
) -> None:
    archive, order_log, port = tmp_path / "archive", tmp_path / "orders.jsonl", free_port()
    with closing(LineFile(order_log)) as log:
        source = SyntheticSource(
            SYMBOLS, rate=50, wording=WORDINGS[dialect], order_log=OrderLogWriter(log)
        )
        server = ExchangeServer(source, limits=ServerLimits.lifted(), dialect=DIALECTS[dialect])
        async with listening(server) as exchange_port:
            config = make_config(
                f"http://127.0.0.1:{exchange_port}",
                archive,
                venue={"profile": dialect, "symbols": SYMBOLS, "streams": FEEDS[dialect]},
                http={"listen": f"127.0.0.1:{port}"},
            )

            async def told(recorder: LiveRecorder, symbol: str) -> bool:
                return (await recorder.stream(symbol, "trades")).get("sequence") is not None

            async def settled(holes: int) -> bool:
                told = await metrics(port)
                return sum(told.values()) - told["trades"] >= holes

            async with live_recorder(config) as recorder:
                for symbol in SYMBOLS:  # nothing shows where a hole begins that has no trade before
                    await until(lambda s=symbol: told(recorder, s), f"a trade of {symbol}")
                await asyncio.sleep(1.0)  # by each of its topics
                for cut in range(1, CUTS + 1):
                    for session in list(server.sessions):
                        session.cut("fault")
                    await until(lambda cut=cut: settled(cut * len(SYMBOLS)), "holes settled")
                in_run = await metrics(port)
            await asyncio.sleep(0.5)
            async with live_recorder(config):
                await until(lambda: settled(len(SYMBOLS)), "the hole between the runs settled")
                between = await metrics(port)
    # A slow machine may be away for longer than the exchange's history reaches back.
    assert in_run["healed"] >= CUTS
    assert between["healed"] >= 1
    assert in_run["trades"] > 0
    gaps = [gap for gap in table_rows(archive, "gaps") if gap["stream"] == "trades"]
    assert len(gaps) == (CUTS + 1) * len(SYMBOLS)
    healed = [gap for gap in gaps if gap["healed_by"] == "backfill"]
    assert len(healed) == in_run["healed"] + between["healed"]
    # Whoever reads the raw log again comes to the same rows, gaps and joins.
    rebuild(archive, tmp_path / "again", RollRules())
    assert_same_content(tmp_path / "again", archive)
    assert verify(archive).problems == []
    rows = archive_rows(archive)
    truth = true_trades(order_log, dialect)
    for symbol in SYMBOLS:
        recorded = [
            (row["sequence"], row["price_mantissa"], row["size_mantissa"])
            for key, table in rows.items()
            if key[:2] == ("trades", symbol)
            for row in table.select(["sequence", "price_mantissa", "size_mantissa"]).to_pylist()
        ]
        numbers = [number for number, _, _ in recorded]
        assert len(numbers) == len(set(numbers))
        first, last = min(numbers), max(numbers)
        expected = [trade for trade in truth[symbol] if first <= trade[0] <= last]
        assert set(recorded) <= set(expected)
        holes = [hole(archive, gap) for gap in gaps if gap not in healed]
        for number, *_ in set(expected) - set(recorded):
            assert any(name == symbol and a < number < b for name, a, b in holes)
