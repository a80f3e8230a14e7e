"""Generated snapshot pushes: every digit of every number survives parse and format."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from schemas.kucoin.market_snapshot import (
    format_market_snapshot,
    parse_market_snapshot,
    row_of_entry,
)
from tests.support.wire_round_trip import exact

NUMBER_TEXTS = st.from_regex(
    r"-?(0|[1-9][0-9]{0,30})(\.[0-9]{1,30})?([eE][+-]?[0-9]{1,3})?", fullmatch=True
)
NAMES = st.sampled_from(["buy", "sell", "vol", "changePrice", "open", "marketChange1h"])


@given(st.lists(st.dictionaries(NAMES, NUMBER_TEXTS), min_size=1, max_size=3), st.booleans())
def test_numbers_keep_their_digits(entries: list[dict[str, str]], is_list: bool) -> None:
    objects = [
        "{" + ",".join(['"symbol":"KCS-BTC"', *(f'"{k}":{v}' for k, v in entry.items())]) + "}"
        for entry in entries
    ]
    data = f"[{','.join(objects)}]" if is_list else objects[0]
    text = (
        f'{{"data":{{"sequence":"1","data":{data}}},"subject":"trade.snapshot",'
        f'"topic":"/market/snapshot:BTC","type":"message"}}'
    )
    snapshot = parse_market_snapshot(text)
    assert exact(format_market_snapshot(snapshot)) == exact(text)
    for entry, wire in zip(snapshot.entries, entries, strict=False):
        _, _, columns = row_of_entry(entry)
        for name in {"buy", "sell", "vol"} & wire.keys():
            assert columns[name] == wire[name]
        assert set(json.loads(columns["extra"] or "{}")) == wire.keys() & {"open", "marketChange1h"}
