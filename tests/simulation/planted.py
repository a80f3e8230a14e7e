"""Bugs named in advance, planted one at a time: how many seeds until the checks find each.

A simulation that finds nothing says little until it is known what it would find.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

from recorder.book import L2Book, L3Book
from recorder.errors import NotAnArchive, RecorderError
from recorder.meters import Meters
from recorder.pipeline.auditing import Auditing
from recorder.pipeline.book_audits import BookAudits
from recorder.pipeline.book_record import BookRecord
from recorder.pipeline.known_clock import KnownClock
from recorder.pipeline.push_stream import PushStream
from recorder.pipeline.reseed import Reseeding
from recorder.pipeline.trade_audits import TradeAudits
from recorder.pipeline.trade_stream import BookTradeStream, TradeStream
from recorder.recording import Recording
from recorder.stitch.actions import Action, WriteGap
from recorder.stitch.machine import Stitcher
from recorder.stitch.rules import OverlapRule, StrictRule
from recorder.storage import part_writer
from recorder.storage.catalog_reader import CatalogReader
from recorder.storage.catalog_writer import CatalogWriter
from recorder.storage.disk import disk
from recorder.storage.durable import beside
from recorder.storage.raw_log import RawLogWriter
from recorder.transport.dialer import Dialer
from tests.simulation import disk as simulated
from tests.simulation.batch import play
from tests.simulation.inodes import Inode

SEEDS_MAX = 400

Found = tuple[int, str]
Bug = Callable[[], AbstractContextManager[Any]]


@contextmanager
def continuity_off_by_one() -> Iterator[None]:
    """One missing number passes for none."""

    def follows(_: object, last: int, start: int, end: int) -> bool:
        return last < start <= last + 2 <= end + 1

    def count(rule: Any, last: int, starts: Any, ends: Any) -> int:
        taken = 0
        for start, end in zip(starts.tolist(), ends.tolist(), strict=True):
            if not rule.follows(last, start, end):
                break
            taken, last = taken + 1, end
        return taken

    with ExitStack() as stack:
        for rule in (StrictRule, OverlapRule):
            stack.enter_context(patch.object(rule, "follows", follows))
            stack.enter_context(patch.object(rule, "count_following", count))
        yield


@contextmanager
def old_snapshot_accepted() -> Iterator[None]:
    """A book older than the first message held is taken all the same, and what is held put on."""

    def bridges(_: object, last: int, start: int, end: int) -> bool:
        return end > last and start > 0

    with (
        patch.object(Stitcher, "_reaches", lambda *_: True),
        patch.object(StrictRule, "bridges", bridges),
        patch.object(OverlapRule, "bridges", bridges),
    ):
        yield


@contextmanager
def raw_log_not_synced() -> Iterator[None]:
    """A group commit is written and not synced."""
    with patch.object(simulated.Appending, "sync", lambda self: self.touch()):
        yield


@contextmanager
def part_renamed_without_folder_sync() -> Iterator[None]:
    """A part has its name, and the folder does not know for sure."""

    def publish(path: Path) -> None:
        disk().sync_file(beside(path))
        disk().rename(beside(path), path)

    with patch.object(part_writer, "publish_file", publish):
        yield


@contextmanager
def durable_before_the_sync() -> Iterator[None]:
    """Frames are acknowledged when they are about to be written."""
    append = Recording.append

    def acknowledge_first(self: Recording, lines: Any) -> Any:
        self.meters.count_durable(lines, 0)
        with patch.object(self.meters, "count_durable", lambda *_: None):
            return append(self, lines)

    with patch.object(Recording, "append", acknowledge_first):
        yield


@contextmanager
def published_rows_off_by_one() -> Iterator[None]:
    """Recovery believes that parts hold a row more than they do."""
    published = CatalogReader.published_rows

    def one_more(self: CatalogReader, run_id: str) -> Any:
        return {key: count + 1 for key, count in published(self, run_id).items()}

    with patch.object(CatalogReader, "published_rows", one_more):
        yield


@contextmanager
def no_gap_on_disconnect() -> Iterator[None]:
    """A stream goes down without a word in the ledger."""
    on_down = Stitcher._on_stream_down

    def in_silence(self: Stitcher, event: Any) -> list[Action]:
        return [a for a in on_down(self, event) if not isinstance(a, WriteGap)]

    with patch.object(Stitcher, "_on_stream_down", in_silence):
        yield


@contextmanager
def repeated_trade_written_twice() -> Iterator[None]:
    """A trade told again is another trade."""
    with (
        patch.object(TradeStream, "_is_known_id", lambda *_: False),
        patch.object(BookTradeStream, "_is_repeat", lambda *_: False),
    ):
        yield


@contextmanager
def straddling_message_dropped() -> Iterator[None]:
    """A message that begins before the snapshot and ends behind it is dropped whole."""

    def is_stale(_: object, last: int, start: int, end: int) -> bool:
        del end
        return start <= last

    with (
        patch.object(StrictRule, "is_stale", is_stale),
        patch.object(OverlapRule, "is_stale", is_stale),
    ):
        yield


@contextmanager
def catalog_before_the_part() -> Iterator[None]:
    """The catalog names parts whose files get their names behind the commit."""
    write, publish = part_writer.write_part, CatalogWriter.publish_parquet
    waiting: list[Path] = []

    def write_unnamed(archive: Path, *args: Any) -> Any:
        part = write(archive, *args)
        path = archive / part.row["path"]
        disk().rename(path, beside(path))
        waiting.append(path)
        return part

    def name_and_publish(self: CatalogWriter, **kwargs: Any) -> bool:
        while waiting:
            path = waiting.pop()
            disk().rename(beside(path), path)
            disk().sync_folder(path.parent)
        return publish(self, **kwargs)

    with (
        patch("recorder.run_writer.write_part", write_unnamed),
        patch.object(CatalogWriter, "publish_parquet", name_and_publish),
    ):
        yield


@contextmanager
def token_kept() -> Iterator[None]:
    """Every connection of a process is opened with the first token it got."""
    fetch = Dialer._fetch_bullet

    async def keep(self: Any) -> Any:
        if not hasattr(self, "kept_bullet"):
            self.kept_bullet = await fetch(self)
        return self.kept_bullet

    with patch.object(Dialer, "_fetch_bullet", keep):
        yield


@contextmanager
def failed_snapshot_forgotten() -> Iterator[None]:
    """A snapshot that could not be had is not asked for again."""
    with patch.object(Stitcher, "_on_snapshot_failed", lambda *_: []):
        yield


@contextmanager
def disk_error_passed_over() -> Iterator[None]:
    """A group commit the disk refuses counts as written."""
    append = RawLogWriter.append

    def go_on(self: Any, lines: Any) -> int:
        try:
            return append(self, lines)
        except OSError:
            self._failed = False
            return 0

    with patch.object(RawLogWriter, "append", go_on):
        yield


@contextmanager
def known_time_runs_backwards() -> Iterator[None]:
    """Rows are known from when the wall clock said, also when it was set back."""

    def follow(self: Any, ts: int) -> int:
        self.now = ts
        return ts

    with patch.object(KnownClock, "advance", follow):
        yield


@contextmanager
def silent_topic_not_noticed() -> Iterator[None]:
    """An audit whose answer the stream never reaches says nothing about the stream."""
    check = Auditing.check

    def keep_quiet(self: Auditing, sequence: int) -> str:
        said = check(self, sequence)
        return "" if said == "silent" else said

    with patch.object(Auditing, "check", keep_quiet):
        yield


@contextmanager
def silent_trades_not_noticed() -> Iterator[None]:
    """A history newer than all that was told says nothing about the match topic."""

    def keep_quiet(self: TradeAudits, *_: Any) -> None:
        self._newest = None

    with patch.object(TradeAudits, "check", keep_quiet):
        yield


@contextmanager
def audit_never_unequal() -> Iterator[None]:
    """An audit calls every book equal."""

    def say_equal(_: object, other: Any) -> int:
        return other.levels if isinstance(other, L2Book) else int(other.orders)

    with patch.object(L2Book, "compare", say_equal), patch.object(L3Book, "compare", say_equal):
        yield


@contextmanager
def drift_from_the_verdict_on() -> Iterator[None]:
    """A book found wrong is called so from the moment it was found, not from the last proof on."""
    with patch.object(BookAudits, "last_right", lambda *_: None):
        yield


@contextmanager
def reseed_merged_at_wrong_sequence() -> Iterator[None]:
    """The answer to a re-seed is taken for a book at the sequence the stream stands at."""

    def finish(self: Reseeding, sequence: int) -> L2Book:
        if self._journal is not None:
            self._journal.changes.clear()
        return merge(self, sequence)

    merge = Reseeding.finish
    with patch.object(Reseeding, "finish", finish):
        yield


@contextmanager
def buffer_without_bound() -> Iterator[None]:
    """A stream that waits for its book holds whatever comes."""
    begin = Stitcher.__init__

    def unbounded(self: Stitcher, *args: Any, **kwargs: Any) -> None:
        begin(self, *args, **kwargs)
        self._buffer_updates_max = 1 << 60

    with patch.object(Stitcher, "__init__", unbounded):
        yield


@contextmanager
def order_opened_again_stands_twice() -> Iterator[None]:
    """An order opened a second time is put into the book beside itself."""
    opened = L3Book._open

    def beside(self: L3Book, order_id: str, *args: Any) -> None:
        opened(self, f"{order_id}/again" if order_id in self._orders else order_id, *args)

    with patch.object(L3Book, "_open", beside):
        yield


@contextmanager
def gap_between_runs_forgotten() -> Iterator[None]:
    """Where a run ends and the next one begins no gap is written."""
    with patch.object(CatalogWriter, "_join", lambda *_: None):
        yield


# By the name the documentation has.
@contextmanager
def books_cover_until_noticed() -> Iterator[None]:
    """A book that ends is covered until that is noticed."""
    real = BookRecord.end

    def end(self: Any, reason: str, ts_detected: int, output: Any, right_until: Any = None) -> None:
        if right_until is None:
            interval = self._interval
            interval.ts_to = max(interval.ts_to, self.clock.advance(ts_detected))
        real(self, reason, ts_detected, output, right_until)

    with patch.object(BookRecord, "end", end):
        yield


@contextmanager
def trades_cover_until_noticed() -> Iterator[None]:
    """Trades are covered until it is noticed that nothing tells of them."""
    real = PushStream.on_down

    def on_down(self: Any, ts: int, ts_alive: int, reason: str, output: Any) -> None:
        real(self, ts, max(ts, ts_alive), reason, output)

    with patch.object(PushStream, "on_down", on_down):
        yield


@contextmanager
def healed_without_its_book() -> Iterator[None]:
    """The book that heals a gap is taken, and not written."""
    real = BookRecord.begin

    def begin(self: Any, snapshot: Any, output: Any) -> None:
        heals = self._interval is not None
        real(self, snapshot, output)
        if heals:
            output.rows.pop()

    with patch.object(BookRecord, "begin", begin):
        yield


@contextmanager
def drift_taken_back_too_far() -> Iterator[None]:
    """A book found wrong is called so from its beginning on, whatever was proven since."""

    def last_right(self: Any, _: object) -> Any:
        return self._seed

    with patch.object(BookAudits, "last_right", last_right):
        yield


@contextmanager
def aggressor_turned_round() -> Iterator[None]:
    """Who took liquidity in a trade is the other side."""
    real = PushStream.write

    def write(self: Any, *told: Any) -> None:
        *others, words, output = told
        if self.stream == "trades":
            trade_id, side, *ids = words
            words = (trade_id, {"buy": "sell", "sell": "buy"}[side], *ids)
        real(self, *others, words, output)

    with patch.object(PushStream, "write", write):
        yield


@contextmanager
def parts_never_released() -> Iterator[None]:
    """Parts that were held back on a full disk wait for ever."""

    def release(self: Any) -> Any:
        return self.decoded

    with patch.object(Recording, "release_parts", release):
        yield


@contextmanager
def twin_never_published() -> Iterator[None]:
    """The Parquet twin of the catalog is not written."""

    def nothing(_: object, *, sparing: bool = False) -> bool:
        return sparing

    with patch.object(CatalogWriter, "publish_parquet", nothing):
        yield


@contextmanager
def instruments_forgotten() -> Iterator[None]:
    """What the exchange lists is asked for, and not kept."""

    def nothing(_: object, run_id: str, told: Any) -> None:
        del run_id, told

    with patch.object(CatalogWriter, "put_instruments", nothing):
        yield


@contextmanager
def nothing_acknowledged() -> Iterator[None]:
    """Frames become durable, and nobody is told."""
    real = Meters.count_durable

    def count(self: Any, lines: Any, raw_bytes: int) -> None:
        real(self, lines, raw_bytes)
        self.durable.clear()

    with patch.object(Meters, "count_durable", count):
        yield


@contextmanager
def dies_without_a_cause() -> Iterator[None]:
    """The writer gives up in the middle of its work."""
    real = Recording.decode
    calls: Counter[int] = Counter()

    def decode(self: Any, lines: Any, position: Any) -> Any:
        calls[id(self)] += 1
        if calls[id(self)] == 40:
            raise NotAnArchive("archive")
        return real(self, lines, position)

    with patch.object(Recording, "decode", decode):
        yield


@contextmanager
def failed_sync_believed() -> Iterator[None]:
    """What a failed sync left is synced once more by the next start, and not written again."""
    with patch.object(Inode, "write_again", lambda _, start: start):
        yield


BUGS: dict[str, Bug] = {
    bug.__name__: bug
    for bug in (
        continuity_off_by_one,
        old_snapshot_accepted,
        straddling_message_dropped,
        no_gap_on_disconnect,
        failed_snapshot_forgotten,
        repeated_trade_written_twice,
        raw_log_not_synced,
        durable_before_the_sync,
        disk_error_passed_over,
        part_renamed_without_folder_sync,
        catalog_before_the_part,
        published_rows_off_by_one,
        known_time_runs_backwards,
        token_kept,
        silent_topic_not_noticed,
        silent_trades_not_noticed,
        audit_never_unequal,
        drift_from_the_verdict_on,
        reseed_merged_at_wrong_sequence,
        buffer_without_bound,
        order_opened_again_stands_twice,
        gap_between_runs_forgotten,
        books_cover_until_noticed,
        trades_cover_until_noticed,
        healed_without_its_book,
        drift_taken_back_too_far,
        aggressor_turned_round,
        parts_never_released,
        twin_never_published,
        instruments_forgotten,
        nothing_acknowledged,
        dies_without_a_cause,
        failed_sync_believed,
    )
}


def hunt(bug: Bug, seeds_max: int = SEEDS_MAX) -> Found | None:
    """Plant a bug and play seeds until one breaks a promise; return it and what it broke.

    Raises
    ------
    RuntimeError   the seed breaks one without the bug as well
    """
    for seed in range(1, seeds_max + 1):
        with bug():
            broken = _broken_by(seed)
        if broken:
            if without := _broken_by(seed):
                raise RuntimeError(f"without the bug, too, seed {seed} breaks a promise: {without}")
            return seed, broken
    return None


def _broken_by(seed: int) -> str:
    """Return the first promise a seed breaks; code that contradicts itself breaks one."""
    try:
        played, problems = play(seed, rebuild=True)
    except (RecorderError, AssertionError, LookupError, ValueError) as error:
        return f"{type(error).__name__}: {error}"
    played.disk.close()
    return problems[0] if problems else ""
