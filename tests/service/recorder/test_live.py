"""What may change while recording goes on: symbols by listing and reload, jobs, the manager."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from recorder import live
from recorder.config import Config
from recorder.errors import ConfigError
from recorder.health import monitor
from recorder.logs import configure_logs
from recorder.raw_line import RawLine
from recorder.storage.raw_log import list_segments, read_run
from recorder.transport import websocket
from recorder.transport.notify import Notifier
from tests.support.archive_content import table_rows
from tests.support.fake_venue import FakeVenue
from tests.support.live_recorder import (
    BTC,
    ETH,
    LiveRecorder,
    live_recorder,
    make_config,
    until,
)

LTC = "LTC-BTC"


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(websocket, "CLOSE_TIMEOUT_S", 0.3)
    monkeypatch.setattr(monitor, "STREAMS_FRESH_S", 0.0)


def raw_lines(archive: Path) -> list[RawLine]:
    """Return everything an archive's one run has logged."""
    (segments,) = list_segments(archive).values()
    return [line for commit in read_run(segments) for line in commit]


def decisions(archive: Path) -> list[dict[str, Any]]:
    """Return what was decided about symbols."""
    return [dict(line.fields) for line in raw_lines(archive) if line.kind == "decision"]


def decided(
    reason: str, *, added: list[str] | None = None, removed: list[str] | None = None
) -> Any:
    return {"what": "symbols", "added": added or [], "removed": removed or [], "reason": reason}


def changed(config: Config, **venue: object) -> Config:
    """Return a configuration that differs in `venue`."""
    return config.model_copy(update={"venue": config.venue.model_copy(update=venue)})


async def down(recorder: LiveRecorder, symbol: str) -> bool:
    return bool((await recorder.stream(symbol))["state"] == "down")


async def test_a_reload_adds_and_removes_symbols_and_touches_no_other(tmp_path: Path) -> None:
    archive = tmp_path / "archive"
    async with FakeVenue([BTC, ETH, LTC]) as venue:
        config = make_config(venue.url, archive, venue={"symbols": [BTC, LTC]})
        async with live_recorder(config) as recorder:
            recorder.config = changed(config, symbols=(BTC, ETH))
            reply = await recorder.ask("/reload", "POST")
            assert (reply.status, reply.content) == (
                200,
                {
                    "changed": {"venue.symbols": '["BTC-USDT", "ETH-BTC"]'},
                    "added": [ETH],
                    "removed": [LTC],
                },
            )
            await until(recorder.ready, "the new book")
            await until(lambda: down(recorder, LTC), "the end of the old one")
            again = await recorder.ask("/reload", "POST")
            assert again.content == {"changed": {}, "added": [], "removed": []}
        assert [topic for topic in venue.subscriptions if ETH in topic] == [
            "/market/level2:ETH-BTC"
        ]
        assert venue.unsubscriptions == ["/market/level2:LTC-BTC"]
        assert len(venue.connected_at) == 1, "no reconnect"
        assert len([asked for asked in venue.books_asked if asked[1] == BTC]) == 1, "not asked anew"
    assert table_rows(archive, "gaps") == []
    spans = {row["symbol"]: row["is_open"] for row in table_rows(archive, "coverage")}
    assert spans == {BTC: 0, ETH: 0, LTC: 0}, "one stretch each"
    assert decisions(archive) == [decided("reload", added=[ETH]), decided("reload", removed=[LTC])]


async def test_streams_change_as_symbols_do(tmp_path: Path) -> None:
    async with FakeVenue([BTC]) as venue:
        config = make_config(venue.url, tmp_path / "archive")
        async with live_recorder(config) as recorder:
            recorder.config = changed(config, streams=("level2", "match"))
            reply = await recorder.ask("/reload", "POST")
            assert list(reply.content["changed"]) == ["venue.streams"]
            await until(lambda: recorder.stream(BTC, "trades"), "trades")
            await until(recorder.ready, "both")
        assert venue.subscriptions == ["/market/level2:BTC-USDT", "/market/match:BTC-USDT"]
    assert decisions(tmp_path / "archive") == [], "the same symbols"


async def test_sighup_reloads(tmp_path: Path) -> None:
    async with FakeVenue([BTC, ETH]) as venue:
        config = make_config(venue.url, tmp_path / "archive")
        async with live_recorder(config) as recorder:
            recorder.config = changed(config, symbols=(BTC, ETH))
            os.kill(os.getpid(), signal.SIGHUP)
            await until(lambda: recorder.stream(ETH), "the new symbol")
            await until(recorder.ready, "its book")


