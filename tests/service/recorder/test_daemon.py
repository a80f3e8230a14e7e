"""The live recorder against a scripted venue: real sockets, real pipeline, no disk."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
from collections import deque
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from recorder import daemon, live
from recorder.config import Config
from recorder.daemon import record
from recorder.errors import UnknownSymbols, VenueRefused, VenueUnreachable
from recorder.raw_line import RawLine
from recorder.storage.raw_log import RawPosition
from recorder.transport import keeper, subscriber, websocket
from recorder.transport.notify import WATCHDOG, Notifier
from recorder.transport.rate_limit import Backoff
from recorder.writer_death import WriterDied
from tests.support.fake_venue import FakeVenue, Script
from tests.support.memory_tape import MemoryTape

BTC, ETH = "BTC-USDT", "ETH-BTC"


def make_config(url: str, **venue: object) -> Config:
    return Config(
        archive=Path("unused"),
        venue={
            "profile": "kucoin-2019",
            "rest_url": url,
            "symbols": [BTC],
            "streams": ["level2"],
            **venue,
        },
        raw_log={"commit_interval_ms": 10},
        stitch={"first_update_timer_s": 0.05},
    )


async def until(condition: Callable[[], object], what: str) -> None:
    """Wait until a condition holds; ten seconds are far more than any of these take."""
    for _ in range(1000):
        if condition():
            return
        await asyncio.sleep(0.01)
    pytest.fail(f"never happened: {what}")


async def run_with(
    venue: FakeVenue,
    tape: MemoryTape,
    scene: Callable[[], Awaitable[None]],
    config: Config | None = None,
    **venue_config: object,
) -> None:
    """Record while the scene plays, then stop by SIGTERM as a supervisor would."""
    config = config or make_config(venue.url, **venue_config)
    task = asyncio.create_task(record(config, lambda: tape))
    try:
        playing = asyncio.create_task(scene())
        await asyncio.wait({task, playing}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            os.kill(os.getpid(), signal.SIGTERM)
        await asyncio.wait_for(task, 10)
        await playing
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait milliseconds where the real world deserves seconds."""
    monkeypatch.setattr(keeper, "RECONNECT_FIRST_S", 0.02)
    monkeypatch.setattr(websocket, "CLOSE_TIMEOUT_S", 0.3)
    monkeypatch.setattr("recorder.book_requests.RETRY_FIRST_S", 0.02)
    monkeypatch.setattr("recorder.startup.RETRY_FIRST_S", 0.01)


def synced(tape: MemoryTape, symbol: str = BTC, stream: str = "l2") -> bool:
    status = tape.status().get((symbol, stream), {})
    return bool(status.get("state") in {"synced", "bridging"} and status.get("live"))


async def test_records_from_greeting_to_clean_stop() -> None:
    tape = MemoryTape()
    async with FakeVenue([BTC, ETH]) as venue:

        async def scene() -> None:
            await until(lambda: synced(tape), "the book of the timer's request")
            await venue.push_l2(BTC, 101)
            await until(lambda: len(tape.of_kind("recv")) >= 3, "welcome, ack, update")

        await run_with(venue, tape, scene)

    kinds = tape.kinds()
    assert kinds[:5] == ["run_start", "rest_request", "rest_answer", "rest_request", "rest_answer"]
    assert kinds[-2:] == ["close", "run_stop"]
    assert tape.lines[-2].fields == {"reason": "stopped"}
    assert tape.lines[-1].fields == {"reason": "stopped"}
    assert tape.closed
    assert len(tape.threads) == 1, "one thread writes"
    assert len(tape.append_threads) == 1, "one thread appends"
    assert tape.threads != tape.append_threads
    start = tape.lines[0].fields
    assert start["run_id"] == tape.run_id
    assert start["symbols"] == [BTC]
    assert start["feeds"] == ["level2"]
    assert start["limits"]["buffer_updates_max"] == 10_000
    subscribe = json.loads(tape.of_kind("send")[0].data or b"")
    assert (subscribe["topic"], subscribe["response"]) == ("/market/level2:BTC-USDT", True)
    assert tape.gaps() == [] or {gap.reason for gap in tape.gaps()} == {"stopped"}
    stamps = [line.ts_mono for line in tape.lines]
    assert stamps == sorted(stamps)


