"""What the venue lists and says of itself, followed; and failures that change nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import orjson
import pytest
from structlog.testing import capture_logs

from recorder.errors import ConfigError, UnknownSymbols, VenueUnreachable
from recorder.jobs import JobFailed
from recorder.logs import get_log
from recorder.raw_line import RawLine
from recorder.startup import Greeting
from recorder.symbols import Selection
from recorder.transport.rest import RestFailed, RestReply
from recorder.venue_watch import VenueWatch
from schemas.kucoin.profiles import profile_named
from schemas.kucoin.rest import parse_instruments
from schemas.kucoin.venue_state import VenueStatus

PROFILE = profile_named("kucoin-classic")


def entry(symbol: str, *, trades: bool = True) -> dict[str, Any]:
    base, quote = symbol.split("-")
    return {
        "symbol": symbol, "name": symbol, "baseCurrency": base, "quoteCurrency": quote,
        "baseIncrement": "0.1", "quoteIncrement": "0.1", "priceIncrement": "0.1",
        "enableTrading": trades,
    }  # fmt: skip


class Venue:
    """A venue that answers what a test says, and everything that is told about it."""

    def __init__(self, *symbols: str) -> None:
        self.listed = [entry(symbol) for symbol in symbols]
        self.turnover: dict[str, int] = {}
        self.status: Any = {"status": "open", "msg": ""}
        self.is_there = True
        self.room = 100
        self.subscribed: list[tuple[tuple[str, ...], tuple[str, ...]]] = []
        self.lines: list[RawLine] = []

    async def ask(self, path: str) -> RestReply:
        if not self.is_there:
            raise RestFailed(path, None, "no answer in time", refused=False)
        data: Any = self.status
        if path == PROFILE.symbols_path:
            data = self.listed
        elif path == PROFILE.tickers_path:
            ticker = [
                {"symbol": symbol, "last": "1", "volValue": str(value)}
                for symbol, value in self.turnover.items()
            ]
            data = {"time": 1_795_000_000_000, "ticker": ticker}
        return RestReply(path, 200, orjson.dumps({"code": "200000", "data": data}))

    def set_symbols(self, symbols: Sequence[str], feeds: Sequence[str]) -> None:
        if len(symbols) > self.room:
            raise ConfigError("venue.symbols", "too many")
        self.subscribed.append((tuple(symbols), tuple(feeds)))

    def watch(self, *entries: str, status: VenueStatus | None = None) -> VenueWatch:
        selection = Selection.parse(entries)
        instruments = tuple(parse_instruments(self.listed))
        tickers = [{"symbol": s, "last": "1", "volValue": str(v)} for s, v in self.turnover.items()]
        symbols = selection.resolve(instruments, tickers).symbols
        greeting = Greeting(symbols, instruments, 0, False, None, status)
        return VenueWatch(
            self, PROFILE, selection, ("level2",), greeting, self.set_symbols,  # type: ignore[arg-type]
            self.lines.append, get_log("test"),
        )  # fmt: skip

    def decisions(self) -> list[tuple[str, list[str], list[str]]]:
        return [
            (line.fields["reason"], line.fields["added"], line.fields["removed"])
            for line in self.lines
        ]


async def test_listings_and_delistings_are_decisions() -> None:
    venue = Venue("A-USDT", "B-USDT", "X-BTC")
    watch = venue.watch("*-USDT")
    assert (await watch.follow_listing()).is_nothing
    assert venue.subscribed == [], "nothing changed, nothing is asked for"
    venue.listed = [entry("A-USDT", trades=False), entry("C-USDT"), entry("X-BTC")]
    done = await watch.follow_listing()
    assert done.detail == "1 symbols added, 2 removed"
    assert venue.subscribed == [(("C-USDT",), ("level2",))]
    assert venue.decisions() == [
        ("listed", ["C-USDT"], []),
        ("delisted", [], ["A-USDT", "B-USDT"]),
    ]
    assert watch.symbols == ("C-USDT",)


async def test_a_rank_is_no_listing() -> None:
    venue = Venue("A-USDT", "B-USDT")
    venue.turnover = {"A-USDT": 900, "B-USDT": 100}
    watch = venue.watch("top:1")
    assert watch.symbols == ("A-USDT",)
    venue.listed.append(entry("C-USDT"))
    venue.turnover = {"A-USDT": 1, "B-USDT": 900, "C-USDT": 500}
    await watch.follow_listing()
    assert venue.decisions() == [("ranked", ["B-USDT"], []), ("ranked", [], ["A-USDT"])]


async def test_more_than_the_venue_carries_is_a_failed_job_and_no_change() -> None:
    venue = Venue("A-USDT")
    watch = venue.watch("all")
    venue.listed.append(entry("B-USDT"))
    venue.room = 1
    with pytest.raises(JobFailed, match="too many"):
        await watch.follow_listing()
    assert (watch.symbols, venue.lines) == (("A-USDT",), [])
    venue.room = 2
    await watch.follow_listing()
    assert venue.decisions() == [("listed", ["B-USDT"], [])]


async def test_no_answer_changes_nothing() -> None:
    venue = Venue("A-USDT", "B-USDT")
    watch = venue.watch("all")
    venue.is_there = False
    for ask in (watch.follow_listing, watch.follow_status):
        with pytest.raises(JobFailed, match="no answer in time"):
            await ask()
    with pytest.raises(VenueUnreachable):
        await watch.reload(Selection.parse(["A-USDT"]), ("level2",))
    venue.is_there = True
    venue.listed = []
    with pytest.raises(JobFailed, match="lists nothing"):
        await watch.follow_listing()
    assert (watch.symbols, venue.subscribed, venue.lines) == (("A-USDT", "B-USDT"), [], [])


async def test_a_reload_means_something_else_from_now_on() -> None:
    venue = Venue("A-USDT", "B-USDT", "C-USDT")
    watch = venue.watch("A-USDT", "B-USDT")
    with pytest.raises(UnknownSymbols):
        await watch.reload(Selection.parse(["A-USDX"]), ("level2",))
    changes = await watch.reload(Selection.parse(["B-USDT", "C-*"]), ("level2", "match"))
    assert (changes.added, changes.removed) == (("C-USDT",), ("A-USDT",))
    assert venue.subscribed == [(("B-USDT", "C-USDT"), ("level2", "match"))]
    assert venue.decisions() == [("reload", ["C-USDT"], []), ("reload", [], ["A-USDT"])]
    venue.listed.append(entry("C-BTC"))
    await watch.follow_listing()
    assert watch.symbols == ("B-USDT", "C-USDT", "C-BTC"), "the new selection is followed"


async def test_another_name_is_told_and_the_record_goes_on() -> None:
    venue = Venue("GALAX-USDT")
    watch = venue.watch("all")
    venue.listed = [{**entry("GALAX-USDT"), "name": "GALA-USDT"}]
    with capture_logs() as said:
        assert (await watch.follow_listing()).is_nothing
    (line,) = said
    assert (line["symbol"], line["name_before"], line["name"]) == (
        "GALAX-USDT", "GALAX-USDT", "GALA-USDT",
    )  # fmt: skip
    assert (venue.subscribed, venue.lines) == ([], [])


async def test_the_venues_status_is_followed() -> None:
    venue = Venue("A-USDT")
    watch = venue.watch("all", status=VenueStatus("open"))
    assert (await watch.follow_status()).is_nothing
    venue.status = {"status": "close", "msg": "upgrade"}
    with capture_logs() as said:
        done = await watch.follow_status()
    assert (done.is_nothing, done.detail) == (False, "close upgrade")
    assert watch.status == VenueStatus("close", "upgrade")
    assert [(line["log_level"], line["says"]) for line in said] == [("warning", "upgrade")]
    venue.status = {"no": "status"}
    with pytest.raises(JobFailed, match="does not say whether it is open"):
        await watch.follow_status()
    assert watch.status == VenueStatus("close", "upgrade"), "what was said last"
