"""Messages that change nothing and are odd: opened twice, done twice, a level gone that never was.

They take the place, and the number, of messages that change nothing either, so that the venue's
book stays what it is, and everybody is told the same.
"""

from __future__ import annotations

from dataclasses import replace

from schemas.datasets import SIDE_CODES
from tests.simulation.depth import queues_of
from tests.simulation.faults import Faults
from tests.simulation.market import Message, Truth, book_orders, scaled

# How far back an order or a message is looked for, messages.
BACK = 80
# Below every market here.
ABSENT_PRICE = "0.01"
NO_CHANGE = b'[["0","0",'

Event = tuple[str, str, int, int, int]


class Oddities:
    """What was told otherwise than the market had it.

    Attributes
    ----------
    events : dict    (symbol, number) → the event of level 3 that was told there
    changes : dict   (symbol, number) → side code and price of the change of level 2
    """

    def __init__(self, faults: Faults) -> None:
        self.events: dict[tuple[str, int], Event] = {}
        self.changes: dict[tuple[str, int], tuple[int, int]] = {}
        self._faults = faults

    def instead_of(self, message: Message, truth: Truth) -> Message:
        """Return what everybody is told in place of a message, mostly itself."""
        if message.feed == "level2":
            return self._absent_level(message, truth)
        if message.feed != "level3" or truth.events[message.last][0] != "received":
            return message
        if self._faults.strikes("repeated_open"):
            return self._told_again(message, truth, "open", "repeated_open")
        if self._faults.strikes("unknown_order"):
            return self._told_again(message, truth, "done", "unknown_order")
        if self._faults.strikes("unknown_change"):
            return self._unknown_change(message, truth)
        return message

    def _told_again(self, message: Message, truth: Truth, kind: str, fault: str) -> Message:
        """Tell of an order that rests at the end of its queue, or is gone, once more."""
        symbol = truth.instrument.symbol
        ends = {}
        if kind == "open":
            queues = queues_of(book_orders(truth.books["l3"][message.position])[1])
            ends = {queue[-1][0]: queue[-1][1] for queue in queues.values()}
        for earlier in reversed(truth.messages[max(0, message.position - BACK) : message.position]):
            if earlier.feed != "level3":
                continue
            event = truth.events[earlier.last]
            if event[0] == kind and (kind == "done" or ends.get(event[1]) == event[4]):
                data = earlier.data.replace(b"%d" % earlier.last, b"%d" % message.last, 1)
                self.events[symbol, message.last] = event
                return replace(message, data=data)
        self._faults.struck[fault] -= 1
        return message

    def _unknown_change(self, message: Message, truth: Truth) -> Message:
        """Tell that an order changes its size which never was there."""
        symbol, number = truth.instrument.symbol, message.last
        data = (
            b'{"data":{"sequence":"%d","symbol":"%s","side":"buy","orderId":"never-was",'
            b'"price":"%s","newSize":"1.5","oldSize":"2","time":"1795341618160000000",'
            b'"type":"change"},"subject":"trade.l3change","topic":"/market/level3:%s",'
            b'"type":"message"}'
        ) % (number, symbol.encode(), ABSENT_PRICE.encode(), symbol.encode())
        told = ("change", "never-was", SIDE_CODES["bid"], scaled(ABSENT_PRICE), scaled("1.5"))
        self.events[symbol, number] = told
        return replace(message, data=data)

    def _absent_level(self, message: Message, truth: Truth) -> Message:
        """Tell that a level is gone which never was there, where a number stands for nothing."""
        at = message.data.find(NO_CHANGE)
        if at < 0 or not self._faults.strikes("absent_level"):
            return message
        number = int(message.data[at + len(NO_CHANGE) + 1 :].split(b'"', 1)[0])
        side = "bid" if message.data[:at].endswith(b'"bids":') else "ask"
        told = b'[["%s","0",' % ABSENT_PRICE.encode()
        symbol = truth.instrument.symbol
        self.changes[symbol, number] = (SIDE_CODES[side], scaled(ABSENT_PRICE))
        return replace(message, data=message.data.replace(NO_CHANGE, told, 1))
