"""KuCoin as its document of February 2019 describes it: full public books of both levels."""

from schemas.kucoin.profile import PRIVATE, PUBLIC, BookSource, Limits, Profile, Rate

KUCOIN_2019 = Profile(
    name="kucoin-2019",
    venue="kucoin",
    source="KuCoin API document of February 2019 (docs.kucoin.com), read 2026-11-22",
    valid_from="2019-02-22",
    rest_url="https://api.kucoin.com",
    bullet_path="/api/v1/bullet-public",
    symbols_path="/api/v1/symbols",
    tickers_path="/api/v1/market/allTickers",
    timestamp_path="/api/v1/timestamp",
    histories_path="/api/v1/market/histories?symbol={symbol}",
    status_path=None,
    key_path=None,
    books=(
        # v1 of the full level-2 book sorts asks high to low and was announced to end; v2 it is.
        BookSource("l2", "/api/v2/market/orderbook/level2?symbol={symbol}"),
        BookSource("l3", "/api/v1/market/orderbook/level3?symbol={symbol}"),
    ),
    captured_books=(
        BookSource("l2", "/api/v1/market/orderbook/level2?symbol={symbol}"),
        # The only path of a whole book from June 2021 on, while ranges still linked up exactly.
        BookSource("l2", "/api/v3/market/orderbook/level2?symbol={symbol}", signed=True),
        # The document's own calibration begins with a partial book.
        BookSource("l2", "/api/v1/market/orderbook/level2_100?symbol={symbol}", depth=100),
        BookSource("l2", "/api/v1/market/orderbook/level2_20?symbol={symbol}", depth=20),
    ),
    captured_symbols_paths=("/api/v2/symbols",),
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
    # The document gives level2 and ticker no time; captures of later years have it, in ms.
    time_units={"level2": "ms", "level3": "ns", "match": "ns", "snapshot": "ms", "ticker": "ms"},
    trade_sequences="book",
    key_version="1",
    limits=Limits(
        connections_max=10,
        connects=Rate(30, 60.0),
        topics_per_connection=100,
        topics_per_message=100,
        uplink_messages=Rate(120, 60.0),
        rest={PUBLIC: Rate(100, 10.0), PRIVATE: Rate(200, 10.0)},
        rest_weights={},
        idle_disconnect_s=60,
        token_life_s=None,
    ),
)
