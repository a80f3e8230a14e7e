"""Captures made by hand: the full book of one symbol, then one change a second."""

from __future__ import annotations

import json

from tests.support.market_log import PROFILE, l2_frame, whole_l2_book

URL = "https://api.kucoin.com" + PROFILE.book_source("l2", signed=False).path.format(symbol="A-B")


def capture_lines(count: int, first: int = 100, second: int = 1_700_000_000) -> list[str]:
    """Return a capture: the full book at `first`, then one change a second."""
    book = whole_l2_book(first, [("1", "1")], [("2", "1")]).decode()
    records = [{"kind": "rest", "url": URL, "ts_recv": f"{second}.5", "data": book}]
    for n in range(1, count):
        frame = l2_frame("A-B", first + n, first + n, bids=[("1", str(n), first + n)]).decode()
        records.append({"kind": "frame", "ts_recv": f"{second + n}.000001", "data": frame})
    return [json.dumps(record) for record in records]
