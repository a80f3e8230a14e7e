"""The health pages of a recorder that runs, hangs, dies."""

from __future__ import annotations

import re
import threading
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from prometheus_client.parser import text_string_to_metric_families

from recorder.config import Config
from recorder.health import monitor
from recorder.raw_line import RawLine
from recorder.storage.raw_log import RawPosition
from recorder.transport.http_server import ListenFailed
from recorder.writer_death import WriterDied
from tests.support.fake_venue import FakeVenue, Script
from tests.support.live_recorder import BTC, ETH, free_port, live_recorder, make_config, until
from tests.support.memory_tape import MemoryTape


@asynccontextmanager
async def pages(port: int) -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(f"http://127.0.0.1:{port}") as session:
        yield session


async def test_a_disk_that_cannot_be_added_up_holds_up_no_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    port, answers, asked = free_port(), threading.Event(), 0

    def add_up(folder: Path) -> int:
        nonlocal asked
        asked += 1
        answers.wait(20)
        return 77

    monkeypatch.setattr(monitor, "archive_bytes", add_up)
    monkeypatch.setattr(monitor, "WRITER_PATIENCE_S", 0.1)
    async with FakeVenue([BTC]) as venue:
        config = make_config(venue.url, tmp_path / "archive", http={"listen": f"127.0.0.1:{port}"})
        async with live_recorder(config), pages(port) as session:

            async def disk() -> object:
                async with session.get("/status", timeout=aiohttp.ClientTimeout(5)) as answer:
                    return (await answer.json())["disk"]

            try:
                assert [await disk() for _ in range(3)] == [None, None, None]
                assert asked == 1, "one look at a time"
            finally:
                answers.set()
            await until(disk, "a disk that answers again")


async def test_pages_of_a_recorder_that_is_well(tmp_path: Path) -> None:
    port = free_port()
    async with FakeVenue([BTC, ETH]) as venue:
        config = make_config(
            venue.url,
            tmp_path / "archive",
            venue={"symbols": [BTC, ETH]},
            http={"listen": f"127.0.0.1:{port}"},
        )
        async with live_recorder(config) as recorder, pages(port) as session:
            await venue.push_l2(BTC, 101)
            await until(lambda: _sequence(recorder, 101), "an update")

            async with session.get("/healthz") as answer:
                assert (answer.status, await answer.json()) == (
                    200, {"status": "ok", "phase": "recording"},
                )  # fmt: skip
            async with session.get("/readyz") as answer:
                assert (answer.status, await answer.json()) == (
                    200, {"ready": True, "phase": "recording", "unready": []},
                )  # fmt: skip
            async with session.get("/status") as answer:
                status = await answer.json()
                assert answer.headers["Cache-Control"] == "no-store"
            (connection,) = status["connections"]
            assert connection["open"] is True
            assert connection["topics"] == 2
            # Welcome, two or more acknowledgements and the update; all of them are on disk.
            assert connection["durable"] == connection["frames"] >= 3
            assert status["writer"]["alive"] is True
            assert status["disk"]["free_bytes"] > 0
            assert status["rest"]["public"]["used_ratio"] > 0
            names = {job["name"] for job in status["jobs"]}
            assert names == {
                "roll", "compaction", "retention", "repack", "instruments", "backup", "status",
            }  # fmt: skip

            async with session.get("/metrics") as answer:
                families = {f.name: f for f in text_string_to_metric_families(await answer.text())}
            durable = families["booktape_frames_durable"].samples
            assert [sample.value for sample in durable] == [connection["durable"]]
            assert families["booktape_symbols_unsynced"].samples[0].value == 0
            assert families["booktape_commit_seconds"].samples
            assert families["process_resident_memory_bytes"].samples[0].value > 0

            for path in ("/reload", "/job/roll"):
                async with session.post(path) as answer:
                    assert answer.status == 404, "orders are taken on the control socket alone"


async def _sequence(recorder, sequence: int) -> bool:
    return (await recorder.stream(BTC)).get("sequence") == sequence


async def test_the_page_stands_by_itself(tmp_path: Path) -> None:
    port = free_port()
    async with FakeVenue([BTC]) as venue:
        config = make_config(venue.url, tmp_path / "archive", http={"listen": f"127.0.0.1:{port}"})
        async with live_recorder(config), pages(port) as session:
            async with session.get("/") as answer:
                page = await answer.text()
                assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
            async with session.get("/status", headers={"Accept": "text/html,*/*"}) as answer:
                assert await answer.text() == page
    assert not re.findall(r"""(?:src|href)=["']?(?:https?:)?//""", page), "nothing from elsewhere"
    assert "width=device-width" in page