async def test_a_reload_that_does_not_hold_changes_nothing(tmp_path: Path) -> None:
    async with FakeVenue([BTC, ETH]) as venue:
        config = make_config(venue.url, tmp_path / "archive")
        async with live_recorder(config) as recorder:
            for wrong, said in (
                (changed(config, symbols=(BTC, ETH), rest_url="http://127.0.0.1:1"), "rest_url"),
                (changed(config, symbols=(BTC, "ETH-BTX")), "does not list ETH-BTX"),
            ):
                recorder.config = wrong
                reply = await recorder.ask("/reload", "POST")
                assert reply.status == 400
                assert said in reply.content["error"]

            recorder.config = ConfigError("parts.row_min", "is unknown")
            reply = await recorder.ask("/reload", "POST")
            assert "parts.row_min" in reply.content["error"]
            status = await recorder.status()
            assert (status["symbols_recorded"], status["ready"]) == (1, True)
        assert venue.subscriptions == ["/market/level2:BTC-USDT"]


async def test_the_log_level_changes_for_loggers_that_are_there_already(tmp_path: Path) -> None:
    async with FakeVenue([BTC]) as venue:
        config = make_config(venue.url, tmp_path / "archive")
        async with live_recorder(config) as recorder:
            try:
                recorder.config = config.model_copy(
                    update={"log": config.log.model_copy(update={"level": "error"})}
                )
                await recorder.ask("/reload", "POST")
                assert logging.getLogger("recorder").level == logging.ERROR
            finally:
                logging.getLogger("recorder").setLevel(logging.NOTSET)


async def test_what_is_listed_is_recorded_and_what_is_not_ends(tmp_path: Path) -> None:
    archive = tmp_path / "archive"
    async with FakeVenue([BTC, LTC, "ETH-USDT"]) as venue:
        config = make_config(venue.url, archive, venue={"symbols": ["*-BTC", BTC]})
        async with live_recorder(config) as recorder:
            nothing = await recorder.ask("/job/instruments", "POST")
            assert (nothing.content["outcome"], nothing.content["detail"]) == (
                "nothing", "3 symbols listed",
            )  # fmt: skip
            venue.symbols = [BTC, LTC, ETH, "ETH-USDT"]
            told = await recorder.ask("/job/instruments", "POST")
            assert told.content["detail"] == "1 symbols added, 0 removed"
            await until(recorder.ready, "the listed one")

            venue.symbols = [BTC, ETH, "ETH-USDT"]
            venue.script.names[BTC] = "BITCOIN-USDT"
            told = await recorder.ask("/job/instruments", "POST")
            assert told.content["detail"] == "0 symbols added, 1 removed"
            await until(lambda: down(recorder, LTC), "the end of the delisted one")
            assert await recorder.ready()

            venue.symbols = []
            told = await recorder.ask("/job/instruments", "POST")
            assert (told.status, told.content["outcome"]) == (503, "failed")
            assert await recorder.ready(), "an exchange in trouble ends no stream"
        assert len(venue.connected_at) == 1
    assert table_rows(archive, "gaps") == []
    assert decisions(archive) == [
        decided("listed", added=[ETH]),
        decided("delisted", removed=[LTC]),
    ]
    history = sorted(table_rows(archive, "instruments"), key=lambda row: row["ts_from"])
    ended = {(row["symbol"], row["name"]): row["ts_to"] is not None for row in history}
    assert ended == {
        (BTC, BTC): True,
        (BTC, "BITCOIN-USDT"): False,
        (LTC, LTC): True,
        (ETH, ETH): False,
        ("ETH-USDT", "ETH-USDT"): False,
    }


async def test_jobs_are_run_by_name_and_kept(tmp_path: Path) -> None:
    archive = tmp_path / "archive"
    async with (
        FakeVenue([BTC]) as venue,
        live_recorder(make_config(venue.url, archive)) as recorder,
    ):
        rolled = (await recorder.ask("/job/roll", "POST")).content
        assert (rolled["outcome"], rolled["detail"]) == ("ok", "1 parts published")
        assert table_rows(archive, "parts")[0]["dataset"] == "book_snapshots"
        assert (await recorder.ask("/job/backup", "POST")).content["outcome"] == "ok"
        assert list((archive / "catalog.backup").iterdir())
        unknown = await recorder.ask("/job/rol", "POST")
        assert unknown.status == 404
        assert "there are: roll, " in unknown.content["error"]
        jobs = {job["name"]: job for job in (await recorder.status())["jobs"]}
        assert jobs["backup"]["outcome"] == "ok"
        assert jobs["retention"]["ts_next"] is not None
    kept = {row["name"]: row["outcome"] for row in table_rows(archive, "jobs")}
    assert kept == {"roll": "ok", "backup": "ok"}
    async with (
        FakeVenue([BTC]) as venue,
        live_recorder(make_config(venue.url, archive)) as recorder,
    ):
        jobs = {job["name"]: job for job in (await recorder.status())["jobs"]}
        assert jobs["backup"]["outcome"] == "ok", "remembered over a restart"


