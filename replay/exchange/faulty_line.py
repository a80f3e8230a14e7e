"""One connection's faults: what becomes of each message on its way to the socket. Pure."""

from collections.abc import Iterator
from dataclasses import dataclass

from replay.exchange.faults import Fault, FaultPlan
from replay.exchange.frames import Opcode
from replay.exchange.source import Push

GARBAGE_TEXT = b'{"data":{"sequenceStart":15458966'
"""A JSON object cut off in the middle."""

GARBAGE_BINARY = b"\x00\xff\xfe\x80not json at all\x93"


@dataclass(frozen=True, slots=True)
class Send:
    """Send a frame."""

    data: bytes
    opcode: Opcode = "text"


@dataclass(frozen=True, slots=True)
class Cut:
    """Cut the connection."""


Action = Send | Cut
_Stream = tuple[str, str]


@dataclass(slots=True)
class _Silence:
    """A spell in which nothing of `topic` and `symbol` (None: any) is sent."""

    until: int
    topic: str | None
    symbol: str | None
    suppressed: dict[_Stream, tuple[int, int]]

    def covers(self, stream: _Stream) -> bool:
        return self.topic in {None, stream[0]} and self.symbol in {None, stream[1]}


@dataclass(slots=True)
class _Held:
    """Messages of one stream that wait, in order."""

    until: int
    frames: list[bytes]


class FaultyLine:
    """The faults between the server and one client.

    Order is kept inside a stream (topic and name) except where ``reorder`` swaps two neighbours: a
    delayed message holds up those behind it, as a slow network would.

    Parameters
    ----------
    connection : str
        Named in the fault log.
    """

    def __init__(self, connection: str, plan: FaultPlan) -> None:
        self.connection = connection
        self._plan = plan
        self._silences: list[_Silence] = []
        self._held: dict[_Stream, _Held] = {}
        self._swapped: dict[_Stream, list[bytes]] = {}

    def offer(self, push: Push, frame: bytes, now: int) -> list[Action]:
        """Decide what is sent instead of `frame`: most often just that."""
        stream = (push.feed, push.name)
        for kind in ("disconnect", "silence", "drop"):
            fault = self._plan.draw(kind, *stream, now)
            if fault is None:
                continue
            if kind == "silence":
                self.fall_silent(fault, now)
                break
            self._write(kind, push, now)
            return [Cut()] if kind == "disconnect" else []
        for silence in self._silences:
            if now < silence.until and silence.covers(stream):
                first = silence.suppressed.get(stream, (push.first_sequence, 0))[0]
                silence.suppressed[stream] = (first, push.last_sequence)
                return []
        frames = [frame]
        if self._plan.draw("duplicate", *stream, now):
            self._write("duplicate", push, now)
            frames = [frame, frame]
        delay = self._plan.draw("delay", *stream, now)
        held = self._held.get(stream)
        if delay is not None:
            self._write("delay", push, now, for_ns=delay.for_ns)
            if held is None:
                held = self._held[stream] = _Held(0, [])
            held.until = max(held.until, now + delay.for_ns)
        if held is not None:
            held.frames += frames
            return []
        waiting = self._swapped.pop(stream, None)
        if waiting is not None:
            frames += waiting
        elif self._plan.draw("reorder", *stream, now):
            self._write("reorder", push, now)
            self._swapped[stream] = frames
            return []
        actions: list[Action] = [Send(data) for data in frames]
        if self._plan.draw("garbage", *stream, now):
            self._write("garbage", push, now)
            actions[:0] = [Send(GARBAGE_TEXT), Send(GARBAGE_BINARY, "binary")]
        return actions

    def fall_silent(self, fault: Fault, now: int) -> None:
        """Send nothing the fault covers until its time is over."""
        self._silences.append(_Silence(now + fault.for_ns, fault.topic, fault.symbol, {}))
        self._plan.write(
            "silence",
            now,
            connection=self.connection,
            topic=fault.topic,
            symbol=fault.symbol,
            for_ns=fault.for_ns,
        )

    def is_mute(self, now: int) -> bool:
        """Tell whether not even a pong may be sent."""
        return any(
            now < silence.until and silence.topic is None and silence.symbol is None
            for silence in self._silences
        )

    def release(self, now: int) -> Iterator[Send]:
        """Yield what has waited long enough, and end the silences that are over."""
        for stream in [stream for stream, held in self._held.items() if held.until <= now]:
            for data in self._held.pop(stream).frames:
                yield Send(data)
        for silence in [silence for silence in self._silences if silence.until <= now]:
            self._silences.remove(silence)
            for (topic, symbol), (first, last) in silence.suppressed.items():
                self._plan.write(
                    "silence_over",
                    now,
                    connection=self.connection,
                    topic=topic,
                    symbol=symbol,
                    sequence_start=first,
                    sequence_end=last,
                )

    def _write(self, kind: str, push: Push, now: int, **more: int) -> None:
        self._plan.write(
            kind,
            now,
            connection=self.connection,
            topic=push.feed,
            symbol=push.name,
            sequence_start=push.first_sequence,
            sequence_end=push.last_sequence,
            **more,
        )