async def test_book_request_is_logged_with_its_answer() -> None:
    tape = MemoryTape()
    async with FakeVenue([BTC]) as venue:
        await run_with(venue, tape, lambda: until(lambda: synced(tape), "a book"))
        path = "/api/v2/market/orderbook/level2"
        request, answer = (
            next(line for line in tape.of_kind(kind) if "request_id" in line.fields)
            for kind in ("rest_request", "rest_answer")
        )
        assert request.fields == {
            "url": f"{venue.url}{path}?symbol=BTC-USDT",
            "symbol": BTC,
            "stream": "l2",
            "request_id": request.fields["request_id"],
        }
        assert answer.fields == {**request.fields, "status": 200}
        assert answer.data is not None
        assert json.loads(answer.data)["data"]["sequence"] == "100"


async def test_no_token_is_ever_written_and_each_connection_has_its_own(
    capfd: pytest.CaptureFixture[str],
) -> None:
    tape = MemoryTape()
    async with FakeVenue([BTC], Script(connects_refused=1)) as venue:

        async def scene() -> None:
            await until(lambda: synced(tape), "a book")
            await venue.sockets[0].close()
            await until(lambda: len(venue.tokens_used) >= 2, "a second connection")
            await until(lambda: synced(tape), "a book again")

        await run_with(venue, tape, scene)
        assert len(set(venue.tokens_used)) == len(venue.tokens_used) >= 2
    written = repr(tape.lines) + "".join(capfd.readouterr())
    assert "secret" not in written
    assert [line.fields["endpoint"].endswith("/endpoint") for line in tape.of_kind("open")]


async def test_reconnects_and_the_gap_says_why() -> None:
    tape = MemoryTape()
    async with FakeVenue([BTC]) as venue:

        async def scene() -> None:
            await until(lambda: synced(tape), "a book")
            await venue.push_l2(BTC, 101)
            await until(lambda: len(tape.of_kind("recv")) >= 3, "an update")
            await venue.sockets[0].close()
            await until(lambda: len(tape.of_kind("open")) == 2, "a second connection")
            await until(lambda: synced(tape), "a book again")

        venue.script.sequences[BTC] = 100
        await run_with(venue, tape, scene)
    reasons = [line.fields["reason"] for line in tape.of_kind("close")]
    assert reasons == ["disconnected", "stopped"]
    assert [line.connection for line in tape.of_kind("open")] == [1, 2]
    gap = tape.gaps()[0]
    assert (gap.symbol, gap.stream, gap.reason, gap.healed_by) == (
        BTC,
        "l2",
        "disconnected",
        "snapshot",
    )


async def test_attempts_that_hang_do_not_make_the_next_one_prompt(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    waits_after: list[int] = []

    class WatchedBackoff(Backoff):
        def next_s(self) -> float:
            waits_after.append(self.attempts)
            return super().next_s()

    tape = MemoryTape()
    monkeypatch.setattr(keeper, "Backoff", WatchedBackoff)
    # Every refusal takes longer than a connection must live to count as a good one.
    monkeypatch.setattr(keeper, "GOOD_AFTER_S", 0.05)
    async with FakeVenue([BTC]) as venue:

        async def scene() -> None:
            await until(lambda: synced(tape), "a book")
            await asyncio.sleep(0.05)
            venue.script.connects_refused = 4
            venue.script.refusal_delay_s = 0.1
            await venue.sockets[0].close()
            await until(lambda: len(tape.of_kind("open")) == 2, "a second connection")

        await run_with(venue, tape, scene)
    assert waits_after == [0, 1, 2, 3, 4], "each wait is longer than the one before"


async def test_waits_for_a_late_welcome_before_subscribing() -> None:
    tape = MemoryTape()
    async with FakeVenue([BTC], Script(welcome_delay_s=0.3)) as venue:
        await run_with(venue, tape, lambda: until(lambda: synced(tape), "a book"))
    live = [line for line in tape.lines if line.connection == 1]
    assert [line.kind for line in live][:3] == ["open", "recv", "send"]
    assert b"welcome" in (live[1].data or b"")


async def test_a_missing_ack_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(websocket.Connection.__init__.__kwdefaults__, "ack_timeout_s", 0.5)
    tape = MemoryTape()
    async with FakeVenue([BTC], Script(acks_withheld=1)) as venue:
        await run_with(venue, tape, lambda: until(lambda: synced(tape), "a book"))
        assert venue.subscriptions == ["/market/level2:BTC-USDT"] * 2
    identifiers = [json.loads(line.data or b"")["id"] for line in tape.of_kind("send")]
    assert len(set(identifiers)) == 2


async def test_acks_that_never_come_end_the_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(websocket.Connection.__init__.__kwdefaults__, "ack_timeout_s", 0.05)
    tape = MemoryTape()
    async with FakeVenue([BTC], Script(acks_withheld=subscriber.ACK_TRIES)) as venue:
        await run_with(venue, tape, lambda: until(lambda: synced(tape), "a book"))
        assert len(venue.tokens_used) == 2
    assert tape.of_kind("close")[0].fields == {"reason": "disconnected"}


async def test_one_bad_symbol_costs_only_itself(capfd: pytest.CaptureFixture[str]) -> None:
    symbols = [f"S{n}-USDT" for n in range(5)]
    tape = MemoryTape()
    async with FakeVenue(symbols, Script(bad_symbols={"S3-USDT"})) as venue:
        good = [symbol for symbol in symbols if symbol != "S3-USDT"]

        async def scene() -> None:
            await until(lambda: all(synced(tape, symbol) for symbol in good), "all good symbols")
            await until(lambda: "/market/level2:S3-USDT" in venue.subscriptions, "the bad one")
            await asyncio.sleep(0.05)

        await run_with(venue, tape, scene, symbols=symbols)
        assert venue.subscriptions == [
            "/market/level2:S0-USDT,S1-USDT,S2-USDT,S3-USDT,S4-USDT",
            "/market/level2:S0-USDT,S1-USDT",
            "/market/level2:S2-USDT,S3-USDT,S4-USDT",
            "/market/level2:S2-USDT",
            "/market/level2:S3-USDT,S4-USDT",
            "/market/level2:S3-USDT",
            "/market/level2:S4-USDT",
        ]
    assert ("S3-USDT", "l2") not in tape.status()
    assert len(tape.of_kind("close")) == 1


async def test_a_refused_symbol_is_asked_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subscriber, "REFUSED_AGAIN_S", 0.05)
    tape = MemoryTape()
    async with FakeVenue([BTC, ETH], Script(bad_symbols={ETH})) as venue:

        async def scene() -> None:
            await until(lambda: synced(tape, BTC), "the good symbol")
            await until(lambda: venue.subscriptions.count("/market/level2:ETH-BTC") >= 2, "again")
            venue.script.bad_symbols.clear()
            await until(lambda: synced(tape, ETH), "the symbol listed at last")
            asked = len(venue.subscriptions)
            await asyncio.sleep(0.2)
            assert len(venue.subscriptions) == asked, "what is subscribed is left alone"

        await run_with(venue, tape, scene, symbols=[BTC, ETH])
    assert len(tape.of_kind("open")) == 1


