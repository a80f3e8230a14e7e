"""The real capture, imported: counts, invariants, the match rule, and the rows for ever."""

from __future__ import annotations

import json
from collections import Counter
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from recorder.importing import Imported, import_capture
from recorder.rebuilding import rebuild
from recorder.storage.open_parts import RollRules
from recorder.verification import verify
from replay.exchange.synthetic import wire
from replay.exchange.synthetic.instruments import instrument_for
from replay.exchange.synthetic.level2 import Level2Batcher
from replay.exchange.synthetic.market import SyntheticMarket
from replay.exchange.synthetic.orders import EngineEvent
from schemas.kucoin.market import Match, format_l2_update, format_match
from schemas.kucoin.profiles import profile_named
from tests.support.archive_content import archive_ledger, archive_rows, assert_same_content
from tests.support.judge import number
from tests.support.naive import NaiveL2
from tests.support.row_digest import row_digests

GOLDEN = Path(__file__).parent / "golden" / "kucoin-2021-04-25.json"
PROFILE = profile_named("kucoin-2019")
BOOK_ROWS = {"ANKR-BTC": 629, "CAPP-BTC": 1679, "EQZ-BTC": 234, "FET-BTC": 1117, "SNX-BTC": 548}
CHANGES = {"ANKR-BTC": 243, "CAPP-BTC": 92, "EQZ-BTC": 40, "FET-BTC": 218, "SNX-BTC": 600}
PUSHES = {"ANKR-BTC": 80, "CAPP-BTC": 51, "EQZ-BTC": 27, "FET-BTC": 111, "SNX-BTC": 159}
COMPARABLE = {"ANKR-BTC": 79, "CAPP-BTC": 51, "EQZ-BTC": 27, "FET-BTC": 111, "SNX-BTC": 157}


@pytest.fixture(scope="module")
def capture(shared_captures: Path) -> Path:
    """The capture file."""
    return shared_captures / "kucoin-2021-04-25" / "events.jsonl"


@pytest.fixture(scope="module")
def imported(capture: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Imported]:
    """The capture as an archive."""
    archive = tmp_path_factory.mktemp("playback") / "archive"
    return archive, import_capture(capture, archive, PROFILE)


def _rows(archive: Path, dataset: str, symbol: str) -> list[dict[str, Any]]:
    (table,) = (t for key, t in archive_rows(archive).items() if key[:2] == (dataset, symbol))
    fields = [
        pa.field(f.name, pa.int64() if pa.types.is_timestamp(f.type) else f.type)
        for f in table.schema
    ]
    return table.cast(pa.schema(fields)).to_pylist()


def test_counts_and_no_gap(imported: tuple[Path, Imported]) -> None:
    archive, result = imported
    counted: Counter[tuple[str, str]] = Counter()
    for key, table in archive_rows(archive).items():
        counted[key[:2]] += table.num_rows
    expected = {("trades", "FET-BTC"): 1}
    for dataset, counts in (
        ("book_snapshots", BOOK_ROWS),
        ("l2_updates", CHANGES),
        ("tickers", PUSHES),
    ):
        expected |= {(dataset, symbol): count for symbol, count in counts.items()}
    assert dict(counted) == expected
    assert archive_ledger(archive)["gaps"] == []
    assert result.counts["topic /market/candles"] == 1
    assert result.run_id.startswith("1619378325093176100-")


def test_rows_are_those_of_the_golden_file(imported: tuple[Path, Imported]) -> None:
    archive, _ = imported
    assert row_digests(archive) == json.loads(GOLDEN.read_text(encoding="utf-8"))


@pytest.mark.parametrize("symbol", sorted(CHANGES))
def test_every_comparable_ticker_agrees_with_the_book(
    imported: tuple[Path, Imported], symbol: str
) -> None:
    archive, _ = imported
    tickers: dict[int, list[dict[str, Any]]] = {}
    for push in _rows(archive, "tickers", symbol):
        tickers.setdefault(push["sequence"], []).append(push)
    book, at = _seeded(archive, symbol)
    compared = 0
    for row in [None, *_rows(archive, "l2_updates", symbol)]:
        if row is not None:
            assert row["sequence"] == at + 1
            at = row["sequence"]
            book.change(row["side"], number(row, "price"), number(row, "size"))
        bids, asks = book.whole()
        assert bids[0][0] < asks[0][0]
        for push in tickers.get(at, ()):
            compared += 1
            assert bids[0] == (number(push, "best_bid"), number(push, "best_bid_size"))
            assert asks[0] == (number(push, "best_ask"), number(push, "best_ask_size"))
    assert compared == COMPARABLE[symbol]


