"""Every frame a connection was sent, numbered and written down: what was lost is counted there.

The numbers are of one connection and begin at 1. Order on a connection is the order of its bytes,
so a client that kept N frames whole kept exactly those numbered 1 to N.
"""

import zlib
from collections.abc import Sequence

from replay.exchange.frames import Opcode
from replay.exchange.line_file import LineFile

Frame = tuple[bytes, Opcode]


class FrameLog:
    """Number the frames of every connection; write down each one, or tell each one its number.

    Parameters
    ----------
    file : LineFile or None
        One line for all frames that went to the socket together: ``connection`` (connectId),
        ``time`` (ns), ``first`` (number of the first of them), ``crc32`` of each.
    writes_numbers : bool
        Messages carry their number as ``frame``, a field that no client knows. Garbage and what is
        no JSON object stay as they are, and are counted all the same.
    """

    def __init__(self, file: LineFile | None = None, *, writes_numbers: bool = False) -> None:
        self._file = file
        self._writes_numbers = writes_numbers

    @property
    def is_wanted(self) -> bool:
        """True if it does anything at all."""
        return self._file is not None or self._writes_numbers

    def number(self, connection: str, first: int, frames: Sequence[Frame], now: int) -> list[Frame]:
        """Return frames as they are to be sent, the first of them numbered `first`.

        Parameters
        ----------
        now : int
            ns UTC: they go to the socket in a moment.
        """
        sent = list(frames)
        if self._writes_numbers:
            sent = [
                (numbered(data, first + place) if opcode == "text" else data, opcode)
                for place, (data, opcode) in enumerate(frames)
            ]
        if self._file is not None:
            sums = [zlib.crc32(data) for data, _ in sent]
            self._file.write({"connection": connection, "time": now, "first": first, "crc32": sums})
        return sent


def numbered(data: bytes, number: int) -> bytes:
    """Return a JSON object with ``frame`` as its last field; anything else as it is."""
    if data[:1] != b"{" or data[-1:] != b"}":
        return data
    return b'%b,"frame":%d}' % (data[:-1], number)
