"""A child process for heavy jobs: niced, so that recording comes first, and never left behind."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from types import TracebackType
from typing import TypeVar

# Last in line for the processor, as far as an ordinary user may go.
NICENESS = 19

T = TypeVar("T")


class JobProcess:
    """One spawned process that calls functions for us, one after the other; an async context.

    Leaving the context ends it, also in the middle of a call. It ends by itself when we do.
    """

    def __init__(self) -> None:
        self._pool = ProcessPoolExecutor(
            1, multiprocessing.get_context("spawn"), initializer=_settle
        )
        self._pid = 0

    async def __aenter__(self) -> JobProcess:
        """Start the process."""
        self._pid = await self.call(os.getpid)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End the process."""
        if kind is not None and self._pid:
            with suppress(ProcessLookupError):
                os.kill(self._pid, signal.SIGKILL)
        await asyncio.to_thread(self._pool.shutdown, cancel_futures=True)

    async def call(self, work: Callable[..., T], *arguments: object) -> T:
        """Call a module's function there; what it takes and returns must pickle.

        Raises
        ------
        BrokenProcessPool   when the process died
        Exception           whatever the function raised
        """
        return await asyncio.get_running_loop().run_in_executor(self._pool, work, *arguments)


def _settle() -> None:
    """Stand back, leave Ctrl-C to the parent, and end with it, however it ended."""
    with suppress(OSError):  # a sandbox may forbid it; the work is done all the same
        os.nice(NICENESS)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    parent = multiprocessing.parent_process()
    assert parent is not None
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()


def _end_with(parent: multiprocessing.process.BaseProcess) -> None:
    parent.join()
    os._exit(1)
