"""Unmodified ccxt.pro and this recorder beside each other: both end with the same top ten."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Any

import pytest

from replay import Archive
from tests.service.replay.exchange.conftest import CLASSIC, running

SYMBOLS = ("BTC-USDT", "ETH-BTC", "SHIB-BTC", "WIN-USDT", "AAVE-USDT", "XRP-BTC")
WATCH_S = 8.0
BEFORE_S = 5.0  # the recorder begins earlier and stops later than the other client
AFTER_S = 3.0


async def record(folder: Path, url: str) -> asyncio.subprocess.Process:
    """Start the recorder for as long as the other client watches, and a little more."""
    config = folder / "config.toml"
    config.write_text(
        f"""archive = "archive"
[venue]
profile = "{CLASSIC}"
rest_url = "{url}"
symbols = ["*"]
streams = ["level2", "match"]
"""
    )
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "recorder.cli", "run", str(config)),
        *("--for", f"{BEFORE_S + WATCH_S + AFTER_S:g}s"),
        stderr=asyncio.subprocess.PIPE,
    )


async def watch(exchange: Any, symbol: str) -> Any:
    """Follow one book and return it as it was at last."""
    until = asyncio.get_running_loop().time() + WATCH_S
    book = await exchange.watch_order_book(symbol)
    while asyncio.get_running_loop().time() < until:
        book = await exchange.watch_order_book(symbol)
    return {
        "nonce": book["nonce"],
        "bids": [tuple(row[:2]) for row in book["bids"][:10]],
        "asks": [tuple(row[:2]) for row in book["asks"][:10]],
    }


@pytest.mark.timeout(120)
async def test_both_end_with_the_same_ten_best_levels_of_every_symbol(tmp_path: Path) -> None:
    ccxt = pytest.importorskip("ccxt.pro", reason="ccxt, an independent client, is not installed")
    async with running(*SYMBOLS, rate=120.0, dialect=CLASSIC, l2_batch=5) as (_, client):
        recorder = await record(tmp_path, client.url)
        exchange = ccxt.kucoin({"options": {"fetchMarkets": {"types": ["spot"]}, "uta": False}})
        exchange.urls["api"] = {
            name: client.url if isinstance(url, str) else url
            for name, url in exchange.urls["api"].items()
        }
        try:
            await asyncio.sleep(BEFORE_S)
            await exchange.load_markets(False, {"marginables": False})
            names = [symbol.replace("-", "/") for symbol in SYMBOLS]
            books = await asyncio.gather(*(watch(exchange, name) for name in names))
        finally:
            await exchange.close()
            _, errors = await recorder.communicate()
    assert recorder.returncode == 0, errors.decode()
    with Archive(tmp_path / "archive") as tape:
        assert set(SYMBOLS) <= set(tape.symbols)
        for symbol, theirs in zip(SYMBOLS, books, strict=True):
            ours = tape.book(symbol, sequence=theirs["nonce"])
            assert ours.sequence == theirs["nonce"], symbol
            for side in ("bids", "asks"):
                levels = getattr(ours, side).top(10)
                assert levels.known_mask.all(), symbol
                assert len(levels) == 10
                mine = [(float(level.price), float(level.size)) for level in levels]
                assert mine == theirs[side], f"{symbol} {side} at {theirs['nonce']}"
