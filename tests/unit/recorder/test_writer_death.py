"""Two threads write, and the first failure is both's."""

from __future__ import annotations

import asyncio

import pytest

from recorder.writer_death import WriterDied, WritersLife


def test_the_first_failure_stands_for_all_that_follow() -> None:
    async def scene() -> None:
        life = WritersLife()
        assert life.guarded(lambda: 7) == 7
        assert not life.is_over
        first, done = OSError("first"), []

        def fail() -> None:
            raise first

        with pytest.raises(OSError, match="first"):
            life.guarded(fail)
        with pytest.raises(OSError, match="first"):
            life.guarded(lambda: done.append("written behind a failure"))
        assert done == []
        death = life.end(first)
        assert life.end(ValueError("second")) is death
        assert (life.is_over, death.exit_code, death.__cause__) == (True, 3, first)
        assert await life.failed is death
        assert isinstance(death, WriterDied)
        assert "recording stops at once: OSError: first" in str(death)

    asyncio.run(scene())
