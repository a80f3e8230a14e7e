"""A recorder in this process, on a scripted venue and a real archive, for tests that look at it."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from recorder.config import Config
from recorder.daemon import record
from recorder.errors import RecorderError
from recorder.tape import Tape, open_tape
from recorder.transport.control_client import ControlReply, ask_recorder
from recorder.transport.notify import Notifier

BTC, ETH = "BTC-USDT", "ETH-BTC"


def free_port() -> int:
    """Return a port nobody listens on just now."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


def make_config(url: str, archive: Path, **sections: Any) -> Config:
    """Return a configuration of one book; `venue` and others may say more."""
    venue = {
        "profile": "kucoin-2019",
        "rest_url": url,
        "symbols": [BTC],
        "streams": ["level2"],
        **sections.pop("venue", {}),
    }
    return Config(
        archive=archive,
        venue=venue,
        raw_log={"commit_interval_ms": 10},
        stitch={"first_update_timer_s": 0.05},
        **sections,
    )


async def until(condition: Callable[[], Any], what: str) -> Any:
    """Wait until a condition, plain or awaitable, holds; return what it returned."""
    for _ in range(1000):
        said = condition()
        if asyncio.iscoroutine(said):
            said = await said
        if said:
            return said
        await asyncio.sleep(0.01)
    pytest.fail(f"never happened: {what}")


class LiveRecorder:
    """A recorder under way.

    Attributes
    ----------
    config : Config or RecorderError   what a reload reads, or meets: a test puts another there
    """

    def __init__(self, config: Config) -> None:
        self.config: Config | RecorderError = config
        self.archive = config.archive

    def reread(self) -> Config:
        """Do what reading the configuration again does."""
        if isinstance(self.config, RecorderError):
            raise self.config
        return self.config

    async def ask(self, path: str, method: str = "GET") -> ControlReply:
        """Ask through the control socket."""
        return await ask_recorder(self.archive, method, path, timeout_s=10.0)

    async def status(self) -> dict[str, Any]:
        """Return what `/status` says."""
        return (await self.ask("/status")).content

    async def stream(self, symbol: str, stream: str = "l2") -> dict[str, Any]:
        """Return what `/status` says of one stream."""
        streams = (await self.status())["streams"]
        found = [s for s in streams if (s["symbol"], s["stream"]) == (symbol, stream)]
        return found[0] if found else {}

    async def ready(self) -> bool:
        """Say whether everything is in step."""
        return (await self.ask("/readyz")).status == 200


@asynccontextmanager
async def live_recorder(
    config: Config,
    tape: Callable[[], Tape] | None = None,
    notifier: Notifier | None = None,
    *,
    is_ready: bool = True,
) -> AsyncIterator[LiveRecorder]:
    """Record while the block runs, then stop by SIGTERM as a supervisor would.

    Parameters
    ----------
    is_ready : bool   wait for everything to be in step first
    """
    recorder = LiveRecorder(config)
    task = asyncio.create_task(
        record(
            config,
            tape or (lambda: open_tape(config)),
            reread=recorder.reread,
            notifier=notifier,
            status_every_s=3_600,
        )
    )
    try:
        listening = config.archive / "control.sock"
        await until(lambda: task.done() or listening.exists(), "a control socket")
        if task.done():
            task.result()
        if is_ready:
            await until(recorder.ready, "every book in step")
        yield recorder
        if not task.done():
            os.kill(os.getpid(), signal.SIGTERM)
        await asyncio.wait_for(task, 10)
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