async def test_a_job_that_fails_ends_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(28, "No space left on device")

    archive = tmp_path / "archive"
    monkeypatch.setattr("recorder.storage.backup.backup", refuse)
    monkeypatch.setattr("recorder.storage.retention.apply", refuse)
    async with (
        FakeVenue([BTC]) as venue,
        live_recorder(make_config(venue.url, archive)) as recorder,
    ):
        for name in ("backup", "retention"):  # in a thread of its own, and in the writer's
            reply = await recorder.ask(f"/job/{name}", "POST")
            assert (reply.status, reply.content["outcome"]) == (503, "failed")
            assert "No space left on device" in reply.content["detail"]
        await venue.push_l2(BTC, 101)

        async def recorded() -> bool:
            return (await recorder.stream(BTC))["sequence"] == 101

        await until(recorded, "recording goes on")
    assert {row["outcome"] for row in table_rows(archive, "jobs")} == {"failed"}


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[socket.socket]:
    """Stand in for the service manager."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(str(tmp_path / "notify"))
        listening.setblocking(False)
        yield listening


class Heard:
    def __init__(self, listening: socket.socket) -> None:
        self._listening = listening
        self.messages: list[str] = []

    def has(self, message: str) -> bool:
        try:
            while True:
                self.messages += self._listening.recv(4096).decode().splitlines()
        except BlockingIOError:
            return message in self.messages


async def test_the_service_manager_hears_how_it_goes(
    tmp_path: Path, manager: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard = Heard(manager)
    async with FakeVenue([BTC]) as venue:
        config = make_config(venue.url, tmp_path / "archive")
        notifier = Notifier(str(tmp_path / "notify"), watchdog_s=0.1)
        async with live_recorder(config, notifier=notifier) as recorder:
            await until(lambda: heard.has("READY=1"), "ready")
            await until(lambda: heard.has("WATCHDOG=1"), "a sign of life")
            heard.messages.clear()
            await recorder.ask("/reload", "POST")
            assert heard.has("RELOADING=1")
            assert heard.has("READY=1")
            # Whatever is wrong with the writer, the watchdog shall bite.
            monkeypatch.setattr(monitor.Monitor, "trouble", lambda self: "a commit has hung")
            await asyncio.sleep(0.06)
            heard.has("")
            heard.messages.clear()
            await asyncio.sleep(0.2)
            assert not heard.has("WATCHDOG=1")
            monkeypatch.undo()
            await until(lambda: heard.has("WATCHDOG=1"), "a sign of life again")
        assert heard.has("STOPPING=1")


async def test_every_line_about_a_symbol_names_it_and_the_run(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    handlers, level = logging.getLogger().handlers, logging.getLogger().level
    configure_logs("debug", "json")
    try:
        async with FakeVenue([BTC, ETH, LTC]) as venue:
            config = make_config(venue.url, tmp_path / "archive", venue={"symbols": [BTC, LTC]})
            async with live_recorder(config) as recorder:
                venue.script.bad_symbols.add(ETH)
                venue.script.names[BTC] = "BITCOIN-USDT"
                recorder.config = changed(config, symbols=(BTC, ETH))
                await recorder.ask("/reload", "POST")

                async def refused() -> bool:
                    return "refused" in (await recorder.stream(ETH)).get("reason", "")

                await until(refused, "a refusal")
                run_id = (await recorder.status())["run_id"]
    finally:
        logging.getLogger().handlers, logging.getLogger().level = handlers, level
        logging.getLogger("recorder").setLevel(logging.NOTSET)
        live.set_level("info")
    lines = [orjson.loads(line) for line in capfd.readouterr().err.splitlines() if "{" in line]
    events = {line["event"]: line for line in lines if line.get("symbol")}
    assert events["symbol is recorded from now on"]["symbol"] == ETH
    assert events["symbol is recorded no longer"]["symbol"] == LTC
    assert events["symbol is shown under another name"]["symbol"] == BTC
    assert events["subscription refused, this stream is not recorded"]["symbol"] == ETH
    assert {line["run_id"] for line in events.values()} == {run_id}
    naming = [line for line in lines if any(s in repr(line) for s in (BTC, ETH, LTC))]
    assert [line for line in naming if "symbol" not in line and "topic" not in line] == []