async def test_garbage_and_binary_frames_are_kept_as_they_came() -> None:
    tape = MemoryTape()
    async with FakeVenue([BTC]) as venue:

        async def scene() -> None:
            await until(lambda: synced(tape), "a book")
            await venue.push("{not json")
            await venue.push(b"\xff\x00raw")
            await venue.push_l2(BTC, 101)
            await until(lambda: len(tape.of_kind("recv")) >= 5, "three more frames")

        await run_with(venue, tape, scene)
    frames = tape.of_kind("recv")
    assert frames[2].data == b"{not json"
    assert (frames[3].data, frames[3].fields) == (b"\xff\x00raw", {"opcode": "binary"})
    assert len(tape.of_kind("close")) == 1, "the connection outlives them"


async def test_a_frame_the_library_refuses_is_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(websocket, "FRAME_BYTES_MAX", 1000)
    tape = MemoryTape()
    async with FakeVenue([BTC]) as venue:

        async def scene() -> None:
            await until(lambda: synced(tape), "a book")
            await venue.push("x" * 2000)
            await until(lambda: len(tape.of_kind("open")) == 2, "a new connection")

        await run_with(venue, tape, scene)
    refused = [line for line in tape.of_kind("recv") if "error" in line.fields]
    assert len(refused) == 1
    assert refused[0].data is None


async def test_silence_beyond_the_pong_deadline_ends_the_connection() -> None:
    script = Script(pongs=False, ping_interval_ms=100, ping_timeout_ms=100)
    tape = MemoryTape()
    async with FakeVenue([BTC], script) as venue:

        async def scene() -> None:
            await until(lambda: tape.of_kind("close"), "the end of the silent connection")
            script.pongs = True
            opened = len(tape.of_kind("open"))
            await until(lambda: len(tape.of_kind("open")) > opened, "a new connection")
            pongs = len([line for line in tape.of_kind("recv") if b"pong" in (line.data or b"")])
            await until(
                lambda: (
                    len([line for line in tape.of_kind("recv") if b"pong" in (line.data or b"")])
                    >= pongs + 2
                ),
                "pongs",
            )

        await run_with(venue, tape, scene)
    assert tape.of_kind("close")[0].fields == {"reason": "silent"}
    pings = [line for line in tape.of_kind("send") if b'"ping"' in (line.data or b"")]
    assert len(pings) >= 3


