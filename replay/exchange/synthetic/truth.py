"""What really happened: whole books at random sequences, and every event of the engine.

Both are written from the engine's integers at the very sequence they speak of, inside the engine's
call, and share no code with the wire format, the recorder or the replay.
"""

import random
from collections.abc import Sequence
from typing import Any

from replay.exchange.line_file import LineFile
from replay.exchange.synthetic.instruments import Instrument
from replay.exchange.synthetic.market import SyntheticMarket
from replay.exchange.synthetic.orders import EngineEvent


class TruthWriter:
    """Write both books of a market at sequences drawn uniformly at random.

    Each sequence is drawn with the chance 1 / `every`, whatever happens there: in the middle of an
    order's trades as well as between orders.

    Parameters
    ----------
    file : LineFile
        One line a book: ``{"symbol", "book", "sequence", "ts", "bids", "asks"}``; rows are
        ``[price, size]`` in l2, ``[order_id, price, size]`` in queue order in l3, best first.
    every : int
        One sequence in so many, on average; ≥ 1.
    seed : int
        Decides which, together with the symbol.
    books : sequence of str
        Which books the exchange shows: l2, l3 or both.
    """

    def __init__(
        self, file: LineFile, every: int, seed: int, books: Sequence[str] = ("l2", "l3")
    ) -> None:
        self._file = file
        self._chance = 1 / every
        self._seed = seed
        self._books = books
        self._draws: dict[str, random.Random] = {}

    def __call__(self, market: SyntheticMarket, event: EngineEvent) -> None:
        """Draw for one event, and write if it is drawn."""
        symbol = market.instrument.symbol
        draw = self._draws.get(symbol)
        if draw is None:
            draw = self._draws[symbol] = random.Random(f"{self._seed}/{symbol}/truth")
        if draw.random() >= self._chance:
            return
        price, size = market.instrument.price_text, market.instrument.size_text
        head = {"symbol": symbol, "sequence": event.sequence, "ts": event.ts}
        if "l2" in self._books:
            bids, asks = ([[price(p), size(s)] for p, s in side] for side in market.engine.l2())
            self._file.write({**head, "book": "l2", "bids": bids, "asks": asks})
        if "l3" in self._books:
            bids, asks = (
                [[o, price(p), size(s)] for o, p, s in side] for side in market.engine.l3()
            )
            self._file.write({**head, "book": "l3", "bids": bids, "asks": asks})


class OrderLogWriter:
    """Write every engine event, so that anybody can rebuild the book in a way of their own.

    The first line of a symbol is its ``instrument`` with the digits of a tick and of a lot; every
    other line is an event with its integers and without the fields that say nothing.
    """

    def __init__(self, file: LineFile) -> None:
        self._file = file

    def write_instrument(self, instrument: Instrument) -> None:
        """Write the scales of a symbol; to be called before its first event."""
        self._file.write(
            {
                "kind": "instrument",
                "symbol": instrument.symbol,
                "price_digits": instrument.price_digits,
                "size_digits": instrument.size_digits,
            }
        )

    def __call__(self, market: SyntheticMarket, event: EngineEvent) -> None:
        """Write one event. Level totals stay out: whoever reads this is to work them out."""
        row: dict[str, Any] = {
            name: value
            for name, value in zip(event._fields, event, strict=True)
            if value is not None and name not in {"level_price", "level_size"}
        }
        row["symbol"] = market.instrument.symbol
        self._file.write(row)
