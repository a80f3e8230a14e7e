"""Audits, crossed checks and silent subscriptions against the real exchange, both dialects."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import orjson
import pytest

from recorder import live
from recorder.auditor import AuditRules
from recorder.config import Config
from recorder.tape import open_tape
from recorder.verification import verify
from replay import Archive
from replay.exchange.app import ExchangeServer, listening
from replay.exchange.dialects import DIALECTS, WORDINGS
from replay.exchange.faults import FaultPlan, parse_fault
from replay.exchange.synthetic.source import SyntheticSource
from tests.support.archive_content import table_rows
from tests.support.live_recorder import BTC, ETH, LiveRecorder, live_recorder, make_config, until

STREAMS = {
    "kucoin-2019": ["level2", "level3", "match"],
    "kucoin-classic": ["level2", "match"],
}
QUICK = AuditRules(interval_s=0.4, rest_share=5.0, stale_after_s=0.5, check_s=0.2)


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(live, "audit_rules", lambda config: QUICK)
    return


class Held:
    """A recorder and what it writes with."""

    def __init__(self, recorder: LiveRecorder, tapes: list[Any]) -> None:
        self.recorder = recorder
        self._tapes = tapes

    def stream(self, symbol: str, stream: str) -> Any:
        """Return a live book stream of the pipeline."""
        return self._tapes[0]._writer.pipeline._streams.book((symbol, stream))

    def audits(self, stream: str, result: str) -> int:
        """Return how many audits have ended so."""
        return int(self._tapes[0].meters.audits[stream, result])

    def resyncs(self, stream: str) -> int:
        """Return how many gaps of a stream a new book has healed."""
        return int(self._tapes[0].meters.resyncs[stream])

    def counted(self, what: str) -> int:
        """Return how often the pipeline has counted something."""
        return int(self._tapes[0]._writer.pipeline.counts[what])

    def gaps(self, reason: str) -> int:
        """Return how many gaps of a reason have begun."""
        counted = dict(self._tapes[0].meters.gaps)
        return sum(count for (why, _), count in counted.items() if why == reason)


@asynccontextmanager
async def recording(archive: Path, profile: str, *faults: str, feeds: Sequence[str] = ()) -> Any:
    """Record two symbols of an exchange with faults."""
    plan = FaultPlan([parse_fault(fault) for fault in faults])
    source = SyntheticSource(
        (BTC, ETH), keep_books=plan.needs_old_books, wording=WORDINGS[profile], rate=120.0
    )
    server = ExchangeServer(source, faults=plan, dialect=DIALECTS[profile])
    async with listening(server) as port:
        config: Config = make_config(
            f"http://127.0.0.1:{port}",
            archive,
            venue={"profile": profile, "symbols": [BTC, ETH], "streams": feeds or STREAMS[profile]},
        )
        tapes: list[Any] = []

        def tape() -> Any:
            tapes.append(open_tape(config))
            return tapes[0]

        async with live_recorder(config, tape) as recorder:
            yield Held(recorder, tapes)


def verified(archive: Path, *, follows_from_raw_log: bool = True) -> None:
    """Let the raw log be compared with the rows, and a reader every full book with its own.

    Of a book corrupted in memory the raw log knows nothing: a rebuild would not have the gap.
    """
    proof = verify(archive, with_books=False)
    assert proof.holds is follows_from_raw_log, proof.problems
    with Archive(archive) as tape:
        report = tape.verify()
    assert report.ok, report.lines()


@pytest.mark.parametrize("profile", STREAMS)
async def test_books_are_audited_and_equal_whatever_the_exchange_does(
    tmp_path: Path, profile: str
) -> None:
    faults = ("duplicate=0.02", "drop=0.002", "delay=0.005:for=100ms", "stale=0.2:events=50")
    streams = ["l2", "l3"] if profile == "kucoin-2019" else ["l2"]
    async with recording(tmp_path / "archive", profile, *faults) as held:
        for stream in streams:
            await until(lambda s=stream: held.audits(s, "equal") >= 6, f"{stream} is audited")
        assert sum(held.audits(stream, "unequal") for stream in streams) == 0
    # Trades are audited, too, where the market is quiet.
    rows = [r for r in table_rows(tmp_path / "archive", "audits") if r["stream"] != "trades"]
    assert {row["result"] for row in rows} <= {"equal", "inconclusive"}
    assert {(r["symbol"], r["stream"]) for r in rows} == {
        (s, t) for s in (BTC, ETH) for t in streams
    }
    assert all(row["compared"] > 0 for row in rows if row["result"] == "equal")
    assert not {"drift", "crossed"} & {
        r["reason"] for r in table_rows(tmp_path / "archive", "gaps")
    }
    verified(tmp_path / "archive")


@pytest.mark.parametrize("stream", ["l2", "l3"])
async def test_a_corrupted_live_book_is_found_marked_and_healed(
    tmp_path: Path, stream: str
) -> None:
    async with recording(tmp_path / "archive", "kucoin-2019") as held:
        await until(lambda: held.audits(stream, "equal") >= 3, "audits")
        book = held.stream(BTC, stream).book
        if stream == "l2":
            worst = min(book._bids)
            book._bids[worst] += 1
        else:
            worst = min(book._orders, key=lambda order: book._orders[order][1])
            side, price, size = book._orders[worst]
            book._orders[worst] = (side, price, size + 1)
        await until(lambda: held.gaps("drift") == 1, "the corruption is found")
        equal = held.audits(stream, "equal")
        await until(lambda: held.resyncs(stream) == 1, "the book is healed")
        await until(lambda: held.audits(stream, "equal") >= equal + 4, "and equal again")
        assert held.audits(stream, "unequal") == 1
    (gap,) = [r for r in table_rows(tmp_path / "archive", "gaps") if r["reason"] == "drift"]
    assert (gap["symbol"], gap["stream"], gap["healed_by"]) == (BTC, stream, "snapshot")
    audits = [r for r in table_rows(tmp_path / "archive", "audits") if r["result"] == "unequal"]
    (audit,) = audits
    assert set(orjson.loads(audit["detail"])) == {"side", "price", "recorded", "exchange"}
    proofs = [
        row["ts"]
        for row in table_rows(tmp_path / "archive", "audits")
        if (row["symbol"], row["stream"], row["result"]) == (BTC, stream, "equal")
        and row["ts"] < audit["ts"]
    ]
    if proofs:
        assert gap["ts_from"] <= max(proofs), "nothing is claimed since the last proof"
    assert gap["ts_from"] < gap["ts_detected"] <= gap["ts_to"]
    verified(tmp_path / "archive", follows_from_raw_log=False)


async def test_a_crossed_live_book_is_found_marked_and_healed(tmp_path: Path) -> None:
    async with recording(tmp_path / "archive", "kucoin-2019") as held:
        book = held.stream(BTC, "l2").book
        above = max(book._asks)
        book._bids[above] = 1
        book._best_bids.insert(0, -above)
        await until(lambda: held.gaps("crossed") + held.gaps("drift") == 1, "it is found")
        await until(lambda: held.resyncs("l2") == 1, "the book is healed")
    reasons = [row["reason"] for row in table_rows(tmp_path / "archive", "gaps")]
    assert {"crossed", "drift"} & set(reasons)
    verified(tmp_path / "archive", follows_from_raw_log=False)


@pytest.mark.parametrize("profile", STREAMS)
async def test_a_match_topic_that_falls_silent_is_found_and_its_trades_are_filled_in(
    tmp_path: Path, profile: str
) -> None:
    fault = f"silence@1s:topic=match:symbol={BTC}:for=4s"
    archive = tmp_path / "archive"
    async with recording(archive, profile, fault, feeds=("level2", "match")) as held:
        await until(lambda: held.gaps("silent") >= 1, "the silence is found")
        await until(lambda: held.counted("backfill_healed") >= 1, "what was missed is filled in")
    gaps = [row for row in table_rows(archive, "gaps") if row["reason"] == "silent"]
    assert {(row["symbol"], row["stream"]) for row in gaps} == {(BTC, "trades")}
    assert gaps[0]["healed_by"] == "backfill"
    verified(archive)


@pytest.mark.parametrize("profile", STREAMS)
async def test_an_acknowledged_topic_that_falls_silent_is_found_and_subscribed_anew(
    tmp_path: Path, profile: str
) -> None:
    fault = f"silence@1s:topic=level2:symbol={BTC}:for=3s"
    async with recording(tmp_path / "archive", profile, fault) as held:
        await until(lambda: held.gaps("silent") >= 1, "the silence is found")
        await until(lambda: held.resyncs("l2") >= 1, "the book is healed")
    archive = tmp_path / "archive"
    gaps = [row for row in table_rows(archive, "gaps") if row["reason"] == "silent"]
    assert {(row["symbol"], row["stream"]) for row in gaps} == {(BTC, "l2")}
    assert gaps[0]["healed_by"] == "snapshot"
    verified(archive)