async def test_not_ready_says_which_symbol_and_why(tmp_path: Path) -> None:
    async with FakeVenue([BTC, ETH], Script(bad_symbols={ETH})) as venue:
        venue.script.book_answers.extend([(500, b"oops", {})] * 1_000)
        config = make_config(venue.url, tmp_path / "archive", venue={"symbols": [BTC, ETH]})
        async with live_recorder(config, is_ready=False) as recorder:

            async def both_told() -> list[dict[str, object]]:
                unready = (await recorder.ask("/readyz")).content["unready"]
                reasons = [str(each["reasons"]["l2"]) for each in unready]
                settled = reasons == sorted(reasons, reverse=True) and "refused" in reasons[-1]
                return unready if settled and "waiting" in reasons[0] else []

            unready = await until(both_told, "reasons")
            assert unready == [
                {"symbol": BTC, "reasons": {"l2": "waiting for its first book"}},
                {
                    "symbol": ETH,
                    "reasons": {"l2": "refused by the exchange: code 404 topic is not found"},
                },
            ]
            assert (await recorder.ask("/healthz")).status == 200, "it is well, and not ready"
            venue.script.book_answers.clear()
            venue.script.bad_symbols.clear()

            async def only_eth() -> bool:
                unready = (await recorder.ask("/readyz")).content["unready"]
                return [each["symbol"] for each in unready] == [ETH]

            await until(only_eth, "the first book")


class StubbornTape(MemoryTape):
    """Commits that do not come back while told so, and an end that can be held up."""

    def __init__(self, dies_after: int | None = None) -> None:
        super().__init__(dies_after)
        self.goes_on = threading.Event()
        self.goes_on.set()
        self.may_end = threading.Event()
        self.may_end.set()

    def append(self, lines: list[RawLine]) -> RawPosition:
        self.goes_on.wait(20)
        return super().append(lines)

    def status(self) -> Mapping[tuple[str, str], Mapping[str, Any]]:
        self.goes_on.wait(20)
        return super().status()

    def abandon(self) -> None:
        self.may_end.wait(20)
        super().abandon()


async def test_a_writer_that_hangs_is_not_well(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(monitor, "COMMIT_HANGS_S", 0.2)
    monkeypatch.setattr(monitor, "WRITER_PATIENCE_S", 0.05)
    monkeypatch.setattr(monitor, "STREAMS_FRESH_S", 0.0)
    tape = StubbornTape()
    (tmp_path / "archive").mkdir()
    async with FakeVenue([BTC]) as venue:
        config = make_config(venue.url, tmp_path / "archive")
        async with live_recorder(config, lambda: tape) as recorder:
            tape.goes_on.clear()
            await venue.push_l2(BTC, 101)

            async def sick() -> bool:
                return (await recorder.ask("/healthz")).status == 503

            await until(sick, "a hanging commit")
            content = (await recorder.ask("/healthz")).content
            assert "a commit has hung for" in content["problem"]
            ready = await recorder.ask("/readyz")
            assert (ready.status, ready.content["ready"]) == (503, False)
            status = await recorder.status()
            assert status["writer"]["alive"] is False
            (stream,) = status["streams"]
            assert (stream["state"], stream["ready"]) == ("bridging", True), "what was told last"
            assert status["streams_age_s"] >= 0.1, "and how long ago"
            tape.goes_on.set()
            await until(recorder.ready, "a writer that goes on")
            assert not await sick()


async def test_a_writer_that_died_is_told_until_the_process_ends(tmp_path: Path) -> None:
    tape = StubbornTape(dies_after=6)
    tape.may_end.clear()
    (tmp_path / "archive").mkdir()

    async def watch_it_die(config: Config, venue: FakeVenue) -> None:
        async with live_recorder(config, lambda: tape, is_ready=False) as recorder:
            try:

                async def dead() -> bool:
                    await venue.push_l2(BTC, 101)
                    return (await recorder.ask("/healthz")).status == 503

                await until(dead, "a dead writer told")
                problem = (await recorder.ask("/healthz")).content["problem"]
                assert "Input/output error" in problem
                assert (await recorder.status())["phase"] == "stopping"
            finally:
                tape.may_end.set()
            await until(lambda: tape.abandoned, "the end")

    async with FakeVenue([BTC]) as venue:
        with pytest.raises(WriterDied):
            await watch_it_die(make_config(venue.url, tmp_path / "archive"), venue)
    assert not (tmp_path / "archive" / "control.sock").exists()


async def test_a_taken_address_ends_the_start_and_leaves_nothing(tmp_path: Path) -> None:
    async with FakeVenue([BTC]) as venue:
        port = int(venue.url.rpartition(":")[2])
        config = make_config(venue.url, tmp_path / "archive", http={"listen": f"127.0.0.1:{port}"})
        with pytest.raises(ListenFailed, match="another process listens there") as caught:
            async with live_recorder(config):
                pass
        assert caught.value.exit_code == 2
        assert not (tmp_path / "archive").exists()
