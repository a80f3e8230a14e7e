"""What memory may hold, looked at behind every commit; in some seeds so little that it binds.

What a minute of market brings never comes near the real ones.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any
from unittest.mock import patch

from recorder.decoding import WAITING_BYTES_MAX, Decoding
from recorder.intake import Intake
from recorder.pipeline import auditing, reseed
from recorder.pipeline.book_stream import BookStream
from recorder.recording import Recording
from recorder.stitch.machine import BUFFER_UPDATES_MAX
from recorder.transport.sink import HeldLines
from tests.simulation.memory import live_books

# A full batch is on its way at once, or readers are told to wait; each may have read a frame by
# then, and answers of REST are appended whatever waits.
PENDING_SLACK_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class Limits:
    """The most that is held at once.

    Attributes
    ----------
    held : int            messages of a book stream that wait for a snapshot
    journal : int         changes kept for a re-seed
    copy : int            changes kept for an audit
    waiting_bytes : int   of lines that wait to be decoded; one batch may be larger by itself
    """

    held: int
    journal: int
    copy: int
    waiting_bytes: int


WIDE = Limits(
    BUFFER_UPDATES_MAX, reseed.JOURNAL_CHANGES_MAX, auditing.CHANGES_MAX, WAITING_BYTES_MAX
)
TIGHT = Limits(8, 12, 12, 6_000)


@contextmanager
def in_force(limits: Limits, broken: list[str]) -> Iterator[None]:
    """Put limits in force, and write down each that is broken, once.

    That of messages held is part of the configuration.
    """

    def tell(what: str, size: int, most: int) -> None:
        if size > most and not any(told.startswith(what) for told in broken):
            broken.append(f"{what}: {size}, and {most} at most")

    decode = Recording.decode

    def decode_and_look(self: Recording, *args: Any) -> Any:
        commands = decode(self, *args)
        for (symbol, name), stream in live_books(self).items():
            for what, size, most in _sizes(stream, limits):
                tell(f"{symbol} {name}: {what}", size, most)
        return commands

    class WatchedDecoding(Decoding):
        def __init__(self, *args: Any) -> None:
            super().__init__(*args, bytes_max=limits.waiting_bytes)
            self._largest = 0  # a batch larger than the limit waits by itself

        def hand_over(self, lines: Any, size: int, position: Any) -> None:
            super().hand_over(lines, size, position)
            self._largest = max(self._largest, size)
            most = max(limits.waiting_bytes, self._largest)
            tell("bytes that wait to be decoded", self.waiting_bytes, most)

    class WatchedIntake(Intake):
        # Bytes that handovers have let go of, all at once: they had a limit of their own.
        released = 0
        is_taking_over = False

        def append(self, line: Any) -> None:
            if not self.queue_bytes and not self.is_taking_over:
                self.released = 0
            super().append(line)
            most = self._bytes_max + PENDING_SLACK_BYTES + self.released
            tell("bytes that wait for the raw log", self.queue_bytes, most)

    release = HeldLines.release

    def release_and_note(self: HeldLines) -> None:
        intake = self.sink
        assert isinstance(intake, WatchedIntake)
        intake.released += self._bytes
        intake.is_taking_over = True
        release(self)
        intake.is_taking_over = False

    with ExitStack() as stack:
        for target, value in (
            ("recorder.pipeline.reseed.JOURNAL_CHANGES_MAX", limits.journal),
            ("recorder.pipeline.auditing.CHANGES_MAX", limits.copy),
            ("recorder.live.Decoding", WatchedDecoding),
            ("recorder.live.Intake", WatchedIntake),
        ):
            stack.enter_context(patch(target, value))
        stack.enter_context(patch.object(Recording, "decode", decode_and_look))
        stack.enter_context(patch.object(HeldLines, "release", release_and_note))
        yield


def _sizes(stream: BookStream, limits: Limits) -> Iterator[tuple[str, int, int]]:
    yield "messages held", stream.stitcher.held, limits.held
    journal = stream._reseeding._journal
    if journal is not None:
        kept = sum(len(sequences) for sequences, _ in journal.changes)
        yield "changes kept for a re-seed", kept, limits.journal
    audit = stream.audits._audit
    if audit is not None:
        kept = sum(len(changes.ends) for changes in audit._changes)
        yield "changes kept for an audit", kept, limits.copy