async def test_a_refused_book_is_a_failure_and_is_asked_again() -> None:
    script = Script(
        book_answers=deque(
            [
                (429, b'{"code":"429000","msg":"too many requests"}', {"Retry-After": "0.2"}),
                (500, b"oops", {}),
                (200, b'{"code":"429000","msg":"busy"}', {"gw-ratelimit-reset": "150"}),
            ]
        )
    )
    tape = MemoryTape()
    async with FakeVenue([BTC], script) as venue:
        await run_with(venue, tape, lambda: until(lambda: synced(tape), "a book"))
        times = [at for _, _, at in venue.books_asked]
    failures = tape.of_kind("rest_failure")
    assert [line.fields["status"] for line in failures] == [429, 500, 200]
    assert all("request_id" in line.fields for line in failures)
    assert len(times) == 4
    assert times[1] - times[0] >= 0.2, "the venue's own pause is kept"
    assert times[3] - times[2] >= 0.15


async def test_a_stale_book_is_asked_again_until_it_will_do() -> None:
    stale = b'{"code":"200000","data":{"sequence":"90","bids":[],"asks":[]}}'
    tape = MemoryTape()
    async with FakeVenue([BTC], Script(book_answers=deque([(200, stale, {})] * 3))) as venue:

        async def scene() -> None:
            await until(lambda: venue.sockets and venue.subscriptions, "a subscription")
            await venue.push_l2(BTC, 101)
            await until(lambda: synced(tape), "a book")

        await run_with(venue, tape, scene)
        assert len(venue.books_asked) >= 4


class SlowTape(MemoryTape):
    """Commits that take their time once told to."""

    slow_s = 0.0

    def append(self, lines: list[RawLine]) -> RawPosition:
        time.sleep(self.slow_s)
        return super().append(lines)


async def test_a_disk_that_falls_behind_costs_neither_frames_nor_the_connection() -> None:
    script = Script(ping_interval_ms=100, ping_timeout_ms=150)
    tape = SlowTape()
    count = 400
    async with FakeVenue([BTC], script) as venue:

        async def scene() -> None:
            await until(lambda: synced(tape), "a book")
            tape.slow_s = 0.25
            for number in range(count):
                await venue.push(f'{{"type":"message","number":{number},"pad":"{"x" * 500}"}}')
            await asyncio.sleep(1.0)  # longer than the pong deadline, with a reader held back
            tape.slow_s = 0.0
            await until(lambda: b'"number":399' in repr(tape.lines[-50:]).encode(), "the last")

        config = make_config(venue.url)
        config = config.model_copy(
            update={"raw_log": config.raw_log.model_copy(update={"commit_bytes": 20_000})}
        )
        await run_with(venue, tape, scene, config=config)
    numbers = [
        json.loads(line.data or b"")["number"]
        for line in tape.of_kind("recv")
        if b'"number"' in (line.data or b"")
    ]
    assert numbers == list(range(count))
    assert [line.fields["reason"] for line in tape.of_kind("close")] == ["stopped"]


async def test_a_stop_before_the_venue_answers_ends_at_once() -> None:
    opened: list[str] = []

    def open_tape() -> MemoryTape:
        opened.append("archive")
        return MemoryTape()

    async with FakeVenue([BTC]) as venue:
        venue.script.rest_delay_s = 3600.0
        task = asyncio.create_task(record(make_config(venue.url), open_tape))
        await asyncio.sleep(0.1)
        assert not task.done()
        os.kill(os.getpid(), signal.SIGINT)
        await asyncio.wait_for(task, 5)
    assert opened == []


async def test_records_for_a_while_and_stops_by_itself() -> None:
    tape = MemoryTape()
    async with FakeVenue([BTC]) as venue:
        await asyncio.wait_for(record(make_config(venue.url), lambda: tape, for_s=0.3), 10)
    assert tape.kinds()[-1] == "run_stop"
    assert tape.closed


async def test_a_writer_that_fails_ends_the_run_at_once() -> None:
    tape = MemoryTape(dies_after=2)
    async with FakeVenue([BTC]) as venue:
        with pytest.raises(WriterDied) as caught:
            await asyncio.wait_for(record(make_config(venue.url), lambda: tape), 10)
    assert caught.value.exit_code == 3
    assert "Input/output error" in str(caught.value)
    assert tape.commits == 2
    assert "run_stop" not in tape.kinds()
    assert tape.abandoned
    assert not tape.closed, "what cannot be written must not be published"


