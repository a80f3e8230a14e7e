"""Each trade that was received or filled in has one row, and no other has any."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tests.simulation.archive import Archive, values
from tests.simulation.market import Trade, Truth
from tests.simulation.seed import Played

WORDS = ("aggressor_side", "ts_event", "trade_id", "maker_order_id", "taker_order_id", "source")
NUMBERS = ("price_mantissa", "price_scale", "size_mantissa", "size_scale")


def trades_right(played: Played, archive: Archive) -> Iterator[str]:
    """Compare every trade with the venue's, column by column, and ask for those that came."""
    found = archive.rows("trades", ["sequence", *NUMBERS, *WORDS])
    numbers = {life.run_id: life.number for life in played.lives}
    received = {
        run_id: _trades_received(played, lines) for run_id, lines in archive.raw_lines.items()
    }
    seen: dict[tuple[str, str], set[int]] = {}
    for (_, symbol, _, run_id), rows in found.items():
        price = values(rows["price_mantissa"], rows["price_scale"])
        size = values(rows["size_mantissa"], rows["size_scale"])
        words = [rows[name].tolist() for name in WORDS]
        trades = [
            (sequence, Trade(*told), source)
            for sequence, *told, source in zip(
                rows["sequence"].tolist(), price.tolist(), size.tolist(), *words, strict=True
            )
        ]
        told = {**played.venue.epochs[symbol][0].trades, **played.venue.epochs[symbol][-1].trades}
        what = f"run {numbers.get(run_id)}: trades of {symbol}"
        if wrong := [t for t in trades if not _is_the_venues(told.get(t[0]), t[1], t[2])]:
            yield f"{what}: {len(wrong)} the venue never told, {wrong[0]} is one"
        came = received.get(run_id, {}).get(symbol, set())
        if made_up := [t[0] for t in trades if t[2] != "backfill" and t[0] not in came]:
            yield f"{what}: {made_up[0]} is said to have come, and did not"
        seen[symbol, run_id] = {trade[0] for trade in trades}
        if len(seen[symbol, run_id]) != len(trades):
            yield f"{what}: one stands there twice"
    everywhere: dict[str, set[int]] = {}
    for (symbol, run_id), trades_of_run in seen.items():
        if again := everywhere.setdefault(symbol, set()) & trades_of_run:
            yield f"run {numbers.get(run_id)}: an earlier one has trade {min(again)} of {symbol}"
        everywhere[symbol] |= trades_of_run
    yield from _filled_in(played, archive, everywhere)
    for run_id, by_symbol in received.items():
        for symbol, expected in by_symbol.items():
            if missing := expected - seen.get((symbol, run_id), set()):
                yield (
                    f"run {numbers.get(run_id)}: {len(missing)} trades of {symbol} were received "
                    f"and have no row, {min(missing)} is one"
                )


def _is_the_venues(told: Trade | None, row: Trade, source: str) -> bool:
    """Compare a row with what was told; a history names neither trades nor orders."""
    if told is not None and source == "backfill":
        told = told._replace(trade_id=None, maker_order_id=None, taker_order_id=None)
    return told == row


def _filled_in(played: Played, archive: Archive, kept: dict[str, set[int]]) -> Iterator[str]:
    """Ask each gap that was filled in for all its trades."""
    for gap in archive.table("gaps"):
        if gap["stream"] != "trades" or gap["healed_by"] != "backfill":
            continue
        symbol, first, last = gap["symbol"], gap["sequence_expected"], gap["sequence_received"]
        truth = _truth_of_trade(played, symbol, last)
        # An interval without a trade does not say behind which number the gap begins.
        if first is not None and truth is not None:
            missing = {n for n in truth.trades if first <= n <= last} - kept.get(symbol, set())
            if missing:
                yield (
                    f"{symbol}: the gap in trades from {first} to {last} was filled in, and "
                    f"{len(missing)} are missing, {min(missing)} is one"
                )


def _truth_of_trade(played: Played, symbol: str, number: int) -> Truth | None:
    return next((t for t in played.venue.epochs[symbol] if number in t.trades), None)


def _trades_received(played: Played, lines: list[Any]) -> dict[str, set[int]]:
    """Return the trades that a raw log tells of, by symbol."""
    received: dict[str, set[int]] = {}
    variants = played.venue.variants
    for symbol, epochs in played.venue.epochs.items():
        for truth in epochs:
            by_frame, trades = truth.by_frame, truth.trades
            for line in lines:
                if line.kind == "recv" and line.data is not None:
                    message = by_frame.get(variants.get(line.data, line.data))
                    if message is not None and message.feed != "level2":
                        number = message.last
                        if number in trades:
                            received.setdefault(symbol, set()).add(number)
    return received