def _seeded(archive: Path, symbol: str) -> tuple[NaiveL2, int]:
    book = NaiveL2()
    full = _rows(archive, "book_snapshots", symbol)
    assert {row["origin"] for row in full} == {"rest"}
    sides: dict[str, list[Any]] = {"bid": [], "ask": []}
    for row in full:
        sides[row["side"]].append((number(row, "price"), number(row, "size")))
    book.seed(sides["bid"], sides["ask"])
    return book, full[0]["sequence"]


def test_the_match_takes_its_size_from_the_best_level(imported: tuple[Path, Imported]) -> None:
    archive, _ = imported
    (trade,) = _rows(archive, "trades", "FET-BTC")
    book, _ = _seeded(archive, "FET-BTC")
    for row in _rows(archive, "l2_updates", "FET-BTC"):
        before = book.whole()
        book.change(row["side"], number(row, "price"), number(row, "size"))
        if row["sequence"] == trade["sequence"]:
            maker = {"buy": 1, "sell": 0}[trade["aggressor_side"]]
            price, resting = before[maker][0]
            assert price == number(trade, "price")
            left = dict(book.whole()[maker]).get(price, Decimal(0))
            assert resting - left == number(trade, "size")
            return
    pytest.fail("no change has the match's sequence")


def test_verified_and_rebuilt_it_is_the_same(
    imported: tuple[Path, Imported], tmp_path: Path
) -> None:
    archive, _ = imported
    report = verify(archive, with_books=False)
    assert report.problems == []
    assert (report.runs, report.lines, report.rows) == (1, 1656, 5829)
    done = rebuild(archive, tmp_path / "again", RollRules(rows_min=1, roll_interval_s=1))
    assert (done.runs, done.lines, done.damage) == (1, 1656, [])
    assert len(list((tmp_path / "again").glob("tickers/*/*/*"))) > len(PUSHES)
    assert_same_content(archive, tmp_path / "again")


def _synthetic_capture(symbol: str, matches: int, path: Path) -> None:
    """Write a market of the engine as a capture: the book first, then level 2 and matches."""
    market = SyntheticMarket(instrument_for(symbol), 7)
    market.open_market(1_700_000_000_000_000_000)
    batcher = Level2Batcher(market.instrument, 1, 7)
    text = market.instrument
    bids, asks = market.engine.l2()
    book = {
        "sequence": str(market.engine.sequence),
        "bids": [(text.price_text(p), text.size_text(s)) for p, s in bids],
        "asks": [(text.price_text(p), text.size_text(s)) for p, s in asks],
    }
    url = PROFILE.rest_url + PROFILE.book_source("l2", signed=False).path.format(symbol=symbol)
    now, seen = 1_700_000_000_000_000, 0
    with path.open("w", encoding="utf-8") as file:

        def write(kind: str, data: str, **fields: str) -> None:
            ts = f"{now // 10**6}.{now % 10**6:06d}"
            file.write(json.dumps({"kind": kind, "ts_recv": ts, "data": data, **fields}) + "\n")

        def on_event(_: SyntheticMarket, event: EngineEvent) -> None:
            nonlocal seen
            update = batcher.add(event)
            assert update is not None
            write("frame", format_l2_update(update).decode())
            if event.kind == "match":
                seen += 1
                match: Match = wire.match(market.instrument, event)
                write("frame", format_match(match).decode())

        write("rest", json.dumps({"code": "200000", "data": book}), url=url)
        market.observe(on_event)
        while seen < matches:
            now += 1_000
            market.step(now * 1_000)


@pytest.mark.parametrize("symbol", ["BTC-USDT", "SHIB-BTC", "WIN-USDT"])
def test_every_synthetic_match_takes_its_size_from_the_best_level(
    tmp_path: Path, symbol: str
) -> None:
    """The rule the real exchange keeps, on 3,600 matches of each scale."""
    capture = tmp_path / "capture.jsonl"
    _synthetic_capture(symbol, 3_600, capture)
    archive = tmp_path / "archive"
    import_capture(capture, archive, PROFILE)
    trades = {row["sequence"]: row for row in _rows(archive, "trades", symbol)}
    assert len(trades) >= 3_600
    seed, at = _seeded(archive, symbol)
    sides = seed.sides
    judged = 0
    for row in _rows(archive, "l2_updates", symbol):
        assert row["sequence"] == at + 1
        at = row["sequence"]
        price, size = number(row, "price"), number(row, "size")
        assert price is not None
        trade = trades.get(at)
        if trade is not None and price:
            maker = {"buy": "ask", "sell": "bid"}[trade["aggressor_side"]]
            assert row["side"] == maker
            best = (max if maker == "bid" else min)(sides[maker])
            assert price == best == number(trade, "price")
            assert sides[maker][price] - size == number(trade, "size")
            judged += 1
        elif trade is not None:
            assert not number(row, "size")  # a hidden order was hit: no book holds it
        seed.change(row["side"], price, size)
    assert judged == len(trades)
