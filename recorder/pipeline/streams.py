"""All streams of a run: which are carried, what waits to be stitched, how they begin and end."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Set
from dataclasses import fields
from typing import Any

from recorder.book import L2Book
from recorder.book.l3 import Oddities
from recorder.pipeline.book_stream import BookStream
from recorder.pipeline.decode import L2Batch, L3Batch
from recorder.pipeline.output import Output
from recorder.pipeline.push_stream import PushStream
from recorder.pipeline.routes import MATCH_TOPIC, Carriage, Key
from recorder.pipeline.trade_stream import TradeStream
from recorder.stitch.events import Event, Snapshot, StreamDown, StreamUp
from recorder.stitch.machine import Counters
from recorder.stitch.rules import ContinuityRule
from schemas.datasets import BOOK_STREAMS

_COUNTERS = tuple(each.name for each in fields(Counters))
_ODDITIES = tuple(each.name for each in fields(Oddities))


class Streams:
    """The streams of one run by (symbol, stream).

    Parameters
    ----------
    rule : ContinuityRule
    buffer_updates_max : int   messages a book stream holds while a snapshot is awaited
    trade_stream : type        what a trade's number says in this dialect
    last_trades : mapping      symbol → the last trade that an earlier run recorded
    unproven : set of str      symbols of which that run may have missed one before it

    Attributes
    ----------
    carriage : Carriage   which connection carries what
    """

    def __init__(
        self,
        rule: ContinuityRule,
        buffer_updates_max: int,
        trade_stream: type[TradeStream],
        last_trades: Mapping[str, int],
        unproven: Set[str],
    ) -> None:
        self.carriage = Carriage()
        self._rule = rule
        self._buffer_updates_max = buffer_updates_max
        self._trade_stream = trade_stream
        self._last_trades = last_trades
        self._unproven = unproven
        self._books: dict[Key, BookStream] = {}
        self._pushes: dict[Key, PushStream] = {}
        self._silent: set[Key] = set()  # to be subscribed to anew
        self._l2_waiting: dict[str, L2Batch] = {}
        self._l3_waiting: dict[str, L3Batch] = {}

    # Access

    def book(self, key: Key) -> BookStream:
        """Return a book stream, new where it is first named."""
        try:
            return self._books[key]
        except KeyError:
            book = self._books[key] = BookStream(*key, self._rule, self._buffer_updates_max)
            return book

    def push(self, key: Key) -> PushStream:
        """Return a stream without a book, new where it is first named."""
        try:
            return self._pushes[key]
        except KeyError:
            push: PushStream
            if key[1] == "trades":
                last_trade = self._last_trades.get(key[0])
                push = self._trade_stream(
                    key[0], last_trade, is_proven=key[0] not in self._unproven
                )
            else:
                push = PushStream(*key)
            self._pushes[key] = push
            return push

    def trades(self, symbol: str) -> TradeStream:
        """Return the trades of a symbol."""
        push = self.push((symbol, "trades"))
        assert isinstance(push, TradeStream)
        return push

    def l2_waiting(self, symbol: str) -> L2Batch:
        """Return the level-2 messages of a symbol that wait to be stitched."""
        try:
            return self._l2_waiting[symbol]
        except KeyError:
            batch = self._l2_waiting[symbol] = L2Batch(tells_again=self._rule.tells_again)
            return batch

    def l3_waiting(self, symbol: str) -> L3Batch:
        """Return the level-3 events of a symbol that wait to be stitched."""
        try:
            return self._l3_waiting[symbol]
        except KeyError:
            batch = self._l3_waiting[symbol] = L3Batch()
            return batch

    def status(self) -> dict[Key, dict[str, Any]]:
        """Return per (symbol, stream) what an operator asks first."""
        status: dict[Key, dict[str, Any]] = {}
        for key, book in self._books.items():
            machine = book.stitcher
            gap = machine.open_gap
            status[key] = {
                "state": machine.state.value,
                "sequence": machine.last_sequence,
                "gaps": machine.counters.gaps,
                "gap": gap.reason if gap else None,
                "live": book.live,
                "tally": tally_of(book),
            }
        for key, push in self._pushes.items():
            status[key] = {"state": "up" if push.up else "down", "sequence": push.last_sequence}
        return status

    # Events

    def tell_book(self, key: Key, event: Event, output: Output) -> None:
        """Hand an event to a book stream, behind the messages that came before it."""
        self.stitch(key, output)
        self.book(key).handle(event, output)

    def reseed_asked(self, key: Key, output: Output) -> None:
        """Note that a partial book is being asked for again, behind what came before."""
        self.stitch(key, output)
        self.book(key).on_reseed_asked()

    def reseed_answered(self, key: Key, answer: Snapshot, output: Output) -> bool:
        """Hand over the answer to a re-seed; False if it is of no use."""
        self.stitch(key, output)
        return self.book(key).on_reseed_answered(answer, output)

    def reseed_failed(self, key: Key) -> None:
        """Note that a re-seed will not be answered."""
        self.book(key).on_reseed_failed()

    def audit_asked(self, key: Key, output: Output) -> None:
        """Note that a book or trades are to be compared with the venue's, as they are now."""
        if key[1] not in BOOK_STREAMS:
            trades = self.trades(key[0])
            trades.audits.on_asked(output, is_up=trades.up)
            return
        self.stitch(key, output)
        book = self.book(key)
        book.audits.on_asked(book.book, output)

    def audit_answered(self, key: Key, answer: Snapshot, output: Output) -> None:
        """Hand over the venue's book of an audit."""
        self.stitch(key, output)
        self.book(key).on_audit_answered(answer, output)

    def audit_failed(self, key: Key, ts: int, why: str, output: Output) -> None:
        """Note that an audit will not be answered."""
        if key[1] not in BOOK_STREAMS:
            self.trades(key[0]).audits.on_failed(ts, why, output)
            return
        self.stitch(key, output)
        self.book(key).audits.on_failed(ts, why, output)

    def check(self, ts: int, output: Output) -> None:
        """Look at every book, each at the end of a message, and at audits of trades."""
        for key, book in self._books.items():
            self.stitch(key, output)
            told_until = book.on_check(ts, output)
            if told_until is not None:
                self._silent.add(key)
                if key[1] == "l3":
                    self._on_trades_silent(key[0], ts, told_until, output)
        for key, push in self._pushes.items():
            if isinstance(push, TradeStream) and push.on_check(ts, output):
                self._silent.add(key)
                for connection in list(self.carriage.carriers[key]):
                    self.carriage.release(connection, key)

    def carried(self, key: Key, connection: int, ts: int, output: Output) -> None:
        """Note that a connection carries a stream; it comes up where none did before."""
        carriers = self.carriage.carriers.get(key)
        if carriers is not None and connection in carriers:
            return
        if self.carriage.carry(connection, key):
            if key[1] in BOOK_STREAMS:
                self.tell_book(key, StreamUp(ts), output)
            elif key[1] == MATCH_TOPIC:
                self.trades(key[0]).match_topic_up = True
            else:
                self.push(key).on_up(ts, output)
            self._note_trade_topics(key[0])

    def released(self, key: Key, connection: int, ts: int, reason: str, output: Output) -> None:
        """Note that a connection no longer carries a stream; it goes down with the last one."""
        ts_alive = self.carriage.heard(key, ts)
        if self.carriage.release(connection, key):
            self._silent.discard(key)
            self._down(key, ts, ts_alive, reason, output)
        elif (push := self._pushes.get(key)) is not None and push.up:
            # What the one that is gone has proven stays proven, asked for in between or not.
            push.extend(ts_alive, output)

    def unsubscribed(self, connection: int, keys: Collection[Key], ts: int, output: Output) -> None:
        """Note that a topic was taken off a connection: for good, or to be subscribed to anew.

        Of one that was found silent that may come late, when a book has healed it in between: what
        is missed from then on is missed for the same reason.
        """
        reason = "stopped" if self._silent.isdisjoint(keys) else "silent"
        for key in sorted(self.carriage.ended(connection, keys)):
            self.released(key, connection, ts, reason, output)

    def closed(self, connection: int, ts: int, reason: str, output: Output) -> None:
        """Note that a connection is gone."""
        for key in self.carriage.on_connection(connection):
            self.released(key, connection, ts, reason, output)
            self._silent.discard(key)  # whatever carries it yet was subscribed to by itself
        self.carriage.forget(connection)

    def unreadable(self, key: Key, ts: int, reason: str, output: Output) -> None:
        """Note that a message may be lost, and leave a gap where nothing else would show it.

        Parameters
        ----------
        ts : int       ns
        reason : str   decode or garbage
        """
        if key[1] in BOOK_STREAMS:
            self.stitch(key, output)
            self.book(key).note_unreadable(reason)  # its sequences will show whether one is
        elif key[1] != MATCH_TOPIC and not self._has_l3_twin(key):
            self.push(key).on_unreadable(ts, self.carriage.heard(key, ts), reason, output)

    def all_unreadable(self, ts: int, reason: str, output: Output) -> None:
        """Note that messages of any stream may be lost."""
        for key, carriers in self.carriage.carriers.items():
            if carriers:
                self.unreadable(key, ts, reason, output)

    def stop(self, ts: int, reason: str, output: Output) -> None:
        """End every stream."""
        for key, carriers in self.carriage.carriers.items():
            if carriers:
                self._down(key, ts, self.carriage.heard(key, ts), reason, output)
                carriers.clear()
        for push in self._pushes.values():
            if isinstance(push, TradeStream):
                push.settle(ts, output, everything=True)

    def pause(self, ts: int, reason: str, output: Output) -> None:
        """Take every stream down and forget every connection: none is heard of again."""
        for key, carriers in self.carriage.carriers.items():
            if carriers:
                self._down(key, ts, self.carriage.heard(key, ts), reason, output)
                carriers.clear()
        self._silent.clear()
        self.carriage.forget_all()

    def extend(self, output: Output) -> None:
        """Bring the intervals of streams without a book up to the last frame of their sockets."""
        for key, push in self._pushes.items():
            if push.up:
                push.extend(self.carriage.heard(key, 0), output)

    def is_repeat(self, key: Key, sequence: int) -> bool:
        """Say whether a second connection brought a push that the first one had brought."""
        last = self.push(key).last_sequence
        return len(self.carriage.carriers[key]) > 1 and last is not None and sequence <= last

    # Batches

    def stitch(self, key: Key, output: Output) -> None:
        """Stitch what waits for one stream, before an event of another kind reaches it."""
        waiting = (self._l2_waiting if key[1] == "l2" else self._l3_waiting).get(key[0])
        if waiting:
            self.book(key).handle_updates(waiting.take(), output)

    def stitch_all(self, output: Output) -> None:
        """Stitch and hand over everything that waits."""
        for symbol, l2 in self._l2_waiting.items():
            if l2:
                self.book((symbol, "l2")).handle_updates(l2.take(), output)
        for symbol, l3 in self._l3_waiting.items():
            if l3:
                self.book((symbol, "l3")).handle_updates(l3.take(), output)
        for push in self._pushes.values():
            push.flush(output)

    def _down(self, key: Key, ts: int, ts_alive: int, reason: str, output: Output) -> None:
        if key[1] in BOOK_STREAMS:
            self.tell_book(key, StreamDown(ts, reason), output)
        elif key[1] == MATCH_TOPIC:
            self.trades(key[0]).on_match_topic_down(ts_alive, output)
        else:
            self.push(key).on_down(ts, ts_alive, reason, output)

    def _on_trades_silent(self, symbol: str, ts: int, told_until: int, output: Output) -> None:
        """Take trades off the connections whose level 3 has been found silent and tells them alone.

        The next frame of either topic brings them up again, and asks for what was missed.
        """
        key = (symbol, "trades")
        told_elsewhere = self.carriage.carriers.get((symbol, MATCH_TOPIC), set())
        for connection in sorted(self.carriage.carriers.get(key, set()) - told_elsewhere):
            if self.carriage.release(connection, key):
                self.push(key).on_silent(ts, told_until, output)

    def _note_trade_topics(self, symbol: str) -> None:
        """Tell the trades of a symbol which topics bring them."""
        trades = self._pushes.get((symbol, "trades"))
        if isinstance(trades, TradeStream):
            topics = [t for t in ("l3", MATCH_TOPIC) if self.carriage.carriers.get((symbol, t))]
            trades.note_topics(topics)

    def _has_l3_twin(self, key: Key) -> bool:
        """Say whether level 3 brings every row of this stream, too."""
        return key[1] == "trades" and bool(self.carriage.carriers.get((key[0], "l3")))


def tally_of(book: BookStream) -> dict[str, int]:
    """Return what a book stream has met: its stitcher's counters, its book's oddities."""
    tally = {name: getattr(book.stitcher.counters, name) for name in _COUNTERS}
    if isinstance(book.book, L2Book):
        tally["absent_removals"] = book.book.absent_removals
    else:
        tally |= {name: getattr(book.book.oddities, name) for name in _ODDITIES}
    return tally
