"""A loop whose clock jumps to the next timer: waits take no time, and no longer than they should.

For tests of how long something waits, which open no socket and start no thread: on a machine that
is busy elsewhere a real clock says how busy it is.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable, Coroutine
from functools import wraps
from typing import Any, ParamSpec

P = ParamSpec("P")


class _Jump(selectors.DefaultSelector):
    """Never waits for a timer: its time passes at once."""

    def __init__(self) -> None:
        super().__init__()
        self.now_s = 0.0

    def select(
        self, timeout: float | None = None
    ) -> list[tuple[selectors.SelectorKey, selectors._EventMask]]:
        """Look what is ready; where nothing is, let the time pass that could be waited."""
        if timeout is None:
            return super().select(None)
        ready = super().select(0)
        # A turn takes time, too: who waits for less than a clock can tell would wait for ever.
        self.now_s += 1e-6 if ready else max(timeout, 1e-6)
        return ready


class JumpingLoop(asyncio.SelectorEventLoop):
    """A loop that begins at 0 s."""

    def __init__(self) -> None:
        self._jump = _Jump()
        super().__init__(self._jump)

    def time(self) -> float:
        """Return the seconds that were waited so far."""
        return self._jump.now_s


def in_jumping_time(test: Callable[P, Coroutine[Any, Any, None]]) -> Callable[P, None]:
    """Run a test on a loop of its own whose clock jumps."""

    @wraps(test)
    def run(*values: P.args, **named: P.kwargs) -> None:
        with asyncio.Runner(loop_factory=JumpingLoop) as runner:
            runner.run(test(*values, **named))

    return run
