"""The end of a recording that cannot write: two threads write, and the first failure is both's.

What comes behind a failed write would leave a hole before it: nothing is written after it, in
either thread.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar

from recorder.errors import DiskFull, RecorderError

T = TypeVar("T")


class WriterDied(RecorderError):
    """Writing failed: nothing that arrives from now on would be kept."""

    exit_code = 3

    def __init__(self, error: BaseException) -> None:
        super().__init__(
            f"the writer failed, recording stops at once: {type(error).__name__}: {error}",
            "what was acknowledged before is on disk; mend the cause and start again, "
            "the next start recovers the rest",
        )


class WritersLife:
    """What the writing threads share of how they are.

    Attributes
    ----------
    failed : asyncio.Future   resolved with `WriterDied` at the first failure; never otherwise
    """

    def __init__(self) -> None:
        self.failed: asyncio.Future[WriterDied] = asyncio.get_running_loop().create_future()
        self._error: BaseException | None = None  # set in the thread that fails

    @property
    def is_over(self) -> bool:
        """Whether something failed, as far as the loop has heard."""
        return self.failed.done()

    def guarded(self, work: Callable[[], T]) -> T:
        """Do work in a thread that writes, unless one of them has failed.

        Raises
        ------
        DiskFull        that of the work, which is no failure: it is dealt with
        BaseException   that of the work, or of the first work that failed
        """
        if self._error is not None:
            raise self._error
        try:
            return work()
        except DiskFull:
            raise
        except BaseException as error:
            if self._error is None:
                self._error = error
            raise

    def end(self, error: BaseException) -> WriterDied:
        """Tell everybody, on the loop; return what the first failure became."""
        if self.failed.done():
            return self.failed.result()
        death = WriterDied(error)
        death.__cause__ = error
        self.failed.set_result(death)
        return death
