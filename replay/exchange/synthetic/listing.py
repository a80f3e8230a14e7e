"""One listed symbol: its name and state, and its market, which opens when somebody wants it."""

from collections.abc import Callable
from dataclasses import dataclass

from replay.exchange.synthetic import wire
from replay.exchange.synthetic.instruments import Instrument
from replay.exchange.synthetic.market import SyntheticMarket
from replay.exchange.synthetic.wording import Batcher
from schemas.kucoin.rest import Instrument as WireInstrument


@dataclass(slots=True)
class Listing:
    """A symbol of the list.

    Attributes
    ----------
    name : str
        What people call it; changes when it is renamed, the symbol never does.
    is_trading : bool
        False: listed, but nothing happens.
    batcher : Batcher
        Makes its level-2 messages.
    opened : SyntheticMarket or None
        Its market, once it is open: a book of a thousand orders costs a hundredth of a second.
    due : int
        When its next command is due, ns.
    """

    instrument: Instrument
    batcher: Batcher
    build: Callable[[], SyntheticMarket]
    name: str
    is_trading: bool = True
    opened: SyntheticMarket | None = None
    due: int = 0

    @property
    def symbol(self) -> str:
        """The symbol."""
        return self.instrument.symbol

    @property
    def market(self) -> SyntheticMarket:
        """The market, opened now if it was not."""
        if self.opened is None:
            self.opened = self.build()
        return self.opened

    def wire(self) -> WireInstrument:
        """Return its metadata as `symbols` has it."""
        return wire.wire_instrument(self.instrument, self.name, enable_trading=self.is_trading)
