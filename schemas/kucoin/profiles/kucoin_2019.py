"""KuCoin as its document of February 2019 describes it: full public books of both levels."""

from schemas.kucoin.profile import Limits, Profile

KUCOIN_2019 = Profile(
    name="kucoin-2019",
    venue="kucoin",
    source="KuCoin API document of February 2019 (docs.kucoin.com), read 2026-11-22",
    valid_from="2019-02-22",
    rest_url="https://api.kucoin.com",
    bullet_path="/api/v1/bullet-public",
    symbols_path="/api/v1/symbols",
    timestamp_path="/api/v1/timestamp",
    histories_path="/api/v1/market/histories?symbol={symbol}",
    book_paths={
        # v1 of the full level-2 book sorts asks high to low and was announced to end; v2 it is.
        "l2": "/api/v2/market/orderbook/level2?symbol={symbol}",
        "l3": "/api/v1/market/orderbook/level3?symbol={symbol}",
    },
    other_book_paths={"/api/v1/market/orderbook/level2": "l2"},
    topics={
        "level2": "/market/level2",
        "level3": "/market/level3",
        "match": "/market/match",
        "snapshot": "/market/snapshot",
        "ticker": "/market/ticker",
    },
    # "ensure that the sequence_start of the new l2update link up with the sequence_end of the
    # previous": step 4 of the document's calibration.
    continuity="strict",
    limits=Limits(
        connections_max=10,
        connects_per_minute=30,
        topics_per_connection=100,
        topics_per_message=100,
        uplink_messages_per_minute=120,
        rest_requests_per_10s=100,
        idle_disconnect_s=60,
    ),
)