async def test_an_archive_that_opens_slowly_says_what_it_does(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tape = MemoryTape()
    monkeypatch.setattr(daemon, "RECOVERY_TELL_S", 0.1)

    def open_slowly() -> MemoryTape:
        time.sleep(0.35)
        return tape

    async with FakeVenue([BTC]) as venue:
        with capture_logs() as said:
            await asyncio.wait_for(record(make_config(venue.url), open_slowly, for_s=0.1), 10)
    assert any("finishing a crashed run" in line["event"] for line in said)
    assert tape.closed


class HangingTape(MemoryTape):
    """Its disk does not answer while `hangs` is set."""

    def __init__(self) -> None:
        super().__init__()
        self.hangs = False

    def append(self, lines: list[RawLine]) -> RawPosition:
        while self.hangs:
            time.sleep(0.005)
        return super().append(lines)


class Told(Notifier):
    """Keeps what the service manager would hear."""

    def __init__(self, watchdog_s: float) -> None:
        super().__init__("@nobody", watchdog_s)
        self.heard: list[str] = []

    def say(self, *messages: str, status: str = "") -> None:
        self.heard += [*messages, status]


async def test_a_disk_that_hangs_is_told_to_nobody_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the watchdog nor a stop may have the service manager wait for it for ever."""
    monkeypatch.setattr("recorder.health.monitor.COMMIT_HANGS_S", 0.2)
    monkeypatch.setattr(daemon, "RECOVERY_TELL_S", 0.05)
    tape, told = HangingTape(), Told(watchdog_s=0.04)

    def extensions() -> int:
        return sum(word.startswith("EXTEND_TIMEOUT_USEC") for word in told.heard)

    async with FakeVenue([BTC]) as venue:
        recording = asyncio.create_task(record(make_config(venue.url), lambda: tape, notifier=told))
        try:
            await until(lambda: synced(tape), "a book")
            await until(lambda: WATCHDOG in told.heard, "a sign of life")
            tape.hangs = True
            await venue.publish_l2(BTC)
            await asyncio.sleep(0.3)
            told.heard.clear()
            await asyncio.sleep(0.2)
            assert told.heard == []
            os.kill(os.getpid(), signal.SIGTERM)
            await asyncio.sleep(0.4)
            assert extensions() == 0
        finally:
            tape.hangs = False
            await asyncio.wait_for(recording, 10)
    assert tape.closed


async def test_a_long_end_has_the_service_manager_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(daemon, "RECOVERY_TELL_S", 0.05)
    tape, told = MemoryTape(), Told(watchdog_s=5.0)
    monkeypatch.setattr(tape, "close", lambda: time.sleep(0.3))
    async with FakeVenue([BTC]) as venue:
        await record(make_config(venue.url), lambda: tape, for_s=0.1, notifier=told)
    assert any(word.startswith("EXTEND_TIMEOUT_USEC") for word in told.heard)


async def test_unknown_symbols_are_named_with_the_nearest() -> None:
    opened: list[str] = []

    def open_tape() -> MemoryTape:
        opened.append("archive")
        return MemoryTape()

    async with FakeVenue([BTC, ETH]) as venue:
        with pytest.raises(UnknownSymbols) as caught:
            await record(make_config(venue.url, symbols=["BTC-USTD", ETH]), open_tape)
    assert caught.value.symbols == ("BTC-USTD",)
    assert caught.value.exit_code == 2
    assert BTC in str(caught.value)
    assert opened == [], "a mistake leaves no archive behind"


async def test_an_exchange_that_is_not_there_is_named() -> None:
    async with FakeVenue([BTC]) as venue:
        url = venue.url
    with pytest.raises(VenueUnreachable) as caught:
        await asyncio.wait_for(record(make_config(url), MemoryTape), 10)
    assert caught.value.exit_code == 3
    assert url in str(caught.value)


async def test_an_exchange_of_another_kind_is_refused() -> None:
    async with FakeVenue([BTC]) as venue:
        with pytest.raises(VenueRefused):
            await asyncio.wait_for(record(make_config(f"{venue.url}/elsewhere"), MemoryTape), 10)


async def test_instruments_are_looked_at_again(monkeypatch: pytest.MonkeyPatch) -> None:
    tape = MemoryTape()
    monkeypatch.setattr(live, "ROLL_CHECK_S", 0.05)
    async with FakeVenue([BTC]) as venue:
        config = make_config(venue.url).model_copy(
            update={
                "instruments": Config.model_fields["instruments"].default.model_copy(
                    update={"interval_s": 0.2}
                )
            }
        )
        await asyncio.wait_for(record(config, lambda: tape, for_s=0.7, status_every_s=0.1), 10)
    symbols = [line for line in tape.of_kind("rest_answer") if "symbols" in line.fields["url"]]
    assert len(symbols) >= 3
